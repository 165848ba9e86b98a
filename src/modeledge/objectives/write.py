"""Writing a target for a source: text to text (Sutskever et al. 2014; Raffel et al. 2020, arXiv 1910.10683).

Three shapes of one task. An encoder–decoder reads the source from both sides and writes the target behind its start
token: the decoder's input is the target moved right by one. A decoder reads `source [delimiter] target` in one piece
and learns the target alone (the loss of the source's own tokens is an option, as in Radford et al. 2018, equation 5).
A prefix-LM is the same piece with the source read both ways (Dong et al. 2019, arXiv 1905.03197; Raffel et al. 2020,
figure 4). In all of them the end token is learned, always: a model that never learned to end does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import Head, LMHead
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.objective import Loss, Objective
from modeledge.records import Example, IntArray, Piece, Prepared
from modeledge.seed import Noise

Cut = Literal["end", "start", "none"]


@dataclass(frozen=True)
class WritePrepare:
    """`Example.ids` is the source, `Example.pair` the target, both without special tokens.

    With `start` (the tokens a decoder begins with) the source `first + source + between` goes to the encoder, at most
    `length` tokens; without, `first + source + between + target + eos` is one piece of at most `length`, of which
    `max_target` tokens are the target's. The target, its `eos` counted, is cut only where it is longer than
    `max_target`; the source is cut at its `end`, or at its `start` (a dialogue's last turns count) behind its first
    `kept` tokens. With the cut "none" it stays whole, and the target has the room that is left. `both_ways` reads the
    source from both sides, `whole` learns it too; both are for one piece alone.
    """

    eos: int
    length: int
    max_target: int
    start: tuple[int, ...] = ()
    first: tuple[int, ...] = ()
    between: tuple[int, ...] = ()
    cut: Cut = "end"
    kept: int = 0
    both_ways: bool = False
    whole: bool = False
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.max_target < 2:
            what = f"max_target {self.max_target} has no room for a token and the end"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="raise it to at least 2")
        if self.room < 1 + (self.kept if self.cut == "start" else 0):
            fixed = self.length - self.room
            what = f"{self.length} tokens leave no room for a source: {fixed} are the target's and special tokens'"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="raise the length, or lower max_target")
        if self.start and (self.both_ways or self.whole):
            what = "the source of an encoder is always read both ways, and never learned"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="leave prefix_lm and train_source out")
        if self.both_ways and self.whole:
            what = "a source that is read both ways sees each token that it would have to guess"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="choose prefix_lm or train_source")

    @property
    def room(self) -> int:
        """How many tokens of a source fit."""
        return self.length - len(self.first) - len(self.between) - (0 if self.start else self.max_target)

    @property
    def seq(self) -> int:
        """The longest row that an example needs."""
        return max(self.length, len(self.start) + self.max_target - 1) if self.start else self.length

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        prompt, target = self.prompt(example), self.target(example)
        if not len(target):
            where = example.where or f"example {example.index}"
            raise ModeledgeError("E-NO-TARGET", "the target has no token", where=where)
        learned = np.append(target, self.eos)
        begin = np.asarray(self.start, dtype=np.int64) if self.start else prompt
        read = np.concatenate([begin, target])
        reads, labels = np.arange(len(begin) - 1, len(read)), learned
        if self.whole:
            reads, labels = np.arange(len(read)), np.append(read[1:], self.eos)
        prefix = np.arange(len(read)) < len(prompt) if self.both_ways else None
        return Prepared(
            example.index,
            source=Piece(prompt) if self.start else None,
            target=Piece(read, prefix=prefix),
            reads={"lm": reads},
            labels={"lm": labels},
            weights={"lm": np.ones(len(labels), dtype=np.float32)},
        )

    def asking(self, example: Example) -> Prepared:
        """The prompt alone, for a model that is to write: a source, or the beginning of a piece."""
        piece = Piece(self.prompt(example))
        return Prepared(example.index, **{"source" if self.start else "target": piece})  # type: ignore[arg-type]

    def prompt(self, example: Example) -> IntArray:
        """What the model reads before it writes."""
        source = np.asarray(example.ids, dtype=np.int64)
        if self.cut == "none" and self.start and len(source) > self.room:
            what = f"the source has {len(source)} tokens, {self.room} fit"
            raise ModeledgeError("E-TOO-LONG", what, where=example.where or f"example {example.index}")
        if len(source) > self.room and self.cut == "end":
            source = source[: self.room]
        elif len(source) > self.room and self.cut == "start":
            source = np.concatenate([source[: self.kept], source[len(source) - self.room + self.kept :]])
        return np.concatenate([self.first, source, self.between]).astype(np.int64)

    def target(self, example: Example) -> IntArray:
        """The tokens that are to be written, without the end; none where the prompt leaves no room for them."""
        target = np.zeros(0, np.int64) if example.pair is None else np.asarray(example.pair, dtype=np.int64)
        room = self.max_target
        if self.cut == "none" and not self.start:
            room = min(room, self.length - len(self.first) - len(example.ids) - len(self.between))
        return target[: max(room - 1, 0)]

    def truncated(self, example: Example) -> tuple[int, int]:
        """How many tokens the source and the target lose."""
        lost = 0 if self.cut == "none" else max(0, len(example.ids) - self.room)
        return lost, (0 if example.pair is None else len(example.pair) - len(self.target(example)))


class Write(Objective):
    """−Σ log p(target token | source, target before it), the end among the tokens; with label smoothing if asked."""

    prepare: WritePrepare
    continues = frozenset({"lm"})

    def __init__(self, prepare: WritePrepare, *, head: LMHead | None = None, smoothing: float = 0.0) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ModeledgeError("E-CONFIG-VALUE", f"smoothing {smoothing} is not in [0, 1)")
        self.prepare, self.smoothing = prepare, smoothing
        self.heads: Mapping[str, Head] = {"lm": head or LMHead()}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        return Loss({"lm": vocabulary_term(model, batch, "lm", smoothing=self.smoothing)})
