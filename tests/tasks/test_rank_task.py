"""Ranking: the loss is that of sentence-transformers, vectors are those of `Model.embed`, marks are counted by hand."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, Metric
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import Shape, Step, collate
from modeledge.recipes.asking.use import Model
from modeledge.seed import Noise
from modeledge.tasks import Asked, RankTask, answers
from modeledge.tokens import Tokenizer, train_tokenizer

SIDES = ("encoder", "decoder")
WORDS = ["fox", "dog", "lazy", "over", "brown", "quick"]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=280)


def made(
    side: str, tokenizer: Tokenizer, columns: dict[str, str] | None = None, **options: Any
) -> tuple[RankTask, Transformer]:
    stack = Stack(
        layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Learned(length=16)
    )
    embed = Tokens(vocab=tokenizer.vocab_size, types=2 if side == "encoder" else 0)
    facts = TransformerConfig(width=16, embed=embed, init=0.5, **{side: stack})
    task = RankTask.made(rows(4), tokenizer, facts, Asked(columns or {}, 12, options=options), lambda line: None)
    return task, Transformer(facts, seed=1).eval()


def rows(count: int) -> list[dict[str, Any]]:
    lots = random.Random(0)

    def text(most: int) -> str:
        return " ".join(lots.choices(WORDS, k=lots.randint(1, most)))

    return [
        {"text": text(7), "pair": text(5), "bad": [text(4) for _ in range(n % 3)], "grade": n % 5, "n": n}
        for n in range(count)
    ]


def batch_of(task: RankTask, data: list[dict[str, Any]]) -> Any:
    return collate([task.objective.prepare(e, Noise(0)) for e in task.encode(data)], Shape(task.seq))


@pytest.mark.parametrize("pool", ["first", "last", "mean", "max"])
@pytest.mark.parametrize("side", SIDES)
def test_the_vector_of_a_text_is_that_of_embed(side: str, pool: Any, tokenizer: Tokenizer) -> None:
    """Parts of one row see nothing of each other: pair, negatives and neighbours change no vector."""
    task, model = made(side, tokenizer, {"negatives": "bad"}, pool=pool)
    data = rows(8)
    told = answers(task, model, task.encode(data), 3)
    ours = Model(model, tokenizer)
    for answer, row in zip(told, data, strict=True):
        texts = [row["text"], row["pair"], *row["bad"]]
        wanted = ours.embed(texts, pool=pool, length=12, say=lambda line: None)
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        assert answer.details == pytest.approx(wanted, abs=1e-5)
        assert answer.value == pytest.approx(float(wanted[0] @ wanted[1]), abs=1e-5)


@pytest.mark.parametrize("side", SIDES)
def test_the_loss_is_that_of_multiple_negatives_ranking(side: str, tokenizer: Tokenizer) -> None:
    """sentence-transformers' formula: cross-entropy of scale · cos(text, all pairs, all negatives), scale = 1/τ."""
    task, model = made(side, tokenizer, {"negatives": "bad"}, temperature=0.07)
    data = rows(9)
    assert task.objective.couples
    with torch.no_grad():
        term = task.objective.loss(model, batch_of(task, data), Noise(0)).terms["rank"]
    found = {a.index: a.details for a in answers(task, model, task.encode(data))}
    vectors = [found[n] for n in range(9)]
    candidates = np.stack([v[1] for v in vectors] + [bad for v in vectors for bad in v[2:]])
    names = [row["pair"] for row in data] + [bad for row in data for bad in row["bad"]]
    losses = []
    for n, own in enumerate(vectors):
        keep = [j for j, name in enumerate(names) if j == n or name != data[n]["pair"]]
        scores = own[0] @ candidates[keep].T / 0.07
        losses.append(np.log(np.exp(scores).sum()) - scores[keep.index(n)])
    assert float(term.weight) == 9
    assert float(term.total) == pytest.approx(sum(losses), rel=1e-5)


def test_an_equal_pair_is_no_negative(tokenizer: Tokenizer) -> None:
    task, model = made("encoder", tokenizer)
    twins = [{"text": "the fox", "pair": "dog"}, {"text": "lazy", "pair": "dog"}]
    loss = task.objective.loss(model, batch_of(task, twins), Noise(0))
    assert float(loss.terms["rank"].total) == pytest.approx(0.0, abs=1e-6)  # nothing else to choose
    other = [{"text": "the fox", "pair": "dog"}, {"text": "lazy", "pair": "fox"}]
    assert float(task.objective.loss(model, batch_of(task, other), Noise(0)).terms["rank"].total) > 0.01


