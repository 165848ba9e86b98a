"""Several labels a row: sets, thresholds that are tuned, sets that are marked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.metrics import f1_binary
from modeledge.model import Attention, FeedForward, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tasks import TASKS, Answer, Asked, SeveralTask
from modeledge.tasks.several import best_cut
from modeledge.tokens import Tokenizer, train_tokenizer

NAMES = ("a", "b", "c")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the quick fox"] * 4, vocab_size=270)


def config(tokenizer: Tokenizer) -> TransformerConfig:
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Rotary())
    return TransformerConfig(width=8, embed=Tokens(vocab=tokenizer.vocab_size), decoder=stack)


def rows(count: int) -> list[dict[str, Any]]:
    """Every set in turn, the empty one and that of all too; a class b is rare."""
    sets = [[n for k, n in enumerate(NAMES) if i >> k & 1 and (n != "b" or i % 3 == 0)] for i in range(count)]
    return [{"text": f"fox {n} quick", "label": held} for n, held in enumerate(sets)]


def made(tokenizer: Tokenizer, **options: Any) -> SeveralTask:
    asked = Asked(length=16, options=options)
    task = TASKS["multilabel"].made(rows(24), tokenizer, config(tokenizer), asked, lambda _: None)
    assert isinstance(task, SeveralTask)
    return task


def test_sets_become_zeros_and_ones(tokenizer: Tokenizer) -> None:
    task = made(tokenizer)
    examples = task.encode([{"text": "fox", "label": held} for held in (["c", "a", "a"], [], ["b"])])
    assert [e.label for e in examples] == [(0, 2), (), (1,)]
    ready = [task.prepare(e, None).labels["class"] for e in examples]  # type: ignore[arg-type]
    assert np.concatenate(ready).tolist() == [[1, 0, 1], [0, 0, 0], [0, 1, 0]]


@given(st.lists(st.tuples(st.integers(0, 9), st.booleans()), min_size=1, max_size=12))
def test_the_best_threshold_is_the_best_of_all(pairs: list[tuple[int, bool]]) -> None:
    """Against every threshold there could be, in plain words; equal probabilities cannot be parted."""
    shares, held = np.array([p / 10 for p, _ in pairs]), np.array([int(h) for _, h in pairs])
    cut = best_cut(shares, held)
    if not held.any():
        assert cut == 0.5
        return
    best = max(f1_binary((shares >= other).astype(int), held) for other in [*shares, 2.0])
    assert f1_binary((shares >= cut).astype(int), held) == pytest.approx(best)


def test_tuned_thresholds_are_those_of_the_validation_rows(tokenizer: Tokenizer) -> None:
    task = made(tokenizer, threshold="tuned")
    assert task.needs_validation
    examples = task.encode(rows(8))
    told = [Answer(e.index, (), tuple(0.3 if k in e.label else 0.1 for k in range(3))) for e in examples]
    task.tune(told, examples)
    assert task.thresholds == pytest.approx((0.2, 0.2, 0.2))
    assert task.chosen(0, np.array([0.3, 0.1, 0.25])).value == (0, 2)
    again = SeveralTask.restored(json.loads(json.dumps(task.described())), tokenizer, config(tokenizer))
    assert again.thresholds == task.thresholds
    plain = made(tokenizer)
    plain.tune(told, examples)
    assert plain.thresholds == (0.5, 0.5, 0.5)


def test_thresholds_are_tuned_in_a_run_and_need_a_judge(tokenizer: Tokenizer, tmp_path: Path) -> None:
    save_model(Transformer(config(tokenizer)), tmp_path / "start")
    tokenizer.save(tmp_path / "start")
    said = {
        "model": str(tmp_path / "start"),
        "data": str(tmp_path / "rows.jsonl"),
        "task": "multilabel",
        "options": {"threshold": "tuned"},
        "epochs": 1,
        "allow_leak": True,
        "train": {"length": 16, "batch": 8},
    }
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows(60)))
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE.*judge_every"):
        finetune(FinetuneRecipe.model_validate(said), tmp_path / "one", say=str)
    said["train"] = {"length": 16, "batch": 8, "judge_every": 4}
    finetune(FinetuneRecipe.model_validate(said), tmp_path / "two", say=str)
    cuts = files.read_json(tmp_path / "two" / "model" / "task.json")["thresholds"]
    assert len(cuts) == 3
    assert cuts != [0.5, 0.5, 0.5]


def test_marks_of_sets(tokenizer: Tokenizer) -> None:
    """By counting: of 5 decisions made and 4 right ones 3 agree; one whole set is right."""
    task = made(tokenizer)
    examples = task.encode([{"text": "fox", "label": held} for held in (["a", "b"], [], ["c", "a"])])
    told = [Answer(0, (0, 1)), Answer(1, (2,)), Answer(2, (2, 1))]
    marks = task.mark(told, examples)
    values = sorted(marks.values())
    assert values[0] == pytest.approx(1 / 3)
    assert pytest.approx(2 * 3 / (5 + 4)) in values


@pytest.mark.parametrize("split", [None, "|"])
def test_a_prediction_is_written_as_labels_are(split: str | None, tokenizer: Tokenizer) -> None:
    task = made(tokenizer)
    task.split = split
    shown = task.shown(Answer(0, (0, 2), (0.9, 0.1, 0.6)))
    assert shown == {"prediction": "a|c" if split else ["a", "c"], "p(a)": 0.9, "p(b)": 0.1, "p(c)": 0.6}
    assert task.shown(Answer(0, (), (0.0, 0.0, 0.0)))["prediction"] == ("" if split else [])


def test_an_ensemble_of_sets_cuts_the_mean_shares_at_the_mean_thresholds(tokenizer: Tokenizer) -> None:
    task = made(tokenizer)
    one, two = Answer(0, (0,), (0.9, 0.2, 0.1), (0.5, 0.5, 0.5)), Answer(0, (1,), (0.3, 0.7, 0.1), (0.5, 0.3, 0.5))
    joined = task.joined([one, two])
    assert joined.value == (0, 1)
    assert joined.probabilities == pytest.approx((0.6, 0.45, 0.1))
    assert task.shown(joined)["prediction"] == ["a", "b"]
