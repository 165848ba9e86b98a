"""Writing with an encoder: hidden tokens are uncovered step by step, in any order (masked diffusion).

A text begins fully hidden behind its prompt; in each step the model guesses all hidden tokens at once and some guesses
are kept. Which: with `random` each hidden token is kept with the same chance, (t − s)/t for a step from time t to s, so
that the steps run the diffusion backwards (Sahoo et al. 2024, equation 6); with `confident` those of which the model
is surest, equally many a step (Nie et al. 2025, section 2.4; Chang et al. 2022), which writes better text in few steps
and no longer samples from the model. A prompt may stand anywhere: what is not hidden stays as it is.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.generate.engine import check_fills
from modeledge.generate.sample import Sampling
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch, Side
from modeledge.records import FloatArray, IntArray
from modeledge.seed import Noise

Order = Literal["random", "confident"]


@torch.inference_mode()
def unmask(
    model: Backbone,
    ids: IntArray,
    mask: int,
    *,
    steps: int = 64,
    order: Order = "random",
    sampling: Sampling = Sampling(temperature=1.0),  # noqa: B008
    banned: tuple[int, ...] = (),
    noise: Noise = Noise(0),  # noqa: B008
) -> IntArray:
    """The ids `[n]` with every `mask` replaced, in at most `steps` passes; `mask` and `banned` ids are never written.

    Each place draws from its own noise. Raises `E-USAGE` for a decoder, a model in training mode, ids without a mask,
    fewer than one step, or an unknown order; `E-POSITION` where the text is too long.
    """
    hidden = _hidden(model, ids, mask, steps, order)
    text = torch.from_numpy(np.array(ids, dtype=np.int64)).to(model.device)
    forbidden = torch.tensor(sorted({mask, *banned}), device=model.device)
    for step in range(steps):
        places = torch.from_numpy(hidden).to(model.device)
        scores = model.logits(model(Batch(source=Side.of(text[None]))).last[0, places]).float()
        scores[:, forbidden] = -math.inf
        guesses = sampling.choose(scores, [noise.at("unmask", step, int(place)) for place in hidden])
        lots = noise.at("keep", step).generator().random(len(text))[hidden]
        kept = _kept(lots, steps - step, order, scores, guesses)
        text[places[kept]] = guesses[kept]
        hidden = hidden[~kept.cpu().numpy()]
        if not len(hidden):
            break
    return text.cpu().numpy()


def _kept(lots: FloatArray, left: int, order: Order, scores: Tensor, guesses: Tensor) -> Tensor:
    """Which guesses are kept when `left` steps are left, this one counted: bool `[hidden]`; in the last one, all."""
    if order == "random":
        return torch.from_numpy(lots * left < 1).to(scores.device)
    count = math.ceil(len(lots) / left)
    sure = torch.softmax(scores, -1).gather(1, guesses[:, None]).squeeze(1)
    best = torch.zeros(len(lots), dtype=torch.bool, device=scores.device)
    best[sure.topk(count).indices] = True
    return best


def _hidden(model: Backbone, ids: IntArray, mask: int, steps: int, order: str) -> IntArray:
    """The masked places; refuses what cannot be written (`E-USAGE`)."""
    check_fills(model)
    if model.config.both:
        raise ModeledgeError("E-USAGE", "tokens are uncovered by an encoder alone")
    if model.training:
        raise ModeledgeError("E-USAGE", "the model is in training mode", remedy="call model.eval()")
    if steps < 1:
        raise ModeledgeError("E-USAGE", f"{steps} steps uncover nothing", where="steps", remedy="ask for at least 1")
    if order not in ("random", "confident"):
        raise ModeledgeError("E-USAGE", f"there is no order {order!r}", remedy="choose 'random' or 'confident'")
    hidden = np.flatnonzero(np.asarray(ids) == mask)
    if not len(hidden):
        what, remedy = "there is no masked token in the text", "put the mask token where text is to be written"
        raise ModeledgeError("E-USAGE", what, remedy=remedy)
    model.check_length(len(ids))
    return hidden
