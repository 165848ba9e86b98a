"""The norms beside torch's own in fp64: forwards, and all gradients, in every dtype."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from modeledge.model.norm import layer_norm, rms_norm


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float64, 1e-13), (torch.float32, 2e-6), (torch.bfloat16, 0.01)])
def test_it_is_torchs_own(dtype, bound):
    """The reference is computed in fp64; the mean of a row is far from 0, so the part that LayerNorm takes off counts.
    2,000 states: a sum of them in bf16 would be percents off."""
    draw = torch.Generator().manual_seed(0)
    x = (torch.randn(4, 500, 24, generator=draw, dtype=torch.float64) + 0.8).to(dtype)
    weight = torch.randn(24, generator=draw, dtype=torch.float64)
    weight = weight if dtype is torch.float64 else weight.float()
    probe = (torch.randn(4, 500, 24, generator=draw, dtype=torch.float64) + 0.5).to(dtype)
    told = []
    for norm, wide in ((rms_norm, None), (lambda x, w, eps: F.rms_norm(x, (24,), w, eps), torch.float64)):
        leaves = [t.to(wide or t.dtype).requires_grad_() for t in (x.clone(), weight.clone())]
        y = norm(leaves[0], leaves[1], 1e-6)
        told.append([y.detach(), *torch.autograd.grad(y, leaves, probe.to(y.dtype))])
    for mine, other in zip(*told, strict=True):
        assert (mine.double() - other).norm() <= bound * other.norm()
    assert told[0][0].dtype is dtype


def test_only_what_is_asked_for_gets_a_gradient():
    x, weight = torch.randn(3, 8), torch.ones(8, requires_grad=True)
    rms_norm(x, weight, 1e-6).sum().backward()
    assert weight.grad is not None
    weight.grad = None
    x.requires_grad_()
    rms_norm(x, weight.detach(), 1e-6).sum().backward()
    assert x.grad is not None
    assert weight.grad is None


def test_gradients_by_differences():
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, w: rms_norm(x, w, 1e-3), (x, weight))


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.bfloat16, 0.01)])
def test_a_layer_norm_sums_its_gradients_in_fp32(dtype, bound, biased):
    """20,000 states: torch's own kernel in bf16 is 14 % off in the weight's gradient and 66 % in the bias's."""
    draw = torch.Generator().manual_seed(0)
    x = (torch.randn(20_000, 24, generator=draw, dtype=torch.float64) + 0.8).to(dtype)
    weight, bias = torch.randn(24, generator=draw), torch.randn(24, generator=draw) if biased else None
    probe = (torch.randn(20_000, 24, generator=draw, dtype=torch.float64) + 0.5).to(dtype)
    told = []
    for norm, wide in ((layer_norm, None), (lambda x, w, b, eps: F.layer_norm(x, (24,), w, b, eps), torch.float64)):
        leaves = [t.to(wide or t.dtype).requires_grad_() for t in (x.clone(), weight, bias) if t is not None]
        y = norm(leaves[0], leaves[1], leaves[2] if biased else None, 1e-6)
        told.append([y.detach(), *torch.autograd.grad(y, leaves, probe.to(y.dtype))])
    for mine, other in zip(*told, strict=True):
        assert (mine.double() - other).norm() <= bound * other.norm()
    assert told[0][0].dtype is dtype


def test_a_frozen_layer_norm_gives_the_states_alone_a_gradient():
    x, weight, bias = torch.randn(3, 8).bfloat16().requires_grad_(), torch.ones(8), torch.zeros(8)
    layer_norm(x, weight, bias, 1e-6).sum().backward()
    assert x.grad is not None
