"""Learning labels: classes by cross-entropy, numbers by squared error, from one text or a pair of texts.

An encoder reads `[CLS] a [SEP] b [SEP]` with token types 0 and 1 and answers at [CLS] (Devlin et al. 2019, figure 4a
and b); a decoder reads `a [delimiter] b [extract]` and answers at its last token (Radford et al. 2018, figure 1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import ClassHead, Head, ValueHead
from modeledge.objectives.objective import Loss, Objective, Prepare, Term
from modeledge.records import Example, IntArray, Piece, Prepared
from modeledge.seed import Noise


@dataclass(frozen=True)
class LabelPrepare:
    """Text (and pair) → one piece with the special tokens of its shape; too long texts are cut from the longer one.

    `side` is "source" for an encoder, "target" for a decoder, "both" for a decoder that reads an encoder: it is given
    the same ids, one token later behind `start`, so that its last state has read the whole text on both sides (Lewis et
    al. 2020, section 3.1). Special ids that are `None` are left out. `kind` says whether labels are class numbers or
    values. `class_weights` weigh examples by their class.
    """

    side: Literal["source", "target", "both"]
    length: int
    kind: Literal["class", "value"]
    first: int | None = None
    between: int | None = None
    last: int | None = None
    types: bool = False
    class_weights: tuple[float, ...] = ()
    start: int | None = None
    channels: frozenset[str] = frozenset()
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        source, target = self.sides(self.piece(example))
        if example.label is None:
            raise ModeledgeError("E-LABEL-MISSING", "no label", where=example.where or f"example {example.index}")
        name = self.kind
        label = np.array([example.label], dtype=np.int64 if name == "class" else np.float32)
        weight = self.class_weights[int(example.label)] if self.class_weights else 1.0
        return Prepared(
            example.index,
            source=source,
            target=target,
            labels={name: label},
            weights={name: np.array([weight], dtype=np.float32)},
        )

    def sides(self, piece: Piece) -> tuple[Piece | None, Piece | None]:
        """What the encoder and the decoder read."""
        if self.side != "both":
            return (piece, None) if self.side == "source" else (None, piece)
        assert self.start is not None, "a decoder that reads an encoder begins with a token"
        return piece, Piece(np.concatenate([[self.start], piece.ids[:-1]]).astype(np.int64))

    def piece(self, example: Example) -> Piece:
        """The ids that the model reads, without the label."""
        a, b = self.cut(example)
        parts: list[tuple[list[int] | IntArray, int]] = [([] if self.first is None else [self.first], 0), (a, 0)]
        if b is not None:
            parts += [([] if self.between is None else [self.between], 0), (b, 1)]
        parts.append(([] if self.last is None else [self.last], 0 if b is None else 1))
        ids = np.concatenate([np.asarray(p, dtype=np.int64) for p, _ in parts])
        if not len(ids):
            where = example.where or f"example {example.index}"
            raise ModeledgeError("E-NO-TARGET", "the text has no token to read", where=where)
        types = np.concatenate([np.full(len(p), t, dtype=np.int64) for p, t in parts]) if self.types else None
        return Piece(ids, types)

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


class Classify(Objective):
    """−log softmax(scores)[label] an example, with label smoothing and class weights where they are asked for."""

    def __init__(self, prepare: Prepare, head: ClassHead, *, smoothing: float = 0.0) -> None:
        super().__init__()
        self.prepare, self.smoothing = prepare, smoothing
        self.heads: Mapping[str, Head] = {"class": head}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        scores = self.scores(model, batch)
        labels, weights = batch.labels["class"], batch.weights["class"]
        losses = F.cross_entropy(scores, labels, reduction="none", label_smoothing=self.smoothing)
        right = (scores.detach().argmax(-1) == labels).to(weights.dtype)
        term = Term((losses * weights).sum(), weights.sum())
        return Loss({"class": term}, {"accuracy": (right.sum(), torch.tensor(float(len(labels))))})

    def scores(self, model: Backbone, batch: Batch) -> torch.Tensor:
        """Class scores `[examples, classes]` in fp32 or wider."""
        states = model(batch).last
        return wide(model.heads["class"](states, batch))


class Regress(Objective):
    """Squared error an example, of values measured from `center` in units of `scale`.

    A fresh head answers about 0, and one learning rate must fit values of any size: with the mean and the standard
    deviation of the training labels the head learns numbers of size 1. `fold` puts both into its weights at the end.
    """

    def __init__(self, prepare: LabelPrepare, head: ValueHead, *, center: float = 0.0, scale: float = 1.0) -> None:
        super().__init__()
        self.prepare, self.center, self.scale = prepare, center, scale
        self.heads: Mapping[str, Head] = {"value": head}

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        weights = batch.weights["value"]
        losses = ((self.scores(model, batch) - batch.labels["value"]) / self.scale) ** 2
        return Loss({"value": Term((losses * weights).sum(), weights.sum())})

    def scores(self, model: Backbone, batch: Batch) -> torch.Tensor:
        """Predicted values `[examples]` in fp32 or wider."""
        states = model(batch).last
        return wide(model.heads["value"](states, batch)) * self.scale + self.center

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
