"""The texts of each cell: the study's corpus and tokenizer, or its own over them; what is equal is built once.

A cell's `corpus`, `mixture` and `tokenizer` lie over those of the study. What a corpus is made of, and by which
tokenizer, names its folder: `corpora/NAME` is shared by all cells whose tables come to the same, whatever they are
called. A cell without a tokenizer of its own has the study's, which was trained on the study's texts: so the corpora of
two cells differ in their texts alone, and another tokenizer is a question of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.config import load_config
from modeledge.config.check import NONE
from modeledge.corpus.pipeline import LEDGER, build_corpus
from modeledge.corpus.stream import digest
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare.study import StudyRecipe
from modeledge.recipes.corpora.mixed import mixed_tokenizer
from modeledge.recipes.corpora.source import Say, read, report_ledger, report_notes, watch_specials
from modeledge.recipes.corpora.texts import CorpusRecipe, with_places
from modeledge.recipes.corpora.vocabulary import make_tokenizer
from modeledge.recipes.pretraining.continued import building
from modeledge.recipes.recipe import PretrainRecipe, absolute
from modeledge.records import Ledger
from modeledge.tokens import Tokenizer

CORPORA, TOKENIZERS, OWN = "corpora", "tokenizers", ("weight", "budget")
PLACES = {"paths", "sources", "shards"}  # where a corpus says that its texts lie


@dataclass(frozen=True)
class Texts:
    """The tokenizer of a cell, and each of its corpora with the folder that it is built in."""

    recipe: PretrainRecipe
    tokenizer: Path
    corpora: Mapping[str, tuple[CorpusRecipe, Path]]

    def values(self) -> dict[str, Any]:
        """The tables of the cell's pre-training: ready shards."""
        tokenizer = {"tokenizer": {"path": str(self.tokenizer)}}
        if self.recipe.mixture is None:
            return {"corpus": {"shards": str(self.corpora[""][1])}, **tokenizer}
        asked = self.recipe.mixture
        sources = {
            name: {"shards": str(where), **{key: getattr(asked.sources[name], key) for key in OWN}}
            for name, (_, where) in self.corpora.items()
        }
        more = asked.model_dump(exclude={"sources"})
        return {"mixture": _told({**more, "sources": sources}), **tokenizer}


def is_own(study: StudyRecipe, cell: str) -> bool:
    """Has a cell texts or a tokenizer of its own?"""
    asked = study.cells[cell]
    return bool(asked.corpus or asked.mixture or asked.tokenizer)


def texts_recipe(study: StudyRecipe, cell: str, shared: PretrainRecipe) -> PretrainRecipe:
    """What a cell reads, over what the study reads (`shared`), with the places of its files."""
    asked = study.cells[cell]
    if PLACES & asked.corpus.keys() and asked.mixture:
        what = "a cell has one corpus or a mixture of several"
        raise ModeledgeError("E-CONFIG", what, where=f"cells.{cell}.mixture", remedy="name one of the two")
    alone = bool(PLACES & asked.corpus.keys())
    corpus = over_fields(shared.corpus, asked.corpus)
    tables = without_gone({} if alone else study.mixture, asked.mixture)
    if tables:
        corpus = {**corpus, "paths": (), "sources": (), "shards": None}
    values = {"corpus": corpus, "tokenizer": over_fields(shared.tokenizer, asked.tokenizer)}
    values |= {"mixture": tables} if tables else {}
    recipe = load_config(PretrainRecipe, None, values=_told(values))
    return absolute(placed_in(study, recipe))


def with_mixture(recipe: PretrainRecipe, tables: Mapping[str, Any]) -> PretrainRecipe:
    """What all cells read, where the study mixes several corpora. Its tables are kept as they were written: what a
    source does not say itself is what `[corpus]` says, of the study or of a cell."""
    values: dict[str, Any] = {"corpus": over_fields(recipe.corpus, {})}
    values["mixture"] = without_gone(tables, {})
    values |= {"tokenizer": over_fields(recipe.tokenizer, {})}
    return load_config(PretrainRecipe, None, values=_told(values))


