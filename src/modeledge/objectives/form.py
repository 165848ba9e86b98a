"""Inputs and targets as an example of any body: the three forms of text to text (Raffel et al. 2020, section 3.2.1).

An encoder–decoder reads the inputs from both sides and writes the targets behind its start token. A decoder reads both
in one piece, `inputs </s> targets </s>`: as a prefix LM it sees the inputs from both sides (figure 4, right; Dong et
al. 2019, arXiv 1905.03197), as a plain language model from left to right (figure 4, middle). The token that ends the
inputs is the last of the prefix, and the first target is read there. Only the targets are learned; a plain language
model may learn the `whole` of it, as a prefix LM may not: what is read both ways is seen where it would be guessed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.records import IntArray, Piece, Prepared

Kind = Literal["encoder-decoder", "prefix", "causal"]
Sizes = Iterable[tuple[int, int]]  # the most inputs and targets that a text may become; several where they trade off


@dataclass(frozen=True)
class Form:
    """How an example is laid out for a body of this `kind`.

    `first` stands before the inputs, `between` behind them, `end` behind the targets; `start` is what the decoder of an
    encoder–decoder begins with (BART: `</s> <s>`). What is empty is not there. The targets and their `end` are learned;
    with `whole` a plain language model learns the inputs too.
    """

    kind: Kind
    start: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    end: tuple[int, ...] = ()
    whole: bool = False

    def __post_init__(self) -> None:
        assert bool(self.start) == (self.kind == "encoder-decoder"), "the decoder of two begins with a token"
        if self.whole and self.kind != "causal":
            what = "a source that is read both ways sees each token that it would have to guess"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="objective.whole", remedy='set form = "causal"')

    def prepared(self, index: int, inputs: IntArray, targets: IntArray, *, begins: int = 0) -> Prepared:
        """The example. The decoder of two starts at position `begins` (MASS: where its fragment stood)."""
        prompt, learned = _joined(self.first, inputs, self.between), _joined(targets, self.end)
        if self.kind == "encoder-decoder":
            read = _joined(self.start, learned[:-1])
            reads = np.arange(len(self.start) - 1, len(read))
            return _learning(index, Piece(prompt), Piece(read, begins=begins), reads, learned)
        text = _joined(prompt, learned)
        read, labels = text[:-1], text[1:]
        prefix = np.arange(len(read)) < len(prompt) if self.kind == "prefix" else None
        reads = np.arange(0 if self.whole else len(prompt) - 1, len(read))
        return _learning(index, None, Piece(read, prefix=prefix), reads, labels[reads])

    def length(self, inputs: int, targets: int) -> int:
        """Positions of the longer piece, for so many inputs and targets."""
        prompt, written = inputs + len(self.first) + len(self.between), targets + len(self.end) - 1
        return max(prompt, len(self.start) + written) if self.kind == "encoder-decoder" else prompt + written


def most_tokens(sizes: Callable[[int], Sizes], form: Form, length: int) -> int:
    """The longest text that fits `length` positions after its noise (the reference's `random_spans_helper`).

    `sizes(n)` says what `n` tokens may become, and never shrinks as `n` grows. Raises `E-CONFIG-VALUE` where not even
    two tokens fit.
    """

    def fits(tokens: int) -> bool:
        return max(form.length(*size) for size in sizes(tokens)) <= length

    if not fits(2):
        what = f"{length} positions leave no room for a text of two tokens and what the objective adds to it"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="train.length", remedy="raise it")
    low, high = 2, 4
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _joined(*parts: object) -> IntArray:
    return np.concatenate([np.asarray(part, dtype=np.int64) for part in parts])


def _learning(index: int, source: Piece | None, target: Piece, reads: IntArray, labels: IntArray) -> Prepared:
    weights = np.ones(len(labels), dtype=np.float32)
    return Prepared(index, source, target, {"lm": reads}, {"lm": labels}, {"lm": weights})
