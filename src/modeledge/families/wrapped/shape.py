"""The shape of a model that is wrapped, as far as callers ask for it (`modeledge.model.facts.Facts`)."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

from torch import nn

from modeledge.families.keys import ACTIVATIONS
from modeledge.families.wrapped.anatomy import Findings
from modeledge.model.config import FeedForward, Norm, Tokens


@dataclass(frozen=True)
class WrappedStack:
    """How many layers there are, and the norm and the activation that a head with a hidden layer takes from them."""

    layers: int
    norm: Norm
    feedforward: FeedForward


@dataclass(frozen=True)
class WrappedConfig:
    """The shape of a wrapped model. `encoder` and `decoder` name the class that reads both ways, or left to right."""

    width: int
    embed: Tokens
    positions: int | None
    init: float
    encoder: str | None
    decoder: str | None
    stack: WrappedStack

    @property
    def table(self) -> Tokens:
        """The token embeddings on the side that the heads read."""
        return self.embed

    @property
    def both(self) -> bool:
        """Does a decoder read an encoder?"""
        return self.encoder is not None and self.decoder is not None


def shape_of(body: Any, found: Findings, encodes: bool) -> WrappedConfig:
    """What callers may know of the body: sizes as they were seen, the rest as its configuration says."""
    said, table = body.config, body.get_input_embeddings().weight
    eps = next((v for k, v in vars(said).items() if k.endswith(("norm_eps", "norm_epsilon")) and v), 1e-5)
    act = getattr(said, "hidden_act", None)
    inner = getattr(said, "intermediate_size", None)
    takes_types = "token_type_ids" in inspect.signature(body.forward).parameters
    kind: Any = ACTIVATIONS.get(act, "gelu") if isinstance(act, str) else "gelu"
    name = type(body).__name__
    return WrappedConfig(
        width=found.width,
        embed=Tokens(
            vocab=len(table),
            types=getattr(said, "type_vocab_size", 0) if takes_types else 0,
            width=table.shape[1] if table.shape[1] != found.width else None,
        ),
        positions=longest(body),
        init=getattr(said, "initializer_range", None) or 0.02,
        encoder=name if encodes or found.both else None,
        decoder=name if found.both or not encodes else None,
        stack=WrappedStack(
            len(found.anatomy.blocks),
            Norm(eps=float(eps)),
            FeedForward(width=inner or 4 * found.width, kind=kind),
        ),
    )


def longest(body: Any) -> int | None:
    """The longest example that the configuration allows, without the positions that a table keeps for padding (RoBERTa
    counts from there)."""
    said = getattr(body.config, "max_position_embeddings", None)
    if type(said) is not int or said < 1:
        return None
    tables = [m for m in body.modules() if isinstance(m, nn.Embedding) and m is not body.get_input_embeddings()]
    kept = [m.padding_idx + 1 for m in tables if m.num_embeddings == said and m.padding_idx is not None]
    return said - max(kept, default=0)
