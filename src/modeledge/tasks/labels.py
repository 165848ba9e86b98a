"""From a column of labels to class numbers or values, with every doubtful row named before the first step."""

from __future__ import annotations

import difflib
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from modeledge.errors import ModeledgeError, nearest, printable


@dataclass(frozen=True)
class Labels:
    """What the labels of a task are: the names of its classes in order, or values with their mean and spread."""

    kind: Literal["class", "value"]
    names: tuple[str, ...] = ()
    center: float = 0.0
    scale: float = 1.0

    def number(self, label: Any, where: str) -> int | float:
        """The class number or value of one label; what does not fit is an error that names the row."""
        if _missing(label):
            raise ModeledgeError("E-LABEL-MISSING", "the label is empty", where=where)
        if self.kind == "value":
            return _value(label, where)
        label = _plain(label)
        if not isinstance(label, str | int):
            raise _wrong_type(
                label, where, "a class name or number", "use --task regression for numbers with a fraction"
            )
        if str(label) in self.names:
            return self.names.index(str(label))
        if isinstance(label, int) or (_whole(label) and all(map(_whole, self.names))):
            what = f"label {label} is not among the {len(self.names)} classes {', '.join(self.names[:8])}"
            raise ModeledgeError("E-LABEL-RANGE", what, where=where)
        stripped = {name.strip().lower(): name for name in self.names}
        close = stripped.get(label.strip().lower())
        remedy = f"did you mean {close!r}? (spaces and case count)" if close else nearest(label, self.names)
        raise ModeledgeError("E-LABEL-UNKNOWN", f"{printable(label, 60)!r} is not a class", where=where, remedy=remedy)


def infer(labels: Sequence[Any], wheres: Sequence[str], kind: Literal["class", "value", "auto"] = "auto") -> Labels:
    """What the labels of the training rows are.

    `auto` takes numbers with a fraction as values and all else as classes. Classes are ordered by number where all are
    whole numbers, else by name. A missing label, a single class or a mixture is an error.
    """
    if not labels:
        raise ModeledgeError("E-EMPTY-SPLIT", "there is no training row")
    missing = [w for label, w in zip(labels, wheres, strict=True) if _missing(label)]
    if missing:
        rows = ", ".join(missing[:5]) + (" …" if len(missing) > 5 else "")
        raise ModeledgeError("E-LABEL-MISSING", f"{len(missing)} rows have no label", where=rows)
    fractions = [i for i, label in enumerate(labels) if _fraction(label)]
    if kind == "value" or (kind == "auto" and len(fractions) > 0):
        values = [_value(label, where) for label, where in zip(labels, wheres, strict=True)]
        if len(values) > 1 and len(set(values)) < 2:
            what = f"all {len(values)} rows have the value {values[0]:g}"
            raise ModeledgeError("E-ONE-CLASS", what, remedy="name the column of the values, or add other rows")
        return Labels("value", center=statistics.fmean(values), scale=statistics.pstdev(values) or 1.0)
    if fractions:
        where = wheres[fractions[0]]
        raise _wrong_type(labels[fractions[0]], where, "a class", "use --task regression, or name the classes")
    for label, where in zip(labels, wheres, strict=True):
        if isinstance(label, list | tuple | dict):
            raise _wrong_type(label, where, "a class name or number", "use --task multilabel for lists of classes")
    names = {str(_plain(label)) for label in labels}
    if len(names) < 2:
        raise ModeledgeError("E-ONE-CLASS", f"all {len(labels)} rows are {printable(str(labels[0]), 60)!r}")
    _refuse_not_a_number(labels, wheres, names)
    _refuse_near(labels, wheres)
    whole = all(map(_whole, names))
    return Labels("class", tuple(sorted(sorted(names), key=int) if whole else sorted(names)))


def extended(labels: Labels, others: Sequence[Any]) -> Labels:
    """The classes, and behind them those that only `others` name: what `check_sizes` and `check_unseen` count.

    What looks like a slip (of spaces, case or a letter, or a number beyond the classes) adds no class, so that
    `Labels.number` can name its row.
    """
    known = {name.strip().lower() for name in labels.names}
    words = (_plain(label) for label in others if not _missing(label))
    strange = {word for word in words if isinstance(word, str)} - set(labels.names)
    if all(map(_whole, labels.names)):
        strange = {name for name in strange if not _whole(name)}
    new = sorted(name for name in strange if not difflib.get_close_matches(name.strip().lower(), known, 1, 0.8))
    return Labels(labels.kind, (*labels.names, *new))


