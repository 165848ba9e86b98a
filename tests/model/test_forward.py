"""The whole transformer against a second one, in NumPy float64, one example and one token at a time.

It reads the weights by name and the papers' formulas, and knows nothing of rows, segments, kernels or caches.
"""

from __future__ import annotations

from dataclasses import replace
from math import cos, erf, pi, sin, sqrt

import numpy as np
import pytest
import torch
from model_small import SHAPES, STACKS, VOCAB, WIDTH, batch_of, build, packed

from modeledge.errors import ModeledgeError
from modeledge.model import LMHead
from modeledge.seed import Noise

KINDS = [(kind, shape) for kind in STACKS for shape in SHAPES]


def layer_norm(x, weights, name, stack):
    if stack.norm.kind == "rms":
        return x / sqrt(np.mean(x**2) + stack.norm.eps) * weights[f"{name}.weight"]
    centred = x - x.mean()
    return centred / sqrt(np.mean(centred**2) + stack.norm.eps) * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return weights[f"{name}.weight"] @ x + weights.get(f"{name}.bias", 0.0)


def gelu(x):
    return np.array([v * 0.5 * (1 + erf(v / sqrt(2))) for v in x])


ACTIVATIONS = {
    "silu": lambda v: v / (1 + np.exp(-v)),
    "gelu": gelu,
    "gelu_tanh": lambda x: 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))),
    "relu": lambda x: np.maximum(x, 0),
    "swiglu": lambda x: x / (1 + np.exp(-x)),
    "geglu": gelu,
}


def rotated(x, position, base):
    """Pairs (i, i + width / 2) turned by position · base^(−2i / width), in fp32 as the angles are."""
    half, out = len(x) // 2, x.copy()
    for i in range(half):
        angle = position * base ** (-2 * i / len(x))
        out[i] = x[i] * cos(angle) - x[i + half] * sin(angle)
        out[i + half] = x[i + half] * cos(angle) + x[i] * sin(angle)
    return out


def feedforward(x, weights, name, kind):
    if kind in ("swiglu", "geglu"):
        inner = ACTIVATIONS[kind](linear(x, weights, f"{name}.gate")) * linear(x, weights, f"{name}.up")
    else:
        inner = ACTIVATIONS[kind](linear(x, weights, f"{name}.up"))
    return linear(inner, weights, f"{name}.down")


def attend(states, weights, name, stack, layer, causal):
    attention = stack.attention
    heads, kv_heads = attention.heads, attention.kv_heads or attention.heads
    width, window = attention.head_width or WIDTH // heads, attention.windows[layer % len(attention.windows)]
    parts = {"query": [], "key": [], "value": []}
    for position, x in enumerate(states):
        if attention.qkv == "fused":
            sizes = np.cumsum([heads * width, kv_heads * width])
            split = np.split(linear(x, weights, f"{name}.qkv"), sizes)
        else:
            split = [linear(x, weights, f"{name}.{part}") for part in parts]
        for part, vector in zip(parts, split, strict=True):
            each = vector.reshape(-1, width)
            if attention.qk_norm and part != "value":
                each = np.array([layer_norm(v, weights, f"{name}.{part}_norm", stack) for v in each])
            if stack.position is not None and stack.position.kind == "rotary" and part != "value":
                each = np.array([rotated(v, position, stack.position.base) for v in each])
            parts[part].append(each)
    out = []
    for i in range(len(states)):
        seen = [j for j in range(len(states)) if (j <= i or not causal) and (window is None or abs(i - j) < window)]
        mixed = []
        for head in range(heads):
            kv = head // (heads // kv_heads)
            scores = np.array([parts["query"][i][head] @ parts["key"][j][kv] / sqrt(width) for j in seen])
            if attention.softcap is not None:
                scores = attention.softcap * np.tanh(scores / attention.softcap)
            shares = np.exp(scores - scores.max())
            shares /= shares.sum()
            mixed.append(sum(s * parts["value"][j][kv] for s, j in zip(shares, seen, strict=True)))
        out.append(linear(np.concatenate(mixed), weights, f"{name}.output"))
    return np.array(out)


