"""Which weights move under several strategies, and how a model is made ready for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
import torch
from adapt_small import (
    FIELDS,
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
    step_of,
    weights,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.adapt import Clock, Group, Neutral, apply_moving, compose
from modeledge.adapt.parts import parts_of
from modeledge.model import Keep, Transformer, dropping
from modeledge.seed import Noise

BOTH = pytest.mark.parametrize("shape", SHAPES)


@BOTH
def test_parts_are_a_partition(shape: str) -> None:
    model = step_of(shape).model
    named = [name for part in parts_of(model) for name in part.names]
    assert sorted(named) == sorted(weights(model))
    assert len(named) == len(set(named))
    assert parts_of(model).body == tuple(n for n in named if not n.startswith("heads."))


def test_a_parameter_outside_all_parts_is_our_mistake() -> None:
    model = step_of("encoder").model
    model.extra = torch.nn.Linear(2, 2)
    with pytest.raises(AssertionError, match="belongs to no part"):
        parts_of(model)


def written_out(shape: str, fields: dict[str, Any]) -> set[str]:
    """What a freeze holds still, by the names that a reader would write down."""
    still: set[str] = set()
    count = fields.get("first", 0) if "all_but" not in fields else LAYERS - fields["all_but"]
    for name in weights(step_of(shape).model):
        embedding = name in ("tokens", "types") or name.startswith(("embed_norm.", "tower.position."))
        if embedding and fields.get("embeddings", True):
            still.add(name)
        if any(name.startswith(f"tower.blocks.{number}.") for number in range(count)):
            still.add(name)
    return still


@BOTH
@pytest.mark.parametrize("fields", FIELDS["freeze"], ids=str)
def test_freeze_against_names_written_out(shape: str, fields: dict[str, Any]) -> None:
    _, rates = attached(shape, build("freeze", fields))
    assert rates.keys() == weights(step_of(shape).model).keys() - written_out(shape, fields)
    assert set(rates.values()) == {1.0}


@BOTH
def test_probe_moves_the_heads_alone(shape: str) -> None:
    _, rates = attached(shape, build("probe"))
    assert set(rates) == {name for name in weights(step_of(shape).model) if name.startswith("heads.")}


@BOTH
def test_rates_by_depth_against_numbers_written_out(shape: str) -> None:
    _, rates = attached(shape, build("rates", {"body": 0.5, "head": 5.0, "decay": 0.9}))
    depth = {"tower.blocks.0.": 2, "tower.blocks.1.": 1, "tower.blocks.2.": 0, "tower.final_norm.": 0}
    assert rates.keys() == weights(step_of(shape).model).keys()
    for name, rate in rates.items():
        below = next((d for prefix, d in depth.items() if name.startswith(prefix)), 3)
        assert rate == pytest.approx(5.0 if name.startswith("heads.") else 0.5 * 0.9**below), name


def test_no_strategy_is_full() -> None:
    model = step_of("encoder").model
    assert compose([], model, NOW) == compose([build("full")], model, NOW) == dict.fromkeys(weights(model), 1.0)
    assert list(compose([build("rates")], model, NOW)) == list(weights(model)), "the order is the model's"


CHOICES = [(kind, fields) for kind in ("full", "probe", "freeze", "new-head", "rates") for fields in FIELDS[kind]]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.sampled_from(CHOICES), max_size=4), st.sampled_from(SHAPES))
def test_composition_is_intersection_and_product(chosen: list[tuple[str, dict[str, Any]]], shape: str) -> None:
    model = step_of(shape).model
    strategies = [build(kind, fields) for kind, fields in chosen]
    single = [compose([strategy], model, NOW) for strategy in strategies]
    expected = dict.fromkeys(weights(model), 1.0)
    for rates in single:
        expected = {name: rate * rates[name] for name, rate in expected.items() if name in rates}
    assert compose(strategies, model, NOW) == pytest.approx(expected)
    assert compose(strategies[::-1], model, NOW) == pytest.approx(expected)


@dataclass(frozen=True)
class Says(Neutral):
    """A stranger's strategy: it says what it is told to."""

    groups: tuple[Group, ...]
    mergeable: ClassVar[bool] = False

    def moving(self, model: Transformer, clock: Clock) -> Sequence[Group]:
        return self.groups


def test_a_strangers_strategy_is_checked() -> None:
    model = step_of("encoder").model
    assert compose([Says((Group(("tokens",), 0.5),))], model, NOW) == {"tokens": 0.5}
    assert "tokens" in refusal("E-SITE", compose, [Says((Group(("token",)),))], model, NOW)
    refusal("E-CONFIG", compose, [Says((Group(("tokens",)), Group(("tokens",), 2.0)))], model, NOW)
    for rate in (0.0, -1.0, float("nan"), float("inf")):
        refusal("E-CONFIG-VALUE", compose, [Says((Group(("tokens",), rate),))], model, NOW)
    refusal("E-MERGE", Says(()).merge, model)


def test_nothing_moves_is_refused() -> None:
    model = Transformer(config("encoder"), seed=SEED)
    assert "nothing moves under Probe()" in refusal("E-CONFIG", compose, [build("probe")], model, NOW)
    assert "nothing moves" in refusal("E-CONFIG", compose, [Says(())], model, NOW)
    frozen = build("freeze", {"first": LAYERS})
    assert "nothing moves" in refusal("E-CONFIG", compose, [frozen], model, NOW)  # post-norm: no last norm, no head


@BOTH
def test_frozen_parts_are_in_eval_mode_and_wake_up_again(shape: str) -> None:
    step, _ = attached(shape, build("freeze", {"first": 2}))
    model = step.model
    assert [block.training for block in model.tower.blocks] == [False, False, True]
    assert not model.embed_dropout.training
    assert model.training
    assert all(head.training for head in model.heads.values())
    inner = [m.training for m in model.tower.blocks[0].modules()]
    assert not any(inner)
    apply_moving(model, compose([], model, NOW))
    assert all(module.training for module in model.modules())
    assert all(p.requires_grad for p in model.parameters())


@BOTH
def test_a_frozen_block_drops_nothing(shape: str) -> None:
    """Its states are the same under every noise; those of a moving block are not."""
    step = step_of(shape, dropout=0.5)
    batch = batch_of(step, examples())

    def layers(seed: int) -> tuple[torch.Tensor, ...]:
        with dropping(Noise(seed)), torch.no_grad():
            return step.model(batch, keep=Keep(layers=True)).layers

    apply_moving(step.model, compose([build("freeze", {"first": 2})], step.model, NOW))
    one, two = layers(1), layers(2)
    assert [torch.equal(a, b) for a, b in zip(one, two, strict=True)] == [True, True, True, False]
    apply_moving(step.model, compose([], step.model, NOW))
    one, two = layers(1), layers(2)
    assert not any(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_gradient_left_over_is_forgotten() -> None:
    step, rates = attached("encoder")
    batch = batch_of(step, examples())
    step(batch, Noise(1)).value(step.objective.weights(batch)).backward()
    assert step.model.tokens.grad is not None
    apply_moving(step.model, {name: rate for name, rate in rates.items() if name != "tokens"})
    assert step.model.tokens.grad is None