def check_unseen(train: Sequence[int], test: Sequence[int], labels: Labels) -> None:
    """Refuse an evaluation split with classes that training never shows (`E-CLASS-UNSEEN`)."""
    unseen = sorted(set(test) - set(train))
    if unseen:
        names = ", ".join(labels.names[i] for i in unseen[:8])
        raise ModeledgeError("E-CLASS-UNSEEN", f"{len(unseen)} classes are only in the evaluation rows: {names}")


def check_sizes(train: Sequence[int], labels: Labels, least: int) -> None:
    """Refuse classes too small to be split (`E-CLASS-TOO-SMALL`)."""
    counts = Counter(train)
    small = [labels.names[i] for i in range(len(labels.names)) if 0 < counts[i] < least]
    if small:
        what = f"{len(small)} classes have fewer than {least} rows: {', '.join(small[:8])}"
        raise ModeledgeError("E-CLASS-TOO-SMALL", what)


def _missing(label: Any) -> bool:
    return label is None or (isinstance(label, str) and not label.strip())


def _plain(label: Any) -> Any:
    """The same label as a plain value: numpy's numbers as Python's, whole floats as integers, True as its name."""
    label = label if isinstance(label, str) or not hasattr(label, "item") else label.item()
    if isinstance(label, bool):
        return str(label)
    return int(label) if isinstance(label, float) and label.is_integer() else label


def _whole(name: str) -> bool:
    return name.removeprefix("-").isdecimal() and name.isascii()


def spelling(name: str) -> str:
    """What two names share that are one class spelled twice: no spaces around, lower case, `1.0` as `1`."""
    bare = name.strip().lower()
    whole, point, fraction = bare.partition(".")
    return whole if point and _whole(whole) and set(fraction) <= {"0"} else bare


def _refuse_near(labels: Sequence[Any], wheres: Sequence[str]) -> None:
    """Refuse names that are one name spelled twice: the rarer one is taken for a slip (`E-LABEL-UNKNOWN`)."""
    counts = Counter(str(_plain(label)) for label in labels)
    usual: dict[str, str] = {}
    for name, _ in counts.most_common():
        other = usual.setdefault(spelling(name), name)
        if other != name:
            where = next(w for label, w in zip(labels, wheres, strict=True) if str(_plain(label)) == name)
            what = f"the label {printable(name, 60)!r} stands beside {printable(other, 60)!r}"
            remedy = f"did you mean {other!r}? (spaces and case count, and 1.0 is not 1)"
            raise ModeledgeError("E-LABEL-UNKNOWN", what, where=where, remedy=remedy)


def _refuse_not_a_number(labels: Sequence[Any], wheres: Sequence[str], names: set[str]) -> None:
    """Refuse "NaN" among whole numbers (`E-LABEL-MISSING`): tables write it where there is no number."""
    odd = {name for name in names if name.strip().lower() == "nan"}
    if odd and all(map(_whole, names - odd)):
        rows = [w for label, w in zip(labels, wheres, strict=True) if str(label) in odd]
        what, where = f"{len(rows)} rows have {min(odd)!r} among whole numbers", ", ".join(rows[:5])
        raise ModeledgeError("E-LABEL-MISSING", what, where=where + (" …" if len(rows) > 5 else ""))


def _fraction(label: Any) -> bool:
    """Is this a number that is not whole?"""
    label = _plain(label)
    if isinstance(label, float):
        return not label.is_integer() if math.isfinite(label) else True
    if isinstance(label, str):
        try:
            return not float(label).is_integer() and ("." in label or "e" in label.lower())
        except (ValueError, OverflowError):
            return False
    return False


def _value(label: Any, where: str) -> float:
    try:
        if isinstance(label, bool):
            raise TypeError
        value = float(label)
    except (TypeError, ValueError) as error:
        raise _wrong_type(label, where, "a number", "use --task classification") from error
    if not math.isfinite(value):
        raise ModeledgeError("E-NOT-FINITE", f"the label is {value}", where=where)
    return value


def _wrong_type(label: Any, where: str, wanted: str, remedy: str) -> ModeledgeError:
    what = f"{printable(repr(label), 60)} is not {wanted}"
    return ModeledgeError("E-LABEL-TYPE", what, where=where, remedy=remedy)
