"""What a recipe says of texts: the files of a corpus, and the tokenizer that makes ids of them."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from typing import Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.corpus.intake import Format, OnBadRecord
from modeledge.recipes.corpora.cleaning import AgainstRecipe, CleaningRecipe
from modeledge.tokens.coders import Backend
from modeledge.tokens.sentinels import sentinel_names

Role = Literal["pad", "unk", "cls", "sep", "mask", "bos", "eos"]
Kind = Literal["web pages", "books", "conversation", "multilingual", "scientific", "code", "other"]
PACKAGE = "package:"  # how a path begins that is no file but the text of an installed package
FILTER_FILES = ("model", "bad_words_file")  # the fields of filters that name a file or a folder
_NAME = re.compile(r"[A-Za-z0-9][\w .()+-]{0,60}")


class TextsRecipe(Settings):
    """One of a corpus's sources: a name, what kind of text it is, its files, and how they are read and filtered where
    that differs from what the corpus says: rules made for web pages drop nearly all source code."""

    name: str
    kind: Kind = "other"
    paths: tuple[str, ...] = Field(min_length=1)
    format: Format | None = None
    text: str | None = None
    id: str | None = None
    split: Literal["file", "paragraph", "line"] | None = None
    encoding: str | None = None
    delimiter: str | None = None
    extractor: Literal["resiliparse", "trafilatura"] | None = None
    filters: dict[str, Any] | None = None


class CorpusRecipe(CleaningRecipe):
    """Raw files, or shards built before. See `ReadConfig` for the fields that say how files are read. The path
    "package:bible" is the text of two English Bibles out of an installed package (extra `quickstart`), a chapter a
    document, without the chapters that `recipes/quickstart/scripture.py` holds out.

    `sources` are several sets of files, each with a name and a kind, in place of `paths`; their documents know them,
    and the ledger counts each on its own. A `.txt` file is one document; `split` makes each paragraph or line of it
    one. `extractor` makes text of web pages. `filters` and `stages` are rows of the tables of `corpus.filter`, with
    their fields; of what filters drop, `dropped` documents for each reason stay readable, and with `count_dropped` the
    tokens of all are counted. `strict` makes errors of the notes that begin with W-. `channels` are kept of each token
    beside those that the objective asks for ("words", "sentences", "salient"): for shards that others will train on.
    `backend` makes the ids: "gigatoken", "tokenizers", or the faster one that is installed and proven to agree; it
    cannot change them.
    """

    paths: tuple[str, ...] = ()
    sources: tuple[TextsRecipe, ...] = ()
    shards: str | None = None
    format: Format = "auto"
    extractor: Literal["resiliparse", "trafilatura"] = "resiliparse"
    text: str = "text"
    id: str | None = None
    split: Literal["file", "paragraph", "line"] = "file"
    encoding: str = "utf-8"
    delimiter: str | None = None
    on_bad_record: OnBadRecord = "quarantine"
    bad_limit: float = Field(default=0.001, ge=0, le=1)
    max_record_bytes: int = Field(default=100_000_000, ge=1)
    max_expansion: float = Field(default=200.0, gt=0)
    allow_partial: bool = False
    strict: bool = False
    filters: dict[str, Any] = Field(default_factory=lambda: {"empty": True})
    stages: dict[str, Any] = Field(default_factory=lambda: {"nfc": True})
    dropped: int = Field(default=20, ge=0)
    count_dropped: bool = True
    channels: tuple[str, ...] = ()
    backend: Backend = "auto"

    @model_validator(mode="after")
    def _named_once(self) -> Self:
        if self.sources and self.paths:
            raise ValueError("paths name files, and so do the sources: make them one of the sources")
        names = [source.name for source in self.sources]
        for name in names:
            if not _NAME.fullmatch(name):
                raise ValueError(f"sources: {name!r} is no name: letters, digits, spaces and _ . ( ) + -")
            if names.count(name) > 1:
                raise ValueError(f"sources: two have the name {name!r}")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """All paths, those of the sources too."""
        return (*self.paths, *(path for source in self.sources for path in source.paths))

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The files and folders that filters are made of: models, lists of words."""
        tables = (self.filters, *(source.filters or {} for source in self.sources))
        rows = [row for table in tables for row in table.values() if isinstance(row, dict)]
        return tuple(row[name] for row in rows for name in FILTER_FILES if isinstance(row.get(name), str))


