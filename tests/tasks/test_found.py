"""Several models' spans made one: by characters, by shares, with the mean of the thresholds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.mistakes import run_ensemble
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tasks import Answer, ExtractTask, answers
from modeledge.tasks.found import found_answer, joined_answer
from modeledge.tasks.spans import Best, Search, Told, best_of_rows, joined_best
from modeledge.tokens import train_tokenizer

TEXT = "the quick brown fox jumps over lazy dogs"


def row_of(seed: int, impossible: bool, n_best: int = 20, size: int = 6) -> tuple[Best, dict[tuple[int, int], float]]:
    """A row of one window, and the share of each of its n best spans, counted in a loop."""
    lots = np.random.default_rng(seed)
    scores, offsets = lots.normal(size=(size, 2)), np.stack([3 * np.arange(size), 3 * np.arange(size) + 2], 1)
    told = Told(np.zeros(1, np.int64), [scores], [offsets], lots.normal(size=1))
    [best] = best_of_rows(told, Search(max_answer=3, n_best=n_best), impossible=impossible)
    every = {(i, j): scores[i, 0] + scores[j, 1] for i in range(size) for j in range(i, min(size, i + 3))}
    kept = sorted(every, key=lambda one: -every[one])[:n_best]
    whole = sum(np.exp(every[one]) for one in kept) + impossible * np.exp(told.nulls[0])
    return best, {(3 * i, 3 * j + 2): float(np.exp(every[i, j]) / whole) for i, j in kept}


@given(st.integers(0, 999), st.booleans(), st.integers(1, 20))
@settings(max_examples=40, deadline=None)
def test_the_n_best_are_kept_with_their_shares(seed: int, impossible: bool, n_best: int) -> None:
    best, shares = row_of(seed, impossible, n_best)
    assert dict(best.among) == pytest.approx(shares)
    assert best.among[0] == (best.place, pytest.approx(best.share))
    assert sum(share for _, share in best.among) + best.null == pytest.approx(1.0)


@given(st.lists(st.integers(0, 999), min_size=1, max_size=5), st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_joined_span_has_the_largest_mean_share(seeds: list[int], impossible: bool) -> None:
    told = [row_of(seed, impossible) for seed in seeds]
    joined = joined_best([best for best, _ in told])
    places = {place for _, shares in told for place in shares}
    means = {place: sum(shares.get(place, 0.0) for _, shares in told) / len(told) for place in places}
    null = sum(best.null for best, _ in told) / len(told)
    assert joined.place == max(means, key=lambda place: means[place])
    assert joined.share == pytest.approx(max(means.values()))
    assert joined.null == pytest.approx(null)
    if impossible:
        assert joined.margin == pytest.approx(np.log(null) - np.log(joined.share))


@given(st.integers(0, 999), st.integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_a_model_and_its_copies_say_what_it_says_alone(seed: int, copies: int) -> None:
    best, _ = row_of(seed, impossible=True)
    joined = joined_best([best] * copies)
    assert joined.place == best.place
    assert (joined.share, joined.null, joined.margin) == pytest.approx((best.share, best.null, best.margin))


def test_a_row_without_a_span_has_no_share() -> None:
    nothing = Best(None, 0.0, 1.0, float("inf"))
    some = Best((0, 3), 0.6, 0.4, -0.4, (((0, 3), 0.6),))
    assert joined_best([nothing]).place is None
    joined = joined_best([nothing, some])
    assert (joined.place, joined.share, joined.null) == ((0, 3), 0.3, 0.7)


def test_nothing_is_said_by_the_mean_of_the_thresholds() -> None:
    best = Best((0, 3), 0.4, 0.6, float(np.log(1.5)), (((0, 3), 0.4),))
    low, high = (found_answer(0, best, threshold, TEXT) for threshold in (0.0, 1.0))
    assert (low.value, high.value) == ("", "the")
    assert joined_answer(0, [low.details, high.details]).value == "the"  # log 1.5 = 0.41, the mean is 0.5
    assert joined_answer(0, [low.details, low.details, high.details]).value == ""


def test_models_of_both_kinds_of_questions_are_not_joined() -> None:
    best = Best((0, 3), 0.6, 0.4, -0.4, (((0, 3), 0.6),))
    with pytest.raises(ModeledgeError, match=r"E-KEYS.*1 of 2 models"):
        joined_answer(0, [found_answer(0, best, threshold, TEXT).details for threshold in (None, 0.0)])


# ---- whole runs


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    words, out = TEXT.split(), []
    for n in range(start, start + count):
        first = n % 6
        answer = words[first]
        told = {"text": [answer], "answer_start": [TEXT.index(answer)]}
        out.append({"question": f"word {first}? {n}", "context": f"{TEXT} {n}", "answers": told})
    return out


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two models that cut texts into other tokens."""
    here, out = tmp_path_factory.mktemp("spans"), []
    for kind, size in (("wordpiece", 120), ("bpe", 300)):
        tokenizer = train_tokenizer([TEXT, "word 0 1 2 3 4 5 6 7 8 9?"] * 4, kind=kind, vocab_size=size)  # type: ignore[arg-type]
        forward, position = FeedForward(width=32), Learned(length=64)
        stack = Stack(layers=1, attention=Attention(heads=2), feedforward=forward, position=position)
        config = TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size, types=2), encoder=stack)
        save_model(Transformer(config), here / kind)
        tokenizer.save(here / kind)
        train = FinetuneTrain(batch=8, length=48, threads=1, precision="fp32", learning_rate=1e-2)
        asked = FinetuneRecipe(
            model=str(here / kind), data="rows from memory", task="extract", train=train, epochs=1.0, check=False
        )
        finetune(asked, here / f"run-{kind}", rows=rows(48), test_rows=rows(12, 100), say=lambda line: None)
        out.append(here / f"run-{kind}")
    return out


def test_an_ensemble_of_spans_stands_beside_its_members(runs: list[Path], tmp_path: Path) -> None:
    data = rows(12, 200)
    scores = run_ensemble(runs, data, tmp_path / "both", say=lambda line: None)
    assert list(scores) == [*map(str, runs), "ensemble"]
    assert set(scores["ensemble"]) == {"f1_answer", "exact_match"}
    alone = run_ensemble(runs[:1], data, tmp_path / "one", say=lambda line: None)
    assert alone["ensemble"] == alone[str(runs[0])]
    lines = [json.loads(line) for line in (tmp_path / "both" / "predictions.jsonl").read_text().splitlines()]
    told = []
    for run in runs:
        model = Model.load(run)
        assert isinstance(model.task, ExtractTask)
        told.append(answers(model.task, model.transformer, model.task.encode(data)))
    for n, line in enumerate(lines):
        shares: dict[tuple[int, int], float] = {}
        for model_told in told:
            for place, share in model_told[n].details.best.among:
                shares[place] = shares.get(place, 0.0) + share / 2
        best = max(shares, key=lambda place: shares[place])
        assert line["prediction"] == data[n]["context"][slice(*best)]
        assert line["confidence"] == pytest.approx(shares[best], abs=1e-5)
    page = (tmp_path / "both" / "report.html").read_text()
    assert all(str(run) in page for run in runs)
    assert "ensemble" in page


def test_written_answers_have_no_spans_to_join(runs: list[Path]) -> None:
    task = Model.load(runs[0]).needed_task()
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*no mean"):
        task.joined([Answer(0, "fox"), Answer(0, "dog")])
