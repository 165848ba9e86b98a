"""Give a trained body something else to read: a new input layer, for another vocabulary or pictures of other channels.

The layers keep what they know; only the table that turns tokens (or patches) into states is drawn afresh. Artetxe et
al. (2020, arXiv 1910.11856, section 2) moved BERT to another language by learning a new table under a frozen body, and
Lu et al. (2021, arXiv 2103.05247) let a frozen text model read pictures through a new input layer. Positions, token
types and their norm are not of the vocabulary and stay.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

import torch
from torch import nn

from modeledge.adapt.checks import check_choice, check_count
from modeledge.adapt.held import Held
from modeledge.adapt.parts import parts_of
from modeledge.adapt.strategy import Clock, Group, Neutral, all_but
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.config import Patches, Tokens
from modeledge.model.heads import LanguageModelling
from modeledge.model.init import initialise
from modeledge.model.linear import Linear
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise

WHERE = "strategies.new-input"


@dataclass(frozen=True)
class NewInput(Neutral):
    """Draw a new table of `vocab` tokens, or a new map of patches with so many `channels`; left out, as many as before.

    Fresh weights are a function of (seed, name). `body` says what becomes of the rest: "frozen" lets only the new input
    and the heads move, "moving" all. Scores over the vocabulary that a head has of its own begin anew with the table;
    those that are tied to it follow it.
    """

    vocab: int | None = None
    channels: int | None = None
    body: Literal["frozen", "moving"] = "moving"
    starts_equal: ClassVar[bool] = False
    _new: Held[tuple[str, ...]] = field(default_factory=Held, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_choice("new-input.body", self.body, ("frozen", "moving"))
        for name in ("vocab", "channels"):
            if getattr(self, name) is not None:
                check_count(f"new-input.{name}", getattr(self, name), 1)

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Put the new input in the place of the old one, and say so in the model's configuration.

        `E-SITE` for a wrapped model, for a vocabulary of a model of pictures, and for channels of one of text.
        """
        if not isinstance(model, Transformer):
            what = f"a {type(model).__name__} is wrapped whole: its input cannot be replaced"
            raise ModeledgeError("E-SITE", what, where=WHERE, remedy="leave new-input out")
        config, embed = model.config, model.config.embed
        if isinstance(embed, Tokens):
            _only(self.channels, "channels", "this model reads tokens", "vocab")
            vocab = self.vocab or embed.vocab
            model.config = replace(config, embed=replace(embed, vocab=vocab))
            model.tokens = nn.Parameter(torch.empty(vocab, model.tokens.shape[1], device=model.device))
            self._new[model] = ("tokens",)
            _draw(model, "tokens", noise)
            if config.target_embed is None:
                _renew_scores(model, noise)
        else:
            _only(self.vocab, "vocab", "this model reads patches", "channels")
            assert isinstance(embed, Patches)
            there = replace(embed, channels=self.channels or embed.channels)
            model.config = replace(config, embed=there)
            model.patches = Linear(there.dim, config.width).to(model.device)
            self._new[model] = ("patches.weight", "patches.bias")
            for name in self._new[model]:
                _draw(model, name, noise)

    def drawn(self, model: Backbone) -> Sequence[str]:
        """The new input."""
        return self._new.get(model, ())

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """Everything, or the new input and the heads."""
        if model not in self._new:
            raise ModeledgeError("E-CONFIG", "the new input is not on the model", where=WHERE)
        if self.body == "moving":
            return all_but(model, ())
        return all_but(model, set(parts_of(model).body) - set(self._new[model]))


def _only(value: int | None, name: str, what: str, other: str) -> None:
    if value is not None:
        raise ModeledgeError("E-SITE", f"{what}, but {name} is {value}", where=f"{WHERE}.{name}", remedy=f"say {other}")


def _draw(model: Transformer, name: str, noise: Noise) -> None:
    """Fill one parameter as a fresh model of this seed has it."""
    alone = nn.Module()
    owner, _, last = name.rpartition(".")
    alone.register_parameter(last, dict(model.named_parameters())[name])
    prefix = f"{owner}." if owner else ""
    initialise(alone, noise, std=model.config.init, layers=model.config.stack.layers, prefix=prefix)


def _renew_scores(model: Transformer, noise: Noise) -> None:
    """Scores and biases of heads over the vocabulary, which follow the table's rows."""
    vocab, device = model.config.table.vocab, model.device
    for name, head in model.heads.items():
        if not isinstance(head, LanguageModelling):
            continue
        if head.weight is not None:
            head.weight = nn.Parameter(torch.empty(vocab, head.weight.shape[1], device=device))
            _draw(model, f"heads.{name}.weight", noise)
        if isinstance(head.bias, nn.Parameter):
            head.bias = nn.Parameter(torch.zeros(vocab, device=device))
        elif head.bias is not None:
            head.bias = torch.zeros(vocab, device=device)
