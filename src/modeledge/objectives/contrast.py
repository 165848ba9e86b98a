"""Texts told apart without labels: a text read twice under two dropout masks is its own pair (SimCSE, Gao et al. 2021,
arXiv 2104.08821, equation 4):

    loss = Σᵢ −log( exp(cos(hᵢ, h′ᵢ) / τ) / Σⱼ exp(cos(hᵢ, h′ⱼ) / τ) ),        τ = 0.05

with hᵢ and h′ᵢ the two readings of text i, and all other texts of the batch as negatives. Dropout is the only
augmentation, so the body must have some. Where examples bring a pair (a sentence and what it entails) and hard
negatives (what contradicts it), these take the place of the second reading: the supervised form, equation 5. Both are
the ranking of `rank`; what is added here is the second reading, and the dense layer with tanh that stands above the
pooled state in training and is left behind afterwards (section 3, "MLP at training only").

Both readings stand in one row as parts that do not see each other; masks are drawn element by element, so they differ.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import Pool
from modeledge.model.init import initialise
from modeledge.model.linear import Linear
from modeledge.objectives.rank import Rank, RankPrepare
from modeledge.records import Example, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class ContrastPrepare(RankPrepare):
    """A text and its pair; a text without one is its own. The end-of-text token `end` is taken off a text."""

    end: int | None = None

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        if len(example.ids) > 1 and example.ids[-1] == self.end:
            example = replace(example, ids=example.ids[:-1])
        twin = example if example.pair is not None else replace(example, pair=example.ids)
        return RankPrepare.__call__(self, twin, noise)


class Contrast(Rank):
    """In-batch negatives over vectors read at `pool`, behind a dense layer of `width` with tanh where that is said."""

    def __init__(
        self,
        prepare: ContrastPrepare,
        *,
        pool: Pool = "first",
        temperature: float = 0.05,
        width: int | None = None,
        std: float = 0.02,
    ) -> None:
        super().__init__(prepare, pool=pool, temperature=temperature)
        self.dense: nn.Module | None = None if width is None else Linear(width, width)
        self.std = std
        self.draw(Noise(0))

    def draw(self, noise: Noise) -> None:
        if self.dense is not None:
            initialise(self.dense, noise, std=self.std, layers=1, prefix="contrast.")

    def pooled(self, model: Backbone, batch: Batch) -> Tensor:
        vectors = super().pooled(model, batch)
        return vectors if self.dense is None else torch.tanh(self.dense(vectors))


def need_dropout(config: TransformerConfig) -> None:
    """Refuse a body that reads a text twice alike (`E-CONFIG`)."""
    drops = config.stack.dropout
    if not any((drops.embed, drops.hidden, drops.attention, drops.inner, drops.mixed or 0.0, drops.last)):
        what = "two readings of a text are alike in a body without dropout: nothing would be learned"
        remedy = 'choose a body with it (model.preset = "bert-mini", or model.shape.encoder.dropout.hidden = 0.1)'
        raise ModeledgeError("E-CONFIG", what, where="model", remedy=remedy)
