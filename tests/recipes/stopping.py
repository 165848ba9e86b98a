"""A pre-training that is stopped and goes on, beside one that is not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.recipes.resume import resume


def quiet(line: str) -> None:
    """Says nothing."""


def same_when_stopped(
    asked: PretrainRecipe, folder: Path, names: Sequence[str], say: Callable[[str], None] = quiet
) -> None:
    """Runs the recipe whole, with what it says, and again with a stop behind its third step; the files with these names
    have the same bytes in both."""

    class Enough(Exception):
        """The run is stopped from outside."""

    def stop(record: Any) -> None:
        if record.step == 3:
            raise Enough

    pretrain(asked, folder / "whole", say=say)
    with pytest.raises(Enough):
        pretrain(asked, folder / "parts", listeners=[stop], say=quiet)
    resume(folder / "parts", say=quiet)
    for name in names:
        assert (folder / "whole" / name).read_bytes() == (folder / "parts" / name).read_bytes(), name
