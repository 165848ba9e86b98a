"""The contract of every strategy, walked over the table."""

from __future__ import annotations

import copy
import json
from dataclasses import FrozenInstanceError
from dataclasses import fields as fields_of
from typing import Any

import pytest
import torch
from adapt_small import (
    FIELDS,
    NOW,
    REFUSED,
    SHAPES,
    attached,
    batch_of,
    build,
    descend,
    examples,
    refusal,
    scores,
    step_of,
    stir,
    weights,
)

from modeledge.adapt import STRATEGIES, compose
from modeledge.adapt.parts import parts_of
from modeledge.errors import ModeledgeError
from modeledge.recipes.recipe import StrategyRecipe
from modeledge.recipes.tuning.strategy import make_strategy
from modeledge.seed import Noise

ROWS = [pytest.param(kind, fields, id=f"{kind}-{fields}") for kind, many in FIELDS.items() for fields in many]
CONTRACT = pytest.mark.parametrize(("kind", "fields"), ROWS)
BOTH = pytest.mark.parametrize("shape", SHAPES)


@pytest.fixture(autouse=True)
def _the_shape_has_what_the_row_needs(request: pytest.FixtureRequest) -> None:
    """A row that a shape has nothing for refuses it, and there is nothing more to ask."""
    asked = getattr(request.node, "callspec", None)
    pair = ("", "") if asked is None else (asked.params.get("kind", ""), asked.params.get("shape", ""))
    if pair in REFUSED:
        refusal(REFUSED[pair], build(*pair[:1]).attach, step_of(pair[1]).model, Noise(11))
        pytest.skip(f"{pair[0]} refuses this {pair[1]}, as it should")


def test_every_row_is_walked() -> None:
    assert FIELDS.keys() == STRATEGIES.keys()


@BOTH
@CONTRACT
def test_step_zero_is_equal_where_it_is_declared(shape: str, kind: str, fields: dict[str, Any]) -> None:
    step, strategy = step_of(shape), build(kind, fields)
    batch = batch_of(step, examples())
    names, before = set(weights(step.model)), scores(step, batch)
    lm = step.model.logits(step.model(batch).last)
    strategy.attach(step.model, Noise(11))
    after = scores(step, batch)
    same = before.shape == after.shape and torch.equal(before, after)
    same = same and torch.equal(lm, step.model.logits(step.model(batch).last))
    assert same == strategy.starts_equal
    assert strategy.reserve == (fields["length"] if kind in ("prompt", "p-tuning", "mpt") else 0)
    assert names <= set(weights(step.model)), "weights were lost"


