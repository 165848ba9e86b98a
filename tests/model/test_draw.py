"""Dropout masks: the rate is exact, they depend on their keys alone, and recomputation sees the same ones."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from model_small import SHAPES, STACKS, batch_of, build, config, packed

from modeledge.model import Dropout, Marks, Pattern, Transformer, dropping
from modeledge.model.attention import attention
from modeledge.model.draw import Draw, Mask, add_dropped, dropped
from modeledge.seed import Noise

DTYPES = [torch.float32, torch.bfloat16, torch.float16, torch.float64]
RATES = [0.001, 0.1, 0.15, 0.3, 0.5, 0.9]


def mask(rate, *keys, shape=(64,), dtype=torch.float32, site="hidden"):
    return Draw(Noise(5).at(*keys)).mask(torch.empty(shape, dtype=dtype), rate, site)


def within(values, told, sigmas=5.0):
    """The mean of independent values lies within 5 standard errors: a right one fails once in two million."""
    values = np.asarray(values, dtype=np.float64)
    error = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - told) <= sigmas * error + 1e-12, (values.mean(), told, error)


@pytest.mark.parametrize("rate", RATES)
def test_the_rate_is_exact_in_expectation(rate):
    """Though a threshold is a multiple of 1/256: E[mask · scale] = 1 and P[dropped] = rate, over masks."""
    masks = [mask(rate, number) for number in range(3000)]
    within([float(m.keep.mean()) * m.scale for m in masks], 1.0)
    within([1.0 - float(m.keep.mean()) for m in masks], rate)


def test_a_mask_is_not_striped():
    """Each of the eight bytes of a random word, and each pair of neighbours, drops at the rate."""
    drops = [1.0 - mask(0.3, number, shape=(512,)).keep.numpy() for number in range(200)]
    table = np.stack(drops).reshape(-1, 8)
    for column in range(8):
        within(table[:, column], 0.3)
    within(table[:, 0] * table[:, 1], 0.09)
    within(table[:-1, 7] * table[1:, 0], 0.09)


@pytest.mark.parametrize("rate", [0.996, 0.999, 0.99999])
def test_rates_near_one_still_keep_something(rate):
    """Beyond 255/256 the byte cannot say the rate; the mask is then as sparse as it can be, and its mean right."""
    masks = [mask(rate, number, shape=(256,)) for number in range(2000)]
    assert max(m.scale for m in masks) <= 256
    within([float(m.keep.mean()) * m.scale for m in masks], 1.0)


@pytest.mark.parametrize("shape", [(0,), (1,), (7,), (8,), (9,), (3, 5, 2)])
@pytest.mark.parametrize("dtype", DTYPES)
def test_masks_are_zero_or_one_in_the_dtype_of_the_states(shape, dtype):
    found = mask(0.4, 1, shape=shape, dtype=dtype)
    assert found.keep.shape == shape
    assert found.keep.dtype is dtype
    assert set(found.keep.flatten().tolist()) <= {0.0, 1.0}
    assert torch.equal(found.keep.double(), mask(0.4, 1, shape=shape, dtype=torch.float64).keep)


def test_a_mask_is_a_function_of_its_keys_alone():
    told = mask(0.5, 3, "x")
    torch.manual_seed(1)
    np.random.default_rng().random()
    mask(0.2, 9)
    again = mask(0.5, 3, "x")
    assert torch.equal(told.keep, again.keep)
    assert told.scale == again.scale
    seen = {
        tuple(m.keep.tolist())
        for m in (
            told,
            mask(0.5, 4, "x"),
            mask(0.5, 3, "y"),
            mask(0.5, 3),
            mask(0.5, 3, "x", site="attention"),
            mask(0.5, "3", "x"),
            Draw(Noise(6).at(3, "x")).mask(torch.empty(64), 0.5, "hidden"),
        )
    }
    assert len(seen) == 7


def test_nothing_is_dropped_where_nothing_should_be():
    like = torch.empty(4)
    assert mask(0.0, 1) is None
    assert Draw(None).mask(like, 0.5, "hidden") is None
    assert Draw(None).at(1).mask(like, 0.5, "hidden") is None
    assert Draw.current(True).noise is None
    with dropping(Noise(1)):
        assert Draw.current(True).noise == Noise(1)
        assert Draw.current(False).noise is None
        with pytest.raises(ZeroDivisionError), dropping(Noise(2)):
            _ = 1 / 0
        assert Draw.current(True).noise == Noise(1)
    assert Draw.current(True).noise is None


@pytest.mark.parametrize("dtype", DTYPES)
def test_adding_dropped_states_is_the_plain_formula(dtype):
    """One rounding less than the plain formula (a fused multiply and add), so equal to one step of the dtype."""
    generator = torch.Generator().manual_seed(2)
    residual, states, slope = (torch.randn(3, 40, generator=generator).to(dtype) for _ in range(3))
    drawn = mask(0.3, 1, shape=(3, 40), dtype=dtype)
    fused = [residual.clone().requires_grad_(), states.clone().requires_grad_()]
    plain = [residual.clone().requires_grad_(), states.clone().requires_grad_()]
    out = add_dropped(*fused, drawn)
    told = plain[0] + plain[1] * drawn.keep * drawn.scale
    assert out.dtype is dtype
    torch.testing.assert_close(out, told, rtol=2 * torch.finfo(dtype).eps, atol=2 * torch.finfo(dtype).eps)
    out.backward(slope)
    told.backward(slope)
    for one, other in zip(fused, plain, strict=True):
        assert torch.equal(one.grad, other.grad) or (
            dtype in (torch.bfloat16, torch.float16)
            and torch.allclose(one.grad, other.grad, rtol=2 * torch.finfo(dtype).eps)
        )
    assert torch.equal(add_dropped(residual, states, None), residual + states)
    assert torch.equal(dropped(states, None), states)
    assert torch.equal(dropped(states, drawn) == 0, (drawn.keep == 0) | (states == 0))


def test_adding_dropped_states_passes_gradcheck():
    drawn = mask(0.3, 1, shape=(2, 6), dtype=torch.float64)
    leaves = [torch.randn(2, 6, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    assert torch.autograd.gradcheck(lambda r, s: add_dropped(r, s, drawn), leaves)
    assert torch.autograd.gradgradcheck(lambda r, s: add_dropped(r, s, drawn) ** 2, leaves)


def test_dropped_attention_weights_are_scaled():
    """With the identity as values the states are the weights: each is 0 or scale times what it was."""
    marks = Marks(torch.arange(8)[None].expand(3, -1), torch.ones(3, 8, dtype=torch.long))
    pattern = Pattern(False, None, marks, marks, whole=True)
    generator = torch.Generator().manual_seed(3)
    query, key = (torch.randn(3, 2, 8, 8, generator=generator, dtype=torch.float64) for _ in range(2))
    value = torch.eye(8, dtype=torch.float64).expand(3, 2, 8, 8)
    told, _ = attention(query, key, value, pattern, scale=0.3)
    draw = Draw(Noise(4))
    found, shares = attention(query, key, value, pattern, scale=0.3, mask=draw, rate=0.5, weights=True)
    drawn = draw.mask(torch.empty(6, 8, 8, dtype=torch.float64), 0.5, "attention")
    torch.testing.assert_close(shares, told, rtol=1e-13, atol=0.0)  # what is shown is not dropped
    torch.testing.assert_close(found, told * drawn.keep.view(3, 2, 8, 8) * drawn.scale, rtol=1e-13, atol=0.0)
    assert 0 < float(drawn.keep.mean()) < 1


RATES_ON = Dropout(embed=0.1, hidden=0.2, attention=0.3)
KINDS = [(kind, shape) for kind in STACKS for shape in SHAPES]


def gradients(model, batch, noise):
    model.zero_grad()
    with dropping(noise):
        last = model(batch).last
        (last.float() * torch.linspace(-1, 1, last.shape[-1])).sum().backward()
    return last.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("kind", "shape"), KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recomputed_blocks_see_the_same_masks(kind, shape, dtype):
    """Bitwise: activation checkpointing with dropout on changes no gradient."""
    model = build(kind, shape, dtype, RATES_ON)
    batch = batch_of(packed([[3, 4], [7]], 8), shape)
    told, plain = gradients(model, batch, Noise(1))
    model.checkpoint_blocks()
    found, recomputed = gradients(model, batch, Noise(1))
    assert torch.equal(found, told)
    assert plain.keys() == recomputed.keys()
    assert {n for n in plain if "blocks" in n}
    for name, gradient in plain.items():
        assert torch.equal(gradient, recomputed[name]), name
    other, _ = gradients(model, batch, Noise(2))
    assert not torch.equal(other, told)


@pytest.mark.parametrize("shape", SHAPES)
def test_each_rate_acts_where_it_says(shape):
    """One rate at a time: it changes the states in training, within `dropping`, and nowhere else."""
    batch = batch_of(packed([[5]], 6), shape)
    told = build("bert", shape)(batch).last
    for name, other in itertools.permutations(("embed", "hidden", "attention"), 2):
        model = build("bert", shape, rates=Dropout(**{name: 0.5}))
        both = build("bert", shape, rates=Dropout(**{name: 0.5, other: 0.5}))
        assert torch.equal(model(batch).last, told)
        with dropping(Noise(1)):
            assert not torch.equal(model(batch).last, told)
            assert not torch.equal(model(batch).last, both(batch).last)
            assert torch.equal(model.eval()(batch).last, told)


def test_frozen_blocks_drop_nothing():
    """A block in eval mode gives the same states each step, also in a model that trains."""
    model = build("gpt2", "decoder", rates=Dropout(embed=0.5, hidden=0.5, attention=0.5))
    batch = batch_of(packed([[5]], 6), "decoder")
    told = model.eval().states_at(batch, 2)
    model.train()
    model.embed_dropout.eval()
    model.tower.blocks.eval()
    with dropping(Noise(1)):
        assert torch.equal(model.states_at(batch, 2), told)
        model.tower.blocks[1].train()
        assert torch.equal(model.states_at(batch, 1), model.eval().states_at(batch, 1))
        model.tower.blocks[1].train()
        model.training = True
        assert not torch.equal(model.states_at(batch, 2), told)


def test_blocks_and_places_draw_different_masks():
    """Two sites that shared a key would drop the same units."""
    seen = []
    kept, Draw.mask = (
        Draw.mask,
        lambda self, like, rate, site: seen.append((self.noise, site)) or Mask(like * 0 + 1, 1.0),
    )
    try:
        model = build("gpt2", "decoder", rates=RATES_ON)
        with dropping(Noise(1)):
            model(batch_of(packed([[5]], 6), "decoder"))
    finally:
        Draw.mask = kept
    assert len(seen) == len(set(seen)) == 2 + 4 * 2


@pytest.mark.parametrize("parallel", [False, True])
@pytest.mark.parametrize("mixed", [None, 0.0, 0.25])
def test_the_output_of_attention_has_a_rate_of_its_own_where_it_is_given(monkeypatch, parallel, mixed):
    """ModernBERT drops there as it drops attention weights, and nothing on the feed-forward's output."""
    rates = {}
    monkeypatch.setattr(Draw, "mask", lambda self, like, rate, site: rates.__setitem__(site, rate))
    whole = config("gpt2", "decoder", Dropout(hidden=0.5, mixed=mixed))
    model = Transformer(replace(whole, decoder=replace(whole.decoder, parallel=parallel)))
    model(batch_of(packed([[5]], 6), "decoder"))
    assert (rates["hidden"], rates["feedforward"]) == (0.5 if mixed is None else mixed, 0.5)
