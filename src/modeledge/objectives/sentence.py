"""Two segments and how they belong together, beside masked language modelling.

Next-sentence prediction (Devlin et al. 2019, section 3.1, task 2): does the second segment follow the first, or is it
from another document? Sentence-order prediction (Lan et al. 2020, section 3.1): do two segments that follow each other
stand in their order? Which of the two is asked is the stream's business (`corpus.pairs`); label 0 is the text's own.

    [CLS] my dog is [MASK] [SEP] he [MASK] play ##ing [SEP]        types 0 0 0 0 0 0 1 1 1 1 1

The state at [CLS] goes through a dense layer and tanh (BERT's pooler) to two scores, and the loss is the sum of both:

    L = Σ_masked −log p(xₜ) / masked  +  Σ_pairs −log p(label) / pairs.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F

from modeledge.corpus.channels import SENTENCES, WORDS
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import ClassHead, Head, LMHead
from modeledge.objectives.causal import vocabulary_term
from modeledge.objectives.label import wide
from modeledge.objectives.masked import MaskedPrepare
from modeledge.objectives.objective import Loss, Objective, Term
from modeledge.objectives.parts import Laid, joined
from modeledge.records import AnyArray, Example, Piece, Prepared
from modeledge.seed import Noise

BEGINNINGS = (WORDS, SENTENCES)  # channels that mark where something begins


@dataclass(frozen=True)
class PairPrepare:
    """`[CLS] ids [SEP] pair [SEP]` with token types 0 and 1, masked by `masking`, and the pair's label 0 or 1.

    `masking` gets the pair as it stands and puts no tokens around it; its `cls` and `sep` are those of the frame. The
    channels of an example hold a value for each token of both segments; a special token begins a word of its own. The
    end-of-text token `end` is taken off a segment: [SEP] stands there.
    """

    masking: MaskedPrepare
    end: int | None = None
    noisy: ClassVar[bool] = True

    @property
    def channels(self) -> frozenset[str]:
        return self.masking.channels | {SENTENCES}

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        where = example.where or f"example {example.index}"
        if example.pair is None:
            raise ModeledgeError("E-NO-TARGET", "one segment is no pair", where=where)
        if example.label not in (0, 1):
            raise ModeledgeError(
                "E-LABEL-MISSING", f"the label of a pair is {example.label!r}, not 0 or 1", where=where
            )
        example = self.ended(example)
        piece, text = self.framed(example)
        bare = replace(self.masking, cls=None, sep=None, specials=self.specials)
        whole = replace(example, ids=np.asarray(piece.ids), pair=None, channels=self.beside(example, text))
        hidden = bare(whole, noise)
        assert hidden.source is not None, "an encoder reads a source"
        return replace(
            hidden,
            source=replace(hidden.source, types=piece.types),
            labels={**hidden.labels, "next": np.array([example.label], dtype=np.int64)},
            weights={**hidden.weights, "next": np.ones(1, dtype=np.float32)},
        )

    def ended(self, example: Example) -> Example:
        """The example without end-of-text tokens behind its segments, in the channels neither."""
        assert example.pair is not None
        kept = [len(ids) - (len(ids) > 1 and ids[-1] == self.end) for ids in (example.ids, example.pair)]
        at = np.r_[: kept[0], len(example.ids) : len(example.ids) + kept[1]]
        channels = {name: values[at] for name, values in example.channels.items()}
        return replace(example, ids=example.ids[: kept[0]], pair=example.pair[: kept[1]], channels=channels)

    @property
    def specials(self) -> tuple[int, ...]:
        """What is never masked: also the tokens of the frame."""
        return tuple(sorted({*self.masking.specials, *self.frame}))

    @property
    def frame(self) -> tuple[int, int]:
        """[CLS] and [SEP]."""
        cls, sep = self.masking.cls, self.masking.sep
        assert cls is not None, "a pair is read at [CLS]"
        assert sep is not None, "two segments are told apart by [SEP]"
        return cls, sep

    def framed(self, example: Example) -> tuple[Piece, AnyArray]:
        """The pair with its special tokens and types, and which of its ids `[n]` are of a segment."""
        cls, sep = self.frame
        assert example.pair is not None
        runs = [Laid([cls], 0), Laid(example.ids, 0, True), Laid([sep], 0), Laid(example.pair, 1, True), Laid([sep], 1)]
        return joined([runs], True)

    @staticmethod
    def beside(example: Example, text: AnyArray) -> dict[str, AnyArray]:
        """The channels, `[n]` each, with a 1 at special tokens and where a segment begins."""
        out = {}
        first = text & ~np.append(False, text[:-1])
        for name, values in example.channels.items():
            told = np.ones(len(text), dtype=np.asarray(values).dtype)
            told[text] = values
            out[name] = np.where(first & (told == 0), 1, told).astype(told.dtype) if name in BEGINNINGS else told
        return out


class SentencePairs(Objective):
    """Masked tokens ("lm") and the pair's label ("next"), both with the weight 1, as in both papers."""

    prepare: PairPrepare

    def __init__(self, prepare: PairPrepare, *, lm: LMHead | None = None, next: ClassHead | None = None) -> None:
        super().__init__()
        self.prepare, self.repeats = prepare, prepare.masking.masks
        self.heads: dict[str, Head] = {
            "lm": lm or LMHead(transform=True, bias=True),
            "next": next or ClassHead(outputs=2, hidden=True),
        }

    def loss(self, model: Backbone, batch: Batch, noise: Noise) -> Loss:
        states = model(batch).last
        scores = wide(model.heads["next"](states, batch))
        labels, weights = batch.labels["next"], batch.weights["next"]
        losses = F.cross_entropy(scores, labels, reduction="none")
        right = (scores.detach().argmax(-1) == labels).to(weights.dtype)
        terms = {
            "lm": vocabulary_term(model, batch, "lm", states=states),
            "next": Term((losses * weights).sum(), weights.sum()),
        }
        return Loss(terms, {"accuracy": (right.sum(), torch.tensor(float(len(labels))))})
