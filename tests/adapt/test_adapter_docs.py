"""The commands of docs/adapters.md, run as they stand there on a small model."""

from __future__ import annotations

import csv
import re
import shlex
from pathlib import Path

import pytest
from test_adapter_runs import ROWS, saved
from typer.testing import CliRunner

from modeledge.adapt import STRATEGIES
from modeledge.cli import app
from modeledge.recipes.adapters.go_on import ADDING

PAGE = (Path(__file__).parents[2] / "docs" / "adapters.md").read_text(encoding="utf-8")


def test_every_method_is_in_the_table() -> None:
    named = set(re.findall(r"`([\w-]+)`", "\n".join(re.findall(r"^\| (`.*?) \|", PAGE, re.MULTILINE))))
    assert named >= {name for name, kind in STRATEGIES.items() if isinstance(kind, type) and issubclass(kind, ADDING)}


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    saved(tmp_path / "MODEL", "encoder")
    for name, rows in (("rows.csv", ROWS), ("new.csv", ROWS[:8]), ("test.csv", ROWS[8:24]), ("more.csv", ROWS)):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "label"])
            writer.writeheader()
            writer.writerows(rows)
    recipe = re.search(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert recipe is not None
    (tmp_path / "tasks.toml").write_text(recipe[1], encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    commands = [
        line.partition("#")[0].strip()
        for block in re.findall(r"```bash\n(.*?)```", PAGE, re.DOTALL)
        for line in block.splitlines()
        if line.startswith("modeledge")
    ]
    assert len(commands) >= 11
    for command in commands:
        words = shlex.split(command)[1:]
        if "/where/the/base/lies/now" in words:  # said of a folder that only a reader knows
            words[words.index("/where/the/base/lies/now")] = "MODEL"
            words[words.index("--out") + 1] = "elsewhere"
        if words[0] == "finetune":
            words += ["epochs=1", "train.threads=1", "train.length=32", "train.precision=fp32", "check=false"]
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 0, f"{command}: {done.output}"