def embedded(ids, types, weights, stack):
    x = weights["tokens"][ids].copy()
    if "types" in weights:
        x += weights["types"][types]
    for position, vector in enumerate(x):
        match stack.position.kind if stack.position is not None else None:
            case "learned":
                vector += weights["tower.position.weight"][position]
            case "sinusoidal":
                for i in range(len(vector)):
                    angle = position / stack.position.base ** (2 * (i // 2) / len(vector))
                    vector[i] += cos(angle) if i % 2 else sin(angle)
    return np.array([layer_norm(v, weights, "embed_norm", stack) for v in x]) if "embed_norm.weight" in weights else x


def forward(ids, types, weights, stack, causal):
    """Token ids of one example → its last states."""
    x = embedded(ids, types, weights, stack)
    for layer in range(stack.layers):
        name = f"tower.blocks.{layer}"

        def normed(values, which, name=name):
            return np.array([layer_norm(v, weights, f"{name}.{which}_norm", stack) for v in values])

        def wide(values, name=name):
            return np.array([feedforward(v, weights, f"{name}.feedforward", stack.feedforward.kind) for v in values])

        if stack.norm.place == "pre":
            x = x + attend(normed(x, "attention"), weights, f"{name}.attention", stack, layer, causal)
            x = x + wide(normed(x, "feedforward"))
        else:
            x = normed(x + attend(x, weights, f"{name}.attention", stack, layer, causal), "attention")
            x = normed(x + wide(x), "feedforward")
    if stack.norm.place == "pre":
        x = np.array([layer_norm(v, weights, "tower.final_norm", stack) for v in x])
    return x


@pytest.mark.parametrize(("kind", "shape"), KINDS)
@pytest.mark.parametrize("transform", [False, True])
def test_states_and_scores_are_the_formulas(kind, shape, transform):
    """Packed rows in float64. Angles are made in fp32: below position 8 they are right to 1e-6, all else to 1e-12."""
    model = build(kind, shape, torch.float64)
    model.add_heads({"lm": LMHead(transform=transform, bias=True)}, Noise(3))
    model.double()
    model.heads["lm"].bias.data.normal_(generator=torch.Generator().manual_seed(1))
    rows, stack = [[3, 4], [7]], STACKS[kind]
    side = packed(rows, 8)
    if kind == "bert":
        side = replace(side, types=(side.ids > 9).long())
    weights = {name: value.double().numpy() for name, value in model.state_dict().items()}
    bound = 1e-12 if stack.position is None or stack.position.kind == "learned" else 2e-5
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            last = model(batch_of(side, shape)).last
            scores = model.logits(last).detach().numpy()
        for row, lengths in enumerate(rows):
            start = 0
            for length in lengths:
                here = (row, slice(start, start + length))
                types = side.types[here].numpy() if side.types is not None else 0
                told = forward(side.ids[here].numpy(), types, weights, stack, shape == "decoder")
                assert np.abs(last[here].detach().numpy() - told).max() <= bound
                if transform:
                    plain = {"swiglu": "silu", "geglu": "gelu"}.get(stack.feedforward.kind, stack.feedforward.kind)
                    told = np.array([ACTIVATIONS[plain](linear(v, weights, "heads.lm.dense")) for v in told])
                    told = np.array([layer_norm(v, weights, "heads.lm.norm", stack) for v in told])
                told = told @ weights["tokens"].T + weights["heads.lm.bias"]
                assert scores[here].shape == (length, VOCAB)
                assert np.abs(scores[here] - told).max() <= 20 * bound
                start += length


@pytest.mark.parametrize(("kind", "shape"), KINDS)
def test_bf16_states_stay_near(kind, shape):
    """States of order 1 through three layers at 8 bits: within a few percent of their norm, and in bf16."""
    model, side = build(kind, shape), packed([[3, 4], [7]], 8)
    real = side.segments > 0
    told = model(batch_of(side, shape)).last[real]
    model.compute = torch.bfloat16
    found = model(batch_of(side, shape)).last[real]
    assert found.dtype is torch.bfloat16
    assert float((found.float() - told).detach().norm() / told.detach().norm()) < 0.05


def test_types_that_the_model_does_not_have_are_refused():
    side = packed([[5]], 6)
    typed = replace(side, types=torch.ones_like(side.ids))
    with pytest.raises(AssertionError, match="types"):
        build("gpt2", "decoder")(batch_of(typed, "decoder"))
    model = build("bert", "encoder")
    assert not torch.equal(model(batch_of(typed, "encoder")).last, model(batch_of(side, "encoder")).last)


def test_an_unknown_site_names_the_nearest():
    with pytest.raises(ModeledgeError, match="did you mean 'query'"):
        build("gpt2", "decoder").sites("qwery")


@pytest.mark.parametrize("kind", STACKS)
def test_sites_are_the_rows_that_they_say(kind):
    """A site's rows in a fused or split matrix are the query, the key, the value that the layer makes."""
    model, stack = build(kind, "decoder"), STACKS[kind]
    heads, kv_heads = stack.attention.heads, stack.attention.kv_heads or stack.attention.heads
    width = stack.attention.head_width or WIDTH // heads
    sizes = {"query": heads * width, "key": kv_heads * width, "value": kv_heads * width}
    x = torch.randn(1, 2, WIDTH)
    for layer in range(stack.layers):
        parts = dict(zip(sizes, model.tower.blocks[layer].attention._project(x), strict=True))
        for part, size in sizes.items():
            site = model.sites(part)[layer]
            assert site.rows.stop - site.rows.start == size
            torch.testing.assert_close(site.module(x)[..., site.rows], parts[part])
            assert model.get_submodule(site.path) is site.module
    for part in ("attention_output", "up", "down"):
        assert len(model.sites(part)) == stack.layers
    assert len(model.sites("gate")) == (stack.layers if stack.feedforward.kind in ("swiglu", "geglu") else 0)
    for part in ("attention_output", "up", "down", "gate"):
        for site in model.sites(part):
            assert site.module.weight[site.rows].shape == site.module.weight.shape
