"""Going on with a run: its recipe says what it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare import StudyRecipe
from modeledge.recipes.compare.table import finish_study
from modeledge.recipes.folder import RECIPE, RESUMABLE, finished, kind_of
from modeledge.recipes.pretraining.pretrain import TEXTS, pretrain
from modeledge.recipes.recipe import MEMORY, FinetuneRecipe, PretrainRecipe
from modeledge.recipes.tuning.finetune import finetune
from modeledge.recipes.tuning.multitask import MultitaskRecipe, multitask
from modeledge.recipes.tuning.stages import StagesRecipe, run_stages
from modeledge.train.session import Listener


def resume(folder: Path, *, listeners: Sequence[Listener] = (), say: Callable[[str], None] = print) -> None:
    """Run the recipe of a run folder again from its newest good checkpoint.

    Raises `E-RUN-FOLDER` where there is no run, `E-USAGE` for a verb that cannot be resumed, `E-RESUME` for a run on
    rows or texts that were Python values: only their owner can give them again.
    """
    path, kind = folder / RECIPE, kind_of(folder)
    if kind not in RESUMABLE:
        remedy = "run the command again with another --out"
        raise ModeledgeError("E-USAGE", f"a run of kind {kind!r} cannot be resumed", where=str(folder), remedy=remedy)
    if finished(folder):
        say("the run is finished")
    elif kind == "study":
        finish_study(load_config(StudyRecipe, path), folder, resume=True, say=say)
    elif kind == "finetune":
        tuning = load_config(FinetuneRecipe, path)
        if tuning.data == MEMORY:
            raise in_memory(folder, "rows", "modeledge.finetune(model, rows, folder, …, resume=True)")
        finetune(tuning, folder, listeners=listeners, say=say, resume=True)
    elif kind == "multitask":
        multitask(load_config(MultitaskRecipe, path), folder, listeners=listeners, say=say, resume=True)
    elif kind == "stages":
        run_stages(load_config(StagesRecipe, path), folder, listeners=listeners, say=say, resume=True)
    else:
        training = load_config(PretrainRecipe, path)
        files = training.mixture or training.corpus.files or training.corpus.shards
        named = files and not (folder / TEXTS).exists()
        if not (named or (folder / "corpus").exists()):
            raise in_memory(folder, "texts", "modeledge.pretrain(recipe, folder, …, texts=texts, resume=True)")
        pretrain(training, folder, listeners=listeners, say=say, resume=True)


def in_memory(folder: Path, what: str, call: str) -> ModeledgeError:
    """The error for a run whose data are in nobody's file."""
    remedy = f"give them again from Python: {call}"
    return ModeledgeError("E-RESUME", f"this run read {what} from memory", where=str(folder), remedy=remedy)
