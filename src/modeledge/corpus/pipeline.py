"""From documents to token shards: filter, remove duplicates, count, tidy, tokenize, write.

Each document that comes in is either kept or dropped for a named reason, and the ledger adds up:
`read = kept + filtered(by reason) + quarantined(by reason)`, in records and in bytes *as read*. That is why the
stages that rewrite text (`stages` of a `Build`) run last, after the counting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any

from modeledge.corpus import restart
from modeledge.corpus.asked import Build, Encoder
from modeledge.corpus.channels import check_channels
from modeledge.corpus.clean import Cleaning, cleaned
from modeledge.corpus.counting import DroppedTokens
from modeledge.corpus.dropped import DROPPED, Dropped, DroppedSample
from modeledge.corpus.duplicate import duplicated
from modeledge.corpus.filter import Filter, Stage, size
from modeledge.corpus.passing import passing_documents, tidied
from modeledge.corpus.shard import Shards, ShardWriter, TokenBatch, TokenDocument
from modeledge.corpus.survey import SURVEY, Brief, Survey
from modeledge.corpus.work import Encoding, Judges, Judging, Tidying, add_rewritten
from modeledge.corpus.workers import batches_of
from modeledge.errors import ModeledgeError
from modeledge.files import commit_folder, committed_folder, write_json
from modeledge.records import Document, Ledger
from modeledge.tokens.coders import choose_coder
from modeledge.tokens.flat import LibraryCoder

LEDGER = "ledger.json"
SAMPLE = 200  # documents on which a quick way to tokenize is tried before it is used


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
    passing: Iterable[Document] = passing_documents(documents, Judging(filters, own), ledger, dropped)
    for stage in stages:
        passing = stage(passing)
    return _counted(passing, ledger)


def reading(documents: Iterable[Document], *, ledger: Ledger, source: str = "") -> Iterator[Document]:
    """Count as read what comes from memory (of a `source`, where it does not say); files are counted by their
    readers."""
    for document in documents:
        ledger.add("read", source=document.source or source, bytes=size(document))
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
    judges, tidy = Judges(config.filters, config.own_filters), Tidying(config.stages)
    ordered = config.whole.ordered
    passing = passing_documents(documents, judges, ledger, dropped, ordered)
    kept = _counted(cleaned(passing, config.whole, ledger=ledger, folder=folder, dropped=dropped), ledger)
    kept = tidied(kept, tidy, ordered, ledger) if config.stages else kept
    return kept if config.duplicate is None else duplicated(kept, config.duplicate, ledger)


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
    finish: Callable[[Path], None] | None = None,
) -> Shards:
    """Write the token shards of a corpus, its `ledger.json` and its `survey.json` to `folder`, which appears whole or
    not at all. `finish` may write more, into the folder that it is given.

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
    judges, tidy = Judges(config.filters, config.own_filters), Tidying(config.stages)
    fallen, survey = DroppedSample(config.dropped), Survey()
    counting = DroppedTokens(fallen, tokenizer, ledger, int(_ends(tokenizer, config))) if config.count_dropped else None
    dropped: DroppedTokens | DroppedSample = counting or fallen
    manifest: dict[str, Any] = {}
    with _placed(folder, manifest, key, resume) as (temporary, place):
        stages = _Stages(documents, judges, config.whole, ledger, dropped)
        sample, kept = _sampled(
            restart.staged(place, "clean", partial(stages.clean, temporary, place), ledger, dropped)
        )
        kept = kept if config.duplicate is None else duplicated(kept, config.duplicate, ledger)
        work = _encoding(tokenizer, config, tidy, channels, sample, say)
        done = restart.progress_of(place)
        survey.restore(done.get("survey", {}))
        kinds, cut = dict.fromkeys(channels, "uint8"), config.shard_tokens
        names = (tokenizer.vocab_size, tokenizer.fingerprint)
        with ShardWriter(temporary, *names, channels=kinds, shard_tokens=cut, state=done.get("writer", {})) as writer:
            rewritten = Ledger()
            rewritten.restore(done.get("rewritten", rewritten.as_dict()))
            rest = restart.beyond(kept, writer.documents)
            _write(writer, config.whole.ordered(work, batches_of(rest, config.batch)), rewritten, survey, place)
            _settle(ledger, rewritten, survey, counting, folder)
            manifest.update(writer.finish())
        for name, told in ((LEDGER, ledger), (SURVEY, survey)):
            write_json(temporary / name, told.as_dict())
        fallen.write(temporary / DROPPED)
        if finish is not None:
            finish(temporary)
    return Shards.open(folder, verify=False)


