"""A corpus as a recipe (`kind = "corpus"`): one file, read once, whose parts are all optional but the texts.

    modeledge corpus build recipes/corpus_fineweb.toml --data FOLDER --out corpora/web

| table | what it says |
|---|---|
| `[corpus]` | files or `[[corpus.sources]]`, how they are read, `filters`, `stages` (tidying, privacy) |
| `[corpus.near]`, `[corpus.repeats]`, `[corpus.against]` | near duplicates, repeated lines, evaluation sets |
| `[tokenizer]` | a tokenizer by its `path`, or one that is trained; without the table the corpus stays text |
| `[mixture]` | sources, each a corpus of its own, over what `[corpus]` says of all |
| `[packing]` | how rows would be filled, counted over the corpus |
| `tokens` | what a run will read, for the plan of the mixture |

The tables are those of a pre-training recipe, where they mean the same. What is built is in `corpus_build`.
"""

from __future__ import annotations

import sysconfig
from typing import Literal, Self, TypeVar

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.recipes.corpora.cleaning import CleaningRecipe
from modeledge.recipes.corpora.mixture import MixtureRecipe
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe, with_places
from modeledge.recipes.recipe import PretrainRecipe, absolute

C = TypeVar("C", bound=CorpusRecipe)
STDLIB = "{stdlib}"
WORKERS = ("engine", "processes")  # who does the work, which changes no byte


class PackingRecipe(Settings):
    """Rows of `length` tokens: documents concatenated and cut (`split`), cut each for itself and fitted into rows
    (`fit`: first-fit decreasing over `window` pieces at a time), or one piece a row (`alone`)."""

    how: Literal["split", "fit", "alone"] = "fit"
    length: int = Field(default=512, ge=1)
    window: int = Field(default=4096, ge=1)


class CorpusFile(Settings):
    """A corpus or a mixture of several, cleaned; tokenized where a tokenizer is given.

    `data` is the folder that `{data}` stands for in paths; `{stdlib}` stands for the sources of Python's own library.
    """

    kind: Literal["corpus"] = "corpus"
    data: str = "data"
    tokens: float | None = Field(default=None, gt=0)
    corpus: CorpusRecipe = CorpusRecipe()
    mixture: MixtureRecipe | None = None
    tokenizer: TokenizerRecipe | None = None
    packing: PackingRecipe | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.tokens is not None and self.mixture is None:
            raise ValueError("tokens plan a mixture, and there is none: leave tokens out, or add [mixture]")
        if self.tokenizer is None:
            asked = {"tokens": self.tokens, "packing": self.packing}
            for name in (name for name, value in asked.items() if value is not None):
                raise ValueError(f"{name}: there are no tokens without a tokenizer: leave it out, or add [tokenizer]")
        if self.corpus.shards is not None:
            raise ValueError("corpus.shards have been built: name texts in corpus.paths or corpus.sources")
        return self

    def recipe(self) -> PretrainRecipe:
        """What says the same to a run, with the places of its files."""
        mixture = self.mixture
        if mixture is not None:
            sources = {name: with_places(source, self._place) for name, source in mixture.sources.items()}
            mixture = mixture.model_copy(update={"sources": sources})
        tokenizer = self.tokenizer or TokenizerRecipe()
        return absolute(
            PretrainRecipe(corpus=with_places(self.corpus, self._place), mixture=mixture, tokenizer=tokenizer)
        )

    def without_workers(self) -> CorpusFile:
        """The recipe without who does the work: the same for every engine, as the corpus is."""
        mixture = self.mixture
        if mixture is not None:
            sources = {name: _alone(source) for name, source in mixture.sources.items()}
            mixture = mixture.model_copy(update={"sources": sources})
        return self.model_copy(update={"corpus": _alone(self.corpus), "mixture": mixture})

    def _place(self, path: str) -> str:
        """A path with what `{data}` and `{stdlib}` stand for."""
        for name, place in {"{data}": self.data.rstrip("/") or "/", STDLIB: sysconfig.get_path("stdlib")}.items():
            path = path.replace(name, place)
        return path


def _alone(corpus: C) -> C:
    """A corpus as one process would be asked for it."""
    default = CleaningRecipe()
    return corpus.model_copy(
        update={k: getattr(default, k) for k in WORKERS if getattr(corpus, k) != getattr(default, k)}
    )
