"""transformers as the oracle: imported once a worker, small random models written to disk once."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from families_small import CASES, build


@pytest.fixture(scope="session")
def hf() -> Any:
    """The reference library."""
    return pytest.importorskip("transformers")


@pytest.fixture(scope="session")
def saved(hf: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Any, Path]]:
    """Each case as the reference library holds it, and the folder that it wrote."""
    made = {}
    for case in CASES:
        model, folder = build(hf, case), tmp_path_factory.mktemp("hf") / str(case)
        model.save_pretrained(folder)
        made[str(case)] = (model, folder)
    return made


@pytest.fixture
def bert(saved: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[str(CASES[1])][1], tmp_path / "bert"))


@pytest.fixture
def gpt2(saved: dict[str, Any], tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved[str(CASES[7])][1], tmp_path / "gpt2"))
