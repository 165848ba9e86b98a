"""What a fine-tuning leaves where it trained an adapter: the adapter, and not a second copy of its base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.adapt.graft import adapters_on, all_grafts
from modeledge.adapt.peft import write_adapter
from modeledge.adapt.quantize import Quantized, form_of, quantize
from modeledge.adapt.strategy import Strategy
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.recipes.adapters.digest import Base, base_from
from modeledge.recipes.adapters.go_on import adding, base_below, check_going_on
from modeledge.recipes.adapters.write import only_one, task_type, write_folder
from modeledge.recipes.recipe import FinetuneRecipe, StrategyRecipe
from modeledge.recipes.store.card import Card, write_card
from modeledge.recipes.store.hub import Found
from modeledge.tokens import Tokenizer


@dataclass(frozen=True)
class Beside:
    """What is written with an adapter: its base, the family whose class is on it, files (name → JSON) and a card."""

    base: Base
    family: str | None
    notes: Mapping[str, Any]
    card: Card


def base_for(recipe: FinetuneRecipe, model: Backbone, found: Found) -> Base | None:
    """The model as it is before training, where an adapter alone is to be written; `None` where the whole model is.

    A model that comes with an adapter goes on with it. One that is fresh or reshaped lies in no folder that an adapter
    could be opened on, and no folder holds two adapters: `E-CONFIG`.
    """
    if adapters_on(model):
        check_going_on(recipe, model)
        return base_below(found.folder, lambda line: None)
    adds = adding(recipe.strategies)
    if stay := [kind for kind in adds if recipe.merge and not kind.mergeable]:
        what = f"{stay[0].kind} cannot be folded into the weights"
        raise ModeledgeError("E-MERGE", what, where="merge", remedy="leave merge out: the adapter is written")
    if not adds or recipe.merge:
        return None
    check_one(adds)
    odd = [name for name in ("fresh", "bidirectional", "decoder", "preset") if getattr(recipe, name)]
    if odd:
        what = f"the base of this adapter would be in no folder ({odd[0]} makes another model of it)"
        raise ModeledgeError("E-CONFIG", what, where="merge", remedy="write the whole model: merge = true")
    return base_from(model, recipe.model, found.source.get("revision"))


def check_one(adds: Sequence[Any]) -> None:
    """Refuse a run that would leave several adapters: a folder holds one (`E-CONFIG`)."""
    if len(adds) > 1:
        folds = next((kind for kind in adds if kind.mergeable), None)
        what = f"{' and '.join(kind.kind for kind in adds)} are {len(adds)} adapters, and a folder holds one"
        remedy = "name one of them"
        if folds is not None:
            remedy = f"train {folds.kind} first, with merge = true, and the next on the model that it leaves"
        raise ModeledgeError("E-CONFIG", what, where="strategies", remedy=remedy)


def check_whole(strategies: Sequence[StrategyRecipe], model: Backbone) -> None:
    """Refuse, before the first step of a run that writes whole models, what cannot be folded into their weights
    (`E-MERGE`), and a model that comes with an adapter (`E-USAGE`)."""
    if adapters_on(model):
        what, remedy = "the model has an adapter, and whole models are written", "fold it in first: modeledge merge"
        raise ModeledgeError("E-USAGE", what, where="model", remedy=remedy)
    if stay := [kind for kind in adding(strategies) if not kind.mergeable]:
        what, why = f"{stay[0].kind} cannot be folded into the weights", "several tasks on one body write whole models"
        remedy = "use one that can, as lora, or train each task alone"
        raise ModeledgeError("E-MERGE", what, where="strategies", why=why, remedy=remedy)


def check_foldable(model: Backbone) -> None:
    """Refuse, before the first step, adapters on one map that cannot be folded in one after the other (`E-MERGE`)."""
    for _, grafts in all_grafts(model):
        for name in dict.fromkeys(key.partition(":")[0] for key in grafts):
            grafts.check_alone(name)


def lightened(recipe: FinetuneRecipe, model: Backbone, adapts: Base | None) -> Quantized | None:
    """Put the frozen body into fewer bits, where the recipe asks for it.

    `E-CONFIG` where not an adapter alone is trained, or where the one that goes on was trained over another form.
    """
    there = form_of(model)
    if recipe.quantize is None or there == recipe.quantize:
        return None  # an adapter that was trained over fewer bits goes on so
    if there is not None:
        what = f"the adapter of this model was trained over {there}, and goes on over {there}"
        raise ModeledgeError("E-CONFIG", what, where="quantize", remedy=f'set quantize = "{there}", or leave it out')
    if adapts is None:
        what = f"weights in {recipe.quantize} cannot move, nor take an adapter in"
        remedy = "train an adapter (strategies), without merge"
        raise ModeledgeError("E-CONFIG", what, where="quantize", remedy=remedy)
    return quantize(model, recipe.quantize)


def check_writable(model: Backbone, strategies: Sequence[Strategy]) -> None:
    """Refuse, before the first step, what the files of an adapter cannot hold, and weights of the body that a strategy
    has drawn anew, which would stay at random under it (`E-ADAPTER`)."""
    write_adapter(model, only_one(model), task_type(model), trained=True)
    for strategy in strategies:
        if body := [name for name in strategy.drawn(model) if not name.startswith("heads.")]:
            what = f"{type(strategy).__name__} draws {len(body)} weights anew ({body[0]} …), which an adapter holds"
            remedy = "leave it out; or train in two runs, the second with the adapter on the model of the first"
            raise ModeledgeError("E-ADAPTER", what, where="strategies", remedy=remedy)


def finish_adapter(model: Backbone, tokenizer: Tokenizer, folder: Path, beside: Beside) -> Path:
    """Write an adapter's folder with tokenizer, card and what the task says (`notes`, JSON or bytes as they are); it
    appears whole or not at all."""
    with files.committed_folder(folder, {"schema": 1}) as temporary:
        write_folder(model, temporary, beside.base, family=beside.family)
        tokenizer.save(temporary)
        write_card(temporary, beside.card, model)
        for name, value in beside.notes.items():
            (files.write_bytes if isinstance(value, bytes) else files.write_json)(temporary / name, value)
    return folder
