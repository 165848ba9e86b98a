"""Training an adapter that is there already: it goes on from its numbers, over the same base.

A strategy attaches something fresh; here what it would attach has been read from a file and is on the model. So its
`attach` only looks whether it is of its kind. Sites, rank and lengths are those of the file.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import is_dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from modeledge.adapt import STRATEGIES, LinearMethod
from modeledge.adapt.adapter import Bottleneck, BottleneckAdapter
from modeledge.adapt.dora import Turned
from modeledge.adapt.graft import adapters_on, added_by, all_grafts, leads_of
from modeledge.adapt.hadamard import Hadamard
from modeledge.adapt.ia3 import ScaledInput, ScaledOutput
from modeledge.adapt.kronecker import Kronecker
from modeledge.adapt.leading import Leading
from modeledge.adapt.lora import LowRank
from modeledge.adapt.mpt import TaskPrompt
from modeledge.adapt.prefix import Prefix
from modeledge.adapt.prompt import Prompt
from modeledge.adapt.strategy import Strategy
from modeledge.adapt.vera import Shared
from modeledge.errors import ModeledgeError
from modeledge.families.heads import described
from modeledge.model.backbone import Backbone
from modeledge.model.heads import Head
from modeledge.objectives import Objective
from modeledge.recipes.adapters.digest import Base, base_from, find_base
from modeledge.recipes.adapters.open import DEFAULT
from modeledge.recipes.adapters.pair import read_said
from modeledge.recipes.recipe import FinetuneRecipe, StrategyRecipe, is_name
from modeledge.recipes.store.open import open_plain
from modeledge.seed import Noise

GOES_ON: dict[str, tuple[type[nn.Module], ...]] = {  # AdaLoRA's schedule is over; a prompt's network is thrown away
    "lora": (LowRank,),
    "dora": (Turned,),
    "loha": (Hadamard,),
    "lokr": (Kronecker,),
    "ia3": (ScaledInput, ScaledOutput),
    "vera": (Shared,),
    "adapter": (Bottleneck,),
    "prompt": (Prompt,),
    "prefix": (Prefix,),
    "mpt": (TaskPrompt,),
}


ADDING = (LinearMethod, BottleneckAdapter, Leading)  # strategies that leave the body as it is, and put more beside it


class GoesOn:
    """A strategy whose `attach` finds what it would put there; all else is the strategy's."""

    def __init__(self, strategy: Strategy) -> None:
        self.strategy = strategy

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Nothing is added."""

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "strategy"), name)

    def __repr__(self) -> str:
        return f"GoesOn({self.strategy!r})"


def kind_on(model: Backbone) -> str | None:
    """The strategy that goes on with the adapter of a model; `None` where none does."""
    leads = leads_of(model)
    found = {type(leads[DEFAULT])} if DEFAULT in leads else {type(added) for added in added_by(model, DEFAULT)}
    return next((kind for kind, types in GOES_ON.items() if found and found <= set(types)), None)


def adding(strategies: Sequence[StrategyRecipe]) -> list[Any]:
    """The classes of those strategies that put an adapter beside the body."""
    kinds = [STRATEGIES.get(strategy.kind) for strategy in strategies]
    return [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, ADDING)]


def check_going_on(recipe: FinetuneRecipe, model: Backbone) -> None:
    """Refuse to go on with an adapter by another method, or by options that its file settles (`E-USAGE`). What adds
    nothing (a schedule, rates) may stand beside its method."""
    kind = kind_on(model)
    if kind is None:
        what = "the adapter of this model cannot be trained on: its schedule is over, or it mixes methods"
        remedy = f"fold it in first: modeledge merge {recipe.model} --out FOLDER"
        raise ModeledgeError("E-USAGE", what, where="model", remedy=remedy)
    if [added.kind for added in adding(recipe.strategies)] != [kind] or recipe.merge:
        what = f"the model has an adapter already, which {kind} goes on with"
        remedy = f"--strategy {kind} alone of its kind; or fold it in: modeledge merge {recipe.model} --out FOLDER"
        raise ModeledgeError("E-USAGE", what, where="strategies", remedy=remedy)
    options = next(strategy.options for strategy in recipe.strategies if strategy.kind == kind)
    if options:
        what = f"{', '.join(options)}: an adapter that goes on is as its file says"
        raise ModeledgeError("E-USAGE", what, where=f"strategies.{kind}", remedy="leave the options out")


def base_below(folder: Path, say: Callable[[str], None]) -> Base:
    """The base of an adapter's folder, hashed anew."""
    said = read_said(folder)
    revision = said.get("revision") if isinstance(said.get("revision"), str) else None
    source, there = find_base(folder, said)
    return base_from(open_plain(there, say), source if is_name(source) else str(there), revision)


def going_on(strategy: Strategy, model: Backbone) -> Strategy:
    """The strategy as it is, or, where it would add an adapter that the model brings, one that finds it there."""
    return GoesOn(strategy) if isinstance(strategy, ADDING) and DEFAULT in adapters_on(model) else strategy


def heads_going_on(model: Backbone, objective: Objective, same: bool) -> frozenset[str]:
    """The heads that an adapter brought and that go on with it: of the `same` labels, and of the shape that is asked
    for. Beside a model without an adapter there are none: its heads are another task's."""
    if not same or DEFAULT not in adapters_on(model):
        return frozenset()
    there, wanted = described(model), objective.heads
    alike = [n for n in wanted if n in there and replaced(there[n]) == replaced(wanted[n])]
    return frozenset(alike)


def check_kept(model: Backbone, kept: Collection[str], source: str) -> None:
    """Refuse to go on with an adapter that stands at a head which is not `kept`: that part of it would be lost in
    silence (`E-USAGE`)."""
    for path, _ in all_grafts(model):
        if path.startswith("heads.") and path.split(".")[1] not in kept:
            what = f"the adapter of this model stands at {path} too, and the run draws this head anew"
            remedy = f"fold it in first: modeledge merge {source} --out FOLDER"
            raise ModeledgeError("E-USAGE", what, where="model", remedy=remedy)


def replaced(head: Head) -> Head:
    """A head without its rates of dropout, which are a run's and not a shape's."""
    rates = {name: 0.0 for name in ("dropout", "first_dropout") if hasattr(head, name)}
    return replace(head, **rates) if rates and is_dataclass(head) else head  # type: ignore[arg-type]
