"""Masked diffusion: a language model that hides tokens at every rate and can write by uncovering them.

Austin et al. 2021; Sahoo et al. 2024 (MDLM, arXiv 2406.07524, equation 10 with the linear schedule αₜ = 1 − t); Nie et
al. 2025 (LLaDA, arXiv 2502.09992, equation 3). A time t ~ U(0, 1) is drawn for each example, each token is hidden with
probability t, and the hidden ones are guessed from both sides:

    L = E_t (1/t) Σ_{i hidden} − log p(xᵢ | what is not hidden)      ≥ − log p(x)

With the factor 1/t this is no heuristic but a bound on the likelihood (the ELBO): divided by the number of *all*
tokens, hidden or not, it is nats a token, and its exponential bounds the perplexity from above. The head sees hidden
tokens alone. Unlike BERT's masking nothing is replaced by random tokens and nothing stays.

Times are spread evenly (Kingma et al. 2021, appendix I.1, whose low-discrepancy sampler MDLM uses): the example at
place k of the run gets the fractional part of u + k/φ (φ the golden ratio), so that any stretch of examples, in any
batch size and on any number of ranks, covers [0, 1) nearly evenly. The variance of the loss falls, its mean stays.
t begins at 0.001, as in LLaDA's code, so that 1/t is finite.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, LanguageModelling, LMHead
from modeledge.model.likelihood import token_loss
from modeledge.objectives.collate import Shape, collate
from modeledge.objectives.objective import Loss, Measure, Objective, Prepare, Term
from modeledge.records import Example, FloatArray, IntArray, Piece, Prepared
from modeledge.seed import Noise

GOLDEN = (math.sqrt(5) - 1) / 2
NAME = "elbo"  # what is read, learned and divided by; "elbo.scale" holds 1/t
LEAST = 1e-3


@dataclass(frozen=True)
class DiffusionPrepare:
    """Hide each token with probability t. Tokens in `fixed` (and `cls`, `sep`, put around where given) never are.

    With `even` t is spread over the run by the example's place (without a place: drawn), else drawn for each example.
    """

    mask: int
    fixed: tuple[int, ...] = ()
    cls: int | None = None
    sep: int | None = None
    even: bool = True
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = True

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        random = noise.at("diffusion").generator()
        time = self.time(example, noise, random)
        ids, free = self.framed(example)
        hidden = free[random.random(len(free)) < time]
        return self.hide(example.index, ids, hidden, np.full(len(hidden), 1 / time), len(free))

    def time(self, example: Example, noise: Noise, random: np.random.Generator) -> float:
        """t of an example, in [0.001, 1)."""
        draw = random.random()
        if self.even and example.place is not None:
            offset = Noise(noise.seed).at("diffusion", "offset").generator().random()
            draw = (offset + example.place * GOLDEN) % 1.0
        return LEAST + (1 - LEAST) * draw

    def framed(self, example: Example) -> tuple[IntArray, IntArray]:
        """The ids with their special tokens, and the places that may be hidden (`E-NO-TARGET` where there are none)."""
        before, after = ([] if i is None else [i] for i in (self.cls, self.sep))
        ids = np.concatenate([before, example.ids, after]).astype(np.int64)
        kept = [i for i in (*self.fixed, self.mask, self.cls, self.sep) if i is not None]
        free = np.flatnonzero(~np.isin(ids, kept))
        if not len(free):
            raise ModeledgeError("E-NO-TARGET", "every token is special", where=f"example {example.index}")
        return ids, free

    def hide(self, index: int, ids: IntArray, hidden: IntArray, scale: FloatArray, tokens: int) -> Prepared:
        """The example with the places `hidden` masked, each weighed by its `scale`; divided by `tokens`."""
        seen = ids.copy()
        seen[hidden] = self.mask
        return Prepared(
            index,
            source=Piece(seen),
            reads={NAME: hidden},
            labels={NAME: ids[hidden], f"{NAME}.scale": scale.astype(np.float32)},
            weights={NAME: np.array([tokens], dtype=np.float32)},
        )


class MaskedDiffusion(Objective):
    """The bound on −log p(text), in nats a token: the term "elbo"."""

    measure: ClassVar[Measure] = "bound"

    def __init__(self, prepare: DiffusionPrepare, *, head: LMHead | None = None) -> None:
        super().__init__()
        self.prepare: Prepare = prepare
        self.heads: dict[str, Head] = {"lm": head or LMHead(transform=True, bias=True)}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        return Loss({NAME: Term(bound(model, batch), batch.weights[NAME].sum())})


def bound(model: Backbone, batch: Batch) -> Tensor:
    """Σ scale · −log p(hidden token), a scalar; scores are made for hidden tokens alone."""
    head = model.heads["lm"]
    assert isinstance(head, LanguageModelling)
    last = model(batch).last
    read = head.hidden(last.reshape(-1, last.shape[-1])[batch.reads[NAME]])
    labels, scale = batch.labels[NAME], batch.labels[f"{NAME}.scale"]
    return token_loss(read, head.weights(model.table), labels, scale, bias=head.bias, softcap=head.spec.softcap)


@torch.no_grad()
def elbo(
    model: Backbone,
    prepare: DiffusionPrepare,
    examples: Sequence[Example],
    *,
    draws: int = 16,
    noise: Noise = Noise(0),  # noqa: B008
) -> tuple[float, int]:
    """(nats, tokens) of texts: exp(nats / tokens) is the perplexity that the model surely stays below.

    Drawn is not t but the number of hidden tokens, l ~ U{1 … n}, and each weighs n / l: the same mean with far less
    variance (LLaDA, equation 6). The mean over `draws` of them, spread evenly over 1 … n from a random first one.
    """
    nats, tokens = 0.0, 0
    for example in examples:
        ids, free = prepare.framed(example)
        items, first = [], int(noise.at("elbo", example.index).generator().integers(len(free)))
        for draw in range(draws):
            random = noise.at("elbo", example.index, draw).generator()
            count = 1 + (first + draw * len(free) // draws) % len(free)
            hidden = np.sort(random.choice(free, count, replace=False))
            items.append(prepare.hide(example.index, ids, hidden, np.full(count, len(free) / count), len(free)))
        batch = collate(items, Shape(len(ids), packed=False)).to(model.device)
        nats += float(bound(model, batch)) / draws
        tokens += len(free)
    return nats, tokens