def without_gone(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """The tables of a mixture over each other; a source that is "none" in one of them is none of the mixture."""
    tables, gone = merge(low, high), set[str]()
    for tree in (low, high):
        sources = tree.get("sources", {})
        gone |= {name for name, source in sources.items() if source in (NONE, None)}
    if gone:
        tables["sources"] = {name: source for name, source in tables["sources"].items() if name not in gone}
    return tables


def cell_texts(study: StudyRecipe, cell: str, folder: Path, shared: PretrainRecipe) -> Texts:
    """The texts of a cell; `shared` is what the study builds for all."""
    recipe = texts_recipe(study, cell, shared)
    own = study.cells[cell].tokenizer
    tokenizer = folder / TOKENIZERS / digest(_plain(recipe))[:12] if own else folder / "tokenizer"
    if recipe.mixture is None:
        if not is_own(study, cell) or (not own and recipe.corpus == absolute(shared).corpus):
            return Texts(recipe, tokenizer, {"": (recipe.corpus, folder / "corpus")})
        return Texts(recipe, tokenizer, {"": (recipe.corpus, home(folder, recipe.corpus, tokenizer))})
    found = {name: (source, home(folder, source, tokenizer)) for name, source in recipe.mixture.sources.items()}
    return Texts(recipe, tokenizer, found)


def home(folder: Path, corpus: CorpusRecipe, tokenizer: Path) -> Path:
    """Where a corpus is built: named by all that it is made of."""
    told = corpus.model_dump(mode="json", exclude=set(OWN))
    return folder / CORPORA / digest(told, tokenizer.name if tokenizer.parent.name == TOKENIZERS else "")[:12]


def build_texts(texts: Texts, folder: Path, say: Say, channels: tuple[str, ...] = ()) -> None:
    """Build what is not there yet of a cell's tokenizer and corpora."""
    if not texts.tokenizer.exists():
        texts.tokenizer.parent.mkdir(exist_ok=True)
        made = make_tokenizer(texts.recipe, None) if texts.recipe.mixture is None else mixed_tokenizer(texts.recipe, {})
        report_notes(made, say)
        with files.committed_folder(texts.tokenizer, {"schema": 1}) as temporary:
            made.save(temporary)
    tokenizer = Tokenizer.load(texts.tokenizer)
    for name, (corpus, where) in texts.corpora.items():
        if where.exists():
            continue
        where.parent.mkdir(exist_ok=True)
        ledger = Ledger()
        coming = watch_specials(read(corpus, ledger), tokenizer, ledger)
        build_corpus(coming, tokenizer, where, config=building(corpus, channels), ledger=ledger)
        report_ledger(ledger, say, name or where.name)
        files.write_json(folder / LEDGER, ledgers(folder, where))


def ledgers(folder: Path, where: Path) -> dict[str, Any]:
    """The ledgers of the study's corpora with that of one more."""
    path = folder / LEDGER
    told = files.read_json(path) if path.exists() else {}
    told = told if isinstance(told, dict) and "read" not in told else {"corpus": told}
    return {**told, where.name: files.read_json(where / LEDGER)}


def placed_in(study: StudyRecipe, recipe: PretrainRecipe) -> PretrainRecipe:
    """A recipe with `{data}` replaced in its paths."""
    tokenizer = recipe.tokenizer
    if tokenizer.path is not None:
        tokenizer = tokenizer.model_copy(update={"path": study.place(tokenizer.path)})
    mixture = recipe.mixture
    if mixture is not None:
        sources = {name: with_places(source, study.place) for name, source in mixture.sources.items()}
        mixture = mixture.model_copy(update={"sources": sources})
    update = {"corpus": with_places(recipe.corpus, study.place), "mixture": mixture, "tokenizer": tokenizer}
    return recipe.model_copy(update=update)


def over_fields(low: Any, high: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of settings that differ from their defaults, with a table over them."""
    default = type(low)()
    said = {key: value for key, value in low.model_dump().items() if getattr(low, key) != getattr(default, key)}
    return merge(said, high)


def merge(low: Mapping[str, Any], high: Mapping[str, Any]) -> dict[str, Any]:
    """Tables over each other."""
    out = dict(low)
    for key, value in high.items():
        both = isinstance(out.get(key), Mapping) and isinstance(value, Mapping)
        out[key] = merge(out[key], value) if both else value
    return out


def _told(value: Any) -> Any:
    """Plain values as a recipe has them: nothing is the word none."""
    if isinstance(value, Mapping):
        return {key: _told(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_told(item) for item in value]
    return "none" if value is None else value


def _plain(recipe: PretrainRecipe) -> Any:
    return recipe.model_dump(mode="json", include={"corpus", "mixture", "tokenizer"})
