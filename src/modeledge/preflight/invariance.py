"""Checks that a loss is a function of the examples: not of how they are packed, padded, cut or prepared before."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import fields

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.objectives import prepared
from modeledge.preflight.finding import Finding
from modeledge.preflight.trial import Layouts, Measured
from modeledge.preflight.view import View
from modeledge.records import Piece, Prepared

TOLERANCE = 1e-4  # fp32 sums in another order differ by 1e-7 to 1e-5; faults that matter by more, as a rule by percents


def packing(view: View) -> Iterator[Finding]:
    """Examples that share a row give the loss and the gradient that each would have in a row of its own."""
    found = view.layouts
    if found is not None and not found.noisy and finite(found) and _differ(found.packed, found.unpacked):
        what = f"packed rows give {_said(found.packed)}, one example a row {_said(found.unpacked)} "
        what += f"(states apart by {found.packed.apart(found.unpacked):.2g})"
        remedy = "restart positions in each example, and let none see another; train.packed = false avoids it"
        yield _finding(view, what, remedy)


def padding(view: View) -> Iterator[Finding]:
    """What stands in padding changes nothing, and padding alone gives no NaN."""
    found = view.layouts
    if found is None or found.padded is None or found.noisy:
        return
    alone, padded, other = found.padded
    if math.isfinite(alone.loss) and not math.isfinite(padded.loss):
        yield _finding(view, f"a row with padding gives {_said(padded)}", "let padding see itself alone")
    elif _differ(alone, padded):
        yield _finding(view, f"padding changes {_said(alone)} to {_said(padded)}", "mask the padding")
    elif _differ(padded, other):
        yield _finding(view, f"other ids in the padding change {_said(padded)} to {_said(other)}", "mask the padding")


def micro_batches(view: View) -> Iterator[Finding]:
    """k micro-batches give the loss and the gradient of one: sums are divided once, by the global weight."""
    found = view.layouts
    if found is None:
        return
    if found.packed.weights:
        names = ", ".join(found.packed.weights)
        what = f"the loss of {names} is divided by another weight than was counted in the batch"
        yield Finding("E-INVARIANCE", what, remedy="weights are a function of the batch alone")
    for count, other in found.parts.items():
        if finite(found) and _differ(found.unpacked, other):
            what = f"one batch gives {_said(found.unpacked)}, {count} micro-batches {_said(other)}"
            yield _finding(view, what, "return sums, not means; or set couples = True")
            return


def ranks(view: View) -> Iterator[Finding]:
    """Two ranks of two micro-batches each give what one process gives."""
    found = view.layouts
    if found is not None and found.ranks is not None and finite(found) and _differ(found.unpacked, found.ranks):
        what = f"one rank gives {_said(found.unpacked)}, two ranks {_said(found.ranks)}"
        yield _finding(view, what, "add totals and weights over ranks, then divide once")


def causal(view: View) -> Iterator[Finding]:
    """In a decoder no state moves when a later token changes."""
    found = view.layouts
    if found is not None and found.seen is not None and not found.seen < 1e-4:
        what = f"states before a token move by {found.seen:.2g} of their size when that token changes"
        yield Finding("E-LABEL-LEAK", what, remedy="use a causal pattern")


def repeatable(view: View) -> Iterator[Finding]:
    """An example is prepared as a function of (seed, epoch, index): twice, and after others, the same."""
    chosen = view.first[:4]
    try:
        runs = [[prepared(view.objective, e, view.trainer.noise) for e in order] for order in (chosen, chosen[::-1])]
    except ModeledgeError:
        return
    for example, one, other in zip(chosen, runs[0], runs[1][::-1], strict=True):
        if not _equal(one, other):
            what = "an example is prepared otherwise when others came before it"
            remedy = "draw from the noise that is given, and from nothing else"
            yield Finding("E-INVARIANCE", what, view.where(example), remedy, view.shown(other))
            return


def _finding(view: View, what: str, remedy: str) -> Finding:
    first = view.first[0]
    return Finding("E-INVARIANCE", what, f"{view.where(first)} and {len(view.first) - 1} more", remedy)


def _differ(one: Measured, other: Measured) -> bool:
    return not one.apart(other) < TOLERANCE


def _said(measured: Measured) -> str:
    return f"loss {measured.loss:.6g}" + ("" if measured.norm is None else f", gradient {measured.norm:.6g}")


def finite(found: Layouts) -> bool:
    """Is there a number to compare? If not, the two steps say so."""
    return math.isfinite(found.packed.loss) and math.isfinite(found.packed.norm or 0.0)


def _equal(one: object, other: object) -> bool:
    """Equal values, arrays element by element."""
    if isinstance(one, Prepared | Piece) and type(one) is type(other):
        return all(_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(one))
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(one[k], other[k]) for k in one)
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    return bool(one == other)
