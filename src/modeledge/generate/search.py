"""Beam search: the likeliest answer, looked for along several beginnings at once (Lowerre 1976; Sutskever et al. 2014).

Each prompt keeps its `count` best unfinished beginnings, ranked by Σ log p. One that meets a stop while it is among the
`count` best continuations is finished; its score is Σ log p / nᵅ with n its new tokens, the stop among them, and α the
length penalty (Wu et al. 2016, arXiv 1609.08144, section 7, in the simple form that the field settled on): α > 0
favours long answers. The search ends where no beginning can still beat the worst of `count` finished answers. What
"can" means is `early_stopping`: `True` asks nothing, `False` takes each beginning's score at its length of now,
`"never"` at the length that is best for it (exact, and slowest). These are the meanings that transformers gives the
same words, so a model card's figures can be repeated.

All beams of all prompts are rows of one batch with one cache, whose rows are put into their new order at every step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch

from modeledge.errors import ModeledgeError
from modeledge.generate.engine import check_asked, read_prompts, read_token
from modeledge.generate.rules import Rules
from modeledge.model.backbone import Backbone
from modeledge.records import IntArray

NEVER = -1e9  # the score of what is no beginning yet: finite, so that sums stay numbers


@dataclass(frozen=True)
class Beams:
    """How many beginnings are kept, how length counts, and when the search ends."""

    count: int = 4
    length_penalty: float = 1.0
    early_stopping: bool | Literal["never"] = False
    rules: Rules = field(default_factory=Rules)

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ModeledgeError("E-USAGE", f"{self.count} beams find nothing", remedy="ask for at least 1")
        if self.early_stopping not in (True, False, "never"):
            what = f"early_stopping {self.early_stopping!r} is not known"
            raise ModeledgeError("E-USAGE", what, remedy='true, false or "never"')


@dataclass(frozen=True)
class Found:
    """An answer with its score: Σ log p / nᵅ. `tokens` are without the stop."""

    tokens: IntArray
    score: float


@dataclass
class _Search:
    """One prompt's beginnings (score, new tokens), best first, and its finished answers, best first."""

    number: int
    running: list[tuple[float, list[int]]]
    finished: list[tuple[float, list[int]]] = field(default_factory=list)
    done: bool = False

    def take(self, best: Sequence[tuple[float, int, int]], ends: frozenset[int], last: bool, beams: Beams) -> list[int]:
        """The next beginnings out of the best (score, beam, token); returns the beam that each goes on from."""
        went: list[int] = []
        running: list[tuple[float, list[int]]] = []
        full = len(self.finished) == beams.count and beams.early_stopping is True
        for rank, (score, beam, token) in enumerate(best):
            tokens = [*self.running[beam][1], token]
            if token not in ends and not last:
                if len(running) < beams.count:
                    running.append((score, tokens))
                    went.append(beam)
            elif rank < beams.count and not full:
                self.finished.append((score / len(tokens) ** beams.length_penalty, tokens))
        self.finished = sorted(self.finished, key=lambda found: -found[0])[: beams.count]
        self.running = running
        return went

    def settled(self, room: int, beams: Beams) -> bool:
        """Can no beginning beat the worst finished answer?"""
        if len(self.finished) < beams.count:
            return False
        if beams.early_stopping is True or not self.running:
            return True
        score, tokens = self.running[0]
        longest = beams.early_stopping == "never" and beams.length_penalty > 0
        best = score / (room if longest else len(tokens)) ** beams.length_penalty
        return bool(best <= self.finished[-1][0])


@torch.inference_mode()
def beam_search(
    model: Backbone,
    prompts: Sequence[IntArray],
    *,
    max_new_tokens: int,
    beams: Beams = Beams(),
    stop: Sequence[int] = (),
    start: Sequence[int] = (),
    both_ways: bool = False,
) -> list[list[Found]]:
    """For each prompt its finished answers, best first, at most `beams.count` of them.

    `stop`, `start` and `both_ways` are those of `generate`, and so are the errors.
    """
    check_asked(model, prompts, max_new_tokens, start)
    ends, count = frozenset(stop), beams.count
    rows = read_prompts(model, prompts, max_new_tokens, start, both_ways)
    before = [list(start) if start else [int(i) for i in prompt] for prompt in prompts]
    searches = [_Search(n, [(0.0 if beam == 0 else NEVER, []) for beam in range(count)]) for n in range(len(prompts))]
    going = searches
    rows = rows.chosen(torch.arange(len(prompts), device=model.device).repeat_interleave(count))
    for step in range(max_new_tokens):
        shares = torch.log_softmax(model.logits(rows.last).float(), -1)
        written = [before[s.number] + tokens for s in going for _, tokens in s.running]
        shares = beams.rules.bent(shares, written, step, stop)
        so_far = torch.tensor([score for s in going for score, _ in s.running], device=shares.device)
        vocab = shares.shape[1]
        whole = (shares + so_far[:, None]).view(len(going), -1)
        best, places = whole.topk(min(max(2, 1 + len(ends)) * count, whole.shape[1]), sorted=True)
        order: list[int] = []
        for at, (search, scores, ids) in enumerate(zip(going, best.tolist(), places.tolist(), strict=True)):
            offered = [(score, place // vocab, place % vocab) for score, place in zip(scores, ids, strict=True)]
            went = search.take(offered, ends, step == max_new_tokens - 1, beams)
            search.done = search.settled(max_new_tokens, beams) or not went
            order += [] if search.done else [at * count + beam for beam in went]
        going = [search for search in going if not search.done]
        if not going:
            break
        tokens = torch.tensor([tokens[-1] for s in going for _, tokens in s.running], device=shares.device)
        rows = read_token(model, rows.chosen(torch.tensor(order, device=shares.device)), tokens, step)
    return [[_found(score, tokens, ends) for score, tokens in search.finished] for search in searches]


def _found(score: float, tokens: list[int], ends: frozenset[int]) -> Found:
    whole = tokens[:-1] if tokens and tokens[-1] in ends else tokens
    return Found(np.array(whole, dtype=np.int64), score)
