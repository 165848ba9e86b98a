"""Prefix tuning: trained keys and values before those of the tokens, in every layer.

Li and Liang (2021, arXiv 2101.00190, section 4): each layer's attention sees [Pₖ; K] and [Pᵥ; V] in the place of K and
V, with P trained and all else frozen. A prompt's vectors act on the first layer alone; a prefix steers every layer, and
costs no row a token. A decoder has one set, as an encoder; a decoder that reads an encoder has three: the encoder's
attention over itself, the decoder's, and the decoder's over its source (section 4.1 and their code). Moving P itself
was found unstable, so the paper trains a smaller matrix and a wide MLP that makes P of it (section 4.3): `projection`.
Liu et al. (2022, arXiv 2110.07602: P-tuning v2) leave the MLP out for understanding tasks, which is the default here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, get_args

from torch import Tensor, nn

from modeledge.adapt.checks import check_choice, check_count, check_name
from modeledge.adapt.leading import Leading
from modeledge.model.config import Stack
from modeledge.model.lead import Lead, Place
from modeledge.model.transformer import Transformer

PLACES = get_args(Place)


class PrefixSet(nn.Module):
    """The keys and values of one kind of attention: `embedding.weight [length, layers · 2 · kv_heads · head_width]`,
    or `[length, kv_heads · head_width]` and `transform`, which makes them of it."""

    def __init__(self, length: int, stack: Stack, width: int, hidden: int | None) -> None:
        super().__init__()
        attention = stack.attention
        self.heads = attention.kv_heads or attention.heads
        self.layers, self.width = stack.layers, attention.head_width or width // attention.heads
        inner = self.heads * self.width
        outer = self.layers * 2 * inner
        self.embedding = nn.Embedding(length, outer if hidden is None else inner)
        self.transform = None
        if hidden is not None:
            self.transform = nn.Sequential(nn.Linear(inner, hidden), nn.Tanh(), nn.Linear(hidden, outer))

    def forward(self) -> Tensor:
        """`[layers, 2, kv_heads, length, head_width]`."""
        flat = self.embedding.weight
        flat = flat if self.transform is None else self.transform(flat)
        return flat.view(len(flat), self.layers, 2, self.heads, self.width).permute(1, 2, 3, 0, 4)


class Prefix(Lead):
    """A set for each attention that the model has: `sets.encoder`, `sets.decoder`, `sets.cross`."""

    def __init__(self, length: int, model: Transformer, hidden: int | None) -> None:
        super().__init__()
        self.keys, config = length, model.config
        stacks = {
            "encoder": config.encoder,
            "decoder": config.decoder,
            "cross": config.decoder if config.both else None,
        }
        self.sets = nn.ModuleDict(
            {
                place: PrefixSet(length, stack, config.width, hidden)
                for place in PLACES
                if (stack := stacks[place]) is not None
            }
        )

    def pairs(self, place: Place) -> Tensor | None:
        return self.sets[place]() if place in self.sets else None


@dataclass(frozen=True)
class PrefixTuning(Leading):
    """`length` trained keys and values before each example in every layer; with `projection` an MLP of `hidden` units
    (default: the model's width) makes them."""

    length: int = 20
    projection: bool = False
    hidden: int | None = None
    name: str = "default"
    kind: ClassVar[str] = "prefix"

    def __post_init__(self) -> None:
        check_name(self.name, "strategies.prefix.name")
        check_count("prefix.length", self.length, 1)
        check_choice("prefix.projection", self.projection, (True, False))
        if self.hidden is not None:
            check_count("prefix.hidden", self.hidden, 1)

    def build(self, model: Transformer) -> Lead:
        return Prefix(self.length, model, (self.hidden or model.config.width) if self.projection else None)
