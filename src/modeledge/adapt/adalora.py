"""AdaLoRA: let training decide which maps need rank (Zhang et al. 2023, arXiv 2303.10512).

The change of a weight is kept in the form of a singular value decomposition, ΔW = P Λ Q with `lora_B` = P
`[outputs, rank]`, `lora_E` = Λ `[rank, 1]` and `lora_A` = Q `[rank, inputs]`; P and Q are held near orthogonality by a
penalty ‖PᵀP − I‖ + ‖QQᵀ − I‖ (equation 4), so that Λ can be cut value by value. A triplet (column of P, value, row of
Q) is as important as its numbers' smoothed sensitivities |w · gradient| times their smoothed uncertainties (equations 8
to 11). All sites begin with `rank` triplets and share one budget, which shrinks by a cubic law (equation 12)

    b(t) = target + (start − target) · (1 − (t − tinit) / (steps − tfinal − tinit))³

and every `delta_t` steps the least important values beyond it are set to zero. They may come back until the last
`tfinal` steps, in which the choice stands. Sensitivities and choice are buffers of the model: a checkpoint has them.

Where another strategy lets weights wait (a head first, layers one after the other), nothing is known of a site until it
moves. It takes no part in the choice till then: the budget is that of the sites that have moved. One that moves for the
first time in the last `tfinal` steps is cut to the target by that step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from modeledge.adapt.checks import check_count, check_rate
from modeledge.adapt.graft import Added, added_by, draw_normal
from modeledge.adapt.linear import LinearMethod
from modeledge.adapt.lora import LowRank, check_dropout, check_rank
from modeledge.adapt.strategy import Clock
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.sites import Site
from modeledge.seed import Noise


class Triplets(LowRank):
    """scale · P Λ Q beside one site, what its numbers were worth so far, and which values are kept."""

    kept: Tensor

    def __init__(self, site: Site, rank: int, alpha: float, *, dropout: float = 0.0) -> None:
        super().__init__(site, rank, alpha / (rank + 1e-5), dropout=dropout)  # as the authors' code guards rank 0
        self.lora_E = nn.Parameter(torch.zeros(rank, 1))
        self.register_buffer("kept", torch.ones(rank, dtype=torch.bool))
        for name, parameter in self.named_parameters():
            self.register_buffer(f"{name}_importance", torch.zeros_like(parameter))
            self.register_buffer(f"{name}_uncertainty", torch.zeros_like(parameter))

    def start(self, noise: Noise) -> None:
        """P and Q are normal with deviation 0.02, all values 0."""
        for name in ("lora_A", "lora_B"):
            draw_normal(getattr(self, name), 0.02, noise.at(name))
        self.lora_E.zero_()

    @property
    def first(self) -> Tensor:
        return self.lora_A * self.lora_E

    @property
    def seen(self) -> bool:
        """Has it moved yet? Until then its importances are zeros that nobody has measured."""
        return bool(self.get_buffer("lora_E_uncertainty").any())

    @torch.no_grad()
    def observe(self, beta1: float, beta2: float) -> None:
        """Smooth each number's |w · gradient|, and how far it is from that (equations 9 and 10)."""
        for name, parameter in self.named_parameters():
            if parameter.grad is not None:
                now = (parameter * parameter.grad).abs()
                importance, uncertainty = self.get_buffer(f"{name}_importance"), self.get_buffer(f"{name}_uncertainty")
                importance.mul_(beta1).add_((1 - beta1) * now)
                uncertainty.mul_(beta2).add_((1 - beta2) * (now - importance).abs())

    def worth(self) -> Tensor:
        """Each triplet's importance `[rank]`: its value's, and the means of its row's and its column's (equation 8)."""
        a, b, e = (
            self.get_buffer(f"lora_{x}_importance") * self.get_buffer(f"lora_{x}_uncertainty") for x in ("A", "B", "E")
        )
        return e.view(-1) + (a.mean(1) + b.mean(0))

    @torch.no_grad()
    def cut(self) -> None:
        """Set the values that are not kept to zero."""
        self.lora_E.masked_fill_(~self.kept[:, None], 0.0)


