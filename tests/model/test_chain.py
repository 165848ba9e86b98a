"""A linear-chain CRF against the sum over every sequence there is, in float64."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch

from modeledge.model import ChainHead, TokenHead, Transformer
from modeledge.model.chain import Chain
from modeledge.objectives import Shape, Step, TagPrepare, TagTokens, collate
from modeledge.records import Example
from modeledge.seed import Noise

TAGS = 3


def drawn(seed: int) -> Chain:
    torch.manual_seed(seed)
    chain = Chain(ChainHead(outputs=TAGS)).double()
    for parameter in chain.parameters():
        torch.nn.init.normal_(parameter)
    return chain


def worth(chain: Chain, scores: torch.Tensor, path: tuple[int, ...], begins: bool, ends: bool) -> torch.Tensor:
    told = sum(scores[t, tag] for t, tag in enumerate(path)) + sum(chain.steps[a, b] for a, b in pairwise(path))
    return told + begins * chain.start_bias[path[0]] + ends * chain.end_bias[path[-1]]


def loss_of(chain: Chain, scores: torch.Tensor, path: tuple[int, ...], begins: bool, ends: bool) -> torch.Tensor:
    every = product(range(TAGS), repeat=len(path))
    total = torch.stack([worth(chain, scores, other, begins, ends) for other in every]).logsumexp(0)
    return total - worth(chain, scores, path, begins, ends)


@pytest.mark.parametrize("seed", range(3))
def test_the_likelihood_is_the_sum_over_every_sequence(seed: int) -> None:
    """Ragged sequences of a batch, with and without a first and a last tag; loss and every gradient to 1e-12."""
    chain, random = drawn(seed), np.random.default_rng(seed)
    lengths = torch.tensor([5, 1, 3, 2, 5, 1])
    ends = torch.tensor([[True, True], [True, True], [True, False], [False, True], [False, False], [False, False]])
    scores = torch.tensor(3 * random.normal(size=(6, 5, TAGS)), requires_grad=True)
    tags = torch.tensor(random.integers(0, TAGS, (6, 5)))
    told = chain(scores, tags, lengths, ends)
    parts = []
    for n, (length, (begins, stops)) in enumerate(zip(lengths.tolist(), ends.tolist(), strict=True)):
        parts.append(loss_of(chain, scores[n], tuple(tags[n, :length].tolist()), begins, stops))
    every = torch.stack(parts)
    assert torch.allclose(told, every, rtol=1e-12, atol=1e-12)
    wanted = [scores, *chain.parameters()]
    ours, theirs = torch.autograd.grad(told.sum(), wanted), torch.autograd.grad(every.sum(), wanted)
    assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(ours, theirs, strict=True))


def test_long_sequences_and_large_scores_stay_finite() -> None:
    chain = drawn(0)
    scores = 1e4 * torch.randn(2, 400, TAGS, dtype=torch.float64)
    tags, ends = scores.argmax(-1), torch.ones(2, 2, dtype=torch.bool)
    told = chain(scores, tags, torch.tensor([400, 399]), ends)
    assert torch.isfinite(told).all()
    assert (told > -1e-6).all()


def test_windows_that_share_a_row_keep_their_own_words(tiny: Transformer) -> None:
    """Without special tokens the first word of a window stands on its first place."""
    objective = TagTokens(TagPrepare("target", chain=True), TokenHead(outputs=TAGS))
    step = Step(tiny, objective).double()
    tiny.compute = torch.float64
    for parameter in tiny.heads["chain"].parameters():
        torch.nn.init.normal_(parameter)
    random = np.random.default_rng(1)
    items = []
    for n, (size, ends) in enumerate([(4, 3), (2, 1), (3, 0), (1, 2), (2, 3)]):
        channels = {"reads": np.arange(size), "ends": np.array([ends])}
        label = tuple(random.integers(0, TAGS, size).tolist())
        items.append(
            objective.prepare(Example(n, random.integers(0, 9, size), label=label, channels=channels), Noise(0))
        )
    nothing = Example(9, random.integers(0, 9, 2), label=(), channels={"reads": np.arange(0), "ends": np.array([3])})
    items.insert(2, objective.prepare(nothing, Noise(0)))
    total = step(collate(items, Shape(8)), Noise(0)).terms["tags"]
    assert float(total.weight) == 12
    alone = 0.0
    for item in items:
        if len(item.labels["tags"]):
            scores = objective.scores(tiny, collate([item], Shape(8)))
            begins, ends = bool(item.labels["ends"][0] & 1), bool(item.labels["ends"][0] & 2)
            path = tuple(item.labels["tags"].tolist())
            alone += float(loss_of(tiny.heads["chain"], scores, path, begins, ends).detach())
    assert float(total.total.detach()) == pytest.approx(alone, rel=1e-10)


@pytest.fixture
def tiny() -> Transformer:
    from modeledge.model import Attention, FeedForward, Rotary, Stack, Tokens, TransformerConfig

    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Rotary())
    return Transformer(TransformerConfig(width=8, embed=Tokens(vocab=9), init=0.5, decoder=stack), seed=2)
