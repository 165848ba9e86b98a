"""From documents to token shards: filter, remove duplicates, count, tidy, tokenize, write.

Each document that comes in is either kept or dropped for a named reason, and the ledger adds up:
`read = kept + filtered(by reason) + quarantined(by reason)`, in records and in bytes *as read*. That is why the
stages that rewrite text (`stages` of a `Build`) run last, after the counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from modeledge.corpus import restart
from modeledge.corpus.channels import check_channels
from modeledge.corpus.clean import Cleaning, cleaned
from modeledge.corpus.dedup import Dedup
from modeledge.corpus.dropped import DROPPED, Dropped, DroppedSample
from modeledge.corpus.filter import Filter, Stage, size
from modeledge.corpus.passing import passing_documents, tidied
from modeledge.corpus.shard import Shards, ShardWriter, TokenBatch, TokenDocument
from modeledge.corpus.work import Encoding, Judges, Judging, Rewritten, Tidying, add_rewritten
from modeledge.errors import ModeledgeError
from modeledge.files import commit_folder, committed_folder, write_json
from modeledge.records import Count, Document, IntArray, Ledger
from modeledge.tokens.coders import Backend, choose_coder
from modeledge.tokens.flat import LibraryCoder

LEDGER = "ledger.json"
BATCH_CHARACTERS = 1 << 20  # of text that a tokenizer gets at once
SAMPLE = 200  # documents on which a quick way to tokenize is tried before it is used


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
    """How a corpus is made. All fields but `batch`, `backend` and `shard_tokens` can change what it holds.

    `channels` are what is kept of each token beside its id, as an objective's `Prepare.channels` asks: "words",
    "sentences", "salient" (see `corpus.channels`).
    """

    filters: Mapping[str, Any] = field(default_factory=lambda: {"empty": True})
    deduplicate: bool = True
    cleaning: Cleaning | None = None  # instead of `deduplicate`: what is done to the corpus as a whole
    stages: Sequence[str] | Mapping[str, Any] = ("nfc",)
    channels: Iterable[str] = ()
    dropped: int = 20  # documents kept to be read for each reason to drop one, in `dropped.jsonl`
    end: bool = True  # an end-of-text token after each document, where the tokenizer has one
    shard_tokens: int = 2**26
    batch: int = 1000
    backend: Backend = "auto"  # who makes the ids, see `tokens.coders`

    @property
    def whole(self) -> Cleaning:
        """What is done to the corpus as a whole, and by whom."""
        return self.cleaning or Cleaning(dedup=Dedup(exact=self.deduplicate))


def run_pipeline(
    documents: Iterable[Document],
    filters: Sequence[Filter],
    *,
    ledger: Ledger,
    stages: Sequence[Stage] = (),
    dropped: Dropped | None = None,
) -> Iterator[Document]:
    """The documents that no filter drops and that `stages` let through, counted as kept.

    The first filter with a reason decides. A stage here may drop documents or cut their text, if it counts in the same
    ledger what it dropped and cut (as `cleaned` does), but must not rewrite text otherwise. When the iterator is
    exhausted and whoever made the documents filled `ledger.read`, the ledger balances. `dropped` is shown what the
    filters drop.
    """
    passing: Iterable[Document] = passing_documents(documents, Judging(filters), ledger, dropped)
    for stage in stages:
        passing = stage(passing)
    return _counted(passing, ledger)


def reading(documents: Iterable[Document], *, ledger: Ledger) -> Iterator[Document]:
    """Count as read what comes from memory; files are counted by their readers."""
    for document in documents:
        ledger.read.add(bytes=size(document))
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
    judges, tidy, ordered = Judges(config.filters), Tidying(config.stages), config.whole.ordered
    passing = passing_documents(documents, judges, ledger, dropped, ordered)
    kept = _counted(cleaned(passing, config.whole, ledger=ledger, folder=folder, dropped=dropped), ledger)
    return tidied(kept, tidy, ordered, ledger) if config.stages else kept


def build_corpus(
    documents: Iterable[Document],
    tokenizer: Encoder,
    folder: Path,
    *,
    config: Build | None = None,
    ledger: Ledger,
    key: str | None = None,
    resume: bool = False,
    say: Callable[[str], None] | None = None,
) -> Shards:
    """Write the token shards of a corpus and its `ledger.json` to `folder`, which appears whole or not at all.

    The bytes depend on the set of documents, the tokenizer and `config`, not on the order of the inputs, nor on the
    engine. Fills `ledger`, tokens included. With a `key`, a name of the inputs and of what is done to them, a build
    that is killed can go on: the next one with the same key and `resume` (see `corpus.restart`). `say` is told how
    texts are tokenized.

    Raises `E-OUTPUT` at once when `folder` exists, `E-NO-RECORDS` when nothing is kept, `E-DUP-ID` when two records
    share an id, `E-VOCAB-SIZE` for an id outside the vocabulary, `E-CONFIG-VALUE` for a channel that is not known,
    `E-RESUME` for a build that was begun with another key.
    """
    config = config or Build()
    channels = check_channels(config.channels)
    if folder.exists():
        raise ModeledgeError("E-OUTPUT", "the folder exists already", where=str(folder))
    dropped = DroppedSample(config.dropped)
    judges, tidy = Judges(config.filters), Tidying(config.stages)
    manifest: dict[str, Any] = {}
    with _placed(folder, manifest, key, resume) as (temporary, place):

        def read() -> Iterable[Document]:
            return passing_documents(documents, judges, ledger, dropped, config.whole.ordered)

        def clean() -> Iterable[Document]:
            passing = restart.staged(place, "read", read, ledger, dropped)
            scratch = temporary if place is None else restart.scratch_folder(place)
            return _counted(cleaned(passing, config.whole, ledger=ledger, folder=scratch, dropped=dropped), ledger)

        sample, kept = _sampled(restart.staged(place, "clean", clean, ledger, dropped))
        work = _encoding(tokenizer, config, tidy, channels, sample, say)
        done = restart.progress_of(place)
        kinds, cut = dict.fromkeys(channels, "uint8"), config.shard_tokens
        names = (tokenizer.vocab_size, tokenizer.fingerprint)
        with ShardWriter(temporary, *names, channels=kinds, shard_tokens=cut, state=done.get("writer", {})) as writer:
            add_rewritten(ledger, {reason: Count(**count) for reason, count in done.get("rewritten", {}).items()})
            rest = restart.beyond(kept, writer.documents)
            _write(writer, config.whole.ordered(work, batches(rest, config.batch)), ledger, place)
            assert ledger.balanced(), f"the source did not fill ledger.read: {ledger.as_dict()}"
            manifest.update(writer.finish())
        write_json(temporary / LEDGER, ledger.as_dict())
        dropped.write(temporary / DROPPED)
    return Shards.open(folder, verify=False)


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
    work = Encoding(None, tokenizer, LibraryCoder(tokenizer), channels, tokenizer.specials.eos if end else None)
    for held in batches(documents, batch):
        yield from work(held)[0]


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


@contextmanager
def _placed(
    folder: Path, manifest: Mapping[str, Any], key: str | None, resume: bool
) -> Iterator[tuple[Path, Path | None]]:
    """Where the files of a corpus are written before it is committed, and where a build keeps what it has done."""
    if key is None:
        with committed_folder(folder, manifest) as temporary:
            yield temporary, None
        return
    with restart.begun(folder, key, resume=resume) as place:
        temporary = restart.tape_folder(place)
        yield temporary, place
        commit_folder(temporary, folder, manifest)


def _encoding(
    tokenizer: Encoder,
    config: Build,
    tidy: Tidying,
    channels: Sequence[str],
    sample: Sequence[str],
    say: Callable[[str], None] | None,
) -> Encoding:
    """The work that makes ids. Channels need to know where tokens stand in a text, which only the library says."""
    coder = LibraryCoder(tokenizer) if channels else choose_coder(tokenizer, sample, backend=config.backend, say=say)
    eos = tokenizer.specials.eos if config.end else None
    return Encoding(tidy if config.stages else None, tokenizer, coder, channels, eos)


def _write(
    writer: ShardWriter, results: Iterable[tuple[TokenBatch, Rewritten]], ledger: Ledger, place: Path | None
) -> None:
    """Write what was tokenized, with a checkpoint now and then where there is a place for it."""
    last = writer.tokens
    for tokens, gone in results:
        writer.add_batch(tokens)
        add_rewritten(ledger, gone)
        if place is not None and writer.tokens - last >= restart.CHECKPOINT:
            last = writer.tokens
            rewritten = ledger.as_dict().get("rewritten", {})
            restart.write_progress(place, {"writer": writer.checkpoint(), "rewritten": rewritten})
    ledger.kept.tokens = writer.tokens


def _sampled(documents: Iterable[Document]) -> tuple[list[str], Iterable[Document]]:
    """The first texts, and all documents."""
    rest = iter(documents)
    first = list(islice(rest, SAMPLE))
    return [document.text[:2000] for document in first], chain(first, rest)


def _counted(documents: Iterable[Document], ledger: Ledger) -> Iterator[Document]:
    for document in documents:
        ledger.kept.add(bytes=size(document))
        yield document
