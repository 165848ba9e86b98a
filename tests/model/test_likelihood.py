"""Chunked cross-entropy against the formula in NumPy float64: value and every gradient; and what it never holds."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from modeledge.model import likelihood, token_loss


@contextmanager
def chunks_of(size):
    """A smaller chunk, so that few rows make many chunks."""
    kept, likelihood.CHUNK = likelihood.CHUNK, size
    try:
        yield
    finally:
        likelihood.CHUNK = kept


def oracle(states, weight, bias, labels, weights, smoothing):
    """Σ wᵢ · −((1 − s) log pᵢ[label] + s · mean log pᵢ), and its gradients by states, weight and bias."""
    s, w = states.detach().double().numpy(), weight.detach().double().numpy()
    b = 0.0 if bias is None else bias.detach().double().numpy()
    share = weights.double().numpy()
    total, slopes = 0.0, np.zeros((len(s), len(w)))
    for i, label in enumerate(labels.tolist()):
        scores = w @ s[i] + b
        logs = scores - scores.max()
        logs -= np.log(np.exp(logs).sum())
        target = np.full(len(w), smoothing / len(w))
        target[label] += 1 - smoothing
        total -= share[i] * (target @ logs)
        slopes[i] = share[i] * (np.exp(logs) - target)
    return total, slopes @ w, slopes.T @ s, slopes.sum(0)


def drawn(n, vocab, width, *, bias=True, dtype=torch.float64, seed=0, scale=1.0):
    """Leaves (states, weight, bias), labels and weights; some weights are 0."""
    generator = torch.Generator().manual_seed(seed)
    states = (scale * torch.randn(n, width, generator=generator, dtype=torch.float64)).to(dtype).requires_grad_()
    master = torch.float64 if dtype is torch.float64 else torch.float32
    weight = torch.randn(vocab, width, generator=generator, dtype=torch.float64).to(master).requires_grad_()
    offset = torch.randn(vocab, generator=generator, dtype=torch.float64).to(master).requires_grad_() if bias else None
    labels = torch.randint(0, vocab, (n,), generator=generator)
    weights = torch.rand(n, generator=generator) * (torch.rand(n, generator=generator) > 0.2)
    return states, weight, offset, labels, weights


def close(found, told, bound):
    """Within `bound` of the told tensor's norm."""
    difference = np.linalg.norm(found.detach().double().numpy() - told)
    assert difference <= bound * max(np.linalg.norm(told), 1e-30), difference


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 9),
    st.integers(2, 12),
    st.integers(1, 5),
    st.booleans(),
    st.sampled_from([0.0, 0.1, 0.9]),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_value_and_gradients_are_the_formula(n, vocab, width, bias, smoothing, chunk, seed):
    states, weight, offset, labels, weights = drawn(n, vocab, width, bias=bias, seed=seed)
    told = oracle(states, weight, offset, labels, weights, smoothing)
    with chunks_of(chunk):
        total = token_loss(states, weight, labels, weights, bias=offset, smoothing=smoothing)
    assert total.dtype is torch.float64
    assert float(total.detach()) == pytest.approx(told[0], rel=1e-13, abs=1e-13)
    (3 * total).backward()
    for leaf, gradient in zip((states, weight, offset), told[1:], strict=True):
        if leaf is not None:
            assert float((leaf.grad - 3 * torch.from_numpy(gradient)).abs().max() if leaf.numel() else 0.0) <= 1e-12


