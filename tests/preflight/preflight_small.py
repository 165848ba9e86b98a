"""Runs small enough to be checked in milliseconds: healthy ones, and the parts that spoil them."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, ClassVar

import numpy as np
import torch

from modeledge.corpus.stream import ListStream
from modeledge.model import (
    Attention,
    ClassHead,
    FeedForward,
    Learned,
    Rotary,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.model.backbone import States
from modeledge.model.batch import Batch, Side
from modeledge.objectives import (
    CausalLM,
    Classify,
    LabelPrepare,
    MaskedLM,
    MaskedPrepare,
    Objective,
    Step,
)
from modeledge.preflight import Split, View
from modeledge.records import Example, Piece, Prepared
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer
from modeledge.train import TrainConfig, Trainer

WORDS = [
    "ash",
    "bay",
    "cedar",
    "dusk",
    "ember",
    "fern",
    "glade",
    "heath",
    "iris",
    "juniper",
    "kelp",
    "lark",
    "moss",
    "nettle",
    "oak",
    "pine",
    "quartz",
    "reed",
    "sage",
    "thorn",
    "umber",
    "vale",
    "willow",
    "yarrow",
    "amber",
    "brook",
    "cliff",
    "dale",
    "elm",
    "frost",
    "grove",
    "haze",
    "inlet",
    "jade",
    "knoll",
    "loam",
    "marsh",
    "north",
    "opal",
    "pond",
    "ridge",
]


def text(number: int, words: int = 10) -> str:
    lots = random.Random(number)
    return " ".join(lots.choices(WORDS, k=words + number % 5))


@cache
def tokenizer(**specials: str) -> Tokenizer:
    every = {role: f"<|{role}|>" for role in ("pad", "unk", "cls", "sep", "mask", "bos", "eos")} | specials
    return train_tokenizer([text(n) for n in range(200)], kind="bpe", vocab_size=360, specials=every)


def model(side: str, kind: type[Transformer] = Transformer, *, positions: bool = False, seed: int = 0) -> Transformer:
    stack = Stack(
        layers=1,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=32),
        position=Learned(length=64) if positions else Rotary(),
    )
    return kind(TransformerConfig(width=16, embed=Tokens(vocab=tokenizer().vocab_size), **{side: stack}), seed=seed)


def config(**fields: Any) -> TrainConfig:
    values = {"steps": 40, "batch": 8, "length": 64, "precision": "fp32", "threads": 1, "warmup": 0.1, **fields}
    return TrainConfig(**values)


def view(
    body: Transformer,
    objective: Objective,
    examples: Sequence[Example],
    *,
    strategies: Sequence[Any] = (),
    train: TrainConfig | None = None,
    **fields: Any,
) -> View:
    step = Step(body, objective, noise=Noise(0))
    trainer = Trainer(step, ListStream(list(examples), 0), strategies, config=train or config(), seed=0)
    words = fields.pop("tokenizer", tokenizer())
    return View(
        trainer, words, fields.pop("train_split", Split(list(examples))), fresh=fields.pop("fresh", True), **fields
    )


# ---- labels


def rows(count: int, start: int = 0, **columns: Callable[[int], Any]) -> list[dict[str, Any]]:
    made = {"text": text, "label": lambda n: ("no", "yes")[random.Random(n + 9000).random() < 0.5], **columns}
    return [
        {name: make(n) for name, make in made.items()} | {"__where__": f"a.csv:{n + 2}"}
        for n in range(start, start + count)
    ]


def encoded(data: Sequence[Mapping[str, Any]], names: Sequence[str], pair: str | None = None) -> list[Example]:
    words = tokenizer()
    return [
        Example(
            n,
            words.encode(row["text"]),
            None if pair is None else words.encode(row[pair]),
            names.index(row["label"]),
            where=row["__where__"],
        )
        for n, row in enumerate(data)
    ]


def labelled(
    data: Sequence[Mapping[str, Any]] | None = None,
    test: Sequence[Mapping[str, Any]] | None = None,
    *,
    names: Sequence[str] = ("no", "yes"),
    pair: str | None = None,
    body: Transformer | None = None,
    objective: Callable[[LabelPrepare, ClassHead], Objective] = Classify,
    prepare: Mapping[str, Any] | None = None,
    **fields: Any,
) -> View:
    """A classification on an encoder."""
    data = rows(120) if data is None else data
    test = rows(60, 5000) if test is None else test
    words, s = tokenizer(), tokenizer().specials
    shape: dict[str, Any] = {"first": s.cls, "between": s.sep, "last": s.sep, **(prepare or {})}
    made = objective(LabelPrepare("source", 64, "class", **shape), ClassHead(outputs=max(2, len(names))))
    examples = encoded(data, names, pair)
    inputs = ["text"] if pair is None else ["text", pair]
    return view(
        body or model("encoder"),
        made,
        examples,
        train_split=Split(examples, data),
        others={"test": Split(encoded(test, names, pair), test)},
        inputs=inputs,
        target="label",
        names=names,
        tokenizer=fields.pop("tokenizer", words),
        **fields,
    )


# ---- texts that are written


@dataclass(frozen=True)
class SayPrepare:
    """A conversation: which of its tokens are trained. `mark` chooses them among the example's ids."""

    mark: Callable[[Example], Any] = lambda example: np.asarray(example.channels["assistant"]).astype(bool)
    before: tuple[int, ...] = ()
    length: int = 64
    shift: int = 1
    channels: frozenset[str] = frozenset({"assistant"})
    noisy: ClassVar[bool] = False

    def __call__(self, example: Example, noise: Noise) -> Prepared:
        ids = np.concatenate([self.before, example.ids]).astype(np.int64)
        marks = np.concatenate([np.zeros(len(self.before), bool), self.mark(example)])
        ids, marks = ids[: self.length], marks[: self.length]
        at = np.flatnonzero(marks[1:]) if self.shift else np.flatnonzero(marks[:-1])
        return Prepared(
            example.index,
            target=Piece(ids[:-1]),
            reads={"lm": at},
            labels={"lm": ids[at + self.shift]},
            weights={"lm": np.ones(len(at), np.float32)},
        )


