"""Damaged files: a few hundred of those that `benchmarks/fuzz.py` reads by the ten thousand."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import fuzz
from modeledge.corpus.intake import Intake


def test_a_few_hundred_damaged_files(tmp_path: Path) -> None:
    found = fuzz.fuzz(7, range(400), tmp_path)
    assert not found.broken, found.broken[:3]
    assert found.ends["read"] > 50
    assert len(found.ends) > 10


def test_an_input_is_a_function_of_its_number() -> None:
    assert fuzz.damaged(0, 11) == fuzz.damaged(0, 11)
    assert len({fuzz.damaged(0, number) for number in range(50)}) == 50
    names = {fuzz.damaged(0, number)[0] for number in range(300)}
    assert names == set(fuzz.good())


@pytest.mark.parametrize("name", sorted(fuzz.good()))
def test_what_is_damaged_was_good(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(fuzz.good()[name])
    for split in ("file", "line"):
        assert fuzz.examine(tmp_path / name, fuzz.ReadConfig(split=split), build=True) == "read"


def test_a_lost_record_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forget(self: Intake, size: int) -> None:
        self.seen += 1

    monkeypatch.setattr(Intake, "good", forget)
    assert len(fuzz.fuzz(7, range(20), tmp_path).broken) > 3


def test_a_hang_and_a_crash_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(*words: Any, **more: Any) -> str:
        while True:
            pass

    monkeypatch.setattr(fuzz, "examine", slow)
    found = fuzz.fuzz(7, range(2), tmp_path, limit=0.05)
    assert found.ends == {"broken: Hang": 2}

    def die(path: Path, *words: Any, **more: Any) -> str:
        if path.suffix == ".parquet":
            os.kill(os.getpid(), 9)
        return "read"

    monkeypatch.setattr(fuzz, "examine", die)
    found = fuzz.apart(7, range(6), limit=5.0)
    tables = sum(fuzz.damaged(7, number)[0].endswith(".parquet") for number in range(6))
    assert found.ends == {"read": 6 - tables, "broken: crash": tables}
    assert tables
