"""Curricula: a number, a length, the choice between objectives as a function of how far the run is.

Noise is keyed by (seed, epoch, index), and a worker that prepares an example knows no step. What it knows is the
example's `place`: how many examples the run has read before it. A step reads `batch` of them, so step s begins at place
s · batch, and a schedule over places is a schedule over steps that is a pure function of the example: a run that
resumes, or is read by other workers or ranks, sees the same values (docs/decisions/0012).
Examples outside the order of a run (held out for the judge) have no place and get the last value, so that marks of
different steps can be compared.

Sequence length (Press et al. 2021, "Shortformer", arXiv 2012.15832): early steps read short texts, in the same number
of tokens a step. `Shortened` cuts an example into parts that see nothing of each other, so nothing is dropped and rows
stay full.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeAlias

import numpy as np

from modeledge.corpus.pack import cut_examples
from modeledge.errors import ModeledgeError
from modeledge.objectives.join import join
from modeledge.objectives.objective import Prepare
from modeledge.records import Example, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class Ramp:
    """From `start` to `end` in a straight line over `over` examples, beginning at place `begin`."""

    start: float
    end: float
    over: int
    begin: int = 0

    def __post_init__(self) -> None:
        if self.over < 1 or self.begin < 0:
            what = f"a ramp over {self.over} examples from place {self.begin}"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="over is at least 1, begin at least 0")

    def at(self, place: int | None) -> float:
        """The value for the example at a place; the last one for `None`."""
        done = 1.0 if place is None else min(max((place - self.begin) / self.over, 0.0), 1.0)
        return self.start + (self.end - self.start) * done if done < 1 else self.end


@dataclass(frozen=True)
class Phases:
    """`values[i]` from place `starts[i]` on; the first starts at 0."""

    values: tuple[float, ...]
    starts: tuple[int, ...]

    def __post_init__(self) -> None:
        rising = all(a < b for a, b in zip(self.starts, self.starts[1:], strict=False))
        if len(self.values) != len(self.starts) or self.starts[:1] != (0,) or not rising:
            what = f"{len(self.values)} phases start at {self.starts}"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="name a rising start for each value, the first 0")

    def at(self, place: int | None) -> float:
        """The value for the example at a place; the last one for `None`."""
        if place is None:
            return self.values[-1]
        return self.values[int(np.searchsorted(self.starts, place, side="right")) - 1]


Number: TypeAlias = float | Ramp | Phases
FLOATS = ("float", "float | None", float, float | None)  # how a field is declared that may follow the run


def value_at(number: Number, place: int | None) -> float:
    """A number that may follow the run, at a place."""
    return number.at(place) if isinstance(number, Ramp | Phases) else number


def bends(number: Number) -> tuple[int, ...]:
    """The places between which a number goes in a straight line, or stays."""
    if isinstance(number, Phases):
        return number.starts
    return (number.begin, number.begin + number.over) if isinstance(number, Ramp) else ()


def ends(number: Number) -> tuple[float, ...]:
    """The values between which all others lie."""
    if isinstance(number, Phases):
        return number.values
    return (number.start, number.end) if isinstance(number, Ramp) else (number,)


def numbers_in(value: Any, path: str = "") -> list[str]:
    """The numbers of a `Prepare` that could follow the run, by their paths in it ("rate", "damage.mean"): the fields
    that are declared as `float`, its own and those of the values that it holds. Ids and counts are none."""
    found: list[str] = []
    for field in dataclasses.fields(value):
        inner = getattr(value, field.name)
        if dataclasses.is_dataclass(inner):
            found += numbers_in(inner, f"{path}{field.name}.")
        elif field.type in FLOATS:
            found.append(f"{path}{field.name}")
    return found


def unfit(name: str, known: Iterable[str], where: str) -> ModeledgeError:
    """The error for what is no number that could follow the run, with those that are."""
    told = ", ".join(sorted(known))
    remedy = f"what can follow it here: {told}" if told else "leave it out: nothing of this objective can"
    what = f"{name!r} is no number that could follow the run"
    return ModeledgeError("E-CONFIG-KEY", what, where=where, remedy=remedy)


@dataclass(frozen=True)
class Scheduled:
    """A `Prepare` whose numbers follow the run: a mask rate, a chance, a mean length.

    `fields` names them with their schedules: its own, and by their path those of a value that it holds ("damage.rate").
    Raises `E-CONFIG-KEY` for what is none of `numbers_in`, `E-CONFIG-VALUE` for a value that `prepare` refuses.
    """

    prepare: Any
    fields: tuple[tuple[str, Number], ...]
    noisy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        known = numbers_in(self.prepare)
        for path, number in self.fields:
            if path not in known:
                raise unfit(path, known, "schedule")
            for value in ends(number):
                self._with({path: value})

    @property
    def channels(self) -> frozenset[str]:
        """What is read at any place of the run: sentences that are permuted from some step on are needed at once."""
        last = (None, *(place for _, number in self.fields for place in bends(number)))
        return frozenset[str]().union(*(self._at(place).channels for place in last))

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        return self._at(example.place)(example, noise)

    def _at(self, place: int | None) -> Prepare:
        return self._with({path: value_at(number, place) for path, number in self.fields})

    def _with(self, values: Mapping[str, float]) -> Prepare:
        now = self.prepare
        for path, value in values.items():
            now = _changed(now, path, value)
        return now  # type: ignore[no-any-return]


def _changed(whole: Any, path: str, value: float) -> Any:
    name, _, below = path.partition(".")
    return replace(whole, **{name: _changed(getattr(whole, name), below, value) if below else value})


@dataclass(frozen=True)
class Shortened:
    """A `Prepare` that reads its examples in parts of `length` positions, none of which sees another.

    Each part also reads `shared` tokens of the next one: 1 for next-token prediction, whose parts then learn each label
    of the whole example once, in rows as full as before. A `prepare` that adds up to `frame` tokens adds them to every
    part: an example must be so short that its row holds them. No part has less than `least` tokens of its own, where
    `length` without the frame is at least twice that, less one.
    """

    prepare: Prepare
    length: Number
    shared: int = 0
    frame: int = 0
    least: int = 1
    noisy: ClassVar[bool] = True

    @property
    def channels(self) -> frozenset[str]:
        return self.prepare.channels

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        length, count = round(value_at(self.length, example.place)) - self.frame, len(example.ids)
        if length < self.least:
            what = f"a length of {length + self.frame} holds {max(length, 0)} tokens"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="schedule.length")
        if length + self.shared >= count:
            return self.prepare(example, noise)
        if example.pair is not None:
            what = "an example of two texts is not cut into parts"
            raise ModeledgeError("E-CONFIG", what, where=f"example {example.index}")
        cuts = cut_examples(np.array([0, count - self.shared]), length, shortest=self.least)
        parts = [self._part(example, int(start), int(stop) + self.shared) for start, stop in cuts]
        return join(example.index, [self.prepare(part, noise.at("part", n)) for n, part in enumerate(parts)])

    def _part(self, example: Example, start: int, stop: int) -> Example:
        whole = len(example.ids)
        channels = {n: c[start:stop] if len(c) == whole else c for n, c in example.channels.items()}
        return replace(example, ids=example.ids[start:stop], channels=channels)
