"""VeRA: LoRA whose two matrices are random, frozen and the same for all maps (Kopiczko et al. 2024, arXiv 2310.11454).

    y = W x + b + Λ_b B Λ_d A x

A and B are drawn once from a seed and shared by all sites; each site trains two vectors, d `[rank]` and b `[outputs]`.
b begins at 0. An adapter is the seed and these vectors, outputs + rank numbers a site. Sites of different sizes use the
first rows and columns of one pair that is as large as the largest (as PEFT does; the paper has one size). Queries, keys
and values that are one map in the checkpoint (GPT-2) are one map here too: they share its one d, and b is cut at their
rows, so that what is trained is VeRA on that map and files hold it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from modeledge.adapt.checks import check_count, check_rate
from modeledge.adapt.graft import Added, added_by
from modeledge.adapt.linear import LinearMethod
from modeledge.adapt.lora import check_dropout
from modeledge.model.backbone import Backbone
from modeledge.model.draw import Draw, dropped
from modeledge.model.sites import Site
from modeledge.seed import Noise


class Shared(Added):
    """`vera_lambda_d [rank]` and `vera_lambda_b [outputs]` beside one site; A and B are buffers that all sites share,
    and that no checkpoint holds, because the seed gives them again. `beside` is what stands at an earlier site of the
    same map, and holds the d of both."""

    additive = True
    vera_A: Tensor
    vera_B: Tensor

    def __init__(self, site: Site, rank: int, first: float, dropout: float, beside: Shared | None = None) -> None:
        super().__init__()
        self._beside = () if beside is None else (beside,)  # a tuple: no module of this one, so its d has one name
        if beside is None:
            self.vera_lambda_d = nn.Parameter(torch.full((rank,), float(first)))
        self.vera_lambda_b = nn.Parameter(torch.zeros(site.weight.shape[0]))
        self.dropout = dropout

    @property
    def d(self) -> Tensor:
        """The vector d `[rank]` of the map."""
        return self._beside[0].d if self._beside else self.vera_lambda_d

    def share(self, first: Tensor, second: Tensor, site: Site) -> None:
        """Use the part of A `[rank, most inputs]` and B `[most outputs, rank]` that belongs to a site of this size: of
        B the rows that the site has in the checkpoint's map, so that files can hold it."""
        rows = site.hf_rows
        run = slice(int(rows[0]), int(rows[0]) + len(rows))
        whole = torch.equal(rows, torch.arange(run.start, run.stop))
        self.register_buffer("vera_A", first[:, : site.weight.shape[1]], persistent=False)
        self.register_buffer("vera_B", second[run] if whole else second[rows.to(second.device)], persistent=False)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        read = x
        if self.training and self.dropout:
            read = dropped(x, Draw.current(True).mask(x, self.dropout, f"graft:{self.site.name}"))
        inner = nn.functional.linear(read, self.vera_A.to(x.dtype)) * self.d.to(x.dtype)
        second = self.vera_B * self.vera_lambda_b[:, None]
        return torch.addmm(y.flatten(0, -2), inner.flatten(0, -2), second.to(x.dtype).T).view(y.shape)

    def folded(self, weight: Tensor) -> Tensor:
        delta = (self.vera_lambda_b[:, None] * self.vera_B) @ (self.d[:, None] * self.vera_A)
        return weight + delta.to(weight.dtype)


@dataclass(frozen=True, kw_only=True)
class Vera(LinearMethod):
    """VeRA on the sites' maps; d begins at `first`. A and B are a function of the run's seed."""

    rank: int = 256
    first: float = 0.1
    dropout: float = 0.0
    kind: ClassVar[str] = "vera"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_count("vera.rank", self.rank, 1)
        check_rate("vera.first", self.first)
        check_dropout(self.kind, self.dropout)

    def build(self, sites: Sequence[Site]) -> list[Added]:
        heads: dict[str, Shared] = {}
        made: list[Added] = []
        for site in sites:
            one = Shared(site, self.rank, self.first, self.dropout, heads.get(site.hf_name))
            heads.setdefault(site.hf_name, one)
            made.append(one)
        return made

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Add the vectors to every site, and draw the one pair of matrices that they share."""
        super().attach(model, noise)
        self.project(model, noise)

    def project(self, model: Backbone, noise: Noise) -> None:
        """Draw A and B, uniform by Kaiming's rule for a ReLU as the authors do, on the device of the model."""
        found = [added for added in added_by(model, self.name) if isinstance(added, Shared)]
        outputs = max(one.site.hf_height for one in found)
        inputs = max(one.site.weight.shape[1] for one in found)
        pair = []
        for name, shape in (("vera_A", (self.rank, inputs)), ("vera_B", (outputs, self.rank))):
            generator = torch.Generator().manual_seed(noise.at("init", self.name, name).integer() >> 1)
            bound = math.sqrt(6 / shape[1])
            pair.append(torch.empty(shape).uniform_(-bound, bound, generator=generator).to(model.device))
        for one in found:
            one.share(pair[0], pair[1], one.site)
