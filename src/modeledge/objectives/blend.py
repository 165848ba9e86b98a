"""Several objectives on one body: all of them on each example, or one of them drawn for each.

**Together** (no `chances`): an example is prepared by every objective, and what they make of it stands side by side in
one row; L = Σᵢ wᵢ Lᵢ, as BERT adds its two terms. **In turn** (`chances`): an example draws one of them, as UniLM draws
its pattern and UL2 its denoiser; the draw is a function of (seed, epoch, index). A chance may be a schedule: objective
phases are chances that go from 1 to 0 (see `schedule.py`).

The body reads a batch once for all of them. Each term keeps its own name, "masked.lm", and is divided by its own
weight: it is a mean over what was learned under that name, however many examples drew it. So chances say how often, and
weights how much; with wᵢ = the chance of i the loss is what the blend costs in expectation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, ClassVar, cast

import numpy as np
from torch import Tensor, nn

from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone, Keep, Start, States
from modeledge.model.batch import Batch
from modeledge.model.cache import Cache
from modeledge.model.heads import Head
from modeledge.objectives.join import join, merged, renamed
from modeledge.objectives.objective import Loss, Objective, Prepare, Term
from modeledge.objectives.schedule import Number, bends, value_at
from modeledge.records import Example, FloatArray, Prepared
from modeledge.seed import Noise

PART = "part"  # the label that says which objective an example drew


@dataclass(frozen=True)
class BlendPrepare:
    """Each part prepares the example for itself; without `chances` all are kept, with them the one that is drawn.

    An example that one of them refuses is refused, whichever it draws: a run fails at its start, not at some epoch.
    """

    names: tuple[str, ...]
    parts: tuple[Prepare, ...]
    chances: tuple[Number, ...] = ()
    noisy: ClassVar[bool] = True

    @property
    def channels(self) -> frozenset[str]:
        return frozenset().union(*(part.channels for part in self.parts))

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        made = [part(example, noise.at("blend", name)) for name, part in zip(self.names, self.parts, strict=True)]
        if not self.chances:
            return join(example.index, [renamed(item, name) for name, item in zip(self.names, made, strict=True)])
        drawn = self.drawn(example.place, noise)
        items = [renamed(m, name, empty=n != drawn) for n, (name, m) in enumerate(zip(self.names, made, strict=True))]
        chosen = items.pop(drawn)
        return merged(replace(chosen, labels={**chosen.labels, PART: np.array([drawn])}), items)

    def drawn(self, place: int | None, noise: Noise) -> int:
        """Which part the example draws, given its noise and its place in the run."""
        reached = np.cumsum(self.chances_at(place))
        draw = noise.at("blend").generator().random() * reached[-1]
        return int(np.searchsorted(reached, draw, side="right"))

    def chances_at(self, place: int | None, where: str = "") -> FloatArray:
        """The chance of each part at a place of the run, `[parts]` (`E-CONFIG-VALUE` where they are none)."""
        chances: FloatArray = np.array([value_at(chance, place) for chance in self.chances])
        if not (np.isfinite(chances).all() and (chances >= 0).all() and chances.sum() > 0):
            what = f"the chances {chances.tolist()} at place {place} are none"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy="they are 0 or above, and one is above 0")
        return chances

    def check_course(self, where: str = "") -> None:
        """Refuse chances that are none anywhere in the run: lines that are nowhere below 0 where they bend, nor all 0
        there, are so in between."""
        for place in sorted({0, *(place for chance in self.chances for place in bends(chance))}):
            self.chances_at(place, where)


class Blend(Objective):
    """Σᵢ wᵢ Lᵢ over named objectives.

    `weights` are 1 where they are not said. `longest` is as in `Objective`: without `chances` no part of an example is
    as long as its row. A blend has one epoch for all: the masks of its noisy parts come again after the same number of
    epochs, or never. Raises `E-CONFIG` where they do not, or where two parts ask for different heads of one name,
    `E-CONFIG-KEY` for a weight or chance of no part.
    """

    def __init__(
        self,
        parts: Mapping[str, Objective],
        *,
        weights: Mapping[str, float] | None = None,
        chances: Mapping[str, Number] | None = None,
        longest: int | None = None,
    ) -> None:
        super().__init__()
        _check(parts, weights or {}, chances)
        self.parts = nn.ModuleDict(parts)
        self.shares = {name: float((weights or {}).get(name, 1.0)) for name in parts}
        self.chances: dict[str, Number] = {} if chances is None else {name: chances.get(name, 0.0) for name in parts}
        self.alternating = chances is not None
        self.prepare: Prepare
        self.gather()
        self.heads: dict[str, Head] = _heads(parts)
        self.couples = any(part.couples for part in parts.values())
        self.continues = frozenset().union(*(part.continues for part in parts.values()))
        self.longest, self.repeats = longest, _repeats(parts)

    def gather(self, chances: Mapping[str, Number] | None = None) -> None:
        """Prepare by what the parts prepare by now, drawn with other `chances` where some are given."""
        self.chances |= chances or {}
        parts = tuple(part.prepare for part in self.each().values())
        self.prepare = BlendPrepare(tuple(self.parts), parts, tuple(self.chances.values()))

    def each(self) -> dict[str, Objective]:
        """The objectives by name."""
        return {name: cast(Objective, part) for name, part in self.parts.items()}

    def draw(self, noise: Noise) -> None:
        for name, part in self.each().items():
            part.draw(noise.at("blend", name))

    def weights(self, batch: Batch) -> dict[str, Tensor]:
        out: dict[str, Tensor] = {}
        for number, (name, part) in enumerate(self.each().items()):
            counted = part.weights(self._view(batch, number, name))
            out |= {f"{name}.{term}": weight for term, weight in counted.items()}
        return out

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        once = cast(Backbone, _Once(model))
        terms: dict[str, Term] = {}
        logs: dict[str, tuple[Tensor, Tensor]] = {}
        for number, (name, part) in enumerate(self.each().items()):
            loss = part.loss(once, self._view(batch, number, name), noise.at("blend", name))
            share = self.shares[name]
            terms |= {f"{name}.{n}": replace(term, share=share * term.share) for n, term in loss.terms.items()}
            logs |= {f"{name}.{n}": log for n, log in loss.logs.items()}
        return Loss(terms, logs)

    def _view(self, batch: Batch, number: int, name: str) -> Batch:
        """The batch as one part knows it: its own names, and the examples that drew it."""
        fields: dict[str, Any] = {f: _own(getattr(batch, f), name) for f in ("reads", "labels", "weights")}
        if self.alternating:
            mine = batch.labels[PART] == number
            fields |= {"spans": batch.spans[mine], "indices": batch.indices[mine]}
        return replace(batch, **fields)


@dataclass
class _Once:
    """A model that reads the same sides once, however many objectives ask; all else is the model's own."""

    model: Backbone
    known: list[tuple[Batch, Keep, States]] = field(default_factory=list)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:
        return type(self.model)  # an objective may ask which kind of body it has: ELECTRA lends the body's tables

    def __call__(
        self,
        batch: Batch,
        cache: Cache | None = None,
        keep: Keep = Keep(),  # noqa: B008
        start: Start | None = None,
    ) -> States:
        if cache is not None or start is not None:
            return self.model(batch, cache, keep, start)  # type: ignore[no-any-return]
        for seen, kept, states in self.known:
            if seen.source is batch.source and seen.target is batch.target and kept == keep:
                return states
        states = self.model(batch, keep=keep)
        self.known.append((batch, keep, states))
        return states  # type: ignore[no-any-return]


