"""The gate before a run: what its recipe says of checking, and the run as the checks see it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from modeledge import files
from modeledge.corpus.mix import MixedStream, PhasedStream
from modeledge.corpus.stream import ShardStream
from modeledge.errors import ModeledgeError
from modeledge.preflight import CHECKS, Reads, Room, Split, Verdict, View, check_allowed, preflight, refusal, shown
from modeledge.recipes.corpora.packing import fill_share
from modeledge.recipes.pretraining.held import split_stream
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe
from modeledge.recipes.store.open import tokenizer_of
from modeledge.records import Example
from modeledge.tokens import Tokenizer
from modeledge.train import Trainer

if TYPE_CHECKING:
    from modeledge.recipes.tuning.finetune import Opened, Ready
    from modeledge.recipes.tuning.rows import Parts

Say = Callable[[str], None]
OF_ROWS = ("shared-rows", "near-rows", "classes", "label-text", "label-in-text", "telling-column", "specials-in-text")
OFF = "WARNING: the pre-flight is off: nothing looks for leaked rows, masked targets or a broken layout before this run"


class RowsView(View):
    """A run in which nothing is trained: there are rows, and no trainer that a check could ask."""

    @cached_property
    def sample(self) -> list[Example]:
        return list(self.train.examples)


def guard(recipe: FinetuneRecipe | PretrainRecipe, view: View, say: Say, *, rows_alone: bool = False) -> Verdict | None:
    """Check a run that is ready to begin, as its recipe asks; all findings are said, and those that count refuse it.

    With `rows_alone` only the rows are looked at, where nothing is trained. The run that follows is the same, bit for
    bit, as without. Raises the worst finding's code, or `E-WARNING`.
    """
    check_allowed(recipe.allow)
    if not recipe.check:
        say(OFF)
        return None
    verdict = preflight(view, {name: CHECKS[name] for name in OF_ROWS} if rows_alone else CHECKS)
    leak = ("shared-rows", "near-rows") if isinstance(recipe, FinetuneRecipe) and recipe.allow_leak else ()
    allowed = {*recipe.allow, *leak}
    refused = verdict.refused(strict=recipe.strict, allow=allowed)
    for finding in verdict.findings:
        let = finding.refuses and finding not in refused
        say(("ALLOWED: " if let else "") + shown(finding, colour=sys.stderr.isatty()))
    if refused:
        raise refusal(refused)
    say(str(verdict))
    return verdict


def view_of_tuning(recipe: FinetuneRecipe, ready: Ready, parts: Parts, folder: Path) -> View:
    """A fine-tuning as the checks see it."""
    task = ready.task
    others = {"validation": (ready.chosen, parts.validation), "test": (ready.held, parts.test)}
    return View(
        ready.trainer,
        ready.tokenizer,
        Split(ready.examples, parts.train),
        {name: Split(*split) for name, split in others.items() if name == "test" or split[1]},
        inputs=[column for role, column in task.columns.items() if role != task.target],
        target=task.columns[task.target],
        names=_names(task.described()),
        before=ready.before,
        before_names=_names(ready.said),
        beside=_beside(ready.folder),
        fresh=recipe.fresh,
        room=Room.here(folder),
    )


def view_of_rows(recipe: FinetuneRecipe, opened: Opened, parts: Parts) -> View:
    """The rows of a run without a trainer, for the checks of `OF_ROWS`, which ask for none."""
    task = opened.task
    others = {"validation": (opened.chosen, parts.validation), "test": (opened.held, parts.test)}
    return RowsView(
        cast(Trainer, None),
        opened.tokenizer,
        Split(opened.examples, parts.train),
        {name: Split(*split) for name, split in others.items() if name == "test" or split[1]},
        inputs=[column for role, column in task.columns.items() if role != task.target],
        target=task.columns[task.target],
        names=_names(task.described()),
    )


def view_of_training(
    recipe: PretrainRecipe, trainer: Trainer, tokenizer: Tokenizer, wholes: Sequence[ShardStream], folder: Path
) -> View:
    """A pre-training as the checks see it; `wholes` are its corpora before anything was held out."""
    start = recipe.model.start is not None
    held = [e for s in wholes for e in split_stream(s, recipe.held_out, recipe.seed)[1]] if recipe.held_out else []
    stream = trainer.stream
    parts = stream.streams if isinstance(stream, MixedStream) else (stream,)
    learned = []
    for part in parts if held or len(parts) > 1 else ():  # one corpus alone is looked at through its stream
        assert isinstance(part, ShardStream)
        learned += [part.example(i) for i in range(min(len(part), 2000))]
    return View(
        trainer,
        tokenizer,
        Split(learned),
        {"held-out": Split(held)} if held else {},
        before=dict(trainer.model.heads) if start and ready_heads(trainer) else {},
        fresh=not start,
        room=Room.here(folder),
        reads=reads_of(recipe, trainer),
        courses=recipe.curriculum.ends(),
        fill=fill_share(trainer),
    )


def reads_of(recipe: PretrainRecipe, trainer: Trainer) -> tuple[Reads, ...]:
    """How often a run reads each of its corpora."""
    stream, shown = trainer.stream, trainer.config.steps * trainer.config.batch
    if isinstance(stream, PhasedStream) and recipe.mixture is not None:
        most, counts = recipe.mixture.max_epochs, stream.counts(shown)
        parts = zip(recipe.mixture.sources, stream.streams, counts, strict=True)
        return tuple(Reads(name, count / len(part), most) for name, part, count in parts)
    if isinstance(stream, MixedStream):
        shares = zip(("corpus", "replay"), stream.streams, stream.shares, strict=True)
        return tuple(Reads(name, float(shown * share) / len(part)) for name, part, share in shares)
    return (Reads("corpus", shown / len(stream)),) if isinstance(stream, ShardStream) else ()


def ready_heads(trainer: Trainer) -> bool:
    """Did the heads that are learned come with the model?"""
    from modeledge.families import origin_of

    origin = origin_of(trainer.model)
    return origin is not None and set(trainer.module.objective.heads) <= set(origin.heads)


def _beside(folder: Path) -> str | None:
    """The fingerprint of the tokenizer in a model's folder."""
    try:
        return tokenizer_of(folder).fingerprint
    except ModeledgeError:
        return None


def _names(said: Mapping[str, Any]) -> Sequence[str]:
    names = said.get("names") or ()
    return tuple(names) if all(isinstance(name, str) for name in names) else ()


def said_beside(path: Path) -> Mapping[str, Any]:
    """What a task wrote beside a model; empty where there was none."""
    found = files.read_json(path) if path.exists() else {}
    return found if isinstance(found, dict) else {}
