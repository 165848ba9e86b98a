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
from modeledge.records import Count, Document, IntArray, Ledger
from modeledge.tokens.flat import Coder, flat

Rewritten = dict[str, Count]


class Judging:
    """Of each document the reason to drop it, or None; the first filter with a reason decides."""

    def __init__(self, filters: Sequence[Filter]) -> None:
        self.filters = tuple(filters)

    def __call__(self, held: Sequence[Document]) -> list[str | None]:
        return [next(filter(None, (judge(document) for judge in self.filters)), None) for document in held]


class Judges(Judging):
    """The filters of a recipe. Raises what `make_filters` raises, at once."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._settings = dict(settings)
        super().__init__(make_filters(settings))

    def __reduce__(self) -> tuple[Any, ...]:
        return Judges, (self._settings,)


class Tidying:
    """The documents after the stages of a recipe, and what was taken out of them. Raises what `make_stages` raises."""

    def __init__(self, settings: Iterable[str] | Mapping[str, Any]) -> None:
        self._settings = dict(settings) if isinstance(settings, Mapping) else tuple(settings)
        self._ledger = Ledger()
        self._stages = make_stages(self._settings, self._ledger)

    def __reduce__(self) -> tuple[Any, ...]:
        return Tidying, (self._settings,)

    def __call__(self, held: Sequence[Document]) -> tuple[list[Document], Rewritten]:
        self._ledger.rewritten = {}
        documents: Iterable[Document] = held
        for stage in self._stages:
            documents = stage(documents)
        return list(documents), self._ledger.rewritten


class Encoding:
    """Documents, tidied, as ids with their channels; `eos` ends each where it is not None."""

    def __init__(self, tidy: Tidying | None, tokenizer: Any, coder: Coder, channels: Sequence[str], eos: int | None):
        self._tidy, self._tokenizer, self._coder = tidy, tokenizer, coder
        self._channels, self._eos = tuple(channels), eos

    def __call__(self, held: Sequence[Document]) -> tuple[TokenBatch, Rewritten]:
        documents, gone = self._tidy(held) if self._tidy is not None else (list(held), {})
        texts = [document.text for document in documents]
        coded, beside = self._told(texts) if self._channels else (self._coder(texts), {})
        ids, lengths = coded.ids, coded.lengths
        if self._eos is not None:
            ids, lengths = np.insert(ids, np.cumsum(lengths), self._eos), lengths + 1
        return TokenBatch(ids, lengths, [document.id for document in documents], beside), gone

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


def add_rewritten(ledger: Ledger, gone: Mapping[str, Count]) -> None:
    """Count in a ledger what a work took out of texts."""
    for reason, count in gone.items():
        ledger.rewritten.setdefault(reason, Count()).add(count.records, count.bytes, count.tokens)
