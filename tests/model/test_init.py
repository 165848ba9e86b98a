"""Fresh weights are a function of (seed, parameter name): whatever else is built changes nothing."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from model_small import SHAPES, STACKS, config

from modeledge.model import ClassHead, LMHead, Transformer, ValueHead
from modeledge.seed import Noise

RESIDUAL = ("attention.output.weight", "feedforward.down.weight")
HEADS = {
    "lm": LMHead(transform=True, bias=True, tie=False),
    "class": ClassHead(outputs=3, hidden=True),
    "value": ValueHead(),
}


def parameters(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("shape", SHAPES)
def test_a_seed_is_all_that_weights_depend_on(kind, shape):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = parameters(Transformer(config(kind, shape), seed=4))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert same(first, parameters(Transformer(config(kind, shape), seed=4)))
    other = parameters(Transformer(config(kind, shape), seed=5))
    for name, value in first.items():
        assert torch.equal(value, other[name]) is (value.ndim == 1), name


@pytest.mark.parametrize("kind", STACKS)
def test_no_two_matrices_share_their_draw(kind):
    drawn = [p.flatten()[:8] for p in parameters(Transformer(config(kind, "decoder"))).values() if p.ndim > 1]
    for number, one in enumerate(drawn):
        assert not any(torch.allclose(one, other, rtol=0.0, atol=1e-4) for other in drawn[:number])


@pytest.mark.parametrize("kind", STACKS)
def test_a_layer_more_changes_no_other(kind):
    """Except the scale of what writes into the residual stream, which is std / √(2 · layers) by definition."""
    shape = config(kind, "decoder")
    layers = shape.stack.layers
    deeper = replace(shape, decoder=replace(shape.stack, layers=layers + 1))
    first, more = parameters(Transformer(shape)), parameters(Transformer(deeper))
    assert first.keys() < more.keys()
    assert {name for name in more.keys() - first.keys() if f"blocks.{layers}." not in name} == set()
    for name, value in first.items():
        if name.endswith(RESIDUAL):
            torch.testing.assert_close(more[name], value * math.sqrt(layers / (layers + 1)), rtol=1e-6, atol=0.0)
        else:
            assert torch.equal(more[name], value), name


def test_a_head_more_changes_no_other():
    """Whatever order, one by one or together; and a head that is there stays as it is."""
    bare = parameters(Transformer(config("bert", "encoder"), seed=4))
    together = Transformer(config("bert", "encoder"), seed=4)
    together.add_heads(HEADS, Noise(9))
    told = parameters(together)
    assert same(bare, {name: value for name, value in told.items() if not name.startswith("heads.")})
    apart = Transformer(config("bert", "encoder"), seed=4)
    for name in reversed(HEADS):
        apart.add_heads({name: HEADS[name]}, Noise(9))
    assert same(dict(sorted(told.items())), dict(sorted(parameters(apart).items())))
    with torch.no_grad():
        together.heads["class"].output.weight.fill_(7.0)
    together.add_heads(HEADS, Noise(10))
    assert bool((together.heads["class"].output.weight == 7.0).all())


def test_standard_deviations_are_as_documented():
    """On matrices of tens of thousands: mean and deviation within 5 standard errors."""
    shape = config("modern", "decoder")
    shape = replace(shape, width=128, init=0.05, decoder=replace(shape.stack, layers=3))
    model = Transformer(shape, seed=1)
    model.add_heads(HEADS, Noise(2))
    groups = {False: [], True: []}
    for name, value in parameters(model).items():
        if value.ndim == 1:
            assert bool((value == (0.0 if name.endswith("bias") else 1.0)).all()), name
        else:
            groups[name.endswith(RESIDUAL)].append(value.flatten().double())
            assert value.dtype is torch.float32
    for residual, parts in groups.items():
        values, std = torch.cat(parts), 0.05 / math.sqrt(2 * 3) if residual else 0.05
        count = len(values)
        assert count > 30_000
        assert abs(float(values.mean())) <= 5 * std / math.sqrt(count)
        assert abs(float(values.std()) - std) <= 5 * std / math.sqrt(2 * count)
        assert 3.5 * std < float(values.abs().max()) < 7 * std
