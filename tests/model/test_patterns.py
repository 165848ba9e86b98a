"""Every attention kernel against a NumPy loop in float64 that was written from `Pattern`'s docstring.

Then the same law through whole models: nothing crosses a segment, padding is not there, the future is not seen.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from model_small import SHAPES, STACKS, VOCAB, batch_of, build, packed

from modeledge.errors import ModeledgeError
from modeledge.model import Cache, Keep, Marks, Pattern, Side, Start
from modeledge.model import attention as kernels

# ---- the oracle: loops, float64, one line for each clause of the docstring


def sees(pattern: Pattern, row: int, i: int, j: int) -> bool:
    """Does query i of a row see key j?"""
    queries, keys = pattern.queries, pattern.keys
    segment_i, segment_j = int(queries.segments[row, i]), int(keys.segments[row, j])
    if segment_i == 0:
        itself = j == i + keys.segments.shape[1] - queries.segments.shape[1]
        return itself and (pattern.window is None or pattern.window > 0)
    if j < pattern.shared:
        return True
    if segment_i != segment_j:
        return False
    position_i, position_j = int(queries.positions[row, i]), int(keys.positions[row, j])
    if pattern.causal and position_j > position_i:
        both = queries.prefix is not None and keys.prefix is not None
        if not (both and bool(queries.prefix[row, i]) and bool(keys.prefix[row, j])):
            return False
    return pattern.window is None or abs(position_i - position_j) < pattern.window


def oracle(query, key, value, pattern, *, scale, softcap=None, score=None):
    """The states `[rows, heads, queries, width]` and weights; NaN where a query sees nothing."""
    q, k, v = (x.detach().double().numpy() for x in (query, key, value))
    rows, heads, queries, _ = q.shape
    group = heads // k.shape[1]
    states = np.full((rows, heads, queries, v.shape[-1]), np.nan)
    weights = np.zeros((rows, heads, queries, k.shape[2]))
    for row in range(rows):
        for head in range(heads):
            for i in range(queries):
                seen = [j for j in range(k.shape[2]) if sees(pattern, row, i, j)]
                if not seen:
                    continue
                products = np.array([q[row, head, i] @ k[row, head // group, j] * scale for j in seen])
                if softcap is not None:
                    products = softcap * np.tanh(products / softcap)
                if score is not None:
                    products += score.numpy()[row if len(score) > 1 else 0, head, i, seen]
                shares = np.exp(products - products.max())
                shares /= shares.sum()
                weights[row, head, i, seen] = shares
                states[row, head, i] = sum(s * v[row, head // group, j] for s, j in zip(shares, seen, strict=True))
    return states, weights


@st.composite
def patterns(draw, *, whole: bool = False):
    """Random segments, positions, padding in any place, prefixes, windows, shared keys, and more keys than queries."""
    rows, keys = draw(st.integers(1, 3)), draw(st.integers(1, 7))
    queries = draw(st.integers(1, keys))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    causal, window = draw(st.booleans()), draw(st.sampled_from([None, None, 1, 2, 4]))
    shared = draw(st.integers(0, 3 if whole else keys - queries))
    if whole:
        segments = np.ones((rows, keys), dtype=np.int64)
        positions = np.broadcast_to(np.arange(keys), (rows, keys)).copy()
    else:
        segments = random.integers(0, 4, (rows, keys))
        if draw(st.booleans()):
            segments.sort(1)  # as collate fills rows, but for the padding before them
        positions = np.array([[np.sum(row[:j] == row[j]) for j in range(keys)] for row in segments])
    prefix = random.random((rows, keys)) < 0.5 if draw(st.booleans()) else None
    tensors = [torch.from_numpy(positions), torch.from_numpy(segments)]
    prefixes = None if prefix is None else torch.from_numpy(prefix)
    marks = Marks(*tensors, prefixes)
    asking = Marks(*(t[:, keys - queries :] for t in tensors), None if prefixes is None else prefixes[:, -queries:])
    marks = marks.led(shared) if whole else marks  # as a prefix stands before rows that are whole
    return Pattern(causal, window, asking, marks, shared=shared, whole=whole)


def qkv(pattern: Pattern, heads: int, kv_heads: int, dtype=torch.float64, width: int = 4, seed: int = 0):
    """Queries, keys, values that fit a pattern."""
    generator = torch.Generator().manual_seed(seed)
    rows, keys = pattern.keys.positions.shape
    sizes = ((heads, pattern.queries.positions.shape[1]), (kv_heads, keys), (kv_heads, keys))
    return tuple(torch.randn(rows, *size, width, generator=generator, dtype=torch.float64).to(dtype) for size in sizes)


def agree(states, expected, bound):
    """Equal where a query sees something, finite everywhere."""
    assert bool(torch.isfinite(states).all())
    found, told = states.detach().double().numpy(), ~np.isnan(expected)
    assert np.abs(found - expected)[told].max(initial=0.0) <= bound


HEADS = st.sampled_from([(1, 1), (2, 2), (4, 2), (3, 1)])
# float64 kernels differ by the order of a few dozen additions; fp32 by the same at 2**-24; bf16 holds 8 bits and the
# products, the shares and the states (all of order 1, up to 4) are each rounded once.
BOUNDS = {torch.float64: 1e-13, torch.float32: 4e-6, torch.bfloat16: 0.1}


@settings(max_examples=80, deadline=None)
@given(patterns(), HEADS, st.sampled_from(list(BOUNDS)), st.integers(0, 99))
def test_both_kernels_are_the_oracle(pattern, heads, dtype, seed):
    query, key, value = qkv(pattern, *heads, dtype, seed=seed)
    expected, shares = oracle(query, key, value, pattern, scale=0.7)
    dense, weights = kernels.attention(query, key, value, pattern, scale=0.7, weights=True)
    agree(dense, expected, BOUNDS[dtype])
    seen = shares.sum(-1) > 0
    assert np.abs(weights.double().numpy() - shares)[seen].max(initial=0.0) <= BOUNDS[dtype]
    assert not weights.numpy(force=True)[(shares == 0) & seen[..., None]].any() if dtype != torch.bfloat16 else True
    agree(kernels._fused(query, key, value, pattern, 0.7), expected, BOUNDS[dtype])


@settings(max_examples=40, deadline=None)
@given(patterns(whole=True), HEADS, st.integers(0, 99))
def test_whole_rows_need_no_mask(pattern, heads, seed):
    """What `whole` skips changes nothing: the same as the oracle, and as the same pattern without the promise."""
    query, key, value = qkv(pattern, *heads, seed=seed)
    expected, _ = oracle(query, key, value, pattern, scale=0.5)
    told = replace(pattern, whole=False, _made={})
    for made in (pattern, told):
        agree(kernels._fused(query, key, value, made, 0.5), expected, 1e-13)
        agree(kernels._products(query, key, value, made, 0.5, None, None, None, 0.0, False)[0], expected, 1e-13)


@settings(max_examples=40, deadline=None)
@given(
    patterns(), HEADS, st.sampled_from([None, 0.5, 3.0]), st.sampled_from(["none", "one", "each"]), st.integers(0, 99)
)
def test_softcap_and_score(pattern, heads, softcap, kind, seed):
    query, key, value = qkv(pattern, *heads, seed=seed)
    rows, count = len(query), query.shape[2]
    size = {"none": 0, "one": 1, "each": rows}[kind]
    score = torch.randn(size, heads[0], count, key.shape[2], dtype=torch.float64) if size else None
    expected, _ = oracle(query, key, value, pattern, scale=0.9, softcap=softcap, score=score)
    found, _ = kernels.attention(query, key, value, pattern, scale=0.9, softcap=softcap, score=score)
    agree(found, expected, 1e-13)


@settings(max_examples=30, deadline=None)
@given(patterns(), HEADS, st.integers(0, 99))
def test_gradients_of_both_kernels_agree(pattern, heads, seed):
    """The training kernel and torch's own have one gradient; keys that no query sees have exactly none."""
    gradients = []
    for kernel in ("dense", "fused"):
        leaves = [x.requires_grad_() for x in qkv(pattern, *heads, seed=seed)]
        states = (
            kernels._fused(*leaves, pattern, 0.7)
            if kernel == "fused"
            else kernels.attention(*leaves, pattern, scale=0.7)[0]
        )
        torch.manual_seed(seed)
        gradients.append(torch.autograd.grad((states * torch.randn_like(states)).sum(), leaves))
    for dense, fused in zip(*gradients, strict=True):
        assert float((dense - fused).abs().max()) <= 1e-12
    rows, count = pattern.keys.positions.shape
    for row in range(rows):
        for j in range(count):
            if not any(sees(pattern, row, i, j) for i in range(pattern.queries.positions.shape[1])):
                assert not gradients[0][1][row, :, j].any()
                assert not gradients[0][2][row, :, j].any()


