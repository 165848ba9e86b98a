"""The best sequence of tags, and how sure each of its tags is, where neighbours have a say.

Viterbi (1967) finds the sequence y with the greatest Σ scores[t, yₜ] + Σ steps[yₜ₋₁, yₜ]; forward and backward sums
(Rabiner 1989, equations 27 and 37) give the share of all sequences, weighed by exp of the same sum, that have tag k at
word t. Steps that only forbid make this constrained softmax tagging; learned ones make it a CRF.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from modeledge.records import FloatArray, IntArray


@dataclass(frozen=True)
class Steps:
    """What a first tag, a step from one tag to the next, and a last tag add: `[tags]`, `[tags, tags]`, `[tags]`."""

    start: FloatArray
    between: FloatArray
    end: FloatArray

    def __add__(self, other: Steps) -> Steps:
        return Steps(self.start + other.start, self.between + other.between, self.end + other.end)


def decoded(scores: FloatArray, *added: Steps | None) -> tuple[IntArray, FloatArray]:
    """The best tag of each word `[words]`, and every tag's share at each `[words, tags]`, under all that is added."""
    steps = [one for one in added if one is not None]
    if not steps:
        return scores.argmax(-1), softmax(scores)
    whole = steps[0] if len(steps) == 1 else steps[0] + steps[1]
    return viterbi(scores, whole), marginals(scores, whole)


def viterbi(scores: FloatArray, steps: Steps) -> IntArray:
    """The best sequence `[words]` for scores `[words, tags]`; of equals the tag with the lowest number."""
    back = np.zeros(scores.shape, dtype=np.int64)
    best = scores[0] + steps.start
    for t in range(1, len(scores)):
        ways = best[:, None] + steps.between
        back[t] = ways.argmax(0)
        best = ways.max(0) + scores[t]
    out = np.empty(len(scores), dtype=np.int64)
    out[-1] = (best + steps.end).argmax()
    for t in range(len(scores) - 1, 0, -1):
        out[t - 1] = back[t, out[t]]
    return out


def marginals(scores: FloatArray, steps: Steps) -> npt.NDArray[np.float64]:
    """The share of each tag at each word `[words, tags]`, exact, in float64."""
    ahead, behind = np.empty(scores.shape), np.empty(scores.shape)
    ahead[0], behind[-1] = scores[0] + steps.start, steps.end
    for t in range(1, len(scores)):
        ahead[t] = _log_sum(ahead[t - 1][:, None] + steps.between) + scores[t]
    for t in range(len(scores) - 1, 0, -1):
        behind[t - 1] = _log_sum((steps.between + scores[t] + behind[t]).T)
    return softmax(ahead + behind)


def softmax(scores: FloatArray) -> npt.NDArray[np.float64]:
    """Shares along the last axis, in float64."""
    shares = np.exp(scores.astype(np.float64) - scores.max(-1, keepdims=True))
    return np.asarray(shares / shares.sum(-1, keepdims=True))


def _log_sum(terms: FloatArray) -> FloatArray:
    """log Σ exp over the first axis."""
    top = terms.max(0)
    return np.asarray(np.log(np.exp(terms - top).sum(0)) + top)
