"""What goes along with tags: how they are asked for, and what is known of a row beside its tags."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from modeledge.errors import ModeledgeError, nearest, printable
from modeledge.model.backbone import Backbone
from modeledge.records import AnyArray, Example, FloatArray, IntArray
from modeledge.tasks.columns import where_of
from modeledge.tasks.decode import Steps
from modeledge.tasks.schemes import SCHEMES, Scheme, breaks
from modeledge.tasks.task import Row, Say
from modeledge.tasks.words import Words

DECODES = ("argmax", "viterbi", "crf")


@dataclass(frozen=True, kw_only=True)
class TagShape:
    """How rows are read and answered. `decode`: each word's best tag ("argmax"), the best sequence that the scheme
    allows ("viterbi"), or the best one of a learned chain ("crf"). `stride`: pieces that two windows share (by default
    a quarter of the row). `widen`: a span that cuts a word may take the whole word."""

    length: int
    decode: str = "argmax"
    scheme: str | None = None
    stride: int | None = None
    widen: bool = False
    smoothing: float = 0.0
    dropout: float = 0.0


@dataclass(frozen=True)
class Scored:
    """What a model said about the words of one window: scores `[words, tags]`, and the steps that it has learned."""

    scores: FloatArray
    learned: Steps | None


@dataclass(frozen=True)
class Tagged:
    """What stands beside the tags of a row: its words, how sure each tag is, words unread, lines that say nothing.

    `shares` are the probabilities of every tag `[words, tags]`, of a row's zeros at a word that has no piece; a model
    that wrote its tags has none.
    """

    words: Words
    confidences: tuple[float, ...] = ()
    unread: int = 0
    unparsed: int = 0
    shares: FloatArray | None = field(default=None, compare=False)


def mean_tagged(told: Sequence[Tagged]) -> tuple[Words, FloatArray]:
    """The words of a row and the mean of several models' shares of its tags, over the models that could read a word.

    Words are known by their characters, so that the models may cut them into other pieces. Raises `E-USAGE` for tags
    that were written, `E-LENGTH-MISMATCH` for other words.
    """
    parts = [one.shares for one in told if one.shares is not None]
    if len(parts) < len(told):
        what = f"{len(told) - len(parts)} of {len(told)} models wrote their tags: there are no probabilities to average"
        raise ModeledgeError("E-USAGE", what, remedy="join fine-tuned models, or evaluate each by itself")
    words = told[0].words
    for one in told[1:]:
        if one.words != words:
            mine, other = (printable(text.text, 60) for text in (words, one.words))
            what = f"one model reads the {len(words)} words {mine!r}, another the {len(one.words)} words {other!r}"
            raise ModeledgeError("E-LENGTH-MISMATCH", what, remedy="join models that were asked about the same words")
    total = np.sum(parts, axis=0)
    readers = np.sum([part.sum(-1) > 0 for part in parts], axis=0)
    return words, total / np.maximum(readers, 1)[:, None]


def check_decode(shape: TagShape, spelled: bool) -> None:
    """Refuse a decoding that does not exist, or that needs the scheme that the tags lack (`E-CONFIG-VALUE`)."""
    if shape.decode not in DECODES:
        what, remedy = f"there is no decoding {shape.decode!r}", nearest(str(shape.decode), DECODES)
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.decode", remedy=remedy)
    if shape.decode == "viterbi" and not spelled:
        what = 'decode = "viterbi" keeps to a scheme, and the tags have none'
        remedy = f'use "argmax" or "crf", or tags of {", ".join(SCHEMES)}'
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.decode", remedy=remedy)


def check_scheme(scheme: Scheme, shape: TagShape, rows: Sequence[Row], told: Sequence[Sequence[str]], say: Say) -> None:
    """Tags that may not stand where they do: said, where the scheme was inferred and nothing is decoded by it; else
    refused (`E-TAG-SCHEME`)."""
    wrong = [(i, places) for i, tags in enumerate(told) if (places := breaks(scheme, tags))]
    if not wrong:
        return
    row, word = wrong[0][0], wrong[0][1][0]
    shown = " ".join(told[row][max(word - 1, 0) : word + 1])
    where, count = f"{where_of(rows[row], row)}, word {word + 1}", sum(len(places) for _, places in wrong)
    what = f"{count} tags may not stand where they do in the scheme {scheme.name} (first: {printable(shown, 60)})"
    if shape.scheme is not None or shape.decode != "argmax":
        why = f"decode = {shape.decode!r} never answers so" if shape.decode != "argmax" else ""
        remedy = 'repair the tags (write IOB1 as BIO), or set options.scheme = "none"'
        raise ModeledgeError("E-TAG-SCHEME", what, where=where, why=why, remedy=remedy)
    say(f"{where}: {what}; they are learned as they are, and read as conlleval reads them")


def learned_steps(model: Backbone) -> Steps:
    """What a model's chain has learned about neighbours, for numpy."""
    head = cast(Any, model.heads["chain"])
    first, between, last = (p.detach().double().cpu().numpy() for p in (head.start_bias, head.steps, head.end_bias))
    return Steps(first, between, last)


def whole_row(words: Words, reads: IntArray) -> dict[str, AnyArray]:
    """What the first window knows of its row: the text as code points, the words' places, how many are unread."""
    text = np.frombuffer(words.text.encode("utf-32-le"), dtype="<u4")
    return {"text": text, "places": np.array(words.places), "unread": np.array([int((reads < 0).sum())])}


def words_in(example: Example) -> Words:
    """The words of a row, out of what its first window knows."""
    places = tuple((start, end) for start, end in example.channels["places"].tolist())
    return Words(example.channels["text"].astype("<u4").tobytes().decode("utf-32-le"), places)
