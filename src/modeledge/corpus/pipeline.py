"""From documents to token shards: filter, remove duplicates, count, tidy, tokenize, write.

Each document that comes in is either kept or dropped for a named reason, and the ledger adds up:
`read = kept + filtered(by reason) + quarantined(by reason)`, in records and in bytes *as read*. That is why the
stages that rewrite text (`stages` of a `Build`) run last, after the counting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from modeledge.corpus.channels import Coded, check_channels, make_channels
from modeledge.corpus.clean import Cleaning, cleaned
from modeledge.corpus.counting import DroppedTokens
from modeledge.corpus.dedup import Dedup
from modeledge.corpus.dropped import DROPPED, Dropped, DroppedSample
from modeledge.corpus.duplicate import Duplicate, duplicated
from modeledge.corpus.filter import Filter, Stage, make_filters, make_stages, size
from modeledge.corpus.shard import Shards, ShardWriter, TokenDocument
from modeledge.corpus.survey import SURVEY, Survey
from modeledge.errors import ModeledgeError
from modeledge.files import committed_folder, write_json
from modeledge.records import Document, IntArray, Ledger

LEDGER = "ledger.json"
BATCH_CHARACTERS = 4_000_000  # of text that a tokenizer gets at once


class Specials(Protocol):
    """The ids that a tokenizer reserves, as far as a corpus needs them."""

    @property
    def eos(self) -> int | None: ...


class Encoder(Protocol):
    """What a corpus asks of a tokenizer; `tokens.Tokenizer` is one."""

    @property
    def vocab_size(self) -> int: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def specials(self) -> Specials: ...
    def encode_batch(self, texts: Sequence[str]) -> Sequence[IntArray]: ...
    def encode_spans_batch(self, texts: Sequence[str]) -> Sequence[tuple[IntArray, IntArray]]: ...


@dataclass(frozen=True, kw_only=True)
class Build:
    """How a corpus is made. All fields but `batch` and `shard_tokens` can change what it holds.

    `channels` are what is kept of each token beside its id, as an objective's `Prepare.channels` asks: "words",
    "sentences", "salient" (see `corpus.channels`).
    """

    filters: Mapping[str, Any] = field(default_factory=lambda: {"empty": True})
    own_filters: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # of a source, in place of `filters`
    deduplicate: bool = True
    cleaning: Cleaning | None = None  # instead of `deduplicate`: what is done to the corpus as a whole
    stages: Sequence[str] | Mapping[str, Any] = ("nfc",)
    duplicate: Duplicate | None = None  # after all else, documents that stand several times
    channels: Iterable[str] = ()
    dropped: int = 20  # documents kept to be read for each reason to drop one, in `dropped.jsonl`
    count_dropped: bool = True  # tokenize what is filtered too, so that the ledger balances in tokens
    end: bool = True  # an end-of-text token after each document, where the tokenizer has one
    shard_tokens: int = 2**26
    batch: int = 1000


def run_pipeline(
    documents: Iterable[Document],
    filters: Sequence[Filter],
    *,
    ledger: Ledger,
    stages: Sequence[Stage] = (),
    dropped: Dropped | None = None,
    own: Mapping[str, Sequence[Filter]] | None = None,
) -> Iterator[Document]:
    """The documents that no filter drops and that `stages` let through, counted as kept.

    The first filter with a reason decides; documents of a source in `own` meet its filters instead. A stage here may
    drop documents or cut their text, if it counts in the same ledger what it dropped and cut (as `cleaned` does), but
    must not rewrite text otherwise. When the iterator is exhausted and whoever made the documents filled `ledger.read`,
    the ledger balances. `dropped` is shown what the filters drop.
    """
    passing = _passing(documents, filters, ledger, dropped, own or {})
    for stage in stages:
        passing = stage(passing)
    for document in passing:
        ledger.add("kept", source=document.source, bytes=size(document))
        yield document


def reading(documents: Iterable[Document], *, ledger: Ledger) -> Iterator[Document]:
    """Count as read what comes from memory; files are counted by their readers."""
    for document in documents:
        ledger.add("read", source=document.source, bytes=size(document))
        yield document


def kept_documents(
    documents: Iterable[Document],
    config: Build,
    *,
    ledger: Ledger,
    folder: Path | None = None,
    dropped: Dropped | None = None,
) -> Iterator[Document]:
    """The documents of a corpus as they will be tokenized: filtered, each text once, in canonical order, tidied.

    A tokenizer is trained on these, so that it sees what the model will see. `folder` holds the temporary file;
    `dropped` is shown what leaves.
    Raises `E-CONFIG-KEY` and `E-CONFIG-VALUE` at once, `E-DUP-ID` while iterating.
    """
    filters, tidying = make_filters(config.filters), make_stages(config.stages, ledger)

    def canonical(passing: Iterable[Document]) -> Iterator[Document]:
        cleaning = config.cleaning or Cleaning(dedup=Dedup(exact=config.deduplicate))
        return cleaned(passing, cleaning, ledger=ledger, folder=folder, dropped=dropped)

    own = {source: make_filters(table) for source, table in config.own_filters.items()}
    kept = run_pipeline(documents, filters, ledger=ledger, stages=[canonical], dropped=dropped, own=own)
    for stage in tidying:
        kept = stage(kept)
    return kept if config.duplicate is None else duplicated(kept, config.duplicate, ledger)


def build_corpus(
    documents: Iterable[Document],
    tokenizer: Encoder,
    folder: Path,
    *,
    config: Build | None = None,
    ledger: Ledger,
    finish: Callable[[Path], None] | None = None,
) -> Shards:
    """Write the token shards of a corpus, its `ledger.json` and its `survey.json` to `folder`, which appears whole or
    not at all. `finish` may write more, into the folder that it is given.

    The bytes depend on the set of documents, the tokenizer and `config`, not on the order of the inputs. Fills
    `ledger`, tokens included. Raises `E-OUTPUT` at once when `folder` exists, `E-NO-RECORDS` when nothing is kept,
    `E-DUP-ID` when two records share an id, `E-VOCAB-SIZE` for an id outside the vocabulary, `E-CONFIG-VALUE` for a
    channel that is not known.
    """
    config = config or Build()
    channels = check_channels(config.channels)
    if folder.exists():
        raise ModeledgeError("E-OUTPUT", "the folder exists already", where=str(folder))
    manifest: dict[str, Any] = {}
    with committed_folder(folder, manifest) as temporary:
        sample, survey, waiting = DroppedSample(config.dropped), Survey(), deque[Document]()
        ends = int(config.end and tokenizer.specials.eos is not None)
        dropped = DroppedTokens(sample, tokenizer, ledger, ends) if config.count_dropped else None
        kept = kept_documents(documents, config, ledger=ledger, folder=temporary, dropped=dropped or sample)
        kinds, cut = dict.fromkeys(channels, "uint8"), config.shard_tokens
        writer = ShardWriter(temporary, tokenizer.vocab_size, tokenizer.fingerprint, channels=kinds, shard_tokens=cut)
        with writer:
            tapped = _tapped(kept, waiting)
            for document in tokenized(tapped, tokenizer, batch=config.batch, end=config.end, channels=channels):
                writer.add(document)
                original, tokens = waiting.popleft(), len(document.ids)
                ledger.add("kept", source=original.source, records=0, tokens=tokens)
                survey.add(original, tokens)
            if dropped is not None:
                dropped.finish()
            assert ledger.balanced(), f"the source did not fill ledger.read: {ledger.as_dict()}"
            if not ledger.kept.tokens:
                raise _nothing_kept(ledger, folder)
            manifest.update(writer.finish())
        write_json(temporary / LEDGER, ledger.as_dict())
        write_json(temporary / SURVEY, survey.as_dict())
        sample.write(temporary / DROPPED)
        if finish is not None:
            finish(temporary)
    return Shards.open(folder, verify=False)


def _tapped(documents: Iterable[Document], waiting: deque[Document]) -> Iterator[Document]:
    """The documents, each kept in `waiting` too until its tokens come out."""
    for document in documents:
        waiting.append(document)
        yield document


def _nothing_kept(ledger: Ledger, folder: Path) -> ModeledgeError:
    went = {**ledger.filtered, **ledger.quarantined}
    reasons = ", ".join(f"{reason} {count.records:,}" for reason, count in sorted(went.items())) or "all are empty"
    what = f"of {ledger.read.records:,} records read no document with a token in it was kept ({reasons})"
    remedy = "look at what fell, and mend the input, the name of the text's field, or the filters"
    return ModeledgeError("E-NO-RECORDS", what, where=str(folder), remedy=remedy)


def tokenized(
    documents: Iterable[Document],
    tokenizer: Encoder,
    *,
    batch: int = 1000,
    end: bool = True,
    channels: Sequence[str] = (),
) -> Iterator[TokenDocument]:
    """Documents as ids with their channels, at most `batch` at a time; `end` adds the tokenizer's end-of-text id, where
    it has one.

    A batch also ends where it reaches `BATCH_CHARACTERS`: a document may be a whole book, and what a tokenizer keeps
    of a text while it works is many times the text.
    """
    eos = tokenizer.specials.eos if end else None
    for held in batches(documents, batch):
        texts = [document.text for document in held]
        coded: list[tuple[IntArray, Coded | None]]
        if channels:
            pairs = zip(texts, tokenizer.encode_spans_batch(texts), strict=True)
            coded = [(ids, Coded(text, spans)) for text, (ids, spans) in pairs]
        else:
            coded = [(ids, None) for ids in tokenizer.encode_batch(texts)]
        for document, (ids, told) in zip(held, coded, strict=True):
            beside = {} if told is None else make_channels(channels, told, end=eos is not None)
            whole = np.append(ids, eos) if eos is not None else np.asarray(ids)
            yield TokenDocument(whole, document.id, beside)


def batches(documents: Iterable[Document], count: int) -> Iterator[list[Document]]:
    """The documents in order, in lists of at most `count` documents and, but for its last, `BATCH_CHARACTERS`."""
    held: list[Document] = []
    characters = 0
    for document in documents:
        held.append(document)
        characters += len(document.text)
        if len(held) >= count or characters >= BATCH_CHARACTERS:
            yield held
            held, characters = [], 0
    if held:
        yield held


def _passing(
    documents: Iterable[Document],
    filters: Sequence[Filter],
    ledger: Ledger,
    dropped: Dropped | None,
    own: Mapping[str, Sequence[Filter]],
) -> Iterator[Document]:
    for document in documents:
        for filter in own.get(document.source, filters):
            reason = filter(document)
            if reason is not None:
                ledger.add("filtered", reason, source=document.source, bytes=size(document))
                if dropped is not None:
                    dropped.add(document, reason)
                break
        else:
            yield document
