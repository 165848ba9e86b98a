"""What strategies add or draw anew, and what a recipe may not ask of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from adapt_small import (
    LAYERS,
    NOW,
    SEED,
    SHAPES,
    attached,
    batch_of,
    build,
    config,
    examples,
    refusal,
    scores,
    step_of,
    weights,
)

from modeledge.adapt import compose
from modeledge.model import Transformer
from modeledge.seed import Noise

BOTH = pytest.mark.parametrize("shape", SHAPES)


@BOTH
def test_added_layers_are_those_of_a_deeper_model(shape: str) -> None:
    step = step_of(shape)
    old = weights(step.model)
    build("layers", {"count": 2}).attach(step.model, Noise(SEED))
    deeper = Transformer(config(shape, layers=LAYERS + 2), seed=SEED)
    now, oracle = weights(step.model), weights(deeper)
    assert step.model.config == deeper.config
    assert all(torch.equal(now[name], old[name]) for name in old)
    assert {name for name in now if not name.startswith("heads.")} == oracle.keys()
    for name in oracle.keys() - old.keys():
        assert torch.equal(now[name], oracle[name]), name


@BOTH
def test_added_layers_over_a_frozen_body(shape: str) -> None:
    step, rates = attached(shape, build("layers", {"count": 2}))
    assert {n for n in rates if not n.startswith("heads.")} == {
        n for n in weights(step.model) if n.startswith(("tower.blocks.3.", "tower.blocks.4."))
    }
    _, all_of_it = attached(shape, build("layers", {"count": 2, "body": "moving"}))
    assert all_of_it.keys() == weights(step.model).keys()


def test_layers_know_their_model() -> None:
    strategy = build("layers")
    model = step_of("encoder").model
    refusal("E-CONFIG", compose, [strategy], model, NOW)
    strategy.attach(model, Noise(0))
    refusal("E-CONFIG", strategy.attach, model, Noise(0))
    assert len(model.tower.blocks) == LAYERS + 1
    copied = copy.deepcopy(strategy)
    assert compose([copied], model, NOW) == compose([strategy], model, NOW)


def test_freeze_counts_added_layers() -> None:
    _, rates = attached("encoder", build("layers", {"count": 2, "body": "moving"}), build("freeze", {"all_but": 1}))
    assert {n.split(".")[2] for n in rates if n.startswith("tower.blocks.")} == {"4"}


@BOTH
def test_new_head_with_the_models_seed_is_the_same_head(shape: str) -> None:
    step = step_of(shape)
    before = weights(step.model)
    for head in ("class", "lm"):
        build("new-head", {"head": head}).attach(step.model, Noise(SEED))
    assert all(torch.equal(value, before[name]) for name, value in weights(step.model).items())
    build("new-head").attach(step.model, Noise(SEED + 1))
    changed = {n for n, value in weights(step.model).items() if not torch.equal(value, before[n])}
    assert changed
    assert all(n.startswith("heads.class.") for n in changed)


@BOTH
def test_replaced_head(shape: str) -> None:
    step = step_of(shape)
    before = weights(step.model)
    old = step.model.heads["class"]
    build("replaced-head", {"outputs": 5}).attach(step.model, Noise(SEED + 1))
    new = step.model.heads["class"]
    assert new.output.weight.shape == (5, 8)
    assert (new.pool, new.spec.dropout, new.dense is None) == (old.pool, old.spec.dropout, old.dense is None)
    assert not torch.equal(new.dense.weight, old.dense.weight), "the hidden layer belongs to the head"
    body = [n for n in before if not n.startswith("heads.class.")]
    assert all(torch.equal(weights(step.model)[n], before[n]) for n in body)
    assert scores(step, batch_of(step, examples())).shape == (12, 5)


# ---- what a recipe may not ask for


def test_more_layers_than_there_are() -> None:
    for fields in ({"first": LAYERS + 1}, {"all_but": LAYERS + 1}):
        strategy, model = build("freeze", fields), step_of("decoder").model
        assert f"the model has {LAYERS}" in refusal("E-SITE", strategy.attach, model, Noise(0))
        refusal("E-SITE", compose, [strategy], model, NOW)


def test_heads_that_are_not_there() -> None:
    model = step_of("decoder").model
    assert "'class'" in refusal("E-SITE", build("new-head", {"head": "clas"}).attach, model, Noise(0))
    refusal("E-SITE", build("replaced-head", {"head": "value", "outputs": 2}).attach, model, Noise(0))
    assert "new-head" in refusal("E-SITE", build("replaced-head", {"head": "lm", "outputs": 2}).attach, model, Noise(0))
    bare = Transformer(config("encoder"), seed=SEED)
    assert "no head yet" in refusal("E-SITE", build("new-head").attach, bare, Noise(0))


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("freeze", {"first": -1}),
        ("freeze", {"first": "2"}),
        ("freeze", {"first": True}),
        ("freeze", {"first": 1.0}),
        ("freeze", {"all_but": -1}),
        ("freeze", {"embeddings": 1}),
        ("freeze", {"embeddings": "false"}),
        ("layers", {"count": 0}),
        ("layers", {"body": "thawed"}),
        ("replaced-head", {"outputs": 0}),
        ("rates", {"body": 0}),
        ("rates", {"head": float("nan")}),
        ("rates", {"head": float("inf")}),
        ("rates", {"head": "5"}),
        ("rates", {"head": True}),
        ("rates", {"decay": 1.5}),
    ],
)
def test_values_of_the_wrong_kind(kind: str, fields: dict[str, Any]) -> None:
    message = refusal("E-CONFIG-VALUE", build, kind, fields)
    assert f"strategies.{kind}.{next(iter(fields))}" in message


def test_contradictions() -> None:
    refusal("E-CONFIG", build, "freeze", {"first": 1, "all_but": 1})
    refusal("E-CONFIG", build, "freeze", {"embeddings": False})
