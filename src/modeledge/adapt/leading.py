"""What all methods share that put something before every example: prompts, prompt encoders, prefixes.

The body stays as it is, bit for bit; what is learned stands before the tokens and is seen by them. It is no change of a
weight, so nothing of it can be merged, and it takes positions: the tokens count on behind it, and an example may be
shorter by as many. How the model runs it is told in `modeledge.model.lead`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from modeledge.adapt.parts import head_names
from modeledge.adapt.strategy import Clock, Group, Neutral
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.config import Patches
from modeledge.model.lead import Lead
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise

PLACE = "leads"  # the name of the model's child that holds what stands before its examples


class Leading(Neutral):
    """A strategy that puts a `Lead` of its own before every example, under its `name`."""

    starts_equal: ClassVar[bool] = False
    mergeable: ClassVar[bool] = False
    kind: ClassVar[str]
    name: str
    length: int

    def build(self, model: Transformer) -> Lead:
        """The module, its weights not drawn yet."""
        raise NotImplementedError

    def begin(self, lead: Lead, model: Transformer, noise: Noise) -> None:
        """Give the drawn weights another start, where the method has one."""

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Put it before the examples of a model and let it act.

        `E-SITE` for a model that is wrapped or reads pictures, `E-POSITION` where it leaves no room for a token,
        `E-CONFIG` where the model has one of this name.
        """
        where = f"strategies.{self.kind}"
        model = readable(model, where)
        check_free(model, self.name, self.length, where)
        with torch.device("meta"):  # nothing is drawn from torch's own generator
            lead = self.build(model)
        lead = lead.to_empty(device=model.device).to(model.tokens.dtype)
        with torch.no_grad():
            draw(lead, noise, f"{PLACE}.{self.name}.")
            self.begin(lead, model, noise.at("start", self.kind, self.name))
        put_before(model, self.name, lead)

    def added(self, model: Backbone) -> tuple[str, ...]:
        """The parameters of what stands before the examples, by their names in the model."""
        return own_names(model, self.name)

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """What stands before the examples, and the heads but for those over the vocabulary, which are the body's."""
        return [Group(self.added(model)), Group(head_names(model))]


def check_free(model: Transformer, name: str, length: int, where: str) -> None:
    """`E-CONFIG` where the model has a lead of this name, or another use for it (`keys`), `E-POSITION` where `length`
    leaves no room for a token."""
    if name in model.leads:
        what = f"there is an adapter {name!r} before the examples already"
        raise ModeledgeError("E-CONFIG", what, where=f"{where}.name", remedy="give it another name")
    if hasattr(model.leads, name):
        what = f"{name!r} is a word of the model's own"
        raise ModeledgeError("E-CONFIG", what, where=f"{where}.name", remedy="give it another name")
    room = model.room
    if room is not None and length >= room:
        what = f"{length} positions before each example leave none of the model's {model.config.positions}"
        raise ModeledgeError("E-POSITION", what, where=f"{where}.length", remedy=f"give at most {room - 1}")


def put_before(model: Transformer, name: str, lead: Lead) -> None:
    """Put a lead before the examples of a model, under a name, and let it act."""
    model.leads[name] = lead.to(model.device, model.tokens.dtype).train(model.training)
    model.leads.active = (*model.leads.active, name)


def readable(model: Backbone, where: str) -> Transformer:
    """A model of text that is built here; any other is `E-SITE`."""
    if not isinstance(model, Transformer):
        what = f"a {type(model).__name__} is wrapped whole: nothing can be put before its examples"
        raise ModeledgeError("E-SITE", what, where=where, remedy="use bottleneck adapters (adapter) or lora")
    if isinstance(model.config.embed, Patches):
        what = "a model of pictures tells its patches by their positions"
        raise ModeledgeError("E-SITE", what, where=where, remedy="use bottleneck adapters (adapter) or lora")
    return model


def own_names(model: Backbone, name: str) -> tuple[str, ...]:
    """The parameters of what stands before the examples under a name."""
    prefix = f"{PLACE}.{name}."
    return tuple(n for n, _ in model.named_parameters() if n.startswith(prefix))


def draw(module: nn.Module, noise: Noise, prefix: str) -> None:
    """Fresh weights, each a function of (seed, name), distributed as torch begins such layers: tables are standard
    normal, maps and LSTMs uniform within 1/√inputs (the methods' published code leaves them so)."""
    for path, part in module.named_modules():
        for name, parameter in part.named_parameters(recurse=False):
            generator = generator_of(noise, f"{prefix}{path}.{name}" if path else f"{prefix}{name}")
            fresh = torch.empty(parameter.shape)
            if isinstance(part, nn.Linear | nn.LSTM):
                bound = 1 / math.sqrt(part.in_features if isinstance(part, nn.Linear) else part.hidden_size)
                fresh.uniform_(-bound, bound, generator=generator)
            else:
                fresh.normal_(0.0, 1.0, generator=generator)
            parameter.copy_(fresh)


def generator_of(noise: Noise, *keys: str) -> torch.Generator:
    """A generator that is a function of (seed, keys)."""
    return torch.Generator().manual_seed(noise.at("init", *keys).integer() >> 1)


def table_of(model: Transformer) -> Tensor:
    """The token embeddings of the side that is read first as they enter the model `[vocab, width of the table]`."""
    return model.tokens * model.config.embed.scale  # type: ignore[union-attr]
