"""How many tokens of each source, and how often each is read: the plan of a mixture.

A mixture is said by weights (shares of what is read), by a temperature (shares ∝ size^(1/T): 1 is in proportion, ∞ is
equal; Arivazhagan et al. 2019, arXiv 1907.05019, for languages; Raffel et al. 2020, section 3.5.2, for tasks) or by
tokens. What follows from it is how many *epochs* each source is read, tokens × share / size: GPT-3 (Brown et al. 2020,
table 2.2) read Wikipedia three times and of Common Crawl less than half. More than about four epochs teach little
(Muennighoff et al. 2023, arXiv 2305.16264), so epochs can be limited; what a source cannot give then, the others do.

Training may have phases: a main mixture, then an *anneal* on the best sources while the rate falls (Blakeney et al.
2024, arXiv 2406.03476; Grattafiori et al. 2024, arXiv 2407.21783, section 3.1.3). Epochs add up over phases.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from modeledge.errors import ModeledgeError, nearest

Tokens = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training, `part` of its tokens, and how its sources are mixed.

    `weights` are shares up to a common factor (a source that they leave out is not read); without them shares are by
    size and `temperature`. `budgets` are tokens for some sources of this phase, taken before the others share the rest.
    """

    part: float = 1.0
    weights: Mapping[str, float] | None = None
    temperature: float = 1.0
    budgets: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Share:
    """What a plan says of one source: its size and what is read of it, in tokens, and the epochs that this makes."""

    name: str
    size: float
    tokens: float

    @property
    def epochs(self) -> float:
        """How often the source is read."""
        return self.tokens / self.size


@dataclass(frozen=True)
class Plan:
    """A mixture worked out: all sources over all phases, the shares of each phase, and what should be said of it."""

    sources: tuple[Share, ...]
    phases: tuple[tuple[float, Tokens], ...]
    notes: tuple[str, ...]

    @property
    def tokens(self) -> float:
        """What is read in all."""
        return math.fsum(source.tokens for source in self.sources)

    def shares(self, phase: int = 0) -> tuple[float, ...]:
        """The share of each source in a phase, in the order of `sources`."""
        total, tokens = self.phases[phase]
        return tuple(tokens[source.name] / total for source in self.sources)

    def table(self) -> str:
        """The plan as GPT-3's table has it: quantity, weight in the mix, epochs."""
        rows = [("source", "tokens", "weight", "read", "epochs")]
        for s in self.sources:
            weight = f"{100 * s.tokens / self.tokens:.1f} %"
            rows.append((s.name, _short(s.size), weight, _short(s.tokens), f"{s.epochs:.2f}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(r, widths, strict=True))
            )
            for r in rows
        ]
        return "\n".join([*lines, *(f"note: {note}" for note in self.notes)])


def plan_mixture(
    sizes: Tokens,
    tokens: float,
    phases: Sequence[Phase] = (Phase(),),
    *,
    limit: float | None = None,
    normalise: bool = True,
) -> Plan:
    """What is read of sources of these sizes when `tokens` are read in all; at most `limit` epochs of each.

    Weights are normalised to a sum of 1. With `normalise=False` a printed table is followed to the letter: a weight is
    a share of `tokens`, and a note says what the weights add up to. Raises `E-CONFIG-VALUE` for a number that cannot
    be, `E-CONFIG-KEY` for an unknown source, `E-CONFIG` where the sources cannot give the tokens within the limit.
    """
    _check(sizes, tokens, phases, limit)
    used, planned, notes = dict.fromkeys(sizes, 0.0), [], []
    whole = math.fsum(phase.part for phase in phases)
    for number, phase in enumerate(phases, 1):
        total = tokens * phase.part / whole
        said = f"phase {number}: " if len(phases) > 1 else ""
        asked, rest, short = _asked(sizes, total, phase, normalise)
        if short:
            notes.append(said + short)
        room = {name: math.inf if limit is None else limit * size - used[name] for name, size in sizes.items()}
        given = _within(asked, rest, room, limit)
        notes += [
            f"{said}{name} is limited to {limit:g} epochs; the others give what it cannot"
            for name in sizes
            if given[name] < asked[name] * (1 - 1e-9)
        ]
        used = {name: used[name] + given[name] for name in sizes}
        planned.append((math.fsum(given.values()), given))
    return Plan(tuple(Share(n, float(s), used[n]) for n, s in sizes.items()), tuple(planned), tuple(notes))


