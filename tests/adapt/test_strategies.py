"""The contract of every strategy, walked over the table; then what each of them promises by itself."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, dataclass
from typing import Any, ClassVar

import pytest
import torch
from adapt_small import CLASSES, LAYERS, SEED, SHAPES, batch_of, config, descend, examples, scores, step_of, weights
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.adapt import STRATEGIES, Clock, Group, Neutral, Strategy, apply_moving, compose
from modeledge.adapt.parts import parts_of
from modeledge.errors import ModeledgeError
from modeledge.model import Transformer
from modeledge.objectives import Step
from modeledge.seed import Noise

NOW = Clock(0, 3, 0.0)
FIELDS: dict[str, list[dict[str, Any]]] = {
    "full": [{}],
    "probe": [{}],
    "freeze": [{}, {"first": 2}, {"all_but": 1}, {"first": 1, "embeddings": False}, {"first": LAYERS}],
    "new-head": [{}, {"head": "lm"}],
    "replaced-head": [{"outputs": 5}, {"outputs": CLASSES}],
    "layers": [{}, {"count": 2, "body": "moving"}],
    "rates": [{}, {"head": 5.0, "decay": 0.9}],
}
ROWS = [pytest.param(kind, fields, id=f"{kind}-{fields}") for kind, many in FIELDS.items() for fields in many]
CONTRACT = pytest.mark.parametrize(("kind", "fields"), ROWS)
BOTH = pytest.mark.parametrize("shape", SHAPES)


def build(kind: str, fields: dict[str, Any] | None = None) -> Strategy:
    return STRATEGIES[kind](**(fields or {}))


def attached(shape: str, *strategies: Strategy, seed: int = 11) -> tuple[Step, dict[str, float]]:
    """A tiny step with the strategies on it, ready to train."""
    step = step_of(shape)
    for strategy in strategies:
        strategy.attach(step.model, Noise(seed))
    rates = compose(strategies, step.model, NOW)
    apply_moving(step.model, rates)
    return step, rates


def refusal(code: str, action: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        action(*arguments, **named)
    assert caught.value.code == code
    return str(caught.value)


# ---- the contract


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
    assert strategy.reserve == 0
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
    fresh = [
        n for n in first if n not in start or start[n].shape != first[n].shape or not torch.equal(start[n], first[n])
    ]
    matrices = [n for n in fresh if first[n].ndim >= 2]
    assert bool(matrices) != build(kind, fields).starts_equal
    assert all(not torch.equal(first[n], third[n]) for n in matrices), "the seed is not used"


@BOTH
@CONTRACT
def test_merge_keeps_outputs_or_is_refused(shape: str, kind: str, fields: dict[str, Any]) -> None:
    strategy = build(kind, fields)
    step, rates = attached(shape, strategy)
    batch = batch_of(step, examples())
    descend(step, batch, rates)
    before = scores(step, batch)
    if not strategy.mergeable:
        refusal("E-MERGE", strategy.merge, step.model)
    else:
        strategy.merge(step.model)
    assert torch.equal(before, scores(step, batch))


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


# ---- parts


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


# ---- composition


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


# ---- modes


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
    from modeledge.model import Keep, dropping

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


# ---- what is added


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
    assert (new.pool, new.rate, new.dense is None) == (old.pool, old.rate, old.dense is None)
    assert not torch.equal(new.dense.weight, old.dense.weight), "the hidden layer belongs to the head"
    body = [n for n in before if not n.startswith("heads.class.")]
    assert all(torch.equal(weights(step.model)[n], before[n]) for n in body)
    assert scores(step, batch_of(step, examples())).shape == (12, 5)
