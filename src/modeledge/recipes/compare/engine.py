"""The grid engine: it runs what is not finished, one run after the other, and never repeats what is.

Every run has a folder of its own, so the state of a study is nothing but its folders: killed anywhere, the study goes
on where its folders say, inside a run too, bit for bit as if it had not been stopped. A run that fails is recorded
with its error beside its folder, what needs its model is left out, and the others go on.
"""

from __future__ import annotations

import shutil
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from modeledge import files
from modeledge.config import to_toml
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError, printable
from modeledge.machine import give_back
from modeledge.recipes.asking.use import Model
from modeledge.recipes.compare.beforehand import check_metrics, check_recipes, complete, recipe_of
from modeledge.recipes.compare.corpora import Texts, build_texts, is_own
from modeledge.recipes.compare.facts import seconds, write_facts, write_supervised_facts
from modeledge.recipes.compare.grid import (
    ASKED,
    CELLS,
    Unit,
    corpus_recipe,
    done,
    learned_by,
    model_asked,
    needed,
    rows_named,
    rows_of,
    selected,
    texts_of,
)
from modeledge.recipes.compare.jobs import run_side_by_side
from modeledge.recipes.compare.marks import mark_texts, write_marks
from modeledge.recipes.compare.rows import table_of, write_rows
from modeledge.recipes.compare.same import check_bases, check_study
from modeledge.recipes.compare.search import run_search
from modeledge.recipes.compare.study import SUPERVISED, TOGETHER, StudyRecipe
from modeledge.recipes.compare.tables import placed
from modeledge.recipes.folder import RECIPE, empty, held
from modeledge.recipes.pretraining.pretrain import prepare_corpus, prepare_texts, pretrain
from modeledge.recipes.recipe import absolute
from modeledge.recipes.tuning.answered import ANSWERS, answered
from modeledge.recipes.tuning.finetune import finetune, marks
from modeledge.recipes.tuning.multitask import multitask
from modeledge.tasks import answers
from modeledge.tokens import Tokenizer
from modeledge.train.session import Listener, write_environment

if TYPE_CHECKING:
    from modeledge.train.record import StepRecord

Say = Callable[[str], None]
Progress = Callable[[str], AbstractContextManager[Listener]]
ERROR = "error.json"


@contextmanager
def unseen(title: str) -> Iterator[Listener]:
    """No progress bar."""
    with nullcontext():
        yield lambda record: None


def compare(
    study: StudyRecipe,
    folder: Path,
    *,
    resume: bool = False,
    only: Sequence[str] = (),
    jobs: int = 1,
    progress: Progress = unseen,
    say: Say = print,
) -> list[Unit]:
    """Run what is not finished of a study in `folder`, `jobs` runs at a time; returns the runs that failed.

    `only` are patterns of run names (`selected`). Raises `E-OUTPUT` for a folder in use, `E-RESUME` with the difference
    where the study is another one, and what a recipe that cannot be read, rows or a corpus raise: before the first run.
    """
    chosen = selected(study, only)
    check_recipes(study, folder)
    for name, mark in study.marks.items():
        with placed(f"marks.{name}"):
            mark_texts(mark, study.place)
    with study_folder(folder, study, resume=resume):
        write_environment(folder, study.seeds[0])
        for name in dict.fromkeys(name for u in chosen if u.task is not None for name in rows_of(study, u)):
            write_rows(study, folder, name, say)
        check_metrics(study, chosen, folder)
        for cell in dict.fromkeys(u.cell for u in chosen if u.task is None):
            make_texts(study, cell, folder, say)
        left = [unit for unit in chosen if not complete(unit, folder)]
        check_bases(study, left, folder, say)
        files.write_text(folder / RECIPE, to_toml(study))  # what is refused changes nothing
        say(f"{len(left)} of {len(chosen)} runs to do")
        if jobs == 1:
            return one_by_one(study, left, folder, progress, say)
        return run_side_by_side(
            left,
            folder,
            jobs,
            needs=lambda unit: needed(study, unit),
            error_file=lambda unit: error_file(unit, folder),
            say=say,
        )


def one_by_one(study: StudyRecipe, left: Sequence[Unit], folder: Path, progress: Progress, say: Say) -> list[Unit]:
    """Runs in this process, in their order; returns those that failed."""
    failed = []
    for place, unit in enumerate(left, 1):
        say(f"[{place}/{len(left)}] {unit.name}")
        if not attempt(study, unit, folder, progress, say):
            failed.append(unit)
    return failed


def shared_corpus(study: StudyRecipe, folder: Path, say: Say) -> tuple[Tokenizer, Shards]:
    """The tokenizer and the shards of all cells, built once."""
    return prepare_corpus(absolute(corpus_recipe(study, folder.absolute())), folder, None, say)


def make_texts(study: StudyRecipe, cell: str, folder: Path, say: Say) -> None:
    """The tokenizer and the shards of a cell: the study's own tokenizer first, which cells without one share."""
    asked, folder = corpus_recipe(study, folder.absolute()), folder.absolute()
    if not study.mixture and (not is_own(study, cell) or not (folder / "tokenizer").exists()):
        shared_corpus(study, folder, say if not (folder / "corpus").exists() else lambda line: None)
    if study.mixture:
        build_texts(Texts(absolute(asked), folder / "tokenizer", {}), folder, say)
    if is_own(study, cell) or study.mixture:
        build_texts(texts_of(study, cell, folder), folder, say, asked.corpus.channels)


