"""A cached body against the same body run again: the same training, without the same work."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from adapt_small import LAYERS, SHAPES, batch_of, descend, examples, step_of, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.adapt import (
    STRATEGIES,
    Clock,
    FeatureCache,
    apply_moving,
    cache_features,
    compose,
    frozen_depth,
    needed_bytes,
    split,
    starting_above,
)
from modeledge.adapt.features import digests
from modeledge.errors import ModeledgeError
from modeledge.model import Batch, Keep, Start, dropping
from modeledge.objectives import Step
from modeledge.seed import Noise

NOW, MIB = Clock(0, 3, 0.0), 2**20
WAYS: list[tuple[str, dict[str, Any], int | None]] = [
    ("full", {}, None),
    ("probe", {}, LAYERS),
    ("freeze", {}, 0),
    ("freeze", {"first": 1}, 1),
    ("freeze", {"first": 2}, 2),
    ("freeze", {"first": LAYERS}, LAYERS),
    ("freeze", {"first": 2, "embeddings": False}, None),
    ("rates", {"decay": 0.5}, None),
]
BOTH = pytest.mark.parametrize("shape", SHAPES)


def ready(shape: str, kind: str, fields: dict[str, Any], dropout: float = 0.0) -> tuple[Step, dict[str, float]]:
    step = step_of(shape, dropout=dropout)
    rates = compose([STRATEGIES[kind](**fields)], step.model, NOW)
    apply_moving(step.model, rates)
    return step, rates


def orders() -> list[list[int]]:
    """Which examples each step sees: two epochs, packed differently."""
    random = np.random.default_rng(5)
    return [part.tolist() for _ in range(2) for part in np.array_split(random.permutation(12), 3)]


def trained(step: Step, rates: dict[str, float], cache: FeatureCache | None) -> dict[str, torch.Tensor]:
    data = examples()
    for number, chosen in enumerate(orders()):
        batch = batch_of(step, [data[i] for i in chosen])
        if cache is None:
            descend(step, batch, rates, number)
        else:
            with starting_above(cache, step.model, batch):
                descend(step, batch, rates, number)
    return weights(step.model)


def refused(action: Any, *arguments: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        action(*arguments)
    assert caught.value.code == "E-FEATURES"
    return str(caught.value)


@BOTH
@pytest.mark.parametrize(("kind", "fields", "depth"), WAYS)
def test_frozen_depth(shape: str, kind: str, fields: dict[str, Any], depth: int | None) -> None:
    step, rates = ready(shape, kind, fields)
    assert frozen_depth(step.model, rates) == depth


@BOTH
@pytest.mark.parametrize("layer", range(LAYERS + 1))
def test_starting_in_the_middle_is_the_whole_pass(shape: str, layer: int) -> None:
    step = step_of(shape).eval()
    batch = batch_of(step, examples())
    with torch.no_grad():
        whole = step.model(batch, keep=Keep(layers=True))
        states = step.model.states_at(batch, layer)
        rest = step.model(batch, keep=Keep(layers=True), start=Start(states, layer))
    assert torch.equal(rest.last, whole.last)
    assert len(rest.layers) == LAYERS + 1 - layer
    assert all(torch.equal(a, b) for a, b in zip(rest.layers, whole.layers[layer:], strict=True))
    assert layer == LAYERS or torch.equal(states, whole.layers[layer])


@BOTH
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("kind", "fields", "depth"), [way for way in WAYS if way[2] is not None])
def test_training_with_the_cache_is_bitwise_the_same_on_the_same_rows(
    shape: str, kind: str, fields: dict[str, Any], depth: int, dropout: float
) -> None:
    """With dropout too: the masks of the moving part are keyed by step and layer, and frozen parts drop nothing."""
    plain, rates = ready(shape, kind, fields, dropout)
    expected = trained(plain, rates, None)
    step, _ = ready(shape, kind, fields, dropout)
    data, start = examples(), weights(step.model)
    for number, chosen in enumerate(orders()):
        batch = batch_of(step, [data[i] for i in chosen])
        cache = cache_features(step.model, [batch], depth, limit=MIB)
        with starting_above(cache, step.model, batch):
            descend(step, batch, rates, number)
    found = weights(step.model)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert any(not torch.equal(found[name], start[name]) for name in start)


@BOTH
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(("kind", "fields", "depth"), [("probe", {}, LAYERS), ("freeze", {"first": 2}, 2)])
def test_training_with_states_from_other_rows(
    shape: str, kind: str, fields: dict[str, Any], depth: int, dropout: float
) -> None:
    """Cached one example a row, used packed: the same but for the order of sums, so float64 leaves only 1e-12."""
    plain, rates = ready(shape, kind, fields, dropout)
    step, _ = ready(shape, kind, fields, dropout)
    for one in (plain.double(), step.double()):
        one.model.compute = torch.float64
    start, expected = weights(plain.model), trained(plain, rates, None)
    cache = cache_features(step.model, [batch_of(step, [e]) for e in examples()], depth, limit=MIB)
    assert len(cache) == 12
    found = trained(step, rates, cache)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-12, atol=1e-12, msg=name)
    moved = [name for name in rates if not name.startswith("heads.lm.")]
    assert any((found[name] - start[name]).abs().max() > 1e-2 for name in moved), "too little moved to tell"


@BOTH
def test_the_cache_skips_the_frozen_blocks(shape: str) -> None:
    step, _ = ready(shape, "freeze", {"first": 2})
    batch = batch_of(step, examples())
    cache = cache_features(step.model, [batch], 2, limit=MIB)
    ran: list[int] = []
    for number, block in enumerate(step.model.tower.blocks):
        block.register_forward_hook(lambda *_, number=number: ran.append(number))
    with starting_above(cache, step.model, batch):
        step.model(batch)
        assert ran == [2]
        step.model(replace(batch))
        assert ran == [2, 0, 1, 2], "another batch has other states"
    step.model(batch)
    assert ran == [2, 0, 1, 2, 0, 1, 2], "the block is over"


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=12, unique=True), st.integers(13, 40))
def test_split_and_assemble_are_inverse(chosen: list[int], seq: int) -> None:
    step = step_of("encoder")
    data = examples()
    batch = batch_of(step, [data[i] for i in chosen], seq)
    states = torch.randn(*batch.side.ids.shape, 5)
    pieces = split(batch, states)
    assert {i: len(p) for i, p in pieces.items()} == {
        100 + i: min(12, len(data[i].ids) + len(data[i].pair if data[i].pair is not None else ()) + 1) for i in chosen
    }
    cache = FeatureCache(0, limit=MIB)
    cache.fill(batch, states)
    again = batch_of(step, [data[i] for i in reversed(chosen)], 12)
    for one in (batch, again):
        rows = cache.assemble(one)
        real = one.side.segments > 0
        assert rows.shape == (*one.side.ids.shape, 5)
        assert not rows[~real].any()
        for index, piece in split(one, rows).items():
            assert torch.equal(piece, pieces[index])
    assert torch.equal(cache.assemble(batch)[batch.side.segments > 0], states[batch.side.segments > 0])


def filled(limit: int = MIB) -> tuple[FeatureCache, Batch, torch.Tensor]:
    step = step_of("encoder")
    batch = batch_of(step, examples(4))
    states = torch.randn(*batch.side.ids.shape, 8)
    cache = FeatureCache(1, limit=limit)
    cache.fill(batch, states)
    return cache, batch, states


def test_bytes_are_counted_and_bounded() -> None:
    cache, batch, states = filled()
    assert cache.bytes == needed_bytes(step_of("encoder").model, batch.tokens)
    held = [cache.get(index, digest) for index, digest in digests(batch).items()]
    assert sum(piece.untyped_storage().nbytes() for piece in held) == cache.bytes, "a view holds its whole batch"
    cache.fill(batch, states)
    assert cache.bytes == needed_bytes(step_of("encoder").model, batch.tokens), "kept twice"
    assert filled(cache.bytes)[0].bytes == cache.bytes
    assert f"limit of {cache.bytes - 1:,}" in refused(filled, cache.bytes - 1)


def test_states_are_never_used_for_other_tokens() -> None:
    cache, batch, states = filled()
    ids, types = batch.side.ids.clone(), batch.side.types
    assert types is not None
    row, start, _ = batch.spans[2].tolist()
    ids[row, start] += 1
    other = replace(batch, source=replace(batch.side, ids=ids))
    assert f"example {int(batch.indices[2])}" in refused(cache.assemble, other)
    assert "other tokens" in refused(cache.fill, other, states)
    refused(cache.assemble, replace(batch, source=replace(batch.side, types=1 - types)))
    renamed = replace(batch, indices=batch.indices + 50)
    assert "never cached" in refused(cache.assemble, renamed)


def test_layers_that_move_are_not_skipped() -> None:
    step, _ = ready("encoder", "freeze", {"first": 2})
    batch = batch_of(step, examples())
    cache = cache_features(step.model, [batch], 3, limit=MIB)
    with pytest.raises(AssertionError, match="a layer that moves"), starting_above(cache, step.model, batch):
        pass


@BOTH
@pytest.mark.parametrize(
    ("moving", "depth"),
    [
        (["tokens"], None),
        (["tower.blocks.1.attention_norm.weight"], 1),
        (["tower.blocks.0.feedforward.up.weight"], 0),
        (["heads.class.output.bias"], LAYERS),
    ],
)
def test_one_moving_parameter_is_enough(shape: str, moving: list[str], depth: int | None) -> None:
    """It ends the depth to which states may be cached, and keeps its whole block in training mode."""
    model = step_of(shape).model
    rates = dict.fromkeys(moving, 1.0)
    assert frozen_depth(model, rates) == depth
    apply_moving(model, rates)
    assert [block.training for block in model.tower.blocks] == [depth == n for n in range(LAYERS)]
    assert model.embed_dropout.training == (depth is None)


def test_caching_leaves_modes_and_gradients_alone() -> None:
    step, _ = ready("decoder", "freeze", {"first": 2})
    before = [module.training for module in step.modules()]
    batch = batch_of(step, examples())
    cache = cache_features(step.model, [batch], 2, limit=MIB)
    assert [module.training for module in step.modules()] == before
    states = [cache.get(index, digest) for index, digest in digests(batch).items()]
    assert not any(piece.requires_grad for piece in states)
    assert not any(piece.is_inference() for piece in states), "inference tensors cannot be trained on"


@BOTH
def test_caching_drops_nothing(shape: str) -> None:
    """Even for a model in training mode, within a block that says where dropout comes from."""
    step = step_of(shape, dropout=0.5).train()
    batch = batch_of(step, examples())
    with dropping(Noise(1)):
        cache = cache_features(step.model, [batch], LAYERS, limit=MIB)
        with torch.no_grad():
            noisy, clean = step.model.states_at(batch, LAYERS), step.eval().model.states_at(batch, LAYERS)
    real = batch.side.segments > 0
    assert torch.equal(cache.assemble(batch)[real], clean[real])
    assert not torch.equal(noisy[real], clean[real])
