"""Compiled blocks and a compiled loss: the same values and gradients, no break in a block's graph, and no new names."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from model_small import VOCAB, batch_of, build, packed

from modeledge.errors import ModeledgeError
from modeledge.families.wrapped.wrap import HuggingFaceModel
from modeledge.model import Batch, likelihood, token_loss
from modeledge.model.backbone import Backbone


@pytest.fixture(autouse=True)
def apart() -> Iterator[None]:
    """Each model compiles afresh: the compiler gives up on code that it met in too many shapes."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def run(model: Backbone, batch: Batch) -> list[torch.Tensor]:
    model.zero_grad()
    last = model(batch).last
    last.pow(3).sum().backward()
    return [last.detach(), *(p.grad.clone() for p in model.parameters() if p.grad is not None)]


@pytest.mark.parametrize(("kind", "shape"), [("bert", "encoder"), ("modern", "decoder")])
def test_a_compiled_block_computes_the_same(kind: str, shape: str) -> None:
    model = build(kind, shape)
    names = list(model.state_dict())
    side = packed([[5, 2, 4], [1, 7]], 13, 1)
    told = run(model, batch_of(side, shape))
    model.compile_blocks("aot_eager")
    torch._dynamo.utils.counters.clear()
    found = run(model, batch_of(side, shape))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
    assert not torch._dynamo.utils.counters["graph_break"]
    assert len(told) == len(found)
    for mine, theirs in zip(found, told, strict=True):
        # fp32 sums in another order: a compiled RMSNorm is torch's own form, which a compiler joins
        torch.testing.assert_close(mine, theirs, rtol=5e-5, atol=5e-5)
    assert list(model.state_dict()) == names
    assert model.compiled


def test_a_compiled_loss_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    judge = torch.compile(likelihood.judged, dynamic=True, backend="aot_eager")
    called = []
    monkeypatch.setattr(likelihood, "compiled_judge", lambda: called.append(1) or judge)
    monkeypatch.setattr(likelihood, "CHUNK", 4)
    draw = torch.Generator().manual_seed(0)
    for smoothing, softcap in ((0.0, None), (0.1, 3.0)):
        got = []
        for compiled in (False, True):
            draw.manual_seed(0)
            states, weight = (torch.randn(n, 6, generator=draw).requires_grad_() for n in (11, VOCAB))
            bias = torch.randn(VOCAB, generator=draw).requires_grad_()
            labels, weights = torch.arange(11), torch.rand(11, generator=draw)
            total = token_loss(
                states, weight, labels, weights, bias=bias, smoothing=smoothing, softcap=softcap, compiled=compiled
            )
            total.backward()
            got.append((total.detach(), states.grad, weight.grad, bias.grad))
        for one, other in zip(*got, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert len(called) == 2


def test_an_accelerator_makes_more_scores_at_once() -> None:
    assert likelihood.chunk_rows(50257, torch.device("cpu")) == likelihood.CHUNK
    assert 2000 < likelihood.chunk_rows(50257, torch.device("cuda")) < 3000
    assert likelihood.chunk_rows(10**7, torch.device("cuda")) == likelihood.CHUNK


def test_a_wrapped_model_is_compiled_by_its_own_library() -> None:
    with pytest.raises(ModeledgeError, match=r"train\.compile"):
        HuggingFaceModel.compile_blocks(object.__new__(HuggingFaceModel))
