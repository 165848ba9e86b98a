"""What may not be written: scores are bent before a token is chosen, the same for greedy, sampled and beam search.

A model that is likeliest to say what it has just said loops. Three remedies of the field: a repetition penalty divides
the scores of all tokens that were read or written (Keskar et al. 2019, arXiv 1909.05858, section 4.1), no n-gram may be
written twice (Paulus et al. 2017, arXiv 1705.04304, section 2.5), and an answer may not end before its least length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError


@dataclass(frozen=True)
class Rules:
    """`min_new_tokens` before a stop; `no_repeat_ngram`: n-grams of this length come once (0: no rule);
    `repetition_penalty` divides positive scores and multiplies negative ones of tokens that were there (1: no rule).

    What the decoder has read counts as written: the prompt, or the tokens that an answer to a source begins with.
    """

    min_new_tokens: int = 0
    no_repeat_ngram: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        for name in ("min_new_tokens", "no_repeat_ngram"):
            if getattr(self, name) < 0:
                raise ModeledgeError("E-USAGE", f"{name} {getattr(self, name)} is below 0")
        if not 0 < self.repetition_penalty < float("inf"):
            raise ModeledgeError("E-USAGE", f"repetition_penalty {self.repetition_penalty} is not a number above 0")

    @property
    def idle(self) -> bool:
        """Does no rule say anything?"""
        return not self.min_new_tokens and not self.no_repeat_ngram and self.repetition_penalty == 1.0

    def bent(self, scores: Tensor, written: Sequence[Sequence[int]], new: int, stop: Sequence[int]) -> Tensor:
        """Scores `[rows, vocab]` as the rules leave them: −∞ is forbidden.

        `written[row]` is all that the decoder has read or written in this row, `new` how many tokens of it are new.
        """
        if self.idle:
            return scores
        scores = scores.clone()
        for row, tokens in enumerate(written):
            if self.repetition_penalty != 1.0:
                there = torch.tensor(sorted(set(tokens)), device=scores.device)
                found = scores[row, there]
                penalty = self.repetition_penalty
                scores[row, there] = torch.where(found < 0, found * penalty, found / penalty)
            banned = self.repeats(tokens)
            if banned:
                scores[row, banned] = -torch.inf
        if new < self.min_new_tokens and len(stop):
            scores[:, list(stop)] = -torch.inf
        return scores

    def repeats(self, tokens: Sequence[int]) -> list[int]:
        """The tokens that would end an n-gram which is already there."""
        n = self.no_repeat_ngram
        if n == 0 or len(tokens) + 1 < n:
            return []
        tail = tuple(tokens[len(tokens) - n + 1 :])
        grams = (tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))
        return sorted({gram[-1] for gram in grams if gram[:-1] == tail})
