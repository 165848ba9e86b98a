"""Keep a part of the pre-trained weights as they are.

Lower layers hold what most tasks share, upper layers what the pre-training task wanted (Yosinski et al. 2014, arXiv
1411.1792), so with few labels it can pay to move only what lies above. Frozen weights also cost nothing backwards, and
where everything below some layer is frozen its states can be computed once (`features.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modeledge.adapt.checks import check_choice, check_count
from modeledge.adapt.parts import parts_of
from modeledge.adapt.strategy import Clock, Group, Neutral, all_but
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.seed import Noise


@dataclass(frozen=True)
class Probe(Neutral):
    """Move the heads alone over a frozen body: the linear probe (Alain and Bengio 2016, arXiv 1610.01644).

    A head that is tied to the embeddings and has no weights of its own has nothing to move.
    """

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """All heads at the base rate."""
        return all_but(model, parts_of(model).body)


@dataclass(frozen=True)
class Freeze(Neutral):
    """Freeze the lower part of the body: the `first` layers, or all layers but the last `all_but`.

    The embeddings (tokens, types, positions and their norm) stay with them, unless `embeddings` is False; `Freeze()`
    freezes them alone. The last norm and the heads move. Layers are counted in the model as it is trained, with those
    that another strategy has added. A language-modelling head that is tied to the embeddings is frozen with them.
    """

    first: int = 0
    all_but: int | None = None
    embeddings: bool = True

    def __post_init__(self) -> None:
        check_count("freeze.first", self.first, 0)
        check_choice("freeze.embeddings", self.embeddings, (True, False))
        if self.all_but is not None:
            check_count("freeze.all_but", self.all_but, 0)
        if self.all_but is not None and self.first:
            what = f"first = {self.first} and all_but = {self.all_but} both say which layers are frozen"
            raise ModeledgeError("E-CONFIG", what, where="strategies.freeze", remedy="give one of them")
        if not (self.first or self.all_but is not None or self.embeddings):
            raise ModeledgeError("E-CONFIG", "freeze freezes nothing", where="strategies.freeze", remedy="use full")

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Refuse a number of layers that the model does not have (`E-SITE`)."""
        self.frozen_layers(model)

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """What lies above the frozen part, at the base rate."""
        parts = parts_of(model)
        still = list(parts.embeddings.names) if self.embeddings else []
        for block in parts.blocks[: self.frozen_layers(model)]:
            still += block.names
        return all_but(model, still)

    def frozen_layers(self, model: Backbone) -> int:
        """How many layers are frozen, from the bottom; more than the model has is `E-SITE`."""
        layers = len(parts_of(model).blocks)
        field, asked = ("first", self.first) if self.all_but is None else ("all_but", self.all_but)
        if asked > layers:
            where = f"strategies.freeze.{field}"
            what = f"{asked} layers are named, but the model has {layers}"
            raise ModeledgeError("E-SITE", what, where=where, remedy=f"give at most {layers}")
        return asked if self.all_but is None else layers - asked
