"""What a run of several tasks leaves: all of it in `model/`, and each task by itself in `tasks/NAME/`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from modeledge.families.own import OURS
from modeledge.model.backbone import Backbone
from modeledge.objectives.shared import seen
from modeledge.recipes.adapters.digest import Base
from modeledge.recipes.adapters.run import Beside, finish_adapter
from modeledge.recipes.pretraining.pretrain import finish
from modeledge.recipes.pretraining.writing import note_of
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.store.card import Card
from modeledge.recipes.tuning.heads import copied, settle, words_of
from modeledge.recipes.tuning.rows import Parts
from modeledge.recipes.tuning.several import MultitaskRecipe
from modeledge.recipes.tuning.source_stage import cut_to
from modeledge.recipes.tuning.task_file import TASK_FILE, described
from modeledge.records import Example
from modeledge.tasks import Task
from modeledge.tokens import Tokenizer


@dataclass(frozen=True)
class Member:
    """One task of the run, ready."""

    recipe: FinetuneRecipe
    parts: Parts
    task: Task
    train: Sequence[Example]
    chosen: Sequence[Example]
    held: Sequence[Example]


@dataclass(frozen=True)
class Shelf:
    """What is written, and where. `base` is what a card says of the model before, `below` that model where the run is a
    source stage, which writes adapters."""

    recipe: MultitaskRecipe
    model: Backbone
    tokenizer: Tokenizer
    folder: Path
    base: Mapping[str, str]
    below: Base | None

    def write(
        self,
        model: Backbone,
        place: str,
        family: str | None,
        notes: Mapping[str, Any],
        card: Card,
        words: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """A model, or its adapter, in a folder of the run."""
        if self.below is None:
            finish(model, self.tokenizer, self.folder / place, family, notes, card, words)
        else:
            beside = Beside(self.below, None if family == OURS else family, notes, card)
            finish_adapter(model, self.tokenizer, self.folder / place, beside)


def named(say: Callable[[str], None], name: str) -> Callable[[str], None]:
    """Says whose line it is."""
    return lambda line: say(f"{name}: {line}")


def write_alone(shelf: Shelf, name: str, own: Member, results: Mapping[str, Any], say: Callable[[str], None]) -> None:
    """The body with one task's heads, under their own names, as a plain model of its family, or its adapter."""
    recipe = shelf.recipe
    single = copied(shelf.model, dict(seen(shelf.model, name).heads))
    cut_to(single, list(recipe.tasks).index(name))
    form = settle(single, own.task.objective.heads, recipe.family, named(say, name))
    card = Card(
        verb="finetune",
        license=recipe.license,
        base=shelf.base,
        data=[Path(own.recipe.data).name],
        recipe=recipe.model_dump(mode="json"),
        scores=results["scores"],
        task=own.task.card,
        form=form,
    )
    notes, words = {TASK_FILE: described(own.task), **note_of(own.task.writes)}, words_of(own.task, single)
    shelf.write(single, f"tasks/{name}", recipe.family, notes, card, words)
