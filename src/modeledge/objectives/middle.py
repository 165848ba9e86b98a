"""Fill in the middle: an ordinary decoder learns to write between two texts (Bavarian et al. 2022, arXiv 2207.14255).

A text is cut at two places into prefix, middle and suffix, and written in another order with three tokens that say
what follows:

    PSM   [PRE] prefix [SUF] suffix [MID] middle [END]
    SPM   [PRE] [SUF] suffix [MID] prefix middle [END]

Then it is next-token prediction over all of it, as ever: model and loss know nothing of the change, and at a rate of
0.5 to 0.9 left-to-right perplexity does not suffer (sections 4.1 and 4.3). The second form is the paper's variant for
training both forms together (appendix D): `[PRE] [SUF] suffix [MID]` is where PSM stands too when its prefix is empty,
and what is written behind [MID] runs on from the prefix without a seam. [END] tells that the middle meets its suffix.

Both cuts are drawn uniformly from all places between two tokens, both ends included, so that any part may be empty
(section 3; the paper draws places between characters: here a cut never divides a token, so that no text has to be
tokenized again).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.model.heads import LMHead
from modeledge.objectives.causal import CausalLM, next_tokens
from modeledge.objectives.objective import Measure
from modeledge.records import Example, IntArray, Prepared
from modeledge.seed import Noise

NAMES = ("<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>")  # how these tokens are spelled in a tokenizer of ours
ADDED = 4  # tokens that a rearranged text has more: the three, and [END] where the text had none


@dataclass(frozen=True)
class MiddlePrepare:
    """With the chance `rate` the example is rearranged, of these the share `spm` in the order suffix, prefix, middle.

    An example is one text, or a piece of one: cut the corpus by document. `end` closes what is rearranged, whether the
    text ended with it or was cut. What is not rearranged is plain next-token prediction.
    """

    prefix: int
    middle: int
    suffix: int
    end: int
    rate: float = 0.5
    spm: float = 0.5
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = True

    def __post_init__(self) -> None:
        for name, value in (("rate", self.rate), ("spm", self.spm)):
            if not 0 <= value <= 1:
                raise ModeledgeError("E-CONFIG-VALUE", f"{name} is {value}; it lies between 0 and 1", where=name)
        tokens = (self.prefix, self.middle, self.suffix, self.end)
        if len(set(tokens)) < len(tokens):
            what = f"two of the tokens for prefix, middle, suffix and end are one: {tokens}"
            raise ModeledgeError("E-SPECIAL-TOKEN", what, remedy="give each a token of its own")

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        ids: IntArray = np.asarray(example.ids, dtype=np.int64)
        random = noise.at("middle").generator()
        text = ids[:-1] if len(ids) and ids[-1] == self.end else ids
        if random.random() < self.rate and len(text):
            ids = self._rearranged(text, random)
        if len(ids) < 2:
            raise ModeledgeError("E-NO-TARGET", "one token has no next token", where=f"example {example.index}")
        return next_tokens(example.index, ids, np.arange(len(ids) - 1))

    def _rearranged(self, text: IntArray, random: np.random.Generator) -> IntArray:
        first, last = np.sort(random.integers(0, len(text) + 1, 2))
        before, between, after = text[:first], text[first:last], text[last:]
        if random.random() < self.spm:
            parts: list[Any] = [[self.prefix, self.suffix], after, [self.middle], before, between, [self.end]]
        else:
            parts = [[self.prefix], before, [self.suffix], after, [self.middle], between, [self.end]]
        return np.concatenate(parts).astype(np.int64)


class FillMiddle(CausalLM):
    """Next-token prediction over texts whose middle may stand last.

    Held-out texts are rearranged too, so their loss is no likelihood of a text: the signs are no text, and a middle is
    written where its suffix is known.
    """

    measure: ClassVar[Measure] = "loss"

    def __init__(self, prepare: MiddlePrepare, *, head: LMHead | None = None) -> None:
        super().__init__(head=head)
        self.prepare = prepare
