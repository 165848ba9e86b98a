"""What moves, under every row of the strategies: each passes, and is refused when a frozen weight slips or nothing it
adds is reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import preflight_small as small
import pytest
import torch

from modeledge.adapt import STRATEGIES
from modeledge.adapt.strategy import Clock, Group, Neutral
from modeledge.model.backbone import Backbone
from modeledge.preflight import CHECKS, View

OPTIONS: dict[str, dict[str, Any]] = {
    "freeze": {"all_but": 1},
    "named": {"only": "*.attention.*"},
    "replaced-head": {"outputs": 2},
    "unfreeze": {"start": 1},
    "lora": {"rank": 2},
    "dora": {"rank": 2},
    "adalora": {"rank": 3, "target": 2},
    "loha": {"rank": 2},
    "lokr": {"rank": 2},
    "vera": {"rank": 4},
    "adapter": {"reduction": 2},
    **{kind: {"length": 3} for kind in ("prompt", "p-tuning", "prefix", "mpt")},
}


@dataclass(frozen=True)
class Slips(Neutral):
    """An optimizer that moves a weight though it is frozen: the first of them."""

    def after_step(self, model: Backbone, clock: Clock) -> None:
        with torch.no_grad():
            for parameter in model.parameters():
                if not parameter.requires_grad:
                    parameter += 0.1
                    return


@dataclass(frozen=True)
class Unreached(Neutral):
    """All but the heads stands at a rate below the last bit of every weight."""

    def moving(self, model: Backbone, clock: Clock) -> Any:
        names = [name for name, _ in model.named_parameters()]
        heads = tuple(name for name in names if name.startswith("heads."))
        return Group(heads), Group(tuple(name for name in names if not name.startswith("heads.")), 1e-30)


def run(kind: str, *others: Any) -> View:
    return small.labelled(strategies=(STRATEGIES[kind](**OPTIONS.get(kind, {})), *others))


def said(view: View) -> list[str]:
    return [finding.what for finding in CHECKS["moving"](view)]


def still(kind: str) -> tuple[bool, bool]:
    """Is any weight frozen under a row, and does any below the heads move?"""
    view = run(kind)
    assert view.trial is not None
    assert view.trial.error is None, view.trial.error
    moving = view.trial.moving
    return len(moving) < len(dict(view.model.named_parameters())), any(not n.startswith("heads.") for n in moving)


@pytest.mark.parametrize("kind", STRATEGIES)
def test_every_row_passes_and_is_refused_each_way(kind: str) -> None:
    frozen, below = still(kind)
    assert frozen or below
    assert said(run(kind)) == []
    if frozen:
        assert any("frozen weights moved" in what for what in said(run(kind, Slips())))
    if below:
        assert any("below the heads may move, and none did" in what for what in said(run(kind, Unreached())))


def test_an_adapter_that_no_gradient_reaches_is_refused() -> None:
    """LoRA whose A and B are both 0: the head learns, the adapter never will."""
    view = run("lora")
    with torch.no_grad():
        for name, parameter in view.model.named_parameters():
            if "lora_" in name:
                parameter.zero_()
    (what,) = said(view)
    assert "below the heads may move, and none did" in what
    assert "lora_A" in what


@pytest.mark.parametrize(("kind", "options"), [("lp-ft", {"steps": 1}), ("unfreeze", {"per": "steps", "every": 1})])
def test_what_a_schedule_lets_go_after_the_first_step_is_no_slip(kind: str, options: dict[str, Any]) -> None:
    view = small.labelled(strategies=(STRATEGIES[kind](**options),))
    assert said(view) == []
    assert view.trial is not None
    assert any(not name.startswith("heads.") for name in view.trial.moving)


@pytest.mark.parametrize(
    ("kind", "other"), [("lora", "probe"), ("lora", "bitfit"), ("adapter", "probe"), ("prompt", "bitfit")]
)
def test_an_adapter_that_another_strategy_holds_is_refused(kind: str, other: str) -> None:
    (what,) = said(run(kind, STRATEGIES[other]()))
    assert "never move: another strategy holds them" in what


@pytest.mark.parametrize("drawn", ["reinit", "layers", "new-input"])
@pytest.mark.parametrize("holds", ["lora", "probe", "bitfit"])
def test_what_is_drawn_anew_and_held_at_random_is_refused(drawn: str, holds: str) -> None:
    told = said(run(drawn, STRATEGIES[holds](**OPTIONS.get(holds, {}))))
    assert any("they would stay at random" in what for what in told)


@pytest.mark.parametrize("drawn", ["reinit", "layers", "new-input"])
def test_what_is_drawn_anew_and_waits_its_turn_passes(drawn: str) -> None:
    assert said(run(drawn, STRATEGIES["unfreeze"](per="steps", every=1))) == []


def test_an_adapter_whose_turn_comes_later_passes() -> None:
    """Behind LP-FT's probe; but not where the run ends before its turn."""
    assert said(run("lora", STRATEGIES["lp-ft"](share=0.5))) == []
    assert said(run("lora", STRATEGIES["unfreeze"](every=0.5))) == []
    held, late = said(run("lora", STRATEGIES["lp-ft"](epochs=100)))
    assert "never move" in held
    assert "the run ends before" in late


@pytest.mark.parametrize(
    ("kind", "options"), [("lp-ft", {"epochs": 50}), ("lp-ft", {"steps": 10_000}), ("unfreeze", {"every": 40.0})]
)
def test_a_schedule_that_the_run_ends_before_is_said(kind: str, options: dict[str, Any]) -> None:
    (found,) = CHECKS["moving"](small.labelled(strategies=(STRATEGIES[kind](**options),)))
    assert found.code == "W-SCHEDULE"
    assert "weights begin to move" in found.what
