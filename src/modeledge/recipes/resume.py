"""Going on with a run: its recipe says what it was."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.recipes.finetune import finetune
from modeledge.recipes.folder import RECIPE
from modeledge.recipes.pretrain import pretrain
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe
from modeledge.train.session import Listener


def resume(folder: Path, *, listeners: Sequence[Listener] = (), say: Callable[[str], None] = print) -> None:
    """Run the recipe of a run folder again from its newest good checkpoint."""
    path = folder / RECIPE
    if not path.is_file():
        raise ModeledgeError("E-RUN-FOLDER", f"there is no {RECIPE}", where=str(folder))
    if (folder / "model" / "config.json").exists():
        say("the run is finished")
        return
    if 'kind = "finetune"' in path.read_text(encoding="utf-8").split("\n"):
        finetune(load_config(FinetuneRecipe, path), folder, listeners=listeners, say=say, resume=True)
    else:
        pretrain(load_config(PretrainRecipe, path), folder, listeners=listeners, say=say, resume=True)
