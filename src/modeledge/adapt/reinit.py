"""Draw the top layers of a trained body anew.

The upper layers hold what is most particular to the pre-training task. On few labels they can be a worse start than
none: re-initialising the top one to six layers of BERT made fine-tuning on small data sets better and steadier (Zhang
et al. 2021, arXiv 2006.05987, section 5). Their pooler is of the head: `new-head` beside this row draws it anew too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from modeledge.adapt.checks import check_count
from modeledge.adapt.held import Held
from modeledge.adapt.parts import parts_of
from modeledge.adapt.quantize import form_of
from modeledge.adapt.strategy import Neutral
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.init import initialise
from modeledge.seed import Noise


@dataclass(frozen=True)
class Reinit(Neutral):
    """Give the `top` layers the weights that a fresh model of this seed has there; everything moves.

    The embeddings, the layers below and the last norm keep theirs. Biases become 0, gains of norms 1.
    """

    top: int = 1
    starts_equal: ClassVar[bool] = False
    _drawn: Held[tuple[str, ...]] = field(default_factory=Held, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check_count("reinit.top", self.top, 1)

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Draw the layers; more than the model has is `E-SITE`, weights that are held in codes `E-CONFIG`."""
        if (form := form_of(model)) is not None:
            what = f"the weights are in {form}: they cannot be drawn anew"
            raise ModeledgeError("E-CONFIG", what, where="strategies.reinit", remedy="leave quantize out, or reinit")
        blocks, stack = parts_of(model).blocks, model.config.stack
        if self.top > len(blocks):
            what = f"{self.top} layers are to be drawn anew, but the model has {len(blocks)}"
            raise ModeledgeError("E-SITE", what, where="strategies.reinit.top", remedy=f"give at most {len(blocks)}")
        paths = {id(module): path for path, module in model.named_modules()}
        top = blocks[len(blocks) - self.top :]
        self._drawn[model] = tuple(name for block in top for name in block.names)
        for block in top:
            for module in block.modules:
                prefix = f"{paths[id(module)]}."
                initialise(module, noise, std=model.config.init, layers=stack.layers, prefix=prefix)

    def drawn(self, model: Backbone) -> Sequence[str]:
        """The layers' weights."""
        return self._drawn.get(model, ())