def _asked(
    sizes: Tokens, total: float, phase: Phase, normalise: bool
) -> tuple[dict[str, float], dict[str, float], str]:
    """What a phase asks of each source before any limit, the weights by which a rest is shared, and a note."""
    budgets = dict(phase.budgets or {})
    if phase.weights is not None:
        weights = {name: float(phase.weights.get(name, 0.0)) for name in sizes}
    else:
        most = max(sizes.values())
        weights = {name: (size / most) ** (1 / phase.temperature) for name, size in sizes.items()}
    weights = {name: 0.0 if name in budgets else weight for name, weight in weights.items()}
    left, whole = total - math.fsum(budgets.values()), math.fsum(weights.values())
    if left < -1e-9 * total or (left > 1e-9 * total and not whole):
        what = f"the budgets add up to {_short(total - left)} tokens, and {_short(total)} are to be read"
        raise ModeledgeError("E-CONFIG", what, remedy="change the budgets or the tokens, or give a source a weight")
    note = ""
    if not normalise and not math.isclose(whole, 1):
        note = f"the weights add up to {100 * whole:g} %, so {_short(left * whole)} tokens are read, not {_short(left)}"
    scale = left if not normalise else left / whole if whole else 0.0
    return {name: budgets.get(name, weights[name] * scale) for name in sizes}, weights, note


def _within(asked: Tokens, weights: Tokens, room: Tokens, limit: float | None) -> dict[str, float]:
    """What each source gives: as asked where there is room; a rest is shared by weight among those that have more."""
    total, given = math.fsum(asked.values()), {name: min(asked[name], room[name]) for name in asked}
    while (rest := total - math.fsum(given.values())) > 1e-9 * total:
        free = {n: weights[n] for n in asked if weights[n] > 0 and given[n] < room[n] * (1 - 1e-12)}
        if not free:
            what = f"the sources give {_short(total - rest)} of {_short(total)} tokens within {limit:g} epochs"
            raise ModeledgeError("E-CONFIG", what, remedy="read fewer tokens, raise the limit, or add a source")
        whole = math.fsum(free.values())
        for name, weight in free.items():
            given[name] = min(room[name], given[name] + rest * weight / whole)
    return given


def _check(sizes: Tokens, tokens: float, phases: Sequence[Phase], limit: float | None) -> None:
    numbers = {"tokens": tokens, **{f"the size of {name}": size for name, size in sizes.items()}}
    numbers |= {} if limit is None else {"limit": limit}
    for number, phase in enumerate(phases, 1):
        numbers |= {f"part of phase {number}": phase.part, f"temperature of phase {number}": phase.temperature}
        for kind, table in (("weight", phase.weights), ("budget", phase.budgets)):
            for name, value in (table or {}).items():
                if name not in sizes:
                    what = f"a {kind} is given for {name!r}, which is no source"
                    raise ModeledgeError("E-CONFIG-KEY", what, remedy=nearest(name, sizes))
                if not 0 <= value < math.inf:
                    raise ModeledgeError("E-CONFIG-VALUE", f"the {kind} of {name} is {value:g}; it is at least 0")
    for name, value in numbers.items():
        if not value > 0 or (value == math.inf and not name.startswith("temperature")):
            raise ModeledgeError("E-CONFIG-VALUE", f"{name} is {value:g}; it is above 0")
    if not sizes or not phases:
        raise ModeledgeError("E-CONFIG-VALUE", "a mixture has at least one source and one phase")


def _short(tokens: float) -> str:
    """A number of tokens with three digits: `410 B`.

    >>> [_short(n) for n in (300e9, 1.5e6, 12)]
    ['300 B', '1.5 M', '12']
    """
    for unit, name in ((1e12, " T"), (1e9, " B"), (1e6, " M"), (1e3, " k")):
        if tokens >= unit * 0.9995:
            return f"{tokens / unit:.3g}{name}"
    return f"{tokens:.3g}"
