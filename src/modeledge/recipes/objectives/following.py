"""Numbers of an objective that follow the run, by the keys that a recipe has for them.

Which of its keys can, and where each number stands in what prepares an example, an `Aim` says itself (`Aim.numbers`).
What a key may be is said once, by its field: a value of a course is checked as the same value under `[objective]` is.
Two numbers that go in straight lines meet the worst of any rule that they share where one of them bends, or just before
one jumps, so a course is checked there alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from pydantic import ValidationError

from modeledge.errors import ModeledgeError
from modeledge.objectives.schedule import Number, Phases, Ramp, bends, ends, value_at

if TYPE_CHECKING:
    from modeledge.recipes.objectives.aim import Aim


def turns(numbers: Iterable[Number]) -> list[int]:
    """The places of a run at which one of the numbers bends, and those just before one jumps."""
    known = list(numbers)
    jumps = (place - 1 for number in known if isinstance(number, Phases) for place in number.starts[1:])
    return list(dict.fromkeys([0, *(place for number in known for place in bends(number)), *jumps]))


def check_course(aim: Aim, courses: Mapping[str, Number], where: str) -> None:
    """Refuse a course with a value that the aim cannot have at some place of the run (`E-CONFIG-VALUE`)."""
    plain = aim.model_dump()
    for place in turns(courses.values()):
        now = {key: value_at(number, place) for key, number in courses.items()}
        try:
            type(aim).model_validate({**plain, **now})
        except ValidationError as error:
            row = error.errors(include_url=False)[0]
            key = str(row["loc"][0]) if row["loc"] else next(iter(now)) if len(now) == 1 else ""
            told = ", ".join(f"{k} {v:g}" for k, v in now.items()) if key not in now else f"{now[key]:g}"
            what = f"{told}: {str(row['msg']).removeprefix('Value error, ')}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=f"{where}.{key}".rstrip(".")) from None


def grid(number: Number, fine: int) -> list[float]:
    """The values of a share in the course of a run, so many that none that tells `fine` tokens apart is missed."""
    if isinstance(number, Phases):
        return sorted(set(number.values))
    low, high = min(ends(number)), max(ends(number))
    return [float(value) for value in np.linspace(low, high, int(np.ceil((high - low) * fine)) + 2)]


def lengths(number: Number) -> list[int]:
    """The whole lengths that texts have in the course of a run."""
    if isinstance(number, Phases):
        return sorted({round(value) for value in number.values})
    return list(range(round(min(ends(number))), round(max(ends(number))) + 1))


def less(number: Number, by: int) -> Ramp | Phases:
    """The same course, so much lower."""
    if isinstance(number, Phases):
        return replace(number, values=tuple(value - by for value in number.values))
    if isinstance(number, Ramp):
        return replace(number, start=number.start - by, end=number.end - by)
    return Phases((number - by,), (0,))


def no_lengths(kind: str, where: str) -> ModeledgeError:
    """The error for texts whose length cannot follow the run, with the kinds whose can."""
    from modeledge.recipes.objectives import AIMS

    can = ", ".join(name for name, aim in AIMS.items() if aim.shared is not None)
    remedy = f"leave it out, or choose a kind whose texts can grow: {can}, and in turn a blend of them"
    return ModeledgeError(
        "E-CONFIG", f"texts of objective {kind!r} have one length all along", where=where, remedy=remedy
    )
