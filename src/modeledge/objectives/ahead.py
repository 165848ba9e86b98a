"""Multi-token prediction: each state foretells the next k tokens (Gloeckle et al. 2024, arXiv 2404.19737).

    L = − Σₜ Σᵢ₌₁…ₖ log p(xₜ₊ᵢ | x₁ … xₜ)                                                      (their equation 2)

The k predictions share a trunk and the table of tokens; between them each has one layer of its own (their section 2:
"parallel heads"). Here the trunk is all of the body but its last block, and that block with the last norm *is* the
first of the k layers, so that what is left when the others are dropped is an ordinary decoder with an ordinary head:
it is saved, converted and asked for text like any other. The other layers, k − 1 of them, belong to the objective; they
are trained and checkpointed with it, and are not part of the finished model.

No more memory is needed for the scores than with one prediction: they are made and turned into their gradient in
chunks (see `model/likelihood.py`), which is what the paper's order of backward passes is for.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone, Keep
from modeledge.model.batch import Batch
from modeledge.model.block import Tower
from modeledge.model.config import Stack, TransformerConfig
from modeledge.model.draw import Draw
from modeledge.model.heads import Head, LMHead
from modeledge.model.init import initialise
from modeledge.model.kinds import Learned, Sinusoidal
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.objective import Loss, Objective, Prepare, Term
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise


def term_name(distance: int) -> str:
    """ "lm" is the next token, "lm2" the one behind it."""
    return "lm" if distance == 1 else f"lm{distance}"


@dataclass(frozen=True)
class AheadPrepare:
    """The example as it is; the term of distance i reads each token that has one i places on."""

    ahead: int
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        if len(example.ids) < 2:
            raise ModeledgeError("E-NO-TARGET", "one token has no next token", where=f"example {example.index}")
        ids = np.asarray(example.ids, dtype=np.int64)
        labels = {term_name(i): ids[i:] for i in range(1, self.ahead + 1)}
        return Prepared(
            example.index,
            target=Piece(ids[:-1]),
            reads={name: np.arange(len(told)) for name, told in labels.items()},
            labels=labels,
            weights={name: np.ones(len(told), dtype=np.float32) for name, told in labels.items()},
        )


class MultiToken(Objective):
    """The terms lm, lm2, … lmk, each a mean over the tokens it foretells; `weight` is that of all but the first."""

    def __init__(
        self,
        config: TransformerConfig,
        ahead: int = 4,
        *,
        weight: float = 1.0,
        head: LMHead | None = None,
    ) -> None:
        super().__init__()
        if ahead < 2:
            raise ModeledgeError("E-CONFIG-VALUE", f"{ahead} tokens ahead is not several", remedy="ask for at least 2")
        if config.decoder is None or config.both:
            raise ModeledgeError("E-CONFIG", "tokens ahead are foretold by a decoder alone", where="model")
        self.prepare: Prepare = AheadPrepare(ahead)
        self.heads: dict[str, Head] = {"lm": head or LMHead()}
        self.ahead, self.weight = ahead, weight
        one = _one_layer(config.decoder)
        self.layers = nn.ModuleList([Tower(one, config.width, causal=True) for _ in range(ahead - 1)])
        self.config = config
        self.draw(Noise(0))

    def draw(self, noise: Noise) -> None:
        initialise(self.layers, noise, std=self.config.init, layers=self.config.stack.layers, prefix="ahead.")

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        states = model(batch, keep=Keep(layers=True))
        terms = {"lm": vocabulary_term(model, batch, "lm", states=states.last)}
        for distance, layer in enumerate(self.layers, 2):
            terms[term_name(distance)] = self._term(model, batch, states.layers[-2], layer, distance)
        return Loss(terms)

    def _term(self, model: Backbone, batch: Batch, trunk: Tensor, layer: nn.Module, distance: int) -> Term:
        draw = Draw.current(self.training).at("ahead", distance)
        states = layer(trunk, batch.side, draw, None, None, None)
        return vocabulary_term(model, batch, term_name(distance), states=states, share=self.weight, head="lm")


def _one_layer(stack: Stack) -> Stack:
    """A stack of one layer on states that hold their positions already, where the embeddings were given them."""
    position = None if isinstance(stack.position, Learned | Sinusoidal) else stack.position
    return replace(stack, layers=1, position=position, norm=replace(stack.norm, first=True))
