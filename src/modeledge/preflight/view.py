"""A run as its checks see it: plain facts, a prepared sample, two real steps on a copy. Nothing in it moves the run.

What costs something is computed once, where a check first asks for it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from modeledge.corpus.mix import MixedStream
from modeledge.corpus.stream import IndexedStream
from modeledge.errors import ModeledgeError
from modeledge.machine import available_memory
from modeledge.model.backbone import Backbone
from modeledge.model.heads import ClassHead, TokenHead
from modeledge.objectives import Classify, Objective, TagTokens, prepared
from modeledge.preflight.finding import Kind, Token
from modeledge.preflight.trial import Layouts, Trial, try_layouts, try_steps, twin
from modeledge.records import Example, Piece, Prepared
from modeledge.tokens import Tokenizer
from modeledge.tokens.tokenizer import REPLACEMENT
from modeledge.train import TrainConfig, Trainer

SAMPLE = 256  # examples that are prepared
TRIED = 8  # examples of each of the first two steps that are looked at
STEPPED = 4  # of these, examples of each of the two steps that are made


@dataclass(frozen=True)
class Split:
    """One part of the data: its examples, and the rows that they were made from (none where there were no rows)."""

    examples: Sequence[Example] = ()
    rows: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Room:
    """What the machine has to spare, in bytes. `None`: not known."""

    memory: int | None = None
    disk: int | None = None

    @staticmethod
    def here(folder: Path) -> Room:
        """Of this machine, and of the disk that holds a folder."""
        there = next((p for p in (folder, *folder.absolute().parents) if p.exists()), Path("/"))
        return Room(available_memory(), shutil.disk_usage(there).free)


@dataclass(frozen=True)
class Reads:
    """How often a run reads one of its corpora, and how often it may (`None`: as often as it likes)."""

    name: str
    epochs: float
    most: float | None = None


@dataclass
class View:
    """A run that is ready to begin.

    `train` and `others` are its splits, `inputs` and `target` the columns of their rows that are read and learned,
    `names` the classes. `before` are the heads that the model came with, `beside` the fingerprint of the tokenizer that
    lies beside its weights; `fresh` says that its weights are random, `framed` that
    each example is a whole text with its special tokens, though there are no rows. Of pre-training `reads` says how
    often each corpus is read, `courses` at which step each course of its curriculum ends, and `fill` how full the rows
    of the first batches are.
    """

    trainer: Trainer
    tokenizer: Tokenizer
    train: Split = Split()
    others: Mapping[str, Split] = field(default_factory=dict)
    inputs: Sequence[str] = ()
    target: str | None = None
    names: Sequence[str] = ()
    before: Mapping[str, nn.Module] = field(default_factory=dict)
    before_names: Sequence[str] = ()
    beside: str | None = None
    fresh: bool = False
    framed: bool = False
    room: Room = Room()
    reads: Sequence[Reads] = ()
    courses: Mapping[str, int] = field(default_factory=dict)
    fill: float | None = None

    @property
    def config(self) -> TrainConfig:
        return self.trainer.config

    @property
    def model(self) -> Backbone:
        return self.trainer.model

    @property
    def objective(self) -> Objective:
        return self.trainer.module.objective

    @property
    def causal(self) -> bool:
        """Do the heads read a decoder?"""
        return self.model.config.decoder is not None

    @cached_property
    def sample(self) -> list[Example]:
        """About `SAMPLE` training examples, spread evenly over the data, with those that the run begins with."""
        stream, examples = self.trainer.stream, self.train.examples
        if examples or not isinstance(stream, IndexedStream):
            found = [examples[i] for i in spread(len(examples))]
        else:
            found = [stream.example(i) for i in spread(len(stream))]
        known = {example.index for example in found}
        return [*found, *(example for example in self.first if example.index not in known)]

    @cached_property
    def first(self) -> list[Example]:
        """The first examples of the run, in its own order: what two small steps are made of."""
        count, stream = 2 * min(TRIED, self.config.batch), self.trainer.stream
        if isinstance(stream, IndexedStream | MixedStream):
            return [stream.at(i) for i in range(min(count, len(stream)))]
        return list(self.train.examples[:count])

    @cached_property
    def _tried(self) -> tuple[list[Prepared], list[tuple[Example, ModeledgeError]]]:
        good, bad = [], []
        for example in self.sample:
            try:
                good.append(prepared(self.objective, example, self.trainer.noise))
            except ModeledgeError as error:
                bad.append((example, error))
        return good, bad

    @property
    def prepared(self) -> list[Prepared]:
        """The sample after the objective's noise."""
        return self._tried[0]

    @property
    def unprepared(self) -> list[tuple[Example, ModeledgeError]]:
        """Examples of the sample that the objective refuses."""
        return self._tried[1]

    @cached_property
    def sound(self) -> bool:
        """Can the examples be computed with: do ids and labels lie within the model's tables? On a GPU an index beyond
        one ends the process."""
        rows = self.model.config.table.vocab
        for ready in self.prepared:
            pieces = [p for p in (ready.source, ready.target) if p is not None and p.ids.ndim == 1 and len(p.ids)]
            if any(not 0 <= p.ids.min() <= p.ids.max() < rows for p in pieces) or self.beyond(ready):
                return False
            if self.model.room is not None and self.longest(ready) > self.model.room:
                return False
        return not self.unprepared and bool(self.prepared)

    def longest(self, ready: Prepared) -> int:
        """How many positions an example takes: those of its longest part."""
        pieces = [p for p in (ready.source, ready.target) if p is not None]
        parts = (b - a for p in pieces for a, b in pairwise((0, *p.breaks, len(p.ids))))
        return max(parts, default=0)

    def beyond(self, ready: Prepared) -> str | None:
        """The first name whose labels with a weight are none that its head knows; `None` where all are."""
        for name in ready.labels.keys() & ready.weights.keys():
            whole = np.asarray(ready.labels[name])
            kept = whole if len(whole) != len(ready.weights[name]) else whole[np.asarray(ready.weights[name]) > 0]
            if np.issubdtype(kept.dtype, np.floating):
                wrong = ~np.isfinite(kept)
            else:
                wrong = (kept < 0) | (kept >= (self.outputs(name) or np.inf))
            if wrong.any():
                return name
        return None

    @property
    def stepped(self) -> list[Example]:
        """The first examples that teach something (some windows of a long text do not): two small steps."""
        idle = {p.index for p in self.prepared if not any(np.any(w > 0) for w in p.weights.values())}
        told = [example for example in self.first if example.index not in idle] or self.first
        return told[: 2 * min(STEPPED, self.config.batch)]

    @cached_property
    def _copy(self) -> Trainer:
        return twin(self.trainer, self.stepped)

    @cached_property
    def layouts(self) -> Layouts | None:
        """The loss of the first examples, laid out in several ways; `None` where they cannot be computed with."""
        return try_layouts(self._copy, self.first) if self.sound else None

    @cached_property
    def trial(self) -> Trial | None:
        """Two steps on the copy, after the layouts were measured; `None` where there are none."""
        return None if self.layouts is None else try_steps(self._copy, dict(self.model.named_parameters()))

    def forget(self) -> None:
        """Let go of the copy and of what was measured on it."""
        for name in ("_copy", "layouts", "trial"):
            vars(self).pop(name, None)

    def outputs(self, name: str) -> int | None:
        """How many ids or classes the labels of this name can be, where one of them is learned by cross-entropy."""
        if name.rpartition(".")[2] == "lm":  # a blend's terms bear the names of its parts
            return self.model.config.table.vocab
        head = self.objective.heads.get(name)
        chosen = isinstance(head, ClassHead) and isinstance(self.objective, Classify)
        tagged = isinstance(head, TokenHead) and isinstance(self.objective, TagTokens)
        return head.outputs if isinstance(head, ClassHead | TokenHead) and (chosen or tagged) else None

    # ---- naming and showing

    def example(self, ready: Prepared) -> Example | None:
        """The example that was prepared."""
        return self._by_index.get(ready.index)

    def where(self, example: Example | Prepared) -> str:
        """`file:line` of an example, or its number."""
        found = example if isinstance(example, Example) else self._by_index.get(example.index)
        return (found.where if found is not None else "") or f"example {example.index}"

    @cached_property
    def _by_index(self) -> dict[int, Example]:
        return {example.index: example for example in (*self.first, *self.sample)}

    def read(self, ready: Prepared) -> Piece:
        """The piece that the heads read."""
        piece = ready.target if ready.target is not None else ready.source
        assert piece is not None
        return piece

    def shown(self, ready: Prepared) -> tuple[Token, ...]:
        """An example token by token."""
        out: list[Token] = []
        if ready.source is not None and ready.target is not None:
            out += [*(self.token(int(i)) for i in ready.source.ids), Token(" ⇒ ")]
        piece = self.read(ready)
        if piece.ids.ndim > 1:
            return (Token(f"a picture of {len(piece.ids)} patches"), *self._answers(ready))
        own = [self.token(int(i)) for i in piece.ids]
        for name in token_targets(ready):
            places = ready.reads[name]
            for place, label, weight in zip(places, ready.labels[name], ready.weights[name], strict=True):
                self._mark(own, int(place), label, trained=weight > 0, name=name)
        return (*out, *own, *self._answers(ready))

    def _mark(self, tokens: list[Token], place: int, label: Any, *, trained: bool, name: str) -> None:
        """Say at a token what is learned: the next token in a decoder, its own label elsewhere."""
        kind: Kind = "trained" if trained else "ignored"
        at = place + 1 if self.causal and name == "lm" else place
        text = self.token(int(label)) if name == "lm" else Token(f"/{label}")
        if self.causal and name == "lm":
            tokens += [Token("")] * (at + 1 - len(tokens))
            tokens[at] = Token(text.text, kind, text.special)
        else:
            tokens[at] = Token(f"{tokens[at].text}→{text.text}", kind, tokens[at].special)

    def _answers(self, ready: Prepared) -> list[Token]:
        """What is learned of the example as a whole."""
        out = []
        for name in sorted(ready.labels.keys() & ready.weights.keys() - token_targets(ready)):
            labels = np.asarray(ready.labels[name])
            one = name == "class" and labels.ndim == 1 and len(labels) == 1 and 0 <= int(labels[0]) < len(self.names)
            text = self.names[int(labels[0])] if one else " ".join(f"{label:g}" for label in labels.ravel())
            kind: Kind = "trained" if np.any(np.asarray(ready.weights[name]) > 0) else "ignored"
            out += [Token(" → "), Token(text, kind)]
        return out

    def token(self, id: int) -> Token:
        """A token's text; special ones by name, those that do not exist by number."""
        if not 0 <= id < self.tokenizer.vocab_size:
            return Token(f"<{id}?>", special=True)
        if id in self.tokenizer.specials.ids():
            return Token(self.tokenizer.token(id), special=True)
        text = self.tokenizer.decode([id])
        return Token(text if text and REPLACEMENT not in text else self.tokenizer.token(id))


def spread(count: int, most: int = SAMPLE) -> list[int]:
    """At most `most` numbers spread evenly over `range(count)`."""
    return list(range(count)) if count <= most else [i * count // most for i in range(most)]


def token_targets(ready: Prepared) -> set[str]:
    """The names whose labels stand at tokens, one at each place that is read."""
    names = ready.reads.keys() & ready.labels.keys() & ready.weights.keys()
    return {n for n in names if len(ready.reads[n]) == len(ready.labels[n]) == len(ready.weights[n])}