@dataclass(frozen=True)
class _Stages:
    """The first two stages of a build; each gives documents and fills the ledger."""

    documents: Iterable[Document]
    judges: Judges
    whole: Cleaning
    ledger: Ledger
    dropped: DroppedTokens | DroppedSample

    def read(self) -> Iterable[Document]:
        """What no filter drops."""
        return passing_documents(self.documents, self.judges, self.ledger, self.dropped, self.whole.ordered)

    def clean(self, temporary: Path, place: Path | None) -> Iterable[Document]:
        """What is left of it when the corpus is looked at as a whole, in its order."""
        passing = restart.staged(place, "read", self.read, self.ledger, self.dropped)
        scratch = temporary if place is None else restart.scratch_folder(place)
        kept = cleaned(passing, self.whole, ledger=self.ledger, folder=scratch, dropped=self.dropped)
        return _counted(kept, self.ledger)


def _ends(tokenizer: Encoder, config: Build) -> bool:
    """Does an end-of-text token follow each document?"""
    return config.end and tokenizer.specials.eos is not None


def _settle(ledger: Ledger, rewritten: Ledger, survey: Survey, counting: DroppedTokens | None, folder: Path) -> None:
    """What is known when all is written: the tokens of what was kept, and what was taken out of it, by source."""
    add_rewritten(ledger, rewritten)
    for source, portrait in survey.sources.items():
        ledger.add("kept", source=source, records=0, tokens=portrait.tokens)
    if counting is not None:
        counting.finish()
    assert ledger.balanced(), f"the source did not fill ledger.read: {ledger.as_dict()}"
    if not ledger.kept.tokens:
        raise nothing_kept(ledger, folder)


def nothing_kept(ledger: Ledger, folder: Path) -> ModeledgeError:
    """`E-NO-RECORDS`, with the reasons for which all fell."""
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
    it has one."""
    work = Encoding(None, tokenizer, LibraryCoder(tokenizer), channels, tokenizer.specials.eos if end else None)
    for held in batches_of(documents, batch):
        yield from work(held)[0]


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
    how: dict[str, Any] = {"backend": config.backend, "memory": config.whole.dedup.memory // 4, "say": say}
    coder = LibraryCoder(tokenizer) if channels else choose_coder(tokenizer, sample, **how)
    eos = tokenizer.specials.eos if config.end else None
    return Encoding(tidy if config.stages else None, tokenizer, coder, channels, eos)


def _write(
    writer: ShardWriter,
    results: Iterable[tuple[TokenBatch, Sequence[Brief], Ledger]],
    rewritten: Ledger,
    survey: Survey,
    place: Path | None,
) -> None:
    """Write what was tokenized, with a checkpoint now and then where there is a place for it."""
    last = writer.tokens
    for tokens, briefs, gone in results:
        writer.add_batch(tokens)
        add_rewritten(rewritten, gone)
        for brief, count in zip(briefs, tokens.lengths.tolist(), strict=True):
            survey.add(brief, count)
        if place is not None and writer.tokens - last >= restart.CHECKPOINT:
            last = writer.tokens
            state = {"writer": writer.checkpoint(), "rewritten": rewritten.as_dict(), "survey": survey.state()}
            restart.write_progress(place, state)


def _sampled(documents: Iterable[Document]) -> tuple[list[str], Iterable[Document]]:
    """The first texts, and all documents."""
    rest = iter(documents)
    first = list(islice(rest, SAMPLE))
    return [document.text[:2000] for document in first], chain(first, rest)


def _counted(documents: Iterable[Document], ledger: Ledger) -> Iterator[Document]:
    for document in documents:
        ledger.add("kept", source=document.source, bytes=size(document))
        yield document
