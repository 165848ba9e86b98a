"""Learning labels: classes by cross-entropy, numbers by squared error, from one text or a pair of texts.

An encoder reads `[CLS] a [SEP] b [SEP]` with token types 0 and 1 and answers at [CLS] (Devlin et al. 2019, figure 4a
and b); a decoder reads `a [delimiter] b [extract]` and answers at its last token (Radford et al. 2018, figure 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import ClassHead, Head, LMHead, ValueHead
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.objective import Loss, Objective, Prepare, Term
from modeledge.objectives.parts import Laid, joined, next_tokens, read_by
from modeledge.objectives.smooth import Smooth, apart
from modeledge.records import AnyArray, Example, IntArray, Piece, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class LabelPrepare:
    """Text (and pair) → one piece with the special tokens of its shape; too long texts are cut from the longer one.

    `side` is "source" for an encoder, "target" for a decoder, "both" for a decoder that reads an encoder: it is given
    the same ids, one token later behind `start`, so that its last state has read the whole text on both sides (Lewis et
    al. 2020, section 3.1). Special ids that are `None` are left out. `kind` says whether labels are class numbers,
    values, or sets of class numbers out of `outputs`. `class_weights` weigh examples by their class. With `orders` a
    pair is read twice, as `a b` and as `b a`: two parts of one example (Radford et al. 2018, figure 1: similarity).
    With `lm` the tokens of the texts are next tokens to be learned beside the label; with `r3f` an example also weighs
    in the term of that name (`Smooth`).
    """

    side: Literal["source", "target", "both"]
    length: int
    kind: Literal["class", "value", "set"]
    first: int | None = None
    between: int | None = None
    last: int | None = None
    types: bool = False
    class_weights: tuple[float, ...] = ()
    start: int | None = None
    channels: frozenset[str] = frozenset()
    orders: bool = False
    lm: bool = False
    outputs: int = 0
    r3f: bool = False
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        piece, text = joined(self.laid(example), self.types)
        source, target = self.sides(piece)
        if example.label is None:
            raise ModeledgeError("E-LABEL-MISSING", "no label", where=example.where or f"example {example.index}")
        name = "value" if self.kind == "value" else "class"
        weight = self.class_weights[int(example.label)] if self.class_weights else 1.0
        reads, labels, weights = next_tokens(piece, text) if self.lm else ({}, {}, {})
        smooth = {"r3f": np.array([weight], dtype=np.float32)} if self.r3f else {}
        if self.orders:
            reads[name] = np.array([0, *piece.breaks], dtype=np.int64)
        return Prepared(
            example.index,
            source=source,
            target=target,
            reads=reads,
            labels={name: self.label(example.label), **labels},
            weights={name: np.array([weight], dtype=np.float32), **smooth, **weights},
        )

    def label(self, label: Any) -> AnyArray:
        """A label as an array `[1]`, or `[1, outputs]` of zeros and ones for a set."""
        if self.kind != "set":
            return np.array([label], dtype=np.int64 if self.kind == "class" else np.float32)
        held = np.zeros((1, self.outputs), dtype=np.float32)
        held[0, list(label)] = 1.0
        return held

    def sides(self, piece: Piece) -> tuple[Piece | None, Piece | None]:
        """What the encoder and the decoder read: each part of the piece behind a `start` of its own."""
        if self.side != "both":
            return (piece, None) if self.side == "source" else (None, piece)
        assert self.start is not None, "a decoder that reads an encoder begins with a token"
        parts = pairwise((0, *piece.breaks, len(piece.ids)))
        later = np.concatenate([np.append(self.start, piece.ids[a : b - 1]) for a, b in parts])
        return piece, Piece(later.astype(np.int64), breaks=piece.breaks)

    def piece(self, example: Example) -> Piece:
        """The ids that the model reads, without the label."""
        return joined(self.laid(example), self.types)[0]

    def laid(self, example: Example) -> list[list[Laid]]:
        """The parts of an example: one, or a pair in both orders."""
        a, b = self.cut(example)
        parts = [self.laid_out(a, b)]
        if self.orders:
            assert b is not None, "one text has no other order"
            parts.append(self.laid_out(b, a))
        if not any(len(run.ids) for run in parts[0]):
            where = example.where or f"example {example.index}"
            raise ModeledgeError("E-NO-TARGET", "the text has no token to read", where=where)
        return parts

    def laid_out(self, a: IntArray, b: IntArray | None) -> list[Laid]:
        """One part: a text, or a pair, with the special tokens around."""
        first, between, last = ([] if token is None else [token] for token in (self.first, self.between, self.last))
        if b is None:
            return [Laid(first, 0), Laid(a, 0, True), Laid(last, 0)]
        return [Laid(first, 0), Laid(a, 0, True), Laid(between, 0), Laid(b, 1, True), Laid(last, 1)]

    def cut(self, example: Example) -> tuple[IntArray, IntArray | None]:
        """Texts that fit: while the example is too long, the longer text loses its last token (Devlin et al. 2019)."""
        a, b = example.ids, example.pair
        specials = sum(x is not None for x in (self.first, self.last)) + (b is not None and self.between is not None)
        room = self.length - specials
        if room < (1 if b is None else 2):
            what = f"{self.length} tokens leave no room for text beside {specials} special tokens"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="length", remedy="raise the row length")
        if b is None:
            return a[:room], None
        surplus = len(a) + len(b) - room
        if surplus <= 0:
            return a, b
        from_longer = min(surplus, abs(len(a) - len(b)))
        rest = surplus - from_longer
        less_a = (from_longer if len(a) > len(b) else 0) + rest // 2
        less_b = (from_longer if len(b) >= len(a) else 0) + rest - rest // 2
        return a[: len(a) - less_a], b[: len(b) - less_b]

    def truncated(self, example: Example) -> int:
        """How many tokens of the example do not fit."""
        a, b = self.cut(example)
        return len(example.ids) - len(a) + (0 if b is None or example.pair is None else len(example.pair) - len(b))


class Labelling(Objective):
    """What objectives of labels share: one head over whole examples, and the auxiliary language modelling of Radford et
    al. (2018, equation 5): L3 = L2 + λ · L1, with λ = `lm` and L1 the next-token loss over the texts' own tokens."""

    name: ClassVar[str] = "class"
    continues = frozenset({"lm"})

    def __init__(self, prepare: Prepare, head: Head, lm: float = 0.0) -> None:
        super().__init__()
        self.prepare, self.lm = prepare, lm
        self.heads: Mapping[str, Head] = {self.name: head, **({"lm": LMHead()} if lm else {})}

    def scores(self, model: Backbone, batch: Batch) -> torch.Tensor:
        """What the head says of each example, in fp32 or wider."""
        return self.read(model, model(batch).last, batch)

    def read(self, model: Backbone, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """The same of states `[rows, seq, width]` that are there already."""
        return wide(read_by(model.heads[self.name], states, batch, self.name))

    def auxiliary(self, model: Backbone, states: torch.Tensor, batch: Batch) -> dict[str, Term]:
        """The language-modelling term, where it is asked for."""
        return {"lm": vocabulary_term(model, batch, "lm", states=states, share=self.lm)} if self.lm else {}


class Classify(Labelling):
    """−log softmax(scores)[label] an example, with label smoothing and class weights where they are asked for, and in
    training R3F's term where it is (`smooth`).

    `scores` are those of the classes, `[examples, classes]`.
    """

    def __init__(
        self,
        prepare: Prepare,
        head: ClassHead,
        *,
        smoothing: float = 0.0,
        lm: float = 0.0,
        smooth: Smooth = Smooth(),  # noqa: B008
    ) -> None:
        super().__init__(prepare, head, lm)
        self.smoothing, self.smooth = smoothing, smooth
        self.from_embeddings = smooth.share > 0

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        moved = None
        if self.smooth.share and self.training:
            states, moved = self.smooth.passes(model, batch, noise)
        else:
            states = model(batch).last
        scores = self.read(model, states, batch)
        labels, weights = batch.labels["class"], batch.weights["class"]
        losses = F.cross_entropy(scores, labels, reduction="none", label_smoothing=self.smoothing)
        right = (scores.detach().argmax(-1) == labels).to(weights.dtype)
        term = Term((losses * weights).sum(), weights.sum())
        terms = {"class": term, **self.auxiliary(model, states, batch)}
        if moved is not None:
            gap = apart(scores, self.read(model, moved, batch))
            terms["r3f"] = Term((gap * weights).sum(), weights.sum(), self.smooth.share)
        return Loss(terms, {"accuracy": (right.sum(), torch.tensor(float(len(labels))))})


class Regress(Labelling):
    """Squared error an example, of values measured from `center` in units of `scale`.

    A fresh head answers about 0, and one learning rate must fit values of any size: with the mean and the standard
    deviation of the training labels the head learns numbers of size 1. `fold` puts both into its weights at the end.
    `scores` are the predicted values, `[examples]`.
    """

    name: ClassVar[str] = "value"

    def __init__(
        self, prepare: LabelPrepare, head: ValueHead, *, center: float = 0.0, scale: float = 1.0, lm: float = 0.0
    ) -> None:
        super().__init__(prepare, head, lm)
        self.center, self.scale = center, scale

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        weights, states = batch.weights["value"], model(batch).last
        losses = ((self.read(model, states, batch) - batch.labels["value"]) / self.scale) ** 2
        terms = {"value": Term((losses * weights).sum(), weights.sum())}
        return Loss({**terms, **self.auxiliary(model, states, batch)})

    def read(self, model: Backbone, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        """Predicted values `[examples]` in the units of the labels."""
        return super().read(model, states, batch) * self.scale + self.center

    def fold(self, model: Backbone) -> None:
        """Let the head's own weights say what `scores` says: the model then needs neither center nor scale."""
        output = model.heads["value"].output
        with torch.no_grad():
            output.weight.mul_(self.scale)  # type: ignore[operator,union-attr]
            if output.bias is not None:  # type: ignore[union-attr]
                output.bias.mul_(self.scale).add_(self.center)  # type: ignore[operator,union-attr]
            else:
                assert self.center == 0, "a head without a bias holds no mean"
        self.center, self.scale = 0.0, 1.0


def wide(x: torch.Tensor) -> torch.Tensor:
    """At least fp32: scores of a bf16 model are compared and averaged in full precision."""
    return x if x.dtype is torch.float64 else x.float()
