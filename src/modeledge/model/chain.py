"""A linear chain over tags: what a tag is worth beside its neighbour (Lafferty, McCallum and Pereira 2001).

Softmax tagging chooses each tag alone. A conditional random field scores a whole sequence y of tags,

    s(x, y) = start[y₁] + Σₜ scores[t, yₜ] + Σₜ steps[yₜ₋₁, yₜ] + end[yₙ],        −log p(y | x) = log Z(x) − s(x, y),

where Z sums exp s over all sequences. They are `tags ** n`, yet Z costs `n · tags²`: the forward algorithm keeps for
each tag the log-sum of all beginnings that end in it, so nothing is approximated and nothing overflows. The scores of
the words come from another head (Lample et al. 2016, section 2.2, arXiv 1603.01360); this one holds what lies between.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modeledge.model.facts import Facts


@dataclass(frozen=True, kw_only=True)
class ChainHead:
    """What steps between `outputs` tags are worth: a linear-chain CRF on top of the head that scores each word."""

    outputs: int

    def build(self, config: Facts) -> Chain:
        return Chain(self)


class Chain(nn.Module):
    """`steps [tags, tags]` (from, to), and what a sequence gains by its first and its last tag `[tags]`."""

    def __init__(self, spec: ChainHead) -> None:
        super().__init__()
        self.spec = spec
        self.steps = nn.Parameter(torch.empty(spec.outputs, spec.outputs))
        self.start_bias = nn.Parameter(torch.empty(spec.outputs))
        self.end_bias = nn.Parameter(torch.empty(spec.outputs))

    def forward(self, scores: Tensor, tags: Tensor, lengths: Tensor, ends: Tensor) -> Tensor:
        """−log p(tags | scores) of each sequence `[n]`.

        scores `[n, longest, tags]`, tags `[n, longest]`, lengths `[n]`, each at least 1; ends `[n, 2]` bool: does the
        sequence begin and end where its sentence does? A window in the middle of one has no first and no last tag.
        """
        return self.log_partition(scores, lengths, ends) - self.score(scores, tags, lengths, ends)

    def log_partition(self, scores: Tensor, lengths: Tensor, ends: Tensor) -> Tensor:
        """log Z of each sequence `[n]`, by the forward algorithm in log space."""
        steps, first, last = (p.to(scores.dtype) for p in (self.steps, self.start_bias, self.end_bias))
        reached = scores[:, 0] + first * ends[:, :1]
        for t in range(1, scores.shape[1]):
            onward = torch.logsumexp(reached[:, :, None] + steps, 1) + scores[:, t]
            reached = torch.where((t < lengths)[:, None], onward, reached)
        return torch.logsumexp(reached + last * ends[:, 1:], -1)

    def score(self, scores: Tensor, tags: Tensor, lengths: Tensor, ends: Tensor) -> Tensor:
        """s(x, tags) of each sequence `[n]`."""
        steps, first, last = (p.to(scores.dtype) for p in (self.steps, self.start_bias, self.end_bias))
        there = torch.arange(scores.shape[1], device=scores.device) < lengths[:, None]
        words = scores.gather(2, tags[:, :, None]).squeeze(2)
        between = steps[tags[:, :-1], tags[:, 1:]]
        total = torch.where(there, words, 0.0).sum(1) + torch.where(there[:, 1:], between, 0.0).sum(1)
        final = tags.gather(1, lengths[:, None] - 1).squeeze(1)
        return total + first[tags[:, 0]] * ends[:, 0] + last[final] * ends[:, 1]
