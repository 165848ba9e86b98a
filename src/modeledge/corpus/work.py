"""The works of a build that an engine deals out: judging documents, tidying their texts, making ids of them.

Each is a value that can be sent to another process: it travels as what it was made of (the tables of a recipe, a
tokenizer) and is made again there. Each takes a list of documents and looks at every document by itself, so how
documents were cut into lists cannot show.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from modeledge.corpus.channels import Coded, make_channels
from modeledge.corpus.filter import Filter, make_filters, make_stages
from modeledge.corpus.shard import TokenBatch
from modeledge.corpus.survey import Brief
from modeledge.records import Count, Document, IntArray, Ledger
from modeledge.tokens.flat import Coder, flat


class Judging:
    """Of each document the reason to drop it, or None; the first filter with a reason decides. Documents of a source in
    `own` meet its filters instead."""

    def __init__(self, filters: Sequence[Filter], own: Mapping[str, Sequence[Filter]] | None = None) -> None:
        self.filters, self.own = tuple(filters), dict(own or {})

    def __call__(self, held: Sequence[Document]) -> list[str | None]:
        return [self._reason(document) for document in held]

    def _reason(self, document: Document) -> str | None:
        judges = self.own.get(document.source, self.filters)
        return next(filter(None, (judge(document) for judge in judges)), None)


class Judges(Judging):
    """The filters of a recipe, and those of its sources. Raises what `make_filters` raises, at once."""

    def __init__(self, settings: Mapping[str, Any], own: Mapping[str, Mapping[str, Any]]) -> None:
        self._settings = (dict(settings), {source: dict(table) for source, table in own.items()})
        super().__init__(make_filters(settings), {source: make_filters(table) for source, table in own.items()})

    def __reduce__(self) -> tuple[Any, ...]:
        return Judges, self._settings


class Tidying:
    """The documents after the stages of a recipe, and what was taken out of them. Raises what `make_stages` raises."""

    def __init__(self, settings: Iterable[str] | Mapping[str, Any]) -> None:
        self._settings = dict(settings) if isinstance(settings, Mapping) else tuple(settings)
        self._ledger = Ledger()
        self._stages = make_stages(self._settings, self._ledger)

    def __reduce__(self) -> tuple[Any, ...]:
        return Tidying, (self._settings,)

    def __call__(self, held: Sequence[Document]) -> tuple[list[Document], Ledger]:
        self._ledger.rewritten, self._ledger.sources = {}, {}
        documents: Iterable[Document] = held
        for stage in self._stages:
            documents = stage(documents)
        done = list(documents)
        return done, Ledger(rewritten=self._ledger.rewritten, sources=self._ledger.sources)


class Encoding:
    """Documents, tidied, as ids with their channels, and what a survey asks of each; `eos` ends each where it is not
    None."""

    def __init__(self, tidy: Tidying | None, tokenizer: Any, coder: Coder, channels: Sequence[str], eos: int | None):
        self._tidy, self._tokenizer, self._coder = tidy, tokenizer, coder
        self._channels, self._eos = tuple(channels), eos

    def __call__(self, held: Sequence[Document]) -> tuple[TokenBatch, list[Brief], Ledger]:
        documents, gone = self._tidy(held) if self._tidy is not None else (list(held), Ledger())
        texts = [document.text for document in documents]
        coded, beside = self._told(texts) if self._channels else (self._coder(texts), {})
        ids, lengths = coded.ids, coded.lengths
        if self._eos is not None:
            ids, lengths = np.insert(ids, np.cumsum(lengths), self._eos), lengths + 1
        briefs = [Brief.of(document) for document in documents]
        return TokenBatch(ids, lengths, [document.id for document in documents], beside), briefs, gone

    def _told(self, texts: Sequence[str]) -> tuple[Any, dict[str, IntArray]]:
        """Ids and channels; these need to know from where to where in the text each token is."""
        pairs = self._tokenizer.encode_spans_batch(texts)
        rows = [
            make_channels(self._channels, Coded(text, spans), end=self._eos is not None)
            for text, (_, spans) in zip(texts, pairs, strict=True)
        ]
        none = np.zeros(0, np.uint8)
        joined = {name: np.concatenate([none, *(row[name] for row in rows)]) for name in self._channels}
        return flat([ids for ids, _ in pairs]), joined


def add_rewritten(ledger: Ledger, gone: Ledger) -> None:
    """Count in a ledger what a work took out of texts, by source too."""
    for here, there in ((ledger, gone), *((ledger.of(name), part) for name, part in gone.sources.items())):
        for reason, count in there.rewritten.items():
            here.rewritten.setdefault(reason, Count()).add(count.records, count.bytes, count.tokens)