class Saying(CausalLM):
    """Next tokens of what the assistant says."""

    def __init__(self, prepare: Any) -> None:
        super().__init__()
        self.prepare = prepare


def conversation(number: int, turns: int = 2, *, start: Sequence[int] | None = None, end: int | None = None) -> Example:
    """`<bos> user <sep> assistant <eos> user <sep> assistant <eos>`, marked."""
    words, s = tokenizer(), tokenizer().specials
    end = s.eos if end is None else end
    ids: list[Any] = list([s.bos] if start is None else start)
    marks = [0] * len(ids)
    for turn in range(turns):
        asked, told = words.encode(text(number * 7 + turn, 3)), words.encode(text(number * 11 + turn + 1, 3))
        ids += [*asked, s.sep, *told, end]
        marks += [0] * (len(asked) + 1) + [1] * (len(told) + 1)
    return Example(number, np.array(ids), where=f"c.jsonl:{number + 1}", channels={"assistant": np.array(marks)})


def said(examples: Sequence[Example] | None = None, *, body: Transformer | None = None, **fields: Any) -> View:
    """A conversation model."""
    prepare = fields.pop("prepare", SayPrepare())
    fields = {"framed": True, **fields}
    return view(body or model("decoder"), Saying(prepare), examples or [conversation(n) for n in range(40)], **fields)


def written(examples: Sequence[Example] | None = None, *, body: Transformer | None = None, **fields: Any) -> View:
    """Next tokens of texts that end."""
    eos = tokenizer().specials.eos
    made = [Example(n, np.append(tokenizer().encode(text(n)), eos), where=f"tokens {n}") for n in range(60)]
    objective = fields.pop("objective", None) or CausalLM()
    return view(body or model("decoder"), objective, examples or made, **fields)


def masked(*, prepare: Mapping[str, Any] | None = None, **fields: Any) -> View:
    """Hidden tokens of an encoder."""
    s = tokenizer().specials
    assert s.mask is not None
    values: dict[str, Any] = {"cls": s.cls, "sep": s.sep, "specials": s.ids(), **(prepare or {})}
    made = MaskedLM(MaskedPrepare(tokenizer().vocab_size, s.mask, **values))
    examples = [Example(n, tokenizer().encode(text(n, 16)), where=f"tokens {n}") for n in range(60)]
    return view(fields.pop("body", None) or model("encoder"), made, examples, **fields)


# ---- models that are wrong


class Bent(Transformer):
    """A transformer that reads its batches wrongly."""

    def bend(self, side: Side) -> Side:
        raise NotImplementedError

    def forward(self, batch: Batch, *rest: Any, **named: Any) -> States:
        bent = {n: self.bend(s) for n in ("source", "target") if (s := getattr(batch, n)) is not None}
        return super().forward(replace(batch, **bent), *rest, **named)


class SeesNeighbours(Bent):
    """Examples of one row see each other."""

    def bend(self, side: Side) -> Side:
        return replace(side, segments=(side.segments > 0).long())


class CountsOn(Bent):
    """Positions run on from one example of a row to the next."""

    def bend(self, side: Side) -> Side:
        return replace(side, positions=torch.arange(side.positions.shape[1]).expand_as(side.positions))


class SeesPadding(Bent):
    """Padding is read as part of the example in front of it."""

    def bend(self, side: Side) -> Side:
        return replace(side, segments=torch.where(side.segments > 0, side.segments, side.segments.max(1, True)[0]))


class LooksAhead(Bent):
    """A decoder that reads both ways."""

    def bend(self, side: Side) -> Side:
        return replace(side, prefix=side.segments > 0)


class NanOnPadding(Transformer):
    """A kernel that gives NaN where a row holds padding."""

    def forward(self, batch: Batch, *rest: Any, **named: Any) -> States:
        states = super().forward(batch, *rest, **named)
        padded = (batch.side.segments == 0).any(1)[:, None, None]
        return replace(states, last=torch.where(padded, states.last * float("nan"), states.last))