@BOTH
@CONTRACT
def test_only_declared_weights_move(shape: str, kind: str, fields: dict[str, Any]) -> None:
    step, rates = attached(shape, build(kind, fields))
    batch, before = batch_of(step, examples()), weights(step.model)
    for number in range(3):
        descend(step, batch, rates, number)
    after = weights(step.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed <= rates.keys()
    parts = parts_of(step.model)
    for part in parts:
        declared = set(part.names) & rates.keys()
        reached = declared and part is not parts.heads["lm"]  # the objective does not read this head
        assert not reached or changed & declared, f"nothing moved in {part.names[:2]}"


@BOTH
@CONTRACT
def test_frozen_weights_get_no_gradient(shape: str, kind: str, fields: dict[str, Any]) -> None:
    step, rates = attached(shape, build(kind, fields))
    batch = batch_of(step, examples())
    step(batch, Noise(1)).value(step.objective.weights(batch)).backward()
    for name, parameter in step.model.named_parameters():
        assert parameter.requires_grad == (name in rates)
        assert name in rates or parameter.grad is None


@BOTH
@CONTRACT
def test_what_is_attached_is_a_function_of_seed_and_name(shape: str, kind: str, fields: dict[str, Any]) -> None:
    torch.manual_seed(1)
    one, _ = attached(shape, build(kind, fields))
    torch.manual_seed(2)
    two, _ = attached(shape, build(kind, fields))
    other, _ = attached(shape, build(kind, fields), seed=12)
    first, second, third = weights(one.model), weights(two.model), weights(other.model)
    assert all(torch.equal(first[name], second[name]) for name in first)
    start = weights(step_of(shape).model)
    fresh = [  # weights that are there only now begin with zeros where the outputs are not to change
        n for n in first if n not in start or start[n].shape != first[n].shape or not torch.equal(start[n], first[n])
    ]
    matrices = [n for n in fresh if first[n].ndim >= 2 and bool(first[n].ne(first[n].flatten()[0]).any())]
    strategy = build(kind, fields)
    draws = not strategy.starts_equal or bool(strategy.added(one.model))
    assert bool(matrices) == (draws and kind not in ("ia3", "vera")), "these two train vectors alone"
    assert all(not torch.equal(first[n], third[n]) for n in matrices), "the seed is not used"


ODD = (3, -1, 1.5, float("nan"), True, None, "", "a", "a.b", "keys", "2x", "re:(", [], [3], [[1, "a"]], {3: 1})


@pytest.mark.parametrize("kind", STRATEGIES)
def test_odd_values_are_refused_and_raise_nothing_else(kind: str) -> None:
    """Each field of a row, as a recipe may give it; what is refused is the value, not the name of the option."""
    whole, found = step_of("encoder").model, []
    for named in (f for f in fields_of(STRATEGIES[kind]) if f.init):
        for odd in ODD:
            asked = StrategyRecipe(kind=kind, options={**FIELDS[kind][0], named.name: odd})
            try:
                make_strategy(asked).attach(copy.deepcopy(whole), Noise(0))
            except ModeledgeError as error:
                found.append(error)
    assert [str(error) for error in found if error.code == "E-CONFIG-KEY"] == []


@BOTH
@CONTRACT
def test_what_is_drawn_anew_is_declared(shape: str, kind: str, fields: dict[str, Any]) -> None:
    """Whatever matrices of the model itself change with the seed, but those over the vocabulary that follow a table."""
    strategy = build(kind, fields)
    one, two = (attached(shape, s, seed=n)[0] for n, s in enumerate((strategy, build(kind, fields))))
    first, second = weights(one.model), weights(two.model)
    others = {n for n, w in first.items() if not torch.equal(w, second[n])} - set(strategy.added(one.model))
    assert others <= set(strategy.drawn(one.model)) <= set(first)
    assert bool(strategy.drawn(one.model)) == bool(others)


@BOTH
@CONTRACT
def test_merge_keeps_outputs_or_is_refused(shape: str, kind: str, fields: dict[str, Any]) -> None:
    strategy = build(kind, fields)
    step, rates = attached(shape, strategy)
    batch = batch_of(step, examples())
    descend(step, batch, rates)
    adds, unchanged = strategy.added(step.model), scores(step, batch)
    stir(step, adds)
    before = scores(step, batch)
    if not strategy.mergeable:
        refusal("E-MERGE", strategy.merge, step.model)
        assert torch.equal(before, scores(step, batch))
        return
    strategy.merge(step.model)
    after = scores(step, batch)
    if adds:
        assert set(weights(step.model)).isdisjoint(adds), "the adapter is still there"
        assert float((after - before).abs().max()) <= 1e-5, "fp32: the sums are made in another order"
        assert float((before - unchanged).abs().max()) > 1e-2, "the adapter changed nothing, so merging shows nothing"
    else:
        assert torch.equal(before, after)


@CONTRACT
def test_state_survives_json(kind: str, fields: dict[str, Any]) -> None:
    strategy, resumed = build(kind, fields), build(kind, fields)
    one, _ = attached("encoder", strategy)
    two, _ = attached("encoder", resumed)
    state = json.loads(json.dumps(strategy.state_dict()))
    resumed.load_state_dict(state)
    assert resumed.state_dict() == strategy.state_dict()
    assert compose([resumed], two.model, NOW) == compose([strategy], one.model, NOW)
    refusal("E-RESUME", resumed.load_state_dict, {"importance": [1.0]})


@BOTH
@CONTRACT
def test_hooks_of_the_trainer_run(shape: str, kind: str, fields: dict[str, Any]) -> None:
    strategy = build(kind, fields)
    step, _ = attached(shape, strategy)
    penalty = strategy.penalty(step.model, NOW)
    assert penalty is None or penalty.ndim == 0
    strategy.after_step(step.model, NOW)


@CONTRACT
def test_a_row_is_a_frozen_value_that_serves_many_models(kind: str, fields: dict[str, Any]) -> None:
    strategy = build(kind, fields)
    assert strategy == build(kind, fields)
    assert hash(strategy) == hash(build(kind, fields))
    _, one = attached("encoder", strategy)
    _, two = attached("encoder", strategy)
    assert one == two
    for name, value in fields.items():
        with pytest.raises(FrozenInstanceError):
            setattr(strategy, name, value)