def attempt(study: StudyRecipe, unit: Unit, folder: Path, progress: Progress, say: Say) -> bool:
    """One run, with its failure recorded; did it come to its end?"""
    failure = error_file(unit, folder)
    failure.unlink(missing_ok=True)
    try:
        for first in needed(study, unit):
            if not done(first, folder):
                what = "a run that it needs did not come to its end"
                raise ModeledgeError("E-NO-FILE", what, where=first.name, remedy="see the error of that run")
        with (progress if unit.task is None else unseen)(unit.name) as listen:
            run(study, unit, folder, [listen], say)
    except Exception as error:  # whatever it is, the other runs can go on: a study is left overnight
        told = str(error) if isinstance(error, ModeledgeError) else f"{type(error).__name__}: {error}"
        say(f"FAILED {unit.name}: {told}")
        code = error.code if isinstance(error, ModeledgeError) else type(error).__name__
        trace = "" if isinstance(error, ModeledgeError) else traceback.format_exc()
        files.write_json(failure, {"code": code, "error": printable(told, 2000), "traceback": trace})
        return False
    finally:
        give_back()
    return True


def error_file(unit: Unit, folder: Path) -> Path:
    """Where the failure of a run is recorded: beside its folder, which a later attempt goes on with."""
    here = unit.folder(folder)
    return here.with_name(f"{here.name}.{ERROR}")


def run(study: StudyRecipe, unit: Unit, folder: Path, listeners: Sequence[Listener], say: Say) -> None:
    """A run from where it is to its end; its checkpoints go when its model is there."""
    if unit.search:
        return run_search(study, unit, folder, say)
    if learned_by(study, unit) is not None:
        return ask(study, unit, folder, say)
    here, recipe = unit.folder(folder), recipe_of(study, unit, folder)
    going_on = (here / RECIPE).exists()
    watched = [*listeners, *([budget(study.minutes, here)] if study.minutes is not None else [])]
    if unit.task == TOGETHER:
        if not done(unit, folder):
            multitask(recipe, here, listeners=watched, say=remarks(say), resume=going_on)
    elif unit.task is not None and not done(unit, folder):
        results = finetune(recipe, here, listeners=watched, say=remarks(say), resume=going_on)
        first = study.rows_of(rows_named(study, unit)).metrics[0]
        mark = results["scores"].get(first)
        say(f"{unit.name}: {first} {mark['value']:.4f}" if mark else f"{unit.name}: done")
    if unit.task == SUPERVISED:
        write_supervised_facts(recipe, here)
    elif unit.task is None:
        if not done(unit, folder):
            pretrain(recipe, here, listeners=watched, say=say, resume=going_on)
        write_marks(study.marks, recipe, here, study.place)
        write_facts(recipe, here, *prepare_texts(recipe, here, None, lambda line: None))
    shutil.rmtree(here / "checkpoints", ignore_errors=True)


def ask(study: StudyRecipe, unit: Unit, folder: Path, say: Say) -> None:
    """Rows of a task that trains nothing, answered by the model of another one."""
    learned, here = learned_by(study, unit), unit.folder(folder)
    assert learned is not None
    assert unit.task is not None
    asked = model_asked(study, unit, learned, folder)
    model = Model.load(asked, say=remarks(say))
    task = model.needed_task()
    examples = task.encode(model.rows(str(table_of(folder, unit.task, "test")), labelled=True))
    told = answers(task, model.transformer, examples)
    results = marks(task, told, examples, unit.seed)
    here.mkdir(parents=True, exist_ok=True)
    files.write_json(here / "results.json", results)
    files.write_json(here / ANSWERS, answered(task, told, examples))
    files.write_json(here / ASKED, {"model": str(asked)})
    first = study.tasks[unit.task].metrics[0]
    mark = results["scores"].get(first)
    say(f"{unit.name}: {first} {mark['value']:.4f}" if mark else f"{unit.name}: done")


def remarks(say: Say) -> Say:
    """Of what a short run says only what a reader must know."""
    return lambda line: say(line) if line.startswith(("WARNING", "ALLOWED", "note")) else None


def budget(minutes: float, folder: Path) -> Listener:
    """Stops a run (`E-BUDGET`) that has taken more than its minutes, those before it was resumed among them."""
    spent = [seconds(folder)]

    def listen(record: StepRecord) -> None:
        spent[0] += record.seconds
        if spent[0] > 60 * minutes and record.step < record.of:
            share = record.step / record.of
            what = f"{minutes:g} minutes are over after {record.step:,} of {record.of:,} steps ({100 * share:.0f} %)"
            remedy = f"set minutes to {1.1 * spent[0] / 60 / share:.1f} or more, or lower the steps"
            raise ModeledgeError("E-BUDGET", what, where=str(folder), remedy=remedy)

    return listen


@contextmanager
def study_folder(folder: Path, study: StudyRecipe, *, resume: bool) -> Iterator[None]:
    """Hold the folder of a study, which is fresh, or with `resume` the folder of this very study.

    Raises `E-OUTPUT`, `E-RUN-FOLDER`, `E-RESUME`. A study that fails before its first run leaves nothing behind.
    """
    with held(folder) as present:
        if present and not resume:
            remedy = f"go on with it (--resume), or choose another folder ({', '.join(present[:4])})"
            raise ModeledgeError("E-OUTPUT", "the folder is not empty", where=str(folder), remedy=remedy)
        if (folder / RECIPE).exists():
            check_study(study, folder)
        elif present:
            raise ModeledgeError("E-RUN-FOLDER", f"there is no {RECIPE}: nothing to resume", where=str(folder))
        else:
            files.write_text(folder / RECIPE, to_toml(study))
        try:
            yield
        except BaseException:
            if not present and not (folder / CELLS).exists():
                empty(folder)  # nothing was run: the name stays free for the corrected command
            raise
