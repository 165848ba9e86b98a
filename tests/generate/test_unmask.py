"""Uncovering hidden tokens: what is written, what stays, and that it samples from the model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.generate import Sampling, unmask
from modeledge.model import (
    Attention,
    Batch,
    FeedForward,
    Learned,
    LMHead,
    Norm,
    Side,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.seed import Noise

MASK, VOCAB = 3, 9


def model(width: int = 16, kind: str = "encoder") -> Transformer:
    stack = Stack(
        layers=1,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=32),
        norm=Norm(place="post"),
        position=Learned(length=16),
    )
    made = Transformer(TransformerConfig(width=width, embed=Tokens(vocab=VOCAB), **{kind: stack}, init=0.5), seed=1)
    made.add_heads({"lm": LMHead(bias=True)}, Noise(1))
    return made.eval()


GIVEN = np.array([5, MASK, MASK, 6, MASK, MASK, MASK, 7])


@pytest.mark.parametrize("order", ["random", "confident"])
@pytest.mark.parametrize("steps", [1, 2, 5, 64])
def test_every_mask_is_written_and_the_prompt_stays(order, steps):
    asked = GIVEN.copy()
    found = unmask(model(), asked, MASK, steps=steps, order=order, banned=(0, 1))
    assert (asked == GIVEN).all()
    kept = GIVEN != MASK
    assert found[kept].tolist() == [5, 6, 7]
    assert not set(found.tolist()) & {MASK, 0, 1}
    assert found.tolist() == unmask(model(), asked, MASK, steps=steps, order=order, banned=(0, 1)).tolist()


def test_passes(monkeypatch):
    """Confident: the same number in each step, five tokens in two steps as 3 and 2."""
    made, hidden = model(), []
    made.register_forward_hook(lambda m, given, out: hidden.append(int((given[0].source.ids == MASK).sum())))
    unmask(made, GIVEN, MASK, steps=2, order="confident")
    assert hidden == [5, 2]
    hidden.clear()
    unmask(made, GIVEN, MASK, steps=9, order="confident")
    assert hidden == [5, 4, 3, 2, 1]


def test_confident_writes_the_surest_first():
    made = model()
    with torch.no_grad():
        ids = torch.from_numpy(GIVEN)
        scores = made.logits(made(Batch(source=Side.of(ids[None]))).last[0]).clone()
        scores[:, MASK] = -math.inf
        best = torch.softmax(scores, -1).max(-1).values
    surest = max((i for i in range(8) if GIVEN[i] == MASK), key=lambda i: float(best[i]))
    reads = []
    made.register_forward_hook(lambda m, given, out: reads.append(given[0].source.ids[0].clone()))
    unmask(made, GIVEN, MASK, steps=5, order="confident", sampling=Sampling())
    assert [i for i in range(8) if reads[1][i] != GIVEN[i]] == [surest]
    assert int(reads[1][surest]) == int(scores[surest].argmax())


def test_random_order_is_uniform_and_samples_the_model():
    """One mask: the model's own distribution, within 3 sigma. Five masks in many steps: each is as often the first."""
    made, ids = model(), np.array([5, MASK, 6])
    with torch.no_grad():
        scores = made.logits(made(Batch(source=Side.of(torch.from_numpy(ids)[None]))).last[0, 1])
    scores[MASK] = -math.inf
    chances, count = torch.softmax(scores, -1).numpy(), 800
    hits = np.bincount([unmask(made, ids, MASK, steps=1, noise=Noise(s))[1] for s in range(count)], minlength=VOCAB)
    for hit, chance in zip(hits, chances, strict=True):
        assert abs(hit - count * chance) <= 3.5 * math.sqrt(count * chance * (1 - chance))
    left = []
    made.register_forward_hook(lambda m, given, out: left.append(int((given[0].source.ids == MASK).sum())))
    halves = []
    for s in range(150):
        left.clear()
        unmask(made, GIVEN, MASK, steps=2, noise=Noise(s))
        halves.append(5 - (left[1] if len(left) > 1 else 0))
    assert abs(np.mean(halves) - 2.5) < 3 * math.sqrt(5 / 4 / 150)  # each with chance 1/2 in the first of two steps


def test_what_cannot_be_written():
    for change, what in (
        ({"steps": 0}, "0 steps"),
        ({"order": "fast"}, "no order 'fast'"),
    ):
        with pytest.raises(ModeledgeError, match=f"E-USAGE.*{what}"):
            unmask(model(), GIVEN, MASK, **change)
    with pytest.raises(ModeledgeError, match="E-USAGE: there is no masked token"):
        unmask(model(), np.array([5, 6]), MASK)
    with pytest.raises(ModeledgeError, match="E-USAGE: the model is in training mode"):
        unmask(model().train(), GIVEN, MASK)
    with pytest.raises(ModeledgeError, match="E-USAGE: a decoder does not fill"):
        unmask(model(kind="decoder"), GIVEN, MASK)
    with pytest.raises(ModeledgeError, match="E-POSITION"):
        unmask(model(), np.full(17, MASK), MASK)
