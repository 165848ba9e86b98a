"""A trial that fails: for its values it has no mark, for the machine it is tried again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from modeledge.errors import ModeledgeError
from modeledge.recipes.compare import search
from modeledge.recipes.compare.grid import Unit


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The codes that trainings end with, the last one first."""
    codes: list[str] = []

    def fails(*given: Any, **named: Any) -> None:
        raise ModeledgeError(codes[-1], "it went wrong")

    monkeypatch.setattr(search, "finetune", fails)
    monkeypatch.setattr(search, "finetune_recipe", lambda *given: None)
    monkeypatch.setattr(search, "absolute", lambda recipe: recipe)
    return codes


def mark(folder: Path) -> float | None:
    unit = Unit("cell", 0, "task")
    return search.mark_of(None, unit, folder, folder / "trial-0", {}, "accuracy")  # type: ignore[arg-type]


def test_values_that_diverge_have_no_mark_and_are_not_tried_again(tmp_path: Path, failing: list[str]) -> None:
    failing.append("E-NON-FINITE-LOSS")
    assert mark(tmp_path) is None
    failing.clear()  # another training would be an IndexError
    assert mark(tmp_path) is None


@pytest.mark.parametrize("code", ["E-NO-FILE", "E-DISK", "E-PERMISSION", "E-EXTRA"])
def test_what_is_no_fault_of_the_values_is_told_and_tried_again(tmp_path: Path, failing: list[str], code: str) -> None:
    failing.append(code)
    for _ in range(2):
        with pytest.raises(ModeledgeError, match=code):
            mark(tmp_path)
    assert not (tmp_path / "trial-0").exists()