@dataclass(frozen=True, kw_only=True)
class AdaLora(LinearMethod):
    """AdaLoRA on the sites' maps: from `rank` values each to `target` on average.

    The budget stays for `tinit` steps, shrinks, and stands for the last `tfinal`; values are cut every `delta_t` steps.
    `beta1` and `beta2` smooth sensitivity and uncertainty, `orthogonal` weighs the penalty.
    """

    rank: int = 12
    target: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    tinit: int = 0
    tfinal: int = 1
    delta_t: int = 1
    beta1: float = 0.85
    beta2: float = 0.85
    orthogonal: float = 0.5
    kind: ClassVar[str] = "adalora"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("rank", 1), ("target", 1), ("tinit", 0), ("tfinal", 1), ("delta_t", 1)):
            check_count(f"adalora.{name}", getattr(self, name), least)
        for name in ("alpha", "orthogonal"):
            check_rate(f"adalora.{name}", getattr(self, name))
        for name in ("beta1", "beta2"):
            check_rate(f"adalora.{name}", getattr(self, name), 1.0)
        check_dropout(self.kind, self.dropout)
        if self.target > self.rank:
            what = f"target = {self.target} is above rank = {self.rank}: the budget can only shrink"
            raise ModeledgeError("E-CONFIG", what, where="strategies.adalora.target", remedy="lower it, or raise rank")

    def build(self, sites: Sequence[Site]) -> list[Added]:
        for site in sites:
            check_rank(site, self.rank, self.where("rank"))
        return [Triplets(site, self.rank, self.alpha, dropout=self.dropout) for site in sites]

    def penalty(self, model: Backbone, clock: Clock) -> Tensor | None:
        """`orthogonal` times the mean of ‖M Mᵀ − I‖ over all Q and Pᵀ; steps that the schedule does not fit into are
        `E-CONFIG`."""
        self.check_steps(clock.steps)
        shapes: dict[torch.Size, list[Tensor]] = {}
        for one in self.triplets(model):
            for matrix in (one.lora_A, one.lora_B.T):
                shapes.setdefault(matrix.shape, []).append(matrix)
        if not shapes:
            return None
        norms = []
        for matrices in shapes.values():  # those of one shape in one product
            stack = torch.stack(matrices)
            norms.append(torch.linalg.matrix_norm(stack @ stack.mT - torch.eye(stack.shape[1]).to(stack)))
        return self.orthogonal * torch.cat(norms).mean()

    def after_step(self, model: Backbone, clock: Clock) -> None:
        """Observe the gradients, and cut where the schedule says so: among the sites that have moved."""
        self.check_steps(clock.steps)
        found, end = list(self.triplets(model)), clock.steps - self.tfinal
        late = [one for one in found if not one.seen]
        for one in found if clock.step < end else late:
            one.observe(self.beta1, self.beta2)
        due = clock.step >= end or (clock.step > self.tinit and clock.step % self.delta_t == 0)
        weighed = [one for one in (found if clock.step <= end else late) if one.seen]
        if due and weighed:
            choose(weighed, self.budget(clock, len(weighed)))
        if due:
            for one in found:
                one.cut()

    def budget(self, clock: Clock, sites: int) -> int:
        """How many values all sites may have together after this step."""
        start, target = self.rank * sites, self.target * sites
        left = 1 - (clock.step - self.tinit) / (clock.steps - self.tfinal - self.tinit)
        return int((start - target) * min(max(left, 0.0), 1.0) ** 3 + target)

    def check_steps(self, steps: int) -> None:
        """A schedule that the run is too short for would never reach its budget: `E-CONFIG`."""
        if self.tinit + self.tfinal >= steps:
            what = f"tinit = {self.tinit} and tfinal = {self.tfinal} leave none of {steps} steps for the budget"
            raise ModeledgeError("E-CONFIG", what, where="strategies.adalora", remedy="lower them, or train longer")

    def triplets(self, model: Backbone) -> Iterator[Triplets]:
        """What this adapter has at each site."""
        for added in added_by(model, self.name):
            assert isinstance(added, Triplets)
            yield added


def choose(found: Sequence[Triplets], budget: int) -> None:
    """Keep the `budget` most important triplets of all sites; those equal to the best that is cut are cut with it."""
    worth = torch.cat([one.worth() for one in found])
    cut = len(worth) - budget
    limit = torch.kthvalue(worth, cut).values if cut > 0 else worth.new_tensor(-torch.inf)
    for one in found:
        one.kept.copy_(one.worth() > limit)
