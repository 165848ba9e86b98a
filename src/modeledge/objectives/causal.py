"""Next-token prediction: maximise Σₜ log p(xₜ₊₁ | x₁ … xₜ) (Radford et al. 2018, equation 1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, LanguageModelling, LMHead
from modeledge.model.likelihood import token_loss
from modeledge.objectives.objective import Loss, Measure, Objective, Term
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class CausalPrepare:
    """Inputs are all tokens but the last, labels all but the first; the example is used as it is, without noise."""

    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        if len(example.ids) < 2:
            raise ModeledgeError("E-NO-TARGET", "one token has no next token", where=f"example {example.index}")
        ids = np.asarray(example.ids, dtype=np.int64)
        count = len(ids) - 1
        return Prepared(
            example.index,
            target=Piece(ids[:-1]),
            reads={"lm": np.arange(count)},
            labels={"lm": ids[1:]},
            weights={"lm": np.ones(count, dtype=np.float32)},
        )


class CausalLM(Objective):
    """Each token predicts the next one, under a causal pattern."""

    measure: ClassVar[Measure] = "likelihood"

    def __init__(self, *, head: LMHead | None = None) -> None:
        super().__init__()
        self.prepare = CausalPrepare()
        self.heads: dict[str, Head] = {"lm": head or LMHead()}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        return Loss({"lm": vocabulary_term(model, batch, "lm")})


def vocabulary_term(
    model: Backbone,
    batch: Batch,
    name: str,
    *,
    states: Tensor | None = None,
    share: float = 1.0,
    smoothing: float = 0.0,
) -> Term:
    """Cross-entropy of head `name` at the positions it reads: only the scores that are asked for are made.

    `states` are the model's last ones where they are there already, `share` is the term's in the whole loss;
    `smoothing` spreads that share of the target evenly over the vocabulary.
    """
    head = model.heads[name]
    assert isinstance(head, LanguageModelling)
    states = model(batch).last if states is None else states
    read = states.reshape(-1, states.shape[-1])
    if len(batch.reads[name]) != len(read):
        read = read[batch.reads[name]]
    labels, weights = batch.labels[name], batch.weights[name]
    total = token_loss(
        head.hidden(read),
        head.weights(model.table),
        labels,
        weights,
        bias=head.bias,
        smoothing=smoothing,
        softcap=head.spec.softcap,
    )
    return Term(total, weights.sum(), share)
