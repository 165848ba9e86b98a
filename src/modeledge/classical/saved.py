"""A fitted head on disk: `head.safetensors` holds its arrays, `head.json` says what they are. No pickle, ever.

Beside the head stands what was done before it: how layers are combined, how features are projected. Whoever reads the
two files needs NumPy alone. A kind that is not in `KINDS` is refused, and so are arrays that do not fit each other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from modeledge import files
from modeledge.classical.combine import Combine
from modeledge.classical.head import Floats, Head, Stored, damaged
from modeledge.classical.linear import Linear
from modeledge.classical.neighbours import Neighbours
from modeledge.classical.network import Network
from modeledge.classical.project import Projection
from modeledge.classical.trees import Boosted, Forest
from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.records import FloatArray

ARRAYS, SAID = "head.safetensors", "head.json"
SCHEMA = 1
PARTS: dict[str, tuple[type[Stored], ...]] = {
    "combine": (Combine,),
    "projection": (Projection,),
    "head": (Linear, Neighbours, Forest, Boosted, Network),
}


@dataclass(frozen=True, eq=False)
class Fit:
    """States in, answers out: layers are combined, features projected, and a head reads them.

    `classes` are the numbers of the classes that the training rows had, out of `total`; a task may have others, which
    are never answered. Both are empty where values are told. `notes` are plain values about the fit that whoever reads
    it needs (of which body, by which pooling).
    """

    combine: Combine
    projection: Projection
    head: Head
    notes: Mapping[str, Any]
    classes: tuple[int, ...] = ()
    total: int = 0

    def told(self, states: FloatArray) -> Floats:
        """States `[rows, layers, width]` (see `Combine.features`) → probabilities `[rows, total]`, or values
        `[rows, 1]`."""
        return spread(self.head.told(self.projection.told(self.combine.features(states))), self.classes, self.total)

    def checked(self) -> Fit:
        """The fit, if each part reads what the one before it gives (`E-KEYS`)."""
        sizes = (self.combine.outputs, self.projection.inputs), (self.projection.outputs, self.head.inputs)
        for gives, reads in sizes:
            if gives != reads:
                damaged(f"{gives} features are given, and {reads} are read")
        rising = all(type(n) is int and 0 <= n < self.total for n in self.classes) and [*self.classes] == sorted(
            {*self.classes}
        )
        if not rising or self.head.outputs != (len(self.classes) if self.total else 1):
            damaged(f"{self.head.outputs} answers are not those of {len(self.classes)} classes")
        return self


def spread(told: Floats, classes: Sequence[int], total: int) -> Floats:
    """Probabilities of the classes that were seen `[rows, seen]` → of all `[rows, total]`; values as they are."""
    if len(classes) == total:
        return told
    out = np.zeros((len(told), total))
    out[:, list(classes)] = told
    return out


def fit_files(fit: Fit) -> dict[str, Any]:
    """The two files by name: bytes, and what becomes JSON."""
    parts: dict[str, Stored] = {"combine": fit.combine, "projection": fit.projection, "head": fit.head}
    arrays = {f"{name}.{key}": array for name, part in parts.items() for key, array in part.arrays().items()}
    said = {name: {"kind": part.kind, **part.said()} for name, part in parts.items()}
    classes = {"seen": list(fit.classes), "total": fit.total}
    whole = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return {ARRAYS: save(whole), SAID: {"schema": SCHEMA, **said, "classes": classes, "notes": dict(fit.notes)}}


def write_fit(fit: Fit, folder: Path) -> None:
    """Write the two files into a folder."""
    made = fit_files(fit)
    files.write_bytes(folder / ARRAYS, made[ARRAYS])
    files.write_json(folder / SAID, made[SAID])


def read_fit(folder: Path) -> Fit:
    """The fit of a folder. Raises `E-NO-FILE`, `E-SAFETENSORS`, `E-RUN-FOLDER` for JSON that is none, `E-CONFIG-VALUE`
    for an unknown kind, and `E-KEYS` for parts that do not fit."""
    for name in (ARRAYS, SAID):
        if not (folder / name).is_file():
            raise ModeledgeError("E-NO-FILE", f"there is no {name} beside the task", where=str(folder))
    try:
        arrays = load((folder / ARRAYS).read_bytes())
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ModeledgeError("E-SAFETENSORS", printable(str(error)), where=str(folder / ARRAYS)) from error
    try:
        said = files.read_json(folder / SAID)
        schema, notes = said["schema"], dict(said["notes"])
        seen, total = tuple(said["classes"]["seen"]), int(said["classes"]["total"])
        tables = {name: dict(said[name]) for name in PARTS}
    except (ValueError, KeyError, TypeError) as error:
        what = f"it does not state a head ({type(error).__name__}: {printable(str(error), 80)})"
        raise ModeledgeError("E-RUN-FOLDER", what, where=str(folder / SAID)) from error
    if schema != SCHEMA:
        what = f"schema {printable(repr(schema), 20)} is not {SCHEMA}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=str(folder / SAID))
    strange = [name for name in arrays if name.partition(".")[0] not in PARTS]
    if strange:
        damaged(f"{printable(strange[0], 60)!r} is an array of no part")
    parts: dict[str, Any] = {name: _part(name, tables[name], arrays) for name in PARTS}
    return Fit(parts["combine"], parts["projection"], parts["head"], notes, seen, total).checked()


def _part(name: str, said: dict[str, Any], arrays: Mapping[str, Any]) -> Stored:
    kind, known = said.pop("kind", None), {row.kind: row for row in PARTS[name]}
    if kind not in known:
        what = f"there is no {name} of kind {printable(repr(kind), 60)}"
        raise ModeledgeError("E-CONFIG-VALUE", what, where=SAID, remedy=nearest(str(kind), known))
    own = {key.partition(".")[2]: array for key, array in arrays.items() if key.partition(".")[0] == name}
    return known[kind].of(own, said)
