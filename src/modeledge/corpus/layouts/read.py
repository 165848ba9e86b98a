"""Reading by a layout: from the name of a benchmark and a path to rows, with every record accounted for."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from modeledge.corpus.inputs import COMPRESSIONS
from modeledge.corpus.layouts.layout import Asked, Layout, Row, Tally
from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.records import Ledger

Place: TypeAlias = "str | os.PathLike[str] | Sequence[str | os.PathLike[str]]"
SAME_SPLIT = {"validation": "dev"}


def read_with(layout: Layout, path: Place, split: str = "train", *, ledger: Ledger | None = None) -> list[Row]:
    """The rows of one split, as dicts that hold the columns of `layout.roles` and `__where__` (`file:line`).

    `path` is the benchmark's folder, in which the split's file is looked for, or the file itself (for parallel text,
    the file of the source side or both files); then `split` only says whether labels are expected. `ledger` counts
    records of the file: `read = kept + filtered(by reason) + quarantined(by reason)`. Raises `E-NO-FILE`,
    `E-CONFIG-VALUE` (no such split), `E-EMPTY-SPLIT` (every record was filtered), and what the layout's readers raise:
    the first bad record ends the reading.
    """
    asked = ask(layout, path, split, Ledger() if ledger is None else ledger)
    tally = Tally(asked)
    before = {reason: count.records for reason, count in asked.ledger.filtered.items()}
    rows = list(layout.convert(layout.open(asked), tally))
    tally.write_notes()
    if not rows:
        lost = {r: c.records - before.get(r, 0) for r, c in asked.ledger.filtered.items()}
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in lost.items() if count)
        what = f"no row is left of split {split!r}" + (f": {reasons}" if reasons else "")
        raise ModeledgeError("E-EMPTY-SPLIT", what, where=", ".join(printable(str(p)) for p in asked.paths))
    return rows


def ask(layout: Layout, path: Place, split: str, ledger: Ledger) -> Asked:
    """The files behind a path and a split. Raises `E-NO-FILE`, `E-CONFIG-VALUE`."""
    split = SAME_SPLIT.get(split, split) if split not in layout.files else split
    labelled = split not in layout.unlabelled
    if isinstance(path, str | os.PathLike):
        place = Path(path)
        if not place.is_dir():
            return Asked((place,), split, labelled, ledger, whole=True)
        return Asked(find_split(layout, place, split), split, labelled, ledger)
    return Asked(tuple(Path(part) for part in path), split, labelled, ledger, whole=True)


def find_split(layout: Layout, folder: Path, split: str) -> tuple[Path, ...]:
    """The files of a split in the benchmark's folder, plain or compressed: those of the first names that are all there.

    Raises `E-CONFIG-VALUE` for a split that the layout does not know, `E-NO-FILE` with the names that were tried.
    """
    if split not in layout.files:
        what = f"layout {layout.name!r} has no split {split!r}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="split", remedy=nearest(split, layout.files))
    for names in layout.files[split]:
        found = [_matches(folder, name) for name in names]
        if all(found):
            return tuple(path for paths in found for path in paths)
    tried = " or ".join(" + ".join(names) for names in layout.files[split])
    here = splits_in(layout, folder)
    remedy = f"there is {', '.join(here)}" if here else "name the file itself"
    what = f"no file of split {split!r} ({tried}, also .gz or .zst)"
    raise ModeledgeError("E-NO-FILE", what, where=printable(str(folder)), remedy=remedy)


def splits_in(layout: Layout, folder: Path) -> list[str]:
    """The splits whose files are in a folder."""
    return [s for s, ways in layout.files.items() if any(all(_matches(folder, n) for n in names) for names in ways)]


def _matches(folder: Path, name: str) -> list[Path]:
    for ending in ("", *COMPRESSIONS):
        found = sorted(path for path in folder.glob(name + ending) if path.is_file())
        if found:
            return found
    return []


def layout_named(name: str, layouts: Mapping[str, Layout]) -> Layout:
    """A row of the table. Raises `E-CONFIG-VALUE` with the nearest name."""
    if name not in layouts:
        what = f"there is no layout {printable(name)!r}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="layout", remedy=nearest(name, layouts))
    return layouts[name]
