"""Let more of the model move as training goes on: first the head, then what lies below it.

A fresh head sends large, senseless gradients down, and features that pre-training made are distorted before the head
has learned anything: fine-tuning can then end below a linear probe on data that are unlike the training data (Kumar et
al. 2022, arXiv 2202.10054, theorem 3.2). Both schedules here let the head come first. LP-FT lets all the rest follow at
once; gradual unfreezing lets one group of layers follow after the other, from the top, because upper layers hold what
is most particular to the pre-training task (Yosinski et al. 2014) and may move most.

What moves at a step is a function of the clock, but for a plateau, which is remembered and saved with the run. A
parameter that begins late has its own count of Adam's steps, so that its bias correction is right (`train/optim.py`),
and what lies below everything that moves is run once and its states are kept (`features.py`), so the early part of such
a schedule is cheap.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from modeledge.adapt.checks import check_choice, check_count, check_rate
from modeledge.adapt.held import Held
from modeledge.adapt.parts import parts_of
from modeledge.adapt.strategy import Clock, Group, Neutral, all_but
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.seed import Noise


@dataclass(frozen=True)
class HeadFirst(Neutral):
    """LP-FT: a linear probe first, then everything (Kumar et al. 2022, section 4).

    The heads move alone for `share` of the run, or for so many `epochs` or `steps`; then all moves. To let the schedule
    of rates begin anew at the switch, as two runs would, say so: `train.restarts = [0.3]` for a share of 0.3.
    """

    share: float | None = None
    epochs: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        given = [name for name in ("share", "epochs", "steps") if getattr(self, name) is not None]
        if len(given) > 1:
            what = f"{' and '.join(given)} each say when the rest follows"
            raise ModeledgeError("E-CONFIG", what, where="strategies.lp-ft", remedy="give one of them")
        if self.share is not None:
            check_rate("lp-ft.share", self.share, 1.0)
        if self.epochs is not None:
            check_rate("lp-ft.epochs", self.epochs)
        if self.steps is not None:
            check_count("lp-ft.steps", self.steps, 1)

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Refuse a model without a head to begin with (`E-SITE`)."""
        if not any(part.names for part in parts_of(model).heads.values()):
            raise ModeledgeError("E-SITE", "there is no head that could move first", where="strategies.lp-ft")

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """The heads, and from the switch on everything."""
        return all_but(model, parts_of(model).body if self.probing(clock) else ())

    def probing(self, clock: Clock) -> bool:
        """Is it still the heads' turn?"""
        if self.steps is not None:
            return clock.step < self.steps
        if self.epochs is not None:
            return counted(clock, "lp-ft.epochs") < self.epochs
        return clock.step < (DEFAULT if self.share is None else self.share) * clock.steps


DEFAULT = 0.3  # of the run: a probe is found in few epochs, the rest is for what the paper calls FT


@dataclass
class Progress:
    """What a plateau must remember: groups that were unfrozen, verdicts seen, verdicts without a better one since."""

    opened: int = 0
    judged: int = 0
    idle: int = 0


