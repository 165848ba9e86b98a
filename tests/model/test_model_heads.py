"""Heads read the right tokens of packed rows, and a tied table is one storage."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_small import SHAPES, VOCAB, WIDTH, batch_of, build, packed

from modeledge.model import Batch, ClassHead, Dropout, LMHead, ValueHead, dropping
from modeledge.model.heads import members, pooled
from modeledge.seed import Noise

POOLS = ("first", "last", "mean", "max")
LENGTHS = st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=3), min_size=1, max_size=3)


def spans_of(rows, *, gap=0):
    """Row, start, end of each segment, with `gap` free columns before each."""
    spans = []
    for row, lengths in enumerate(rows):
        start = 0
        for length in lengths:
            spans.append((row, start + gap, start + gap + length))
            start += gap + length
    return spans


def pooled_by_loops(states, spans, pool):
    out = []
    for row, start, end in spans:
        part = states[row, start:end]
        out.append({"first": part[0], "last": part[-1], "mean": part.mean(0), "max": part.max(0)}[pool])
    return np.array(out)


@settings(max_examples=60, deadline=None)
@given(LENGTHS, st.integers(0, 2), st.randoms(use_true_random=False), st.integers(0, 99))
def test_pooling_is_a_loop_over_spans(rows, gap, random, seed):
    """Whatever the order of the examples, and with free positions before each."""
    spans = spans_of(rows, gap=gap)
    random.shuffle(spans)
    seq = max(end for _, _, end in spans) + 1
    states = torch.randn(len(rows), seq, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    batch = Batch(spans=torch.tensor(spans))
    for pool in POOLS:
        found = pooled(states, batch, pool)
        assert np.allclose(found.numpy(), pooled_by_loops(states.numpy(), spans, pool), rtol=1e-14, atol=1e-15)
    example, position = members(batch, seq)
    told = [(n, row * seq + column) for n, (row, start, end) in enumerate(spans) for column in range(start, end)]
    assert list(zip(example.tolist(), position.tolist(), strict=True)) == told


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_gives_gradients_to_its_own_tokens(pool):
    rows = [[3, 2], [4]]
    states = torch.randn(2, 6, 3, dtype=torch.float64, requires_grad=True)
    batch = Batch(spans=torch.tensor(spans_of(rows)))
    pooled(states, batch, pool)[1].sum().backward()
    outside = torch.ones(2, 6, dtype=torch.bool)
    outside[0, 3:5] = False
    assert not states.grad[outside].any()
    assert float(states.grad.sum()) == pytest.approx(3.0)
    assert torch.autograd.gradcheck(lambda x: pooled(x, batch, pool), states)


def test_long_means_in_bf16_do_not_stall():
    """Adding 1 to 256 in bf16 gives 256: a mean over a thousand tokens must be summed in fp32."""
    states = (1 + torch.rand(1, 1000, 4, generator=torch.Generator().manual_seed(1))).bfloat16()
    batch = Batch(spans=torch.tensor([[0, 0, 1000]]))
    found = pooled(states, batch, "mean")
    assert found.dtype is torch.bfloat16
    assert torch.equal(found, states.double().mean(1).bfloat16())
    assert torch.equal(pooled(states, batch, "max"), states.amax(1))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("pool", POOLS)
@pytest.mark.parametrize("hidden", [False, True])
def test_class_and_value_heads_are_their_formulas(shape, pool, hidden):
    model = build("bert", shape, torch.float64)
    heads = {"class": ClassHead(outputs=5, pool=pool, hidden=hidden), "value": ValueHead(pool=pool, hidden=hidden)}
    model.add_heads(heads, Noise(3))
    model.double()
    rows = [[3, 4], [7]]
    side = packed(rows, 8)
    spans = spans_of(rows)
    batch = Batch(**{"source" if shape == "encoder" else "target": side}, spans=torch.tensor(spans))
    with torch.no_grad():
        last = model(batch).last
        found = {name: model.heads[name](last, batch).numpy() for name in heads}
    x = pooled_by_loops(last.numpy(), spans, pool)
    for name, scores in found.items():
        weights = {n: p.detach().numpy() for n, p in model.heads[name].named_parameters()}
        y = np.tanh(x @ weights["dense.weight"].T + weights["dense.bias"]) if hidden else x
        told = y @ weights["output.weight"].T + weights["output.bias"]
        assert np.allclose(scores, told if name == "class" else told[:, 0], rtol=1e-12, atol=1e-13)
        assert scores.shape == ((3, 5) if name == "class" else (3,))
    assert "output.bias" not in dict(ClassHead(outputs=2, bias=False).build(model.config).named_parameters())


def test_a_value_a_token():
    model = build("gpt2", "decoder")
    model.add_heads({"value": ValueHead(pool=None)}, Noise(3))
    batch = batch_of(packed([[5], [6]], 6), "decoder")
    last = model(batch).last
    found = model.heads["value"](last, batch)
    assert found.shape == (2, 6)
    torch.testing.assert_close(found[1, 2], (last[1, 2] @ model.heads["value"].output.weight[0]))


@pytest.mark.parametrize("head", [ClassHead(outputs=4, dropout=0.5), ValueHead(dropout=0.5)])
def test_heads_drop_in_training_alone(head):
    model = build("gpt2", "decoder", rates=Dropout())
    model.add_heads({"x": head}, Noise(3))
    batch = Batch(target=packed([[5]], 6), spans=torch.tensor([[0, 0, 5]]))
    states = model(batch).last
    told = model.heads["x"](states, batch)
    with dropping(Noise(1)):
        assert not torch.equal(model.heads["x"](states, batch), told)
        model.heads["x"].eval()
        assert torch.equal(model.heads["x"](states, batch), told)


def test_a_tied_table_is_one_storage():
    model = build("gpt2", "decoder")
    model.add_heads({"lm": LMHead()}, Noise(3))
    head = model.heads["lm"]
    assert head.weights(model.table) is model.tokens
    assert not list(head.parameters())
    assert sum(p.shape == (VOCAB, WIDTH) for p in model.parameters()) == 1
    batch = batch_of(packed([[5]], 5), "decoder")
    unused = next(i for i in range(VOCAB) if i not in batch.side.ids)
    model.logits(model(batch).last).square().sum().backward()
    assert bool((model.tokens.grad[unused] != 0).any())  # the scores of a token that was never read
    with torch.no_grad():
        before = model.logits(torch.ones(1, WIDTH))
        model.tokens[unused] += 1.0
        after = model.logits(torch.ones(1, WIDTH))
    assert (before != after).nonzero().tolist() == [[0, unused]]


def test_an_untied_table_is_another_storage():
    model = build("gpt2", "decoder")
    model.add_heads({"lm": LMHead(tie=False)}, Noise(3))
    head = model.heads["lm"]
    assert head.weights(model.table) is head.weight
    assert head.weight.data_ptr() != model.tokens.data_ptr()
    assert not torch.equal(head.weight, model.tokens)
