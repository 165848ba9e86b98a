"""R3F: a fine-tuned model should say the same where its input is a little otherwise (Aghajanyan et al. 2020, arXiv
2008.03156: "Better fine-tuning by reducing representational collapse").

Full fine-tuning with high rates wears down what pre-training found. R3F adds to the loss (equation 3)

    λ · KLₛ(g·f(x) ‖ g·f(x + z)),    z ~ U(−σ, σ) or N(0, σ²),

the symmetric divergence KLₛ(p ‖ q) = Σ (p − q)(log p − log q) between what it says of the embeddings and of the
embeddings with noise. It is SMART's smoothness term (Jiang et al. 2020, arXiv 1911.03437, equation 2) without the
search for the worst z, which costs several passes more; here it is one forward and one backward pass. The paper tries
λ in 0.1, 0.5, 1, 5, with σ = 1e-5. The noise is added to what enters the first block, and both passes drop the same
units, so that the term is 0 where σ is. States in bf16 have 8 bits: a noise below 2⁻⁹ would be rounded away, and is
refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone, Start
from modeledge.model.batch import Batch
from modeledge.seed import Noise

LEAST = {torch.bfloat16: 2.0**-9, torch.float16: 2.0**-12}  # half a step of numbers about 1


@dataclass(frozen=True)
class Smooth:
    """R3F's share λ, and its noise: uniform within σ, or normal with deviation σ. `share` 0: none."""

    share: float = 0.0
    noise: float = 1e-5
    draw: Literal["uniform", "normal"] = "uniform"

    def check(self, model: Backbone) -> None:
        """Refuse a body that cannot be started from its embeddings, and a noise that its dtype cannot hold."""
        if not model.cuts:
            what = "the states of this model do not begin at one row of embeddings"
            raise ModeledgeError("E-CONFIG", what, where="options.r3f", remedy="leave r3f out")
        if self.noise < LEAST.get(model.compute, 0.0):
            what = f"a noise of {self.noise} is lost in {str(model.compute).removeprefix('torch.')}"
            remedy = 'set train.precision = "fp32", or options.r3f_noise = 0.01'
            raise ModeledgeError("E-CONFIG-VALUE", what, where="options.r3f_noise", remedy=remedy)

    def passes(self, model: Backbone, batch: Batch, noise: Noise) -> tuple[Tensor, Tensor]:
        """The last states of the batch `[rows, seq, width]`, and those with noise on its embeddings."""
        self.check(model)
        embedded = model.states_at(batch, 0)
        z = torch.zeros(embedded.shape)
        for index, (row, start, end) in zip(batch.indices.tolist(), batch.spans.tolist(), strict=True):
            self.fill(z[row, start:end], noise.at("r3f", index))  # by example: the same packed, split and alone
        moved = embedded + z.to(embedded)
        return model(batch, start=Start(embedded, 0)).last, model(batch, start=Start(moved, 0)).last

    def fill(self, z: Tensor, noise: Noise) -> None:
        """Draw the noise of one example `[tokens, width]`."""
        drawn = torch.Generator().manual_seed(noise.integer() >> 1)
        if self.draw == "uniform":
            z.uniform_(-self.noise, self.noise, generator=drawn)
        else:
            z.normal_(0.0, self.noise, generator=drawn)


def apart(scores: Tensor, others: Tensor) -> Tensor:
    """KL(p ‖ q) + KL(q ‖ p) of the softmax of both `[n, classes]`: `[n]`."""
    p, q = F.log_softmax(scores, -1), F.log_softmax(others, -1)
    return ((p.exp() - q.exp()) * (p - q)).sum(-1)