@pytest.mark.parametrize("extra", [-1, 0, 1, 300])
def test_more_rows_than_a_chunk(extra):
    """At the real chunk, in fp32: 24 bits, sums of a thousand rows."""
    states, weight, offset, labels, weights = drawn(likelihood.CHUNK + extra, 40, 8, dtype=torch.float32)
    told = oracle(states, weight, offset, labels, weights, 0.0)
    total = token_loss(states, weight, labels, weights, bias=offset)
    total.backward()
    assert float(total.detach()) == pytest.approx(told[0], rel=2e-6)
    for leaf, gradient in zip((states, weight, offset), told[1:], strict=True):
        close(leaf.grad, gradient, 2e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_bf16_states_under_fp32_masters(smoothing):
    """The products are rounded to 8 bits, the softmax and the sums are not.

    So each score is off by at most |score| / 2**9 and each loss by twice the largest of them; a slope is rounded once
    more before the products with states and weights, hence 2 % of the norm where 2**-9 is 0.2 % for each rounding.
    """
    states, weight, offset, labels, weights = drawn(300, 50, 16, dtype=torch.bfloat16)
    rounded = weight.detach().bfloat16()
    told = oracle(states, rounded, offset, labels, weights, smoothing)
    with chunks_of(64):
        total = token_loss(states, weight, labels, weights, bias=offset, smoothing=smoothing)
    total.backward()
    assert total.dtype is torch.float32
    largest = float((states.detach().double() @ rounded.double().T).abs().max())
    assert abs(float(total.detach()) - told[0]) <= float(weights.sum()) * 2 * largest / 2**9
    assert states.grad.dtype is torch.bfloat16
    assert weight.grad.dtype is offset.grad.dtype is torch.float32
    for leaf, gradient in zip((states, weight, offset), told[1:], strict=True):
        close(leaf.grad, gradient, 0.02)


@pytest.mark.parametrize("smoothing", [0.0, 0.3])
@pytest.mark.parametrize("bias", [False, True])
def test_gradcheck(smoothing, bias):
    states, weight, offset, labels, weights = drawn(5, 6, 3, bias=bias)

    def loss(*leaves):
        return token_loss(leaves[0], leaves[1], labels, weights, bias=leaves[2] if bias else None, smoothing=smoothing)

    leaves = (states, weight, offset) if bias else (states, weight)
    with chunks_of(2):
        assert torch.autograd.gradcheck(loss, leaves)


def test_scores_far_apart_stay_finite():
    states, weight, offset, labels, weights = drawn(20, 30, 8, dtype=torch.float32, scale=1e4)
    told = oracle(states, weight, offset, labels, weights, 0.0)
    total = token_loss(states, weight, labels, weights, bias=offset)
    total.backward()
    assert float(total.detach()) == pytest.approx(told[0], rel=1e-5)
    assert bool(torch.isfinite(states.grad).all())
    assert bool(torch.isfinite(weight.grad).all())


def test_only_gradients_that_are_wanted():
    states, weight, offset, labels, weights = drawn(7, 9, 4)
    told = oracle(states, weight, offset, labels, weights, 0.0)
    with torch.no_grad():
        assert float(token_loss(states, weight, labels, weights, bias=offset)) == pytest.approx(told[0], rel=1e-13)
    frozen = [states.detach().requires_grad_(), weight.detach(), offset.detach()]
    token_loss(frozen[0], frozen[1], labels, weights, bias=frozen[2]).backward()
    close(frozen[0].grad, told[1], 1e-13)
    table = weight.detach().requires_grad_()
    token_loss(states.detach(), table, labels, weights, bias=offset.detach()).backward()
    close(table.grad, told[2], 1e-13)


def test_a_second_derivative_is_refused():
    """The slopes are kept as numbers: their own derivative would be silently wrong."""
    states, weight, _, labels, weights = drawn(4, 6, 3, bias=False)
    (gradient,) = torch.autograd.grad(token_loss(states, weight, labels, weights) ** 2, states, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


class _Largest(TorchDispatchMode):
    """The most elements of any floating tensor of 4 bytes or more that an operation returns."""

    def __init__(self):
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, torch.Tensor) and x.is_floating_point() and x.element_size() >= 4:
                self.elements = max(self.elements, x.numel())
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_are_never_held_whole(dtype):
    n, vocab, chunk = 64, 97, 8
    states, weight, offset, labels, weights = drawn(n, vocab, 4, dtype=dtype)
    with chunks_of(chunk), _Largest() as seen:
        token_loss(states, weight, labels, weights, bias=offset, smoothing=0.1).backward()
    assert chunk * vocab <= seen.elements < n * vocab / 4
    with _Largest() as seen:  # the measure sees them where they are
        F.cross_entropy((states.float() @ weight.T), labels).backward()
    assert seen.elements >= n * vocab


class _Products(TorchDispatchMode):
    """How many matrix products are computed."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.matmul)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("quiet", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_no_gradient_is_computed_where_none_is_wanted(quiet, dtype):
    """One product a chunk instead of three, and the same bits."""
    states, weight, offset, labels, weights = drawn(24, 31, 4, dtype=dtype)
    with chunks_of(8), _Products() as seen:
        graded = token_loss(states, weight, labels, weights, bias=offset, smoothing=0.1)
    assert seen.count == 9
    with chunks_of(8), quiet(), _Products() as seen:
        total = token_loss(states, weight, labels, weights, bias=offset, smoothing=0.1)
    assert seen.count == 3
    assert total.item().hex() == graded.item().hex()


def test_a_label_that_is_next_to_impossible_has_its_whole_loss():
    """Its share of the softmax underflows; its loss is the distance of the scores all the same."""
    states = torch.tensor([[1.0], [1.0]], requires_grad=True)
    table = torch.tensor([[0.0], [-300.0], [-1.0]], requires_grad=True)
    total = token_loss(states, table, torch.tensor([1, 2]), torch.ones(2))
    total.backward()
    expected = torch.log_softmax(states.double() @ table.double().T, -1)
    assert total.item() == pytest.approx(-(expected[0, 1] + expected[1, 2]).item(), rel=1e-6)
    assert table.grad is not None
    assert table.grad[1].item() == pytest.approx(-1.0)