def test_grades_are_fitted_by_the_cosine(tokenizer: Tokenizer) -> None:
    task, model = made("encoder", tokenizer, {"label": "grade"})
    data = rows(7)
    assert not task.objective.couples
    assert (task.ranking.low, task.ranking.high) == (0.0, 3.0)  # of the four rows that it was made from
    examples = task.encode(data)
    told = answers(task, model, examples)
    wanted = sum((a.value - row["grade"] / 3) ** 2 for a, row in zip(told, data, strict=True))
    term = task.objective.loss(model, batch_of(task, data), Noise(0)).terms["rank"]
    assert float(term.total) == pytest.approx(wanted, rel=1e-5)
    assert set(task.mark(told, examples)) == {"spearman", "pearson"}
    blind = task.encode([{k: v for k, v in row.items() if k != "grade"} for row in data], labelled=False)
    assert [a.value for a in answers(task, model, blind)] == [a.value for a in told]
    with pytest.raises(ModeledgeError, match="E-LABEL-TYPE"):
        task.encode([{**data[0], "grade": "good"}])


def test_rankings_are_over_the_texts_of_all_rows(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Equal texts are one query's answers and one candidate: a text with two pairs has two right ones."""
    monkeypatch.setitem(METRICS, "ranking", Metric("ranking", lambda p, t: 0.0, True, "ranking"))  # type: ignore[arg-type]
    task, model = made("encoder", tokenizer, {"negatives": "bad"})
    data = [
        {"text": "the fox", "pair": "dog", "bad": ["lazy"]},
        {"text": "over", "pair": "brown", "bad": ["dog"]},
        {"text": "the fox", "pair": "quick", "bad": []},
    ]
    examples = task.encode(data)
    told = answers(task, model, examples)
    scores, right = task.sides("ranking", told, examples)
    assert right == [[1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 1.0]]  # dog lazy brown quick
    for n, answer in enumerate(told):
        own = {0: 0, 1: 2, 2: 3}[n]
        assert scores[n][own] == pytest.approx(answer.value, abs=1e-6)
    assert scores[0] == pytest.approx(scores[2], abs=1e-6)


def test_long_texts_are_cut_one_by_one(tokenizer: Tokenizer) -> None:
    task, model = made("encoder", tokenizer)
    data = [{"text": "a" * 40, "pair": "b"}, {"text": "a", "pair": "b" * 40}, {"text": "a", "pair": "b"}]
    examples = task.encode(data)
    assert task.truncated(examples) == 2
    assert len(answers(task, model, examples)) == 3


def test_a_task_comes_back_from_what_it_says(tokenizer: Tokenizer) -> None:
    task, model = made("encoder", tokenizer, {"label": "grade"}, pool="first")
    again = RankTask.restored(task.described(), tokenizer, model.config)
    assert again.described() == task.described()
    for columns, options in (({"label": "grade"}, {"graded": False}), ({}, {"graded": True})):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            made("encoder", tokenizer, columns, **options)
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
        made("encoder", tokenizer, temperature=0.0)


def test_a_small_model_learns_which_texts_belong_together(tokenizer: Tokenizer) -> None:
    task, model = made("encoder", tokenizer)
    lots = random.Random(4)
    pairs = [(a, b) for a in "abcdefgh" for b in "ijklmnop"]
    data = [{"text": a + b, "pair": b + a + "z"} for a, b in lots.sample(pairs, 60)]
    step = Step(model, task.objective, noise=Noise(1)).train()
    optimizer = torch.optim.AdamW(step.parameters(), lr=3e-3)
    held = task.encode(data[48:])

    def first() -> float:
        told = {a.index: a.details for a in answers(task, model, held)}
        texts, others = (np.stack([told[e.index][k] for e in held]) for k in (0, 1))
        return float(np.mean((texts @ others.T).argmax(1) == np.arange(len(held))))

    before = first()
    for update in range(60):
        batch = batch_of(task, random.Random(update).sample(data[:48], 24))
        step(batch, Noise(0)).value(step.objective.weights(batch)).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert first() > max(0.5, before)


def test_an_ensemble_s_cosines_are_the_means_of_its_models(tokenizer: Tokenizer) -> None:
    """Of the pair, and of every text with every other one, by which rankings are made."""
    task, model = made("encoder", tokenizer)
    told = answers(task, model, task.encode(rows(6)))
    turned = [type(a)(a.index, -a.value, details=np.stack([a.details[0], *-a.details[1:]])) for a in told]
    for one, other in zip(told, turned, strict=True):
        joined = task.joined([one, one, other])
        assert joined.value == pytest.approx((2 * one.value + other.value) / 3, abs=1e-6)
        assert joined.details @ joined.details.T == pytest.approx(
            (2 * one.details @ one.details.T + other.details @ other.details.T) / 3, abs=1e-6
        )
