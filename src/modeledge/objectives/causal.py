"""Next-token prediction: maximise Σₜ log p(xₜ₊₁ | x₁ … xₜ) (Radford et al. 2018, equation 1).

Examples that share a row never see each other. Documents that were joined to make one example do, as in GPT-2 and
GPT-3, unless they are isolated (Llama 3, section 3.2: a mask between the documents of one sequence): then each is a
part of its own, whose positions begin at 0, and the first token of a document, which nothing before it tells, is not
asked for.
"""

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
from modeledge.objectives.objective import Loss, Measure, Objective, Prepare, Term
from modeledge.records import Example, IntArray, Piece, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class CausalPrepare:
    """Inputs are all tokens but the last, labels all but the first; the example is used as it is, without noise.

    `isolate` is the token that ends a document: what stands behind it sees nothing of what stands before it.
    """

    isolate: int | None = None
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        if len(example.ids) < 2:
            raise ModeledgeError("E-NO-TARGET", "one token has no next token", where=f"example {example.index}")
        ids = np.asarray(example.ids, dtype=np.int64)
        told = np.arange(len(ids) - 1)
        ends = told[:0] if self.isolate is None else np.flatnonzero(ids[:-1] == self.isolate)
        told = np.setdiff1d(told, ends, assume_unique=True)
        breaks = tuple(int(end) + 1 for end in ends if end + 1 < len(ids) - 1)
        return next_tokens(example.index, ids, told, breaks)


def next_tokens(index: int, ids: IntArray, told: IntArray, breaks: tuple[int, ...] = ()) -> Prepared:
    """A text `[n]` as a decoder's input, in which the places `told` are asked for the token behind them."""
    return Prepared(
        index,
        target=Piece(ids[:-1], breaks=breaks),
        reads={"lm": told},
        labels={"lm": ids[1:][told]},
        weights={"lm": np.ones(len(told), dtype=np.float32)},
    )


class CausalLM(Objective):
    """Each token predicts the next one, under a causal pattern; `isolate` as in `CausalPrepare`."""

    measure: ClassVar[Measure] = "likelihood"

    def __init__(self, *, head: LMHead | None = None, isolate: int | None = None) -> None:
        super().__init__()
        self.prepare: Prepare = CausalPrepare(isolate)
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
    head: str | None = None,
) -> Term:
    """Cross-entropy of the term `name` at the positions it reads: only the scores that are asked for are made.

    `states` are the model's last ones where they are there already, `share` is the term's in the whole loss;
    `smoothing` spreads that share of the target evenly over the vocabulary. `head` is the one that reads, where its
    name is not the term's.
    """
    reader = model.heads[head or name]
    assert isinstance(reader, LanguageModelling)
    states = model(batch).last if states is None else states
    read = states.reshape(-1, states.shape[-1])
    if len(batch.reads[name]) != len(read):
        read = read[batch.reads[name]]
    labels, weights = batch.labels[name], batch.weights[name]
    total = token_loss(
        reader.hidden(read),
        reader.weights(model.table),
        labels,
        weights,
        bias=reader.bias,
        smoothing=smoothing,
        softcap=reader.spec.softcap,
        compiled=model.compiled,
    )
    return Term(total, weights.sum(), share)