@settings(max_examples=60, deadline=None)
@given(patterns())
def test_allowed_is_the_docstring(pattern):
    allowed = pattern.allowed()
    rows, count = pattern.queries.positions.shape
    for row in range(rows):
        for i in range(count):
            told = [sees(pattern, row, i, j) for j in range(pattern.keys.positions.shape[1])]
            assert allowed[row if len(allowed) > 1 else 0, i].tolist() == told


@pytest.mark.parametrize("whole", [False, True])
def test_shared_keys_are_seen_also_where_only_the_direction_would_be_told(whole):
    """A fused kernel that knows 'causal' alone would hide the shared keys that stand later than a query."""
    marks = Marks(torch.arange(5)[None], torch.ones(1, 5, dtype=torch.long))
    pattern = Pattern(True, None, marks, marks, shared=3, whole=whole)
    query, key, value = qkv(pattern, 2, 2)
    expected, _ = oracle(query, key, value, pattern, scale=1.0)
    agree(kernels._fused(query, key, value, pattern, 1.0), expected, 1e-13)
    agree(kernels.attention(query, key, value, pattern, scale=1.0, weights=True)[0], expected, 1e-13)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("kernel", ["dense", "fused"])
def test_a_query_that_sees_nothing_is_finite(dtype, kernel):
    """A window of 0 shuts out everything; states and gradients stay finite."""
    marks = Marks(torch.arange(4)[None], torch.ones(1, 4, dtype=torch.long))
    pattern = Pattern(False, 0, marks, marks)
    leaves = [x.requires_grad_() for x in qkv(pattern, 2, 2, dtype)]
    if kernel == "dense":
        states, _ = kernels.attention(*leaves, pattern, scale=1.0)
    else:
        states = kernels._fused(*leaves, pattern, 1.0)
    states.float().square().sum().backward()
    for x in (states, *(leaf.grad for leaf in leaves)):
        assert bool(torch.isfinite(x).all())


