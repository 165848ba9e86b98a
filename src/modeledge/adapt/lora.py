"""LoRA: what a task changes in a weight is a matrix of low rank (Hu et al. 2022, arXiv 2106.09685).

Beside a frozen W `[outputs, inputs]` two thin matrices are trained, A `[rank, inputs]` and B `[outputs, rank]`:

    y = W x + b + (alpha / rank) · B (A x)

B begins at 0, so the first step starts from the model as it was. Trained are rank · (inputs + outputs) numbers a map,
Adam keeps states for these alone, and no gradient of W is ever made. With a constant alpha / rank the best rate hardly
depends on the rank up to about 64; for larger ones the sum B A x grows like √rank, and alpha / √rank keeps it in size
(rsLoRA: Kalajdzievski 2023, arXiv 2312.03732). W + (alpha / rank) · B A is a plain weight again: merging is free.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from modeledge.adapt.beside import Thin
from modeledge.adapt.checks import check_choice, check_count, check_mapping, check_rate
from modeledge.adapt.graft import Added, draw_normal, draw_uniform
from modeledge.adapt.linear import LinearMethod
from modeledge.adapt.targets import valued
from modeledge.errors import ModeledgeError
from modeledge.model.draw import Draw, dropped
from modeledge.model.sites import Site
from modeledge.seed import Noise


class LowRank(Added):
    """scale · B A x beside one site. `lora_A [rank, inputs]`, `lora_B [outputs, rank]`, as PEFT names them."""

    additive = True

    def __init__(self, site: Site, rank: int, scale: float, *, dropout: float = 0.0, gaussian: bool = False) -> None:
        super().__init__()
        outputs, inputs = site.weight.shape
        self.lora_A = nn.Parameter(torch.zeros(rank, inputs))
        self.lora_B = nn.Parameter(torch.zeros(outputs, rank))
        self.rank, self.scale, self.dropout, self.gaussian = rank, scale, dropout, gaussian

    def start(self, noise: Noise) -> None:
        """A as the authors draw it (Kaiming, √5: uniform within 1/√inputs), or normal with deviation 1/rank; B = 0."""
        if self.gaussian:
            draw_normal(self.lora_A, 1 / self.rank, noise.at("lora_A"))
        else:
            draw_uniform(self.lora_A, noise.at("lora_A"))
        self.lora_B.zero_()

    @property
    def first(self) -> Tensor:
        """What x is multiplied by first, `[rank, inputs]`."""
        return self.lora_A

    def read(self, x: Tensor) -> Tensor:
        """What A reads: x, in training with its own dropout."""
        if not (self.training and self.dropout):
            return x
        return dropped(x, Draw.current(True).mask(x, self.dropout, f"graft:{self.site.name}"))

    def thin(self) -> Thin | None:
        """All of it, unless x is read through dropout now."""
        return None if self.training and self.dropout else Thin(self.first, self.lora_B, self.scale)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        inner = nn.functional.linear(self.read(x), self.first.to(x.dtype)).flatten(0, -2)
        total = torch.addmm(y.flatten(0, -2), inner, self.lora_B.to(x.dtype).T, alpha=self.scale)
        return total.view(y.shape)

    def delta(self) -> Tensor:
        """scale · B A `[outputs, inputs]`."""
        return self.scale * (self.lora_B @ self.first)

    def folded(self, weight: Tensor) -> Tensor:
        return weight + self.delta().to(weight.dtype)


@dataclass(frozen=True, kw_only=True)
class Lora(LinearMethod):
    """LoRA on the sites' maps, scaled by alpha / rank, or alpha / √rank with `rslora`.

    `dropout` acts on what A reads. `rank_pattern` and `alpha_pattern` give single sites their own (`{"*:query": 4}`:
    the first pattern that fits counts). `start`: A is drawn "kaiming" or "gaussian".
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    rank_pattern: Mapping[str, int] = field(default_factory=dict, hash=False)
    alpha_pattern: Mapping[str, float] = field(default_factory=dict, hash=False)
    rslora: bool = False
    start: Literal["kaiming", "gaussian"] = "kaiming"
    kind: ClassVar[str] = "lora"
    beside_one: ClassVar[type[LowRank]] = LowRank

    def __post_init__(self) -> None:
        super().__post_init__()
        check_mapping(f"{self.kind}.rank_pattern", self.rank_pattern)
        check_mapping(f"{self.kind}.alpha_pattern", self.alpha_pattern)
        for rank in (self.rank, *self.rank_pattern.values()):
            check_count(f"{self.kind}.rank", rank, 1)
        for alpha in (self.alpha, *self.alpha_pattern.values()):
            check_rate(f"{self.kind}.alpha", alpha)
        check_dropout(self.kind, self.dropout)
        check_choice(f"{self.kind}.rslora", self.rslora, (True, False))
        check_choice(f"{self.kind}.start", self.start, ("kaiming", "gaussian"))

    def build(self, sites: Sequence[Site]) -> list[Added]:
        ranks = valued(self.rank_pattern, sites, self.rank, self.where("rank_pattern"))
        alphas = valued(self.alpha_pattern, sites, self.alpha, self.where("alpha_pattern"))
        return [self.beside(site, rank, alpha) for site, rank, alpha in zip(sites, ranks, alphas, strict=True)]

    def beside(self, site: Site, rank: int, alpha: float) -> Added:
        """What is added to one site; a rank above its smaller side is `E-SITE`."""
        check_rank(site, rank, self.where("rank"))
        scale = alpha / (math.sqrt(rank) if self.rslora else rank)
        return self.beside_one(site, rank, scale, dropout=self.dropout, gaussian=self.start == "gaussian")


def check_rank(site: Site, rank: int, where: str) -> None:
    """A rank above the smaller side of a map adds numbers that can change nothing more: `E-SITE`."""
    least = min(site.weight.shape)
    if rank > least:
        outputs, inputs = site.weight.shape
        what = f"rank {rank} is above the smaller side of {site.name} [{outputs}, {inputs}]"
        raise ModeledgeError("E-SITE", what, where=where, remedy=f"give at most {least}, or rank_pattern for this site")


def check_dropout(kind: str, value: float) -> None:
    """A share in [0, 1), or `E-CONFIG-VALUE`."""
    if value != 0:
        check_rate(f"{kind}.dropout", value)
    if value >= 1:
        raise ModeledgeError("E-CONFIG-VALUE", f"{value!r} drops everything", where=f"strategies.{kind}.dropout")
