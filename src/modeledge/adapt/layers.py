"""Put new layers on top of a trained body.

The old layers keep their weights; the new ones are drawn afresh, begin as an ordinary layer of the same shape and learn
what the task needs on top of the states that are there. They count as layers of the model from then on: its
configuration says so, and it is saved and loaded as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal

from modeledge.adapt.checks import check_choice, check_count
from modeledge.adapt.held import Held
from modeledge.adapt.parts import parts_of
from modeledge.adapt.strategy import Clock, Group, Neutral, all_but
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.block import Block
from modeledge.model.init import initialise
from modeledge.model.transformer import Transformer
from modeledge.seed import Noise


@dataclass(frozen=True)
class AddedLayers(Neutral):
    """Append `count` layers, freshly drawn by (seed, name): those that a deeper model of this seed would have there.

    `body` says what becomes of the weights that were there: "frozen" keeps the embeddings, the old layers and the last
    norm as they are, so that only new weights (and the heads) move; "moving" lets them follow. The last norm of a
    pre-norm model comes after the new layers.
    """

    count: int = 1
    body: Literal["frozen", "moving"] = "frozen"
    starts_equal: ClassVar[bool] = False
    _old: Held[int] = field(default_factory=Held, init=False, repr=False, compare=False)
    _drawn: Held[tuple[str, ...]] = field(default_factory=Held, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_count("layers.count", self.count, 1)
        check_choice("layers.body", self.body, ("frozen", "moving"))

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Append the layers and say so in the model's configuration; attaching twice is `E-CONFIG`.

        A model that was not built here has layers that cannot be built here: `E-SITE`.
        """
        if not isinstance(model, Transformer):
            what = f"a {type(model).__name__} is wrapped whole: no layer of its kind can be put on top"
            raise ModeledgeError("E-SITE", what, where="strategies.layers", remedy="use a head with a hidden layer")
        if model in self._old:
            raise ModeledgeError("E-CONFIG", "these layers are on the model already", where="strategies.layers")
        config, old = model.config, model.tower.depth
        if config.stack.share:
            what = "the model's layers are one block's weights; another layer would share them"
            raise ModeledgeError("E-CONFIG", what, where="strategies.layers")
        if config.share_sides:
            what = "the encoder is the decoder's weights; a layer on top of one would be one of both"
            raise ModeledgeError("E-CONFIG", what, where="strategies.layers")
        stack = replace(config.stack, layers=old + self.count)
        for layer in range(old, stack.layers):
            block = Block(stack, config.width, layer, cross=config.both).to(model.device)
            initialise(block, noise, std=config.init, layers=stack.layers, prefix=f"tower.blocks.{layer}.")
            model.tower.blocks.append(block.train(model.training))
        model.tower.depth = stack.layers
        side = "decoder" if config.decoder is not None else "encoder"
        model.config = replace(config, **{side: stack})  # type: ignore[arg-type]
        self._old[model] = old
        self._drawn[model] = tuple(name for block in parts_of(model).blocks[old:] for name in block.names)

    def drawn(self, model: Backbone) -> Sequence[str]:
        """The weights of the new layers."""
        return self._drawn.get(model, ())

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """What was not in the body when the layers were attached, or everything."""
        if model not in self._old:
            raise ModeledgeError("E-CONFIG", "the layers are not on the model", where="strategies.layers")
        if self.body == "moving":
            return all_but(model, ())
        parts = parts_of(model)
        old = [name for block in parts.blocks[: self._old[model]] for name in block.names]
        return all_but(model, (*parts.embeddings.names, *old, *parts.last.names))