def test_the_kernel_is_chosen_in_one_place(monkeypatch):
    """On a CPU: torch's own without a gradient, batched products with one, or where it cannot do what is asked."""
    asked = []
    real = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: asked.append(1) or real(*a, **k))
    marks = Marks(torch.arange(4)[None], torch.ones(1, 4, dtype=torch.long))
    pattern = Pattern(True, None, marks, marks, whole=True)
    query, key, value = qkv(pattern, 2, 2)

    def fused(*, grad=False, **options):
        asked.clear()
        kernels.attention(query.clone().requires_grad_(grad), key, value, pattern, scale=1.0, **options)
        return bool(asked)

    assert fused()
    assert not fused(grad=True)
    assert not fused(softcap=1.0)
    assert fused(score=torch.zeros(1, 1, 4, 4))
    assert not fused(weights=True)


# ---- the same through whole models

KINDS = [(kind, shape) for kind in STACKS for shape in SHAPES]
ROWS = [[3, 1, 4], [2, 5], [8]]


def states_of(model, side, shape, *, grad=False):
    """Last states; with a gradient the training kernel runs, without one torch's own."""
    with torch.set_grad_enabled(grad):
        return model(batch_of(side, shape)).last.detach()


@pytest.mark.parametrize(("kind", "shape"), KINDS)
def test_no_gradient_crosses_a_segment(kind, shape):
    """Exactly 0, in the training kernel, from every segment to every other and to the padding."""
    model = build(kind, shape)
    side = packed(ROWS, 10)
    batch = batch_of(side, shape)
    for row, lengths in enumerate(ROWS):
        for segment in range(1, len(lengths) + 1):
            entering = torch.randn(len(ROWS), 10, 16, generator=torch.Generator().manual_seed(3)).requires_grad_()
            last = model(batch, start=Start(entering, 0)).last
            inside = (side.segments == segment) & (torch.arange(len(ROWS))[:, None] == row)
            (last[inside] * torch.linspace(-1, 2, 16)).sum().backward()
            assert not entering.grad[~inside].any()
            assert entering.grad[inside].abs().amax(-1).min() > 0