def _own(values: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{name}."): value for n, value in values.items() if n.startswith(f"{name}.")}


def _heads(parts: Mapping[str, Objective]) -> dict[str, Head]:
    """The heads of all parts; those of one name are one head."""
    out: dict[str, tuple[str, Head]] = {}
    for name, part in parts.items():
        for head, spec in part.heads.items():
            first, known = out.setdefault(head, (name, spec))
            if known != spec:
                what = f"{first!r} and {name!r} ask for two different heads {head!r}"
                raise ModeledgeError("E-CONFIG", what, where="blend", remedy="give both the same head=")
    return {head: spec for head, (_, spec) in out.items()}


def _repeats(parts: Mapping[str, Objective]) -> int | None:
    """After how many epochs the noise of all parts comes again; parts without noise have no say."""
    told = {name: part.repeats for name, part in parts.items() if part.prepare.noisy}
    if len(set(told.values())) > 1:
        (one, first), (two, second) = next((a, b) for a, b in pairwise(told.items()) if a[1] != b[1])
        when = ["never" if n is None else f"after {n} epochs" for n in (first, second)]
        what = f"masks of {one!r} come again {when[0]}, those of {two!r} {when[1]}"
        raise ModeledgeError("E-CONFIG", what, where="blend", remedy="give all noisy parts the same number of masks")
    return next(iter(told.values()), None)


def _check(parts: Mapping[str, Objective], weights: Mapping[str, float], chances: Mapping[str, Number] | None) -> None:
    if not parts:
        raise ModeledgeError("E-CONFIG", "a blend has at least one objective", where="blend")
    for name in parts:
        if not name or "." in name or name == PART:
            raise ModeledgeError("E-CONFIG-VALUE", f"{name!r} cannot name a part", remedy="use a word without a dot")
    for name in (*weights, *(chances or {})):
        if name not in parts:
            raise ModeledgeError("E-CONFIG-KEY", f"there is no part {name!r}", remedy=nearest(name, parts))
    wrong = {name: weight for name, weight in weights.items() if not 0 <= weight < float("inf")}
    if wrong:
        raise ModeledgeError("E-CONFIG-VALUE", f"weights {wrong} are not numbers from 0")
