"""Reading a run folder back, without torch and without trust.

A run folder is written by any verb, may come from another machine, and may have been cut off by a power failure.
`run.toml` must be there; every other file may be missing (the run has not got so far) but not broken. The one thing
forgiven is the last line of `metrics.jsonl`: a line without its line end that does not parse was being written when
the process died. Rows that a resumed run wrote again replace those from before the kill.
"""

from __future__ import annotations

import json
import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from modeledge.errors import ModeledgeError, printable

Row = dict[str, Any]
HELD_LOSSES = ("loss", "pseudo_loss")  # what stands beside the training loss


@dataclass(frozen=True)
class Run:
    """What a run folder says. `steps` are training rows, `evals` rows with an `eval` mapping; both rise by `step`.

    What a clock said of a step stands in `speed.jsonl`, so that `metrics.jsonl` can be equal bytes; here they are one.
    """

    path: Path
    recipe: Mapping[str, Any]
    recipe_text: str
    steps: list[Row] = field(default_factory=list)
    evals: list[Row] = field(default_factory=list)
    ledger: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    results: Mapping[str, Any] = field(default_factory=dict)
    samples: list[Row] = field(default_factory=list)
    torn: bool = False
    rewound: int = 0

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.resolve().name

    def series(self, key: str) -> tuple[list[int], list[float]]:
        """Steps and values of one key of the training rows, where it is there."""
        rows = [row for row in self.steps if is_number(row.get(key))]
        return [row["step"] for row in rows], [float(row[key]) for row in rows]

    def held_loss(self) -> tuple[list[int], list[float]]:
        """Steps and values of the loss of held-out data: a pseudo-loss is compared with the training loss alike."""
        series = self.eval_series()
        return next((series[name] for name in HELD_LOSSES if name in series), ([], []))

    def spikes(self) -> list[tuple[int, str]]:
        """The steps whose loss or gradient norm leapt, and which did."""
        return [(row["step"], str(name)) for row in self.steps for name in row.get("spikes", ())]

    def eval_series(self) -> dict[str, tuple[list[int], list[float]]]:
        """Steps and values of each evaluated metric."""
        out: dict[str, tuple[list[int], list[float]]] = {}
        for row in self.evals:
            for name, value in row["eval"].items():
                steps, values = out.setdefault(name, ([], []))
                steps.append(row["step"])
                values.append(float(value))
        return out


def read_run(folder: Path) -> Run:
    """Read a run folder; `E-RUN-FOLDER` says which file is broken, in which line, and how."""
    folder = Path(folder)
    if not folder.is_dir():
        broken(folder, "the folder does not exist" if not folder.exists() else "this is a file, not a folder")
    text = read_text(folder / "run.toml")
    if text is None:
        broken(folder, "run.toml is missing, so this is not a run folder")
    try:
        recipe = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        broken(folder / "run.toml", f"not TOML: {printable(str(error))}")
    rows, torn = read_rows(folder / "metrics.jsonl")
    kept, rewound = without_rewound(rows)
    speed = {row["step"]: row for row in read_rows(folder / "speed.jsonl")[0]}
    ledger = read_object(folder / "ledger.json")
    for name, part in ledgers(ledger).items():
        check_ledger(folder / "ledger.json", name, part)
    return Run(
        path=folder,
        recipe=recipe,
        recipe_text=text,
        steps=[{**speed.get(row["step"], {}), **row} for row in kept if is_training(row)],
        evals=[row for row in kept if "eval" in row],
        ledger=ledger,
        environment=read_object(folder / "environment.json"),
        results=read_object(folder / "results.json"),
        samples=read_rows(folder / "samples.jsonl")[0],
        torn=torn,
        rewound=rewound,
    )


