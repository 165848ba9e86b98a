"""A rate that was found on a narrow model, used on a wide one: the width rule of maximal update parametrisation.

With one rate for all weights the updates of a wide model are too large: each number that a matrix gives out sums over
its width, and Adam moves every weight by about the rate, so the sum moves by rate · width. Yang et al. (2022, arXiv
2203.03466, table 8) say how initial weights and Adam's rates must go with the width so that every activation moves by
the same amount. With m = base_width / width, and everything as usual where m = 1:

    weights                       initial std    rate     why
    table of tokens, positions    · 1            · 1      reads one-hot vectors: no sum over the width
    vectors (biases, norms)       · 1            · 1      no sum at all
    matrices of the blocks        · √m           · m      sums over the width
    other heads' scores           · m            · m      the same, and they must not grow at the start
    scores over the vocabulary    · m, as a multiplier of the states that they read

The multiplier of the last row is not a new constant of the model: it is the gain (and bias) of the norm before the
vocabulary, begun at m and moved at m times the rate, which is the same under Adam, so a finished model is an ordinary
one of its family. Width means number of heads here: the width of a head, the ratio of the feed-forward, the depth and
the batch are to stay as they were. Weight decay is multiplied by the rate of its matrix, as in AdamW.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from modeledge.adapt.strategy import Clock, Group, Neutral
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.heads import LanguageModelling
from modeledge.model.linear import RMSNorm
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise


@dataclass(frozen=True)
class Scales:
    """What one parameter's initial values and its rate are multiplied by."""

    start: float
    rate: float


@dataclass(frozen=True)
class WidthRule(Neutral):
    """Rates, and for a `fresh` model initial weights, by width relative to `base_width`."""

    base_width: int
    fresh: bool = True
    starts_equal: ClassVar[bool] = False

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Scale the fresh weights; a model that was trained before keeps its own."""
        scales = scales_of(model, self.base_width)
        if not self.fresh:
            return
        around = {f"{name}.weight" for name, m in model.named_modules() if isinstance(m, RMSNorm) and m.around_one}
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                factor = scales[name].start
                if factor != 1.0:
                    parameter.copy_((parameter + 1) * factor - 1 if name in around else parameter * factor)

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """Everything, one group a rate."""
        groups: dict[float, list[str]] = {}
        for name, scales in scales_of(model, self.base_width).items():
            groups.setdefault(scales.rate, []).append(name)
        return [Group(tuple(names), rate) for rate, names in sorted(groups.items())]


def scales_of(model: Backbone, base_width: int) -> dict[str, Scales]:
    """Each parameter's scales. Raises `E-CONFIG` where nothing can carry the multiplier, or for a wrapped model."""
    if not isinstance(model, Transformer):
        what = "the width rule needs a model that is built here"
        raise ModeledgeError("E-CONFIG", what, where="train.base_width", remedy="leave it out")
    width, parts = model.config.width, model.parts()
    m = base_width / width
    shapes = {name: tuple(p.shape) for name, p in model.named_parameters()}
    out = {name: Scales(1.0, 1.0) for name in shapes}
    out |= {n: Scales(math.sqrt(m), m) for block in parts.blocks for n in block.names if len(shapes[n]) >= 2}
    below = 1.0
    if bare(model):
        if model.tower.final_norm is None:
            what = "no norm stands before the vocabulary, so nothing can carry the multiplier of the scores"
            remedy = "give the head a transform, or choose a norm that is not post"
            raise ModeledgeError("E-CONFIG", what, where="train.base_width", remedy=remedy)
        out |= {n: Scales(m, m) for n in shapes if n.startswith("tower.final_norm.")}
        below = m  # every head reads states that are this much smaller
    for name in (n for part in parts.heads.values() for n in part.names if len(shapes[n]) >= 2):
        hidden = shapes[name][0] == width
        out[name] = Scales((math.sqrt(m) if hidden else m) / below, m / below)
    for name, head in language_heads(model):
        if head.weight is not None:
            out[f"heads.{name}.weight"] = Scales(1.0, 1.0)
        if head.norm is not None and len(head.norm.weight) == width:
            out |= {f"heads.{name}.norm.{part}": Scales(m, m) for part, _ in head.norm.named_parameters()}
    return out


def bare(model: Transformer) -> bool:
    """Does a head read the vocabulary straight from the last states?"""
    return any(head.norm is None for _, head in language_heads(model))


def language_heads(model: Transformer) -> Iterator[tuple[str, LanguageModelling]]:
    """The heads over the vocabulary, by name."""
    yield from ((name, head) for name, head in model.heads.items() if isinstance(head, LanguageModelling))
