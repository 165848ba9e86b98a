"""The tokenizer of a run: the one it names, the one its model brings, or one trained on what the corpus keeps."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from modeledge.corpus.pipeline import kept_documents
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.source import read
from modeledge.recipes.corpora.texts import TokenizerRecipe
from modeledge.recipes.pretraining.continued import building
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.recipes.store.hub import find_model
from modeledge.records import Document, Ledger
from modeledge.tokens import Tokenizer, train_tokenizer
from modeledge.tokens.extend import extended
from modeledge.tokens.reserve import with_specials
from modeledge.tokens.train import usual_specials


def make_tokenizer(recipe: PretrainRecipe, documents: Sequence[Document] | None) -> Tokenizer:
    """The tokenizer that the recipe names or its model brings, or one trained on what the corpus will keep."""
    given, wanted, ledger = given_tokenizer(recipe), recipe.tokenizer, Ledger()
    if given is not None and wanted.extend is None:
        return grown(given, wanted)
    source = documents if documents is not None else read(recipe.corpus, ledger)
    texts = (document.text for document in kept_documents(source, building(recipe.corpus), ledger=ledger))
    return trained(wanted, texts, recipe.reserved) if given is None else grown(given, wanted, texts)


def grown(given: Tokenizer, wanted: TokenizerRecipe, texts: Iterable[str] = ()) -> Tokenizer:
    """A given tokenizer with what a recipe says that it shall have: special tokens, and behind them pieces of texts."""
    reserved = with_specials(given, wanted.reserving(), roles_of(wanted))
    if wanted.extend is None:
        return reserved
    return extended(reserved, texts, wanted.extend, least=wanted.min_frequency)


def before_specials(recipe: PretrainRecipe) -> Tokenizer | None:
    """The given tokenizer where the run's own has gained special tokens alone: shards of either are shards of both."""
    wanted = recipe.tokenizer
    return given_tokenizer(recipe) if wanted.names_specials and wanted.extend is None else None


def trained(wanted: TokenizerRecipe, texts: Iterable[str], extra: Sequence[str] = ()) -> Tokenizer:
    """A tokenizer trained on texts as a recipe says, with `extra` special tokens reserved."""
    return train_tokenizer(
        texts,
        kind=wanted.kind,
        vocab_size=wanted.vocab_size,
        min_frequency=wanted.min_frequency,
        lowercase=wanted.lowercase,
        specials=None if wanted.specials is None else {**usual_specials(wanted.kind), **roles_of(wanted)},
        extra=extra,
        memory=None if wanted.memory is None else wanted.memory << 20,
    )


def roles_of(wanted: TokenizerRecipe) -> dict[str, str]:
    """The spellings that a recipe names for roles of special tokens."""
    return {str(role): name for role, name in (wanted.specials or {}).items()}


def given_tokenizer(recipe: PretrainRecipe) -> Tokenizer | None:
    """The tokenizer at `tokenizer.path`, else the one of the model to start from, whose rows mean its ids.

    Raises `E-TOKENIZER-MISMATCH` where the two differ, `E-CONFIG` where the model to start from has none and no path
    is given.
    """
    path, start = recipe.tokenizer.path, recipe.model.start
    named = None if path is None else Tokenizer.load(path)
    if start is None:
        return named
    source = find_model(start, recipe.model.revision, recipe.model.endpoint).folder
    try:
        own = Tokenizer.load(source)
    except ModeledgeError as error:
        if error.code != "E-NO-FILE":
            raise
        own = None
    if own is None and named is None:
        what, remedy = "the model to start from has no tokenizer", "set tokenizer.path to the one it was trained with"
        raise ModeledgeError("E-CONFIG", what, where=str(source), remedy=remedy)
    if own is not None and named is not None and own.fingerprint != named.fingerprint:
        what = f"the model was trained with tokenizer {own.fingerprint[:12]}, this is {named.fingerprint[:12]}"
        remedy = "leave tokenizer.path out: the model brings its own"
        raise ModeledgeError("E-TOKENIZER-MISMATCH", what, where=str(path), remedy=remedy)
    return own or named