def read_rows(path: Path) -> tuple[list[Row], bool]:
    """The rows of `metrics.jsonl`, each checked, and whether a torn last line was left out."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return [], False
    except OSError as error:
        broken(path, error.strerror or str(error))
    lines = data.split(b"\n")
    rows: list[Row] = []
    for place, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = parse(line)
        except ValueError as error:
            if place == len(lines):
                return rows, True
            broken(path, str(error), line=place)
        check_row(path, place, row)
        rows.append(row)
    return rows, False


def check_row(path: Path, line: int, row: Any) -> None:
    """A row is an object with a whole `step`; `loss` is a number; `eval` maps names to numbers."""
    if not isinstance(row, dict):
        broken(path, f"a {type(row).__name__} stands where an object belongs", line=line)
    step = row.get("step")
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        broken(path, f"step is {printable(repr(step), 40)}, not a whole number", line=line)
    if "loss" in row and not is_number(row["loss"]):
        broken(path, f"loss is {printable(repr(row['loss']), 40)}, not a number", line=line)
    marks = row.get("eval", {})
    if not isinstance(marks, dict) or not all(is_number(value) for value in marks.values()):
        broken(path, "eval must map each metric to a number", line=line)


def without_rewound(rows: list[Row]) -> tuple[list[Row], int]:
    """Rows in rising order of step, each training step once, and how many rows went.

    A training row of a step that is there already, or any row of an earlier step, says that a resumed run went back:
    what it writes again counts. An evaluation written again replaces the one of the same step and metric.
    """
    kept: list[Row] = []
    trained, gone = -1, 0
    for row in rows:
        step, trains = row["step"], is_training(row)
        again = trains and step <= trained
        names = set(row.get("eval", {}))
        while kept and (
            kept[-1]["step"] > step
            or (kept[-1]["step"] == step and (again or (not trains and names & set(kept[-1].get("eval", {})))))
        ):
            kept.pop()
            gone += 1
        kept.append(row)
        trained = step if trains else min(trained, step)
    return kept, gone


def is_training(row: Row) -> bool:
    """Does the row tell of a training step, whatever else it tells?"""
    return "eval" not in row or "loss" in row


def ledgers(ledger: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The ledgers in a `ledger.json`: one, under "", or several by name; whatever else stands there is not one."""
    if "read" in ledger:
        return {"": ledger}
    return {name: part for name, part in ledger.items() if isinstance(part, dict) and "read" in part}


def check_ledger(path: Path, name: str, ledger: Mapping[str, Any]) -> None:
    """A ledger has the shape of `Ledger.as_dict()`."""
    where = f"{printable(name, 40)}: " if name else ""
    groups = {k: ledger.get(k, {}) for k in ("filtered", "quarantined")}
    if not all(isinstance(group, dict) for group in groups.values()):
        broken(path, f"{where}filtered and quarantined must map reasons to counts")
    counts = {"read": ledger.get("read"), "kept": ledger.get("kept")}
    counts |= {f"{k}.{reason}": count for k, group in groups.items() for reason, count in group.items()}
    for key, count in counts.items():
        numbers = [count.get(unit, 0) for unit in ("records", "bytes", "tokens")] if isinstance(count, dict) else [None]
        if not all(isinstance(n, int) and not isinstance(n, bool) for n in numbers) or not {"records", "bytes"} <= {
            *(count or {})
        }:
            broken(path, f"{where}{printable(key, 60)} must count records, bytes and tokens")
    notes = ledger.get("notes", [])
    if not isinstance(notes, list):
        broken(path, f"{where}notes must be a list")


def read_object(path: Path) -> dict[str, Any]:
    """One JSON object; an absent file is an empty one."""
    text = read_text(path)
    if text is None:
        return {}
    try:
        value = parse(text)
    except ValueError as error:
        broken(path, str(error))
    if not isinstance(value, dict):
        broken(path, f"a {type(value).__name__} stands where an object belongs")
    return value


def read_text(path: Path) -> str | None:
    """A UTF-8 file, or None where there is none."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except UnicodeDecodeError as error:
        broken(path, f"not UTF-8 at byte {error.start}")
    except OSError as error:
        broken(path, error.strerror or str(error))


def parse(text: str | bytes) -> Any:
    """JSON as the standard has it: NaN and infinity are refused. Any failure is a `ValueError` in one line."""

    def refuse(word: str) -> NoReturn:
        raise ValueError(f"{word} is not JSON")

    try:
        words = text.decode() if isinstance(text, bytes) else text  # json would guess UTF-16 from bytes
        return json.loads(words, parse_constant=refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error.msg} at character {error.pos}") from error


def is_number(value: Any) -> bool:
    """A finite JSON number: true and false are none, and 1e999 reads as infinity."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def broken(path: Path, what: str, line: int = 0) -> NoReturn:
    """Raise `E-RUN-FOLDER` for this file."""
    raise ModeledgeError("E-RUN-FOLDER", what, where=f"{path}:{line}" if line else str(path))
