"""Stay near where you started: L²-SP, a penalty on the distance from the pre-trained weights.

Weight decay pulls towards 0, which means nothing to a model that was trained before. What pre-training found is at w⁰,
so that is what a regulariser should pull towards (Li, Grandvalet and Davoine 2018, arXiv 1802.01483, equation 3):

    Ω(w) = α/2 · ‖w_S − w⁰_S‖² + β/2 · ‖w_S̄‖²

w_S are the weights that came with the body, w_S̄ those that were not there: heads, fresh layers. What an adapter puts
beside the body is neither: it is a change of the body with a start of its own (the factors of (IA)³ begin at 1), and
is left alone. Ω is added to the loss once a step, so it acts through Adam like any gradient, which decoupled weight
decay does not; set `train.weight_decay = 0` beside it, or the weights are pulled to two places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.adapt.checks import check_least
from modeledge.adapt.graft import all_grafts, leads_of
from modeledge.adapt.held import Held
from modeledge.adapt.parts import parts_of
from modeledge.adapt.strategy import Clock, Neutral
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.seed import Noise


@dataclass(frozen=True)
class StartPoint(Neutral):
    """α/2 ‖w − w⁰‖² on the body, β/2 ‖w‖² on what is new, nothing on adapters; everything moves.

    w⁰ is the body as it is when the strategy is attached: name it behind those that draw weights anew. The copy takes
    as many bytes as the body. A resumed run starts from the same model again, so w⁰ is not saved; its digest is, and
    another w⁰ is refused. The paper searches α in 0.001 … 1 and sets β = 0.01 for SGD.
    """

    alpha: float = 0.01
    beta: float = 0.01
    _start: Held[dict[str, Tensor]] = field(default_factory=Held, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_least("l2-sp.alpha", self.alpha, 0.0)
        check_least("l2-sp.beta", self.beta, 0.0)
        if not (self.alpha or self.beta):
            raise ModeledgeError("E-CONFIG", "alpha and beta are both 0", where="strategies.l2-sp", remedy="use full")

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Remember the body as it is."""
        body, adapters = set(parts_of(model).body), beside(model)
        held = ((n, p) for n, p in model.named_parameters() if n in body and p not in adapters)
        self._start[model] = {name: parameter.detach().clone() for name, parameter in held}

    def penalty(self, model: Backbone, clock: Clock) -> Tensor | None:
        """Ω over what moves now: what stands still has no gradient, and adds a constant that would only be shown."""
        start, adapters, terms = self._start.get(model, {}), beside(model), list[Tensor]()
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad or parameter in adapters:
                continue
            old = start.get(name)
            if old is None:
                terms.append(0.5 * self.beta * parameter.square().sum())
            else:
                terms.append(0.5 * self.alpha * (parameter - old.to(parameter.device)).square().sum())
        return torch.stack(terms).sum() if terms else None

    def state_dict(self) -> dict[str, Any]:
        """A digest of the start point."""
        start = self._start.last
        return {} if start is None else {"start": digest(start)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Make sure that this run started where the other one did (`E-RESUME`)."""
        if dict(state) != self.state_dict():
            what = "the weights that this run is pulled to are not those of the checkpoint"
            remedy = "resume with the recipe, and the model, of the run"
            raise ModeledgeError("E-RESUME", what, where="strategies.l2-sp", remedy=remedy)


def beside(model: Backbone) -> set[nn.Parameter]:
    """What adapters have put at the model's maps and before its examples."""
    held = (leads_of(model), *(grafts for _, grafts in all_grafts(model)))
    return {parameter for module in held for parameter in module.parameters()}


def digest(weights: Mapping[str, Tensor]) -> str:
    """32 hexadecimal digits that name these weights, bit for bit."""
    state = hashlib.sha256()
    for name, value in sorted(weights.items()):
        state.update(name.encode() + b"\0")
        state.update(value.cpu().contiguous().view(torch.uint8).numpy().tobytes())
    return state.hexdigest()[:32]