@dataclass(frozen=True)
class Unfreeze(Neutral):
    """Gradual unfreezing (Howard and Ruder 2018, arXiv 1801.06146, section 3.3): the heads and the last norm move from
    the beginning, then one `group` of layers more, from the top, every `every` epochs, and last the embeddings.

    `per` says what `every` counts: "epochs", "steps" (updates), or "plateau": verdicts of the judge in a row without
    a better one. `start` groups move from the beginning. `layers` is how many are unfrozen in all; with it the
    layers below and the embeddings never move.
    """

    every: float = 1.0
    per: Literal["epochs", "steps", "plateau"] = "epochs"
    layers: int | None = None
    group: int = 1
    start: int = 0
    _progress: Held[Progress] = field(default_factory=Held, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_rate("unfreeze.every", self.every)
        check_choice("unfreeze.per", self.per, ("epochs", "steps", "plateau"))
        if self.per != "epochs" and self.every != int(self.every):
            what = f"{self.every:g} is not a whole number of {'steps' if self.per == 'steps' else 'verdicts'}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="strategies.unfreeze.every")
        check_count("unfreeze.group", self.group, 1)
        check_count("unfreeze.start", self.start, 0)
        if self.layers is not None:
            check_count("unfreeze.layers", self.layers, 1)

    @property
    def needs_judge(self) -> bool:
        """A plateau is the judge's to find."""
        return self.per == "plateau"

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Refuse more layers than the model has (`E-SITE`)."""
        here = len(parts_of(model).blocks)
        if self.layers is not None and self.layers > here:
            what = f"{self.layers} layers are to be unfrozen, but the model has {here}"
            raise ModeledgeError("E-SITE", what, where="strategies.unfreeze.layers", remedy=f"give at most {here}")
        if self.start > self.groups(model):
            what = f"{self.start} groups are to move from the beginning, but there are {self.groups(model)}"
            where, remedy = "strategies.unfreeze.start", f"give at most {self.groups(model)}"
            raise ModeledgeError("E-SITE", what, where=where, remedy=remedy)
        self._progress[model] = Progress()

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """What has been unfrozen by now, with what lies above it, at the base rate."""
        parts, opened = parts_of(model), self.opened(model, clock)
        layers = min(opened * self.group, self.most(model))
        still = [name for block in parts.blocks[: len(parts.blocks) - layers] for name in block.names]
        whole = self.layers is None and opened == self.groups(model)
        return all_but(model, still if whole else (*parts.embeddings.names, *still))

    def most(self, model: Backbone) -> int:
        """How many layers are unfrozen in the end."""
        return len(parts_of(model).blocks) if self.layers is None else self.layers

    def groups(self, model: Backbone) -> int:
        """How many groups there are to be unfrozen; the embeddings are the last, where they are one."""
        return math.ceil(self.most(model) / self.group) + (self.layers is None)

    def opened(self, model: Backbone, clock: Clock) -> int:
        """How many groups are unfrozen at this moment."""
        if self.per == "plateau":
            return min(self.start + self._plateaus(model, clock), self.groups(model))
        gone = clock.step if self.per == "steps" else counted(clock, "unfreeze.per")
        return min(self.start + math.floor(gone / self.every), self.groups(model))

    def _plateaus(self, model: Backbone, clock: Clock) -> int:
        """How often a plateau was reached; looking twice at one verdict counts it once."""
        progress = self._progress.get(model, Progress())
        if clock.judged > progress.judged:
            progress.judged = clock.judged
            progress.idle = 0 if clock.waited == 0 else progress.idle + 1
            if progress.idle >= self.every:
                progress.opened, progress.idle = progress.opened + 1, 0
        return progress.opened

    def state_dict(self) -> dict[str, Any]:
        """What a plateau remembers."""
        found = self._progress.last
        return {} if found is None or self.per != "plateau" else dict(vars(found))

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on with the groups that were unfrozen; a state of another kind is `E-RESUME`."""
        progress = self._progress.last
        if progress is None or self.per != "plateau":
            super().load_state_dict(state)
            return
        fits = state.keys() == vars(progress).keys() and all(type(n) is int and n >= 0 for n in state.values())
        if not fits:
            what = f"the state of a plateau has {sorted(vars(progress))}, not {dict(state)}"
            raise ModeledgeError("E-RESUME", what, where="strategies.unfreeze")
        vars(progress).update(state)


def counted(clock: Clock, where: str) -> float:
    """Epochs gone; where the data do not say how long an epoch is, this is `E-CONFIG`."""
    if math.isnan(clock.epoch):
        what = "the data do not say how long an epoch is"
        raise ModeledgeError("E-CONFIG", what, where=f"strategies.{where}", remedy="count steps")
    return clock.epoch