@pytest.mark.parametrize(("kind", "shape"), KINDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_padding_content_changes_no_bit(kind, shape, dtype):
    model = build(kind, shape, dtype)
    side = packed(ROWS, 10)
    real = side.segments > 0
    other = replace(side, ids=torch.where(real, side.ids, (side.ids + 7) % VOCAB))
    moved = replace(other, positions=torch.where(real, side.positions, 5))
    for grad in (False, True):
        told = states_of(model, side, shape, grad=grad)[real]
        for changed in (other, moved):
            assert torch.equal(told, states_of(model, changed, shape, grad=grad)[real])


@pytest.mark.parametrize(("kind", "shape"), KINDS)
def test_a_packed_row_is_its_segments_one_by_one(kind, shape):
    model = build(kind, shape, torch.float64)
    side = packed(ROWS, 10)
    for grad in (False, True):
        together = states_of(model, side, shape, grad=grad)
        for row, lengths in enumerate(ROWS):
            start = 0
            for length in lengths:
                ids = side.ids[row : row + 1, start : start + length]
                alone = states_of(model, Side.of(ids), shape, grad=grad)
                assert float((alone[0] - together[row, start : start + length]).abs().max()) <= 1e-12
                start += length


@pytest.mark.parametrize(("kind", "shape"), KINDS)
@pytest.mark.parametrize("whole", [True, False])
def test_the_future_is_not_seen(kind, shape, whole):
    """Changing token t + 1 leaves a decoder's logits up to t bitwise as they were, and moves an encoder's."""
    model = build(kind, shape)
    ids = packed([[9], [9]], 9).ids
    side = replace(Side.of(ids), whole=whole)
    for grad in (False, True):
        before = states_of(model, side, shape, grad=grad) @ model.tokens.detach().T
        for t in range(8):
            changed = ids.clone()
            changed[:, t + 1] = (changed[:, t + 1] + 1) % VOCAB
            after = states_of(model, replace(side, ids=changed), shape, grad=grad) @ model.tokens.detach().T
            assert torch.equal(after[:, : t + 1], before[:, : t + 1]) is (shape == "decoder")
            assert not torch.equal(after[:, t + 1], before[:, t + 1])


@pytest.mark.parametrize("grad", [False, True])
def test_a_prefix_of_a_whole_row_is_read_both_ways(grad):
    """A fused kernel that knows 'causal' alone would hide the prefix's own future."""
    model = build("gpt2", "decoder")
    ids = packed([[6]], 6).ids
    changed = ids.clone()
    changed[0, 2] = (changed[0, 2] + 1) % VOCAB
    prefix = torch.arange(6)[None] < 3
    one, other = (replace(Side.of(i), prefix=prefix) for i in (ids, changed))
    assert one.whole
    moved = states_of(model, one, "decoder", grad=grad) != states_of(model, other, "decoder", grad=grad)
    assert moved[0].any(-1).all()


def test_a_prefix_is_read_both_ways():
    model = build("gpt2", "decoder")
    side = packed([[4, 5]], 9)
    prefix = torch.tensor([[1, 1, 1, 0, 1, 1, 0, 0, 0]], dtype=torch.bool)
    both = replace(side, prefix=prefix)

    def moved(at):
        changed = side.ids.clone()
        changed[0, at] = (changed[0, at] + 1) % VOCAB
        return (
            (states_of(model, replace(both, ids=changed), "decoder") != states_of(model, both, "decoder"))[0]
            .any(-1)
            .tolist()
        )

    assert moved(2) == [True] * 4 + [False] * 5
    assert moved(3) == [False] * 3 + [True] + [False] * 5
    assert moved(5) == [False] * 4 + [True] * 5
    assert moved(8) == [False] * 8 + [True]


# ---- with a cache


@pytest.mark.parametrize("kind", STACKS)
@pytest.mark.parametrize("steps", [[5, 1, 1, 1], [1] * 8, [3, 4, 1], [8]])
@pytest.mark.parametrize("ragged", [False, True])
def test_reading_in_pieces_is_reading_at_once(kind, steps, ragged):
    """Rows of unequal length are padded on the left, as generation does."""
    model = build(kind, "decoder", torch.float64)
    lengths = torch.tensor([8, 6, 3] if ragged else [8, 8, 8])
    positions = torch.arange(8) - (8 - lengths[:, None])
    segments = (positions >= 0).long()
    ids = packed([[8]] * 3, 8).ids
    side = Side(ids, positions.clamp(min=0), segments, whole=not ragged)
    with torch.no_grad():
        told = model(batch_of(side, "decoder")).last
        cache, start, found = Cache.empty(model.config, 3, 8, torch.float64), 0, []
        for step in steps:
            part = slice(start, start + step)
            piece = Side(ids[:, part], side.positions[:, part], segments[:, part], whole=not ragged)
            states = model(batch_of(piece, "decoder"), cache)
            found.append(states.last)
            cache, start = states.cache, start + step
    assert cache.filled == 8
    real = segments > 0
    assert float((torch.cat(found, 1) - told)[real].abs().max()) <= 1e-12


def test_rows_leave_a_cache():
    model = build("modern", "decoder", torch.float64)
    side = Side.of(packed([[6]] * 3, 6).ids)
    chosen = torch.tensor([2, 0])

    def part(rows, columns):
        return batch_of(
            Side(side.ids[rows, columns], side.positions[rows, columns], side.segments[rows, columns]), "decoder"
        )

    with torch.no_grad():
        told = model(batch_of(side, "decoder")).last
        cache = model(part(slice(None), slice(0, 4)), Cache.empty(model.config, 3, 6, torch.float64)).cache
        last = model(part(chosen, slice(4, 6)), cache.rows(chosen)).last
    assert float((last - told[chosen, 4:]).abs().max()) <= 1e-12


def test_a_full_cache_and_a_later_prefix_are_refused():
    model = build("modern", "decoder")
    side = Side.of(packed([[6]], 6).ids)
    with pytest.raises(ModeledgeError, match="E-POSITION"), torch.no_grad():
        model(batch_of(side, "decoder"), Cache.empty(model.config, 1, 5, torch.float32))
    both = replace(side, prefix=torch.ones(1, 6, dtype=torch.bool))
    with torch.no_grad():  # what is read first may be a prefix, and is read as without a cache
        first = model(batch_of(both, "decoder"), Cache.empty(model.config, 1, 14, torch.float32))
        assert torch.allclose(first.last, model(batch_of(both, "decoder")).last, atol=1e-6)
        assert not torch.allclose(first.last, model(batch_of(side, "decoder")).last, atol=1e-3)
        with pytest.raises(AssertionError, match="prefix"):
            model(batch_of(both, "decoder"), first.cache)


# ---- what a forward pass keeps


@pytest.mark.parametrize(("kind", "shape"), KINDS)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_only_what_is_asked_for_is_kept(kind, shape, checkpointing):
    model = build(kind, shape)
    model.checkpoint_blocks(checkpointing)
    side, layers = packed(ROWS, 10), STACKS[kind].layers
    plain = model(batch_of(side, shape))
    assert plain.layers == plain.attention == ()
    kept = model(batch_of(side, shape), keep=Keep(layers=True, attention=True))
    assert len(kept.layers) == layers + 1
    assert len(kept.attention) == layers
    assert torch.equal(kept.layers[-1], kept.last)
    assert (kept.encoder is None) is (shape == "decoder")
    assert float((kept.last - plain.last).detach().abs().max()) <= 1e-5
    for weights in kept.attention:
        assert weights.shape == (3, STACKS[kind].attention.heads, 10, 10)
        assert float((weights.sum(-1) - 1).detach().abs().max()) <= 1e-6
        across = side.segments[:, None, :, None] != side.segments[:, None, None, :]
        assert not weights[across.expand_as(weights)].any()


@pytest.mark.parametrize(("kind", "shape"), KINDS)
def test_a_start_skips_what_ran_before(kind, shape):
    model, side = build(kind, shape), packed(ROWS, 10)
    batch = batch_of(side, shape)
    with torch.no_grad():
        told = model(batch, keep=Keep(layers=True))
        for layer in range(STACKS[kind].layers + 1):
            entering = model.states_at(batch, layer)
            if layer < STACKS[kind].layers:
                assert torch.equal(entering, told.layers[layer])
            assert torch.equal(model(batch, start=Start(entering, layer)).last, told.last)
