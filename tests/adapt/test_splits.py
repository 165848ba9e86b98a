"""What moves under each split, against names written out; and what a split refuses."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
import torch
from adapt_small import (
    LAYERS,
    NOW,
    SEED,
    SHAPES,
    VOCAB,
    attached,
    batch_of,
    build,
    config,
    examples,
    refusal,
    step_of,
    weights,
)

from modeledge.adapt import Clock, apply_moving, compose
from modeledge.model import (
    Attention,
    FeedForward,
    Learned,
    LMHead,
    Patches,
    Stack,
    Transformer,
    TransformerConfig,
)
from modeledge.seed import Noise

BOTH = pytest.mark.parametrize("shape", SHAPES)


def blocks(rates: Iterable[str]) -> set[int]:
    """The numbers of the layers that move."""
    return {int(name.split(".")[2]) for name in rates if name.startswith("tower.blocks.")}


# ---- by name


@BOTH
def test_named_by_glob_and_by_regular_expression(shape: str) -> None:
    names = set(weights(step_of(shape).model))
    heads = {n for n in names if n.startswith("heads.")}
    _, only = attached(shape, build("named", {"only": "tower.blocks.2.* *.0.attention.*"}))
    expected = {n for n in names if n.startswith(("tower.blocks.2.", "tower.blocks.0.attention."))}
    assert set(only) == expected | heads
    _, bare = attached(shape, build("named", {"only": "tower.blocks.2.*", "heads": False}))
    assert set(bare) == {n for n in names if n.startswith("tower.blocks.2.")}
    _, still = attached(shape, build("named", {"still": r"re:blocks\.[01]\. tokens re:^heads\.lm"}))
    frozen = ("tower.blocks.0.", "tower.blocks.1.", "heads.lm.")
    assert set(still) == {n for n in names if not n.startswith(frozen) and n != "tokens"}


def test_a_glob_is_of_the_whole_name() -> None:
    model = step_of("encoder").model
    refusal("E-SITE", build("named", {"only": "blocks.2.*"}).attach, model, Noise(0))
    refusal("E-SITE", build("named", {"only": "token"}).attach, model, Noise(0))


def test_a_pattern_that_matches_nothing_lists_what_is_there() -> None:
    strategy, model = build("named", {"only": "tower.blocks.* re:atention"}), step_of("encoder").model
    message = refusal("E-SITE", strategy.attach, model, Noise(0))
    assert "'re:atention' matches no parameter" in message
    assert "tower.blocks.*.attention.query.weight" in message
    assert "blocks.0" not in message
    refusal("E-SITE", compose, [strategy], model, NOW)


def test_a_pattern_must_be_one() -> None:
    assert "no regular expression" in refusal("E-CONFIG-VALUE", build, "named", {"only": "re:("})
    refusal("E-CONFIG", build, "named", {})
    refusal("E-CONFIG", build, "named", {"only": "a", "still": "b"})
    refusal("E-CONFIG-VALUE", build, "named", {"only": ["a"]})


def test_bitfit_moves_biases_and_heads() -> None:
    names = set(weights(step_of("encoder").model))
    _, rates = attached("encoder", build("bitfit"))
    assert set(rates) == {n for n in names if n.endswith(".bias") or n.startswith("heads.")}
    assert "embed_norm.bias" in rates
    assert "tower.blocks.0.attention.query.bias" in rates


def test_a_body_without_biases_is_refused() -> None:
    assert "no biases" in refusal("E-SITE", build("bitfit").attach, step_of("decoder").model, Noise(0))


# ---- one after the other


@BOTH
def test_the_head_first_then_all(shape: str) -> None:
    step, _ = attached(shape)
    everything = set(weights(step.model))
    heads = {n for n in everything if n.startswith("heads.")}

    def moving(fields: dict[str, Any], step_number: int, epoch: float = 0.0) -> set[str]:
        return set(compose([build("lp-ft", fields)], step.model, Clock(step_number, 10, epoch)))

    for fields, last in (({}, 2), ({"share": 0.25}, 2), ({"steps": 4}, 3), ({"share": 1.0}, 9)):
        assert moving(fields, last) == heads, fields
        assert moving(fields, last + 1) == everything or last == 9
    assert moving({"epochs": 1.5}, 0, 1.49) == heads
    assert moving({"epochs": 1.5}, 0, 1.5) == everything
    refusal("E-CONFIG", build, "lp-ft", {"share": 0.5, "steps": 3})
    refusal("E-CONFIG-VALUE", build, "lp-ft", {"share": 1.5})
    assert "no head" in refusal("E-SITE", build("lp-ft").attach, Transformer(config(shape), seed=SEED), Noise(0))


@BOTH
def test_layers_are_unfrozen_from_the_top(shape: str) -> None:
    step, strategy = step_of(shape), build("unfreeze")
    strategy.attach(step.model, Noise(0))
    told = []
    for epoch in (0.0, 0.99, 1.0, 2.5, 3.0, 4.0, 9.0):
        rates = compose([strategy], step.model, Clock(0, 10, epoch))
        told.append((blocks(rates), "tokens" in rates))
        assert all(n in rates for n in weights(step.model) if n.startswith(("heads.", "tower.final_norm.")))
    every = {0, 1, 2}
    assert told == [(set(), False), (set(), False), ({2}, False), ({1, 2}, False), (every, False)] + [(every, True)] * 2


@BOTH
@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"per": "steps", "every": 2}, [set(), set(), {2}, {2}, {1, 2}, {1, 2}, {0, 1, 2}]),
        ({"per": "steps", "every": 2, "group": 2}, [set(), set(), {1, 2}, {1, 2}, {0, 1, 2}]),
        ({"per": "steps", "every": 1, "layers": 2, "start": 1}, [{2}, {1, 2}, {1, 2}, {1, 2}]),
    ],
    ids=str,
)
def test_groups_by_steps(shape: str, fields: dict[str, Any], expected: list[set[int]]) -> None:
    step, strategy = step_of(shape), build("unfreeze", fields)
    strategy.attach(step.model, Noise(0))
    told = [compose([strategy], step.model, Clock(number, 10, 0.0)) for number in range(len(expected))]
    assert [blocks(rates) for rates in told] == expected
    last = compose([strategy], step.model, Clock(99, 100, 0.0))
    assert ("tokens" in last) == ("layers" not in fields), "embeddings come last, unless layers are counted"


def test_a_plateau_is_so_many_verdicts_without_a_better_one() -> None:
    step, strategy = step_of("encoder"), build("unfreeze", {"per": "plateau", "every": 2})
    strategy.attach(step.model, Noise(0))
    verdicts = [(1, 0), (2, 1), (3, 2), (4, 3), (5, 0), (6, 1), (7, 2), (7, 2), (8, 3), (9, 4)]
    told = []
    for judged, waited in verdicts:
        rates = compose([strategy], step.model, Clock(0, 10, 0.0, {}, judged, waited))
        told.append(len(blocks(rates)))
    assert told == [0, 0, 1, 1, 1, 1, 2, 2, 2, 3], "a better verdict begins the count anew, and so does unfreezing"


def test_a_plateau_survives_a_copy_and_a_resume() -> None:
    """The same verdicts in one run, in one that stopped in between, and in a copy of model and strategy."""
    step, strategy = step_of("encoder"), build("unfreeze", {"per": "plateau", "every": 2})
    strategy.attach(step.model, Noise(0))
    clock = Clock(0, 10, 0.0, {}, 3, 1)
    before = [compose([strategy], step.model, Clock(0, 10, 0.0, {}, n, n - 1)) for n in (1, 2, 3)]
    model, copied = copy.deepcopy((step.model, strategy))
    assert copied.state_dict() == strategy.state_dict() == {"opened": 1, "judged": 3, "idle": 0}
    assert compose([copied], model, clock).keys() == before[-1].keys()
    compose([copied], model, Clock(0, 10, 0.0, {}, 4, 3))
    assert copied.state_dict()["idle"] == 1
    assert strategy.state_dict()["idle"] == 0, "a copy goes its own way"
    other, resumed = step_of("encoder"), build("unfreeze", {"per": "plateau", "every": 2})
    resumed.attach(other.model, Noise(0))
    resumed.load_state_dict(strategy.state_dict())
    assert compose([resumed], other.model, clock) == before[-1]
    for wrong in ({}, {"opened": 1, "judged": 3}, {"opened": -1, "judged": 3, "idle": 0}, {"opened": 1.0}):
        refusal("E-RESUME", resumed.load_state_dict, wrong)


def test_what_unfreezing_refuses() -> None:
    model = step_of("encoder").model
    strategy = build("unfreeze", {"layers": LAYERS + 1})
    assert f"the model has {LAYERS}" in refusal("E-SITE", strategy.attach, model, Noise(0))
    refusal("E-SITE", build("unfreeze", {"start": LAYERS + 2}).attach, model, Noise(0))
    for fields in ({"every": 0}, {"every": 0.5, "per": "steps"}, {"per": "days"}, {"group": 0}, {"layers": 0}):
        refusal("E-CONFIG-VALUE", build, "unfreeze", fields)
    for kind, fields in (("unfreeze", {}), ("lp-ft", {"epochs": 1.0})):
        message = refusal("E-CONFIG", compose, [build(kind, fields)], model, Clock(0, 10, float("nan")))
        assert "how long an epoch" in message
    refusal("E-SITE", build("reinit", {"top": LAYERS + 1}).attach, model, Noise(0))


@BOTH
def test_nothing_flows_below_the_lowest_layer_that_moves(shape: str) -> None:
    """Block by block: a gradient with respect to what enters the lowest moving block is never asked for."""
    step, strategy = step_of(shape), build("unfreeze", {"per": "steps", "every": 1})
    strategy.attach(step.model, Noise(0))
    batch = batch_of(step, examples())
    for number in range(LAYERS + 2):
        apply_moving(step.model, compose([strategy], step.model, Clock(number, 9, 0.0)))
        entered: dict[int, bool] = {}
        handles = [
            block.register_forward_pre_hook(
                lambda module, args, kwargs, n=n, seen=entered: seen.__setitem__(n, args[0].requires_grad),
                with_kwargs=True,
            )
            for n, block in enumerate(step.model.tower.blocks)
        ]
        step(batch, Noise(1)).value(step.objective.weights(batch)).backward()
        for handle in handles:
            handle.remove()
        lowest = LAYERS - number
        assert entered == {n: n > lowest or number > LAYERS for n in range(LAYERS)}, number
        reached = {n for n, p in step.model.named_parameters() if p.grad is not None}
        assert blocks(reached) == set(range(max(0, lowest), LAYERS))
        step.zero_grad(set_to_none=True)


# ---- drawn anew


@BOTH
def test_reinitialised_layers_are_those_of_a_fresh_model(shape: str) -> None:
    step = step_of(shape)
    old = weights(step.model)
    build("reinit", {"top": 2}).attach(step.model, Noise(SEED + 1))
    now, fresh = weights(step.model), weights(Transformer(config(shape), seed=SEED + 1))
    for name, value in now.items():
        drawn = name.startswith(("tower.blocks.1.", "tower.blocks.2."))
        assert torch.equal(value, fresh[name] if drawn else old[name]), name


@BOTH
@pytest.mark.parametrize("tie", [True, False])
def test_a_new_table_is_that_of_a_fresh_model(shape: str, tie: bool) -> None:
    step = step_of(shape)
    step.model.add_heads({"other": LMHead(transform=True, bias=True, tie=tie)}, Noise(SEED))
    old = weights(step.model)
    build("new-input", {"vocab": VOCAB + 5}).attach(step.model, Noise(SEED + 1))
    wider = replace(config(shape), embed=replace(config(shape).embed, vocab=VOCAB + 5))
    oracle = Transformer(wider, seed=SEED + 1)
    oracle.add_heads({"other": LMHead(transform=True, bias=True, tie=tie)}, Noise(SEED + 1))
    assert step.model.config == wider
    now, fresh = weights(step.model), weights(oracle)
    drawn = {"tokens", "heads.lm.bias", "heads.other.bias", "heads.other.weight"}
    for name, value in now.items():
        same = torch.zeros(VOCAB + 5) if name.endswith("lm.bias") else fresh[name] if name in drawn else old[name]
        assert torch.equal(value, same), name
    assert step.model.logits(step.model(batch_of(step, examples())).last, "other").shape[-1] == VOCAB + 5


def test_new_channels_for_a_model_of_pictures() -> None:
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=12), position=Learned(length=8))
    shape = TransformerConfig(width=8, embed=Patches(image=4, patch=2, channels=3), encoder=stack)
    model = Transformer(shape, seed=SEED)
    leading = model.leading.detach().clone()
    strategy = build("new-input", {"channels": 1, "body": "frozen"})
    strategy.attach(model, Noise(3))
    assert model.patches is not None
    assert model.patches.weight.shape == (8, 4)
    assert torch.equal(model.leading, leading)
    assert set(compose([strategy], model, NOW)) == {"patches.weight", "patches.bias"}
    refusal("E-SITE", build("new-input", {"vocab": 9}).attach, model, Noise(0))
    refusal("E-SITE", build("new-input", {"channels": 1}).attach, step_of("encoder").model, Noise(0))
    refusal("E-CONFIG", compose, [build("new-input")], model, NOW)


# ---- a pull to the start


@BOTH
def test_the_pull_to_the_start_is_equation_3(shape: str) -> None:
    alpha, beta = 0.3, 0.7
    strategy = build("l2-sp", {"alpha": alpha, "beta": beta})
    step, _ = attached(shape, strategy)
    start = weights(step.model)
    for number, parameter in enumerate(step.model.parameters()):
        parameter.data += 0.01 * (number + 1)
    now = weights(step.model)
    expected = 0.0
    for name, value in now.items():
        loose = value if name.startswith("heads.") else value - start[name]
        expected += (beta if name.startswith("heads.") else alpha) / 2 * float(loose.double().square().sum())
    found = strategy.penalty(step.model, NOW)
    assert found is not None
    assert found.item() == pytest.approx(expected, rel=1e-5)
    found.backward()
    for name, parameter in step.model.named_parameters():
        pull = beta * now[name] if name.startswith("heads.") else alpha * (now[name] - start[name])
        assert torch.allclose(parameter.grad, pull, atol=1e-6), name


def test_what_stands_still_is_not_pulled() -> None:
    strategy = build("l2-sp")
    step, _ = attached("encoder", strategy, build("probe"))
    found = strategy.penalty(step.model, NOW)
    assert found is not None
    found.backward()
    assert all(p.grad is None for n, p in step.model.named_parameters() if not n.startswith("heads."))


@pytest.mark.parametrize(("kind", "fields"), [("ia3", {}), ("lora", {"rank": 2}), ("prompt", {"length": 2})])
def test_an_adapter_is_not_pulled_whichever_is_named_first(kind: str, fields: dict[str, Any]) -> None:
    """The factors of (IA)³ begin at 1: a pull to 0 would take the weights below them away."""
    told = []
    for first in (True, False):
        pull, adapter = build("l2-sp"), build(kind, fields)
        step, _ = attached("encoder", *((pull, adapter) if first else (adapter, pull)))
        found = pull.penalty(step.model, NOW)
        assert found is not None
        found.backward()
        assert all(dict(step.model.named_parameters())[n].grad is None for n in adapter.added(step.model))
        told.append((found.item(), pull.state_dict()))
    assert told[0] == told[1]


def test_another_start_is_not_resumed() -> None:
    one, two = build("l2-sp"), build("l2-sp")
    attached("encoder", one)
    step = step_of("encoder")
    step.model.tokens.data[0, 0] += 1e-6
    two.attach(step.model, Noise(0))
    assert "not those of the checkpoint" in refusal("E-RESUME", two.load_state_dict, one.state_dict())
    refusal("E-CONFIG", build, "l2-sp", {"alpha": 0, "beta": 0})
    refusal("E-CONFIG-VALUE", build, "l2-sp", {"alpha": -1.0})


def test_a_copy_of_model_and_strategies_is_whole() -> None:
    """What the pre-flight tries its two steps on: rows that hold something of a model know its copy."""
    for kind, fields in (("layers", {}), ("l2-sp", {}), ("new-input", {"body": "frozen"}), ("unfreeze", {})):
        step, strategy = step_of("encoder"), build(kind, fields)
        strategy.attach(step.model, Noise(0))
        model, copied = copy.deepcopy((step.model, strategy))
        assert compose([copied], model, NOW) == compose([strategy], step.model, NOW), kind
        one, two = strategy.penalty(step.model, NOW), copied.penalty(model, NOW)
        assert one == two, kind  # numbers, or none at both
        assert copied.state_dict() == strategy.state_dict()