class ReplayRecipe(CorpusRecipe):
    """General text beside the corpus: of all examples `share` come from here."""

    share: float = Field(default=0.1, gt=0, lt=1)


class TokenizerRecipe(Settings):
    """A tokenizer to be trained, or a `path` to one.

    `sentinels` is how many tokens like `<extra_id_0>` it reserves; left out, as many as the objective asks for. `extra`
    are special tokens beside those that the objective asks for: what later runs with this tokenizer will need.
    `specials` are special tokens by role (`mask = "[MASK]"`), over the usual ones. A given tokenizer gains what it
    lacks of these three behind its vocabulary, and nothing that is not said: see `tokens/reserve.py`. `extend` adds so
    many pieces of the corpus to a given one, each seen `min_frequency` times: see `tokens/extend.py`. `memory`, in MB,
    bounds what training holds of the corpus: its words are counted, on disk where they are many.
    """

    path: str | None = None
    extend: int | None = Field(default=None, ge=1)
    kind: Literal["bpe", "wordpiece", "unigram"] = "bpe"
    vocab_size: int = Field(default=8192, ge=2)
    min_frequency: int = Field(default=2, ge=1)
    lowercase: bool = False
    sentinels: int | None = Field(default=None, ge=0, le=10_000)
    extra: tuple[str, ...] = ()
    specials: dict[Role, str] | None = None
    memory: int | None = Field(default=None, ge=1)

    @property
    def grows(self) -> bool:
        """Does it say what a given tokenizer shall have beyond itself?"""
        return self.extend is not None or self.names_specials

    @property
    def names_specials(self) -> bool:
        """Does it name special tokens?"""
        return bool(self.sentinels or self.extra or self.specials)

    def reserving(self, names: tuple[str, ...] = ()) -> tuple[str, ...]:
        """The special tokens without a role that a tokenizer gets: `names`, with as many sentinels among them as
        are asked for, and `extra`."""
        if self.sentinels is not None:
            every = sentinel_names(max(self.sentinels, len(names)))
            names = (*every[: self.sentinels], *(name for name in names if name not in every))
        return tuple(dict.fromkeys((*names, *self.extra)))


C = TypeVar("C", bound=CorpusRecipe)


def with_places(corpus: C, place: Callable[[str], str]) -> C:
    """A corpus whose texts, those of its sources and of its evaluation sets lie where `place` says; what stays as it is
    does not become a key that was said."""
    sources = tuple(s.model_copy(update={"paths": tuple(map(place, s.paths))}) for s in corpus.sources)
    changed: dict[str, Any] = {"paths": tuple(map(place, corpus.paths)), "sources": sources}
    if corpus.against is not None:
        paths = tuple(map(place, corpus.against.paths))
        changed["against"] = corpus.against.model_copy(update={"paths": paths})
    return corpus.model_copy(update={k: v for k, v in changed.items() if v != getattr(corpus, k)})


def placed(corpus: C) -> C:
    """A corpus with its paths made absolute."""
    paths, sources = (
        _absolute(corpus.paths),
        tuple(map(_source_placed, corpus.sources)),
    )
    filters = {name: _fields_placed(value) for name, value in corpus.filters.items()}
    update: dict[str, Any] = {
        "paths": paths,
        "sources": sources,
        "shards": absolute_path(corpus.shards),
        "filters": filters,
    }
    if corpus.against is not None:
        against = tuple(os.path.abspath(path) for path in corpus.against.paths)
        update["against"] = AgainstRecipe(**{**corpus.against.model_dump(), "paths": against})
    return corpus.model_copy(update=update)


def _source_placed(source: TextsRecipe) -> TextsRecipe:
    filters = {k: _fields_placed(v) for k, v in source.filters.items()} if source.filters is not None else None
    return source.model_copy(update={"paths": _absolute(source.paths), "filters": filters})


def _absolute(paths: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(str(absolute_path(path)) for path in paths)


def _fields_placed(value: Any) -> Any:
    """The fields of a filter, those that name a folder or a file made absolute."""
    if not isinstance(value, dict):
        return value
    return value | {name: absolute_path(value[name]) for name in FILTER_FILES if isinstance(value.get(name), str)}


def absolute_path(path: str | None) -> str | None:
    """A path made absolute; an address on a hub stays one, and so does the name of a package."""
    return os.path.abspath(path) if path and not path.startswith(("hf://", PACKAGE)) else path
