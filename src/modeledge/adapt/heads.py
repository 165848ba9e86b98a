"""Drop the head that pre-training or another task has left, and start a new one on the same body.

The body keeps what it knows; the scores on top begin anew, because old scores mean nothing for new labels (Razavian et
al. 2014, arXiv 1403.6382). Fresh weights are a function of (seed, head's name), so a head that is drawn twice with one
seed is the same head. Alone these strategies let everything move; beside `Probe` only the new head does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from torch import nn

from modeledge.adapt.checks import check_count
from modeledge.adapt.parts import parts_of
from modeledge.adapt.strategy import Neutral
from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone
from modeledge.model.heads import Classification
from modeledge.model.init import initialise
from modeledge.seed import Noise


@dataclass(frozen=True)
class NewHead(Neutral):
    """Draw the weights of a head anew, in its present shape."""

    head: str = "class"
    starts_equal: ClassVar[bool] = False

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Fill the head with fresh weights; an unknown head is `E-SITE`."""
        head, stack = find_head(model, self.head), model.config.stack
        initialise(head, noise, std=model.config.init, layers=stack.layers, prefix=f"heads.{self.head}.")

    def drawn(self, model: Backbone) -> Sequence[str]:
        """The head's weights."""
        return names_of(model, self.head)


@dataclass(frozen=True)
class ReplacedHead(Neutral):
    """Put a fresh class head with `outputs` scores in the place of one with another number of them.

    Pooling, hidden layer and dropout stay as they were. Heads that do not score classes are refused (`E-SITE`).
    """

    outputs: int
    head: str = "class"
    starts_equal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_count("replaced-head.outputs", self.outputs, 1)

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Take the old head out and add the new one under its name."""
        old = find_head(model, self.head)
        if not isinstance(old, Classification):
            raise ModeledgeError(
                "E-SITE",
                f"head {self.head!r} does not score classes",
                where="strategies.replaced-head.head",
                remedy="use new-head to draw its weights anew",
            )
        shape = replace(old.spec, outputs=self.outputs)
        training = old.training
        del model.heads[self.head]
        model.add_heads({self.head: shape}, noise)
        model.heads[self.head].train(training)

    def drawn(self, model: Backbone) -> Sequence[str]:
        """The head's weights."""
        return names_of(model, self.head)


def find_head(model: Backbone, name: str) -> nn.Module:
    """The head of this name; an unknown one is `E-SITE`."""
    if not isinstance(name, str) or name not in model.heads:
        remedy = nearest(str(name), model.heads) if len(model.heads) else "the model has no head yet"
        raise ModeledgeError("E-SITE", f"there is no head {name!r}", where="strategies.head", remedy=remedy)
    return model.heads[name]


def names_of(model: Backbone, head: str) -> tuple[str, ...]:
    """The parameters of one head, by their names in the model."""
    return parts_of(model).heads[head].names
