"""Continued pre-training: a trained model reads a domain (Gururangan et al. 2020, arXiv 2004.10964).

`model.start` names the model. **Domain-adaptive**: the corpus is large and of the domain; **task-adaptive**: it is the
unlabelled text of the task's own rows, read many times. Two things beside: `tokenizer.extend` gives the domain's words
pieces and rows of their own, and `[replay]` shows general text between the domain's, so that less is forgotten. Special
tokens that an objective needs and the tokenizer lacks are gained in the same way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from modeledge import files
from modeledge.corpus.asked import Build
from modeledge.corpus.duplicate import Duplicate
from modeledge.corpus.pipeline import LEDGER, build_corpus
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.model.transformer import Transformer
from modeledge.model.vocabulary import extend_vocabulary
from modeledge.recipes.corpora.cleaning import cleaning_of
from modeledge.recipes.corpora.source import read, report_ledger, watch_specials
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Ledger
from modeledge.tokens import Tokenizer
from modeledge.tokens.extend import replaced

REPLAY = "replay"  # the folder of the general text's shards in a run


def check_continuing(recipe: PretrainRecipe) -> None:
    """Refuse a vocabulary to extend where there is none, or where the corpus has been tokenized (`E-CONFIG`)."""
    if recipe.tokenizer.extend is None:
        return
    if recipe.tokenizer.path is None and recipe.model.start is None:
        what, remedy = "there is no tokenizer to extend", "name model.start (or tokenizer.path), or leave it out"
        raise ModeledgeError("E-CONFIG", what, where="tokenizer.extend", remedy=remedy)
    if recipe.corpus.shards is not None or (recipe.replay is not None and recipe.replay.shards is not None):
        what, remedy = "ready shards were written with another tokenizer", "name the texts in paths"
        raise ModeledgeError("E-CONFIG", what, where="tokenizer.extend", remedy=remedy)


def building(corpus: CorpusRecipe, channels: Iterable[str] = ()) -> Build:
    """What the recipe says of the way from documents to shards; `channels` are those that its objective asks for."""
    wanted = {*corpus.channels, *channels}
    return Build(
        filters=corpus.filters,
        own_filters={s.name: s.filters for s in corpus.sources if s.filters is not None},
        cleaning=cleaning_of(corpus),
        stages=corpus.stages,
        duplicate=None if corpus.duplicate is None else Duplicate(**corpus.duplicate.model_dump()),
        channels=sorted(wanted),
        dropped=corpus.dropped,
        backend=corpus.backend,
        count_dropped=corpus.count_dropped,
    )


def opened(where: Path, tokenizer: Tokenizer, given: Tokenizer | None = None) -> Shards:
    """The shards in a folder; those that another tokenizer wrote are `E-TOKENIZER-MISMATCH`, but for one that is
    `given` because it differs in special tokens alone."""
    shards = Shards.open(where)
    if shards.tokenizer not in (tokenizer.fingerprint, None if given is None else given.fingerprint):
        what = f"the shards were written with tokenizer {shards.tokenizer[:12]}, this is {tokenizer.fingerprint[:12]}"
        raise ModeledgeError("E-TOKENIZER-MISMATCH", what, where=str(where))
    return shards


def replay_shards(
    recipe: PretrainRecipe,
    folder: Path,
    tokenizer: Tokenizer,
    say: Callable[[str], None],
    given: Tokenizer | None = None,
) -> Shards | None:
    """The general text of a recipe as shards, built once in the run folder; its ledger joins that of the run.

    `given` is as in `opened`.
    """
    if recipe.replay is None:
        return None
    if recipe.replay.shards is not None:
        return opened(Path(recipe.replay.shards), tokenizer, given)
    where = folder / REPLAY
    if not where.exists():
        ledger = Ledger()
        source = watch_specials(read(recipe.replay, ledger), tokenizer, ledger)
        build_corpus(source, tokenizer, where, config=building(recipe.replay, recipe.aim.channels), ledger=ledger)
        report_ledger(ledger, say, REPLAY)
    if (folder / LEDGER).exists():
        own = files.read_json(folder / LEDGER)
        own = own.get("corpus", own)
        files.write_json(folder / LEDGER, {"corpus": own, REPLAY: files.read_json(where / LEDGER)})
    return opened(where, tokenizer)


def extend_model(model: Transformer, old: Tokenizer | None, new: Tokenizer) -> None:
    """Give the model rows for the pieces and special tokens that its tokenizer has gained (`E-VOCAB-SIZE` where it has
    not enough for the old ones)."""
    assert old is not None, "a model to start from has a tokenizer"
    check_rows(model, old)
    if pieces := replaced(old, new):
        extend_vocabulary(model, pieces, old.vocab_size)


def check_rows(model: Transformer, tokenizer: Tokenizer) -> None:
    """Refuse a tokenizer with more ids than the model has rows (`E-VOCAB-SIZE`)."""
    if tokenizer.vocab_size > model.config.table.vocab:
        what = f"the tokenizer has {tokenizer.vocab_size} ids, the model {model.config.table.vocab} rows"
        raise ModeledgeError("E-VOCAB-SIZE", what)
