"""The data verbs by themselves: a tokenizer, a corpus."""

from __future__ import annotations

import glob
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from modeledge.corpus.pipeline import build_corpus
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.recipes.continued import building
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.recipes.source import QUARANTINE, read, report_ledger, report_notes, watch_specials
from modeledge.recipes.texts import CorpusRecipe, TokenizerRecipe
from modeledge.recipes.vocabulary import make_tokenizer
from modeledge.records import Ledger
from modeledge.tokens import Tokenizer


def build_tokenizer(corpus: CorpusRecipe, recipe: TokenizerRecipe, out: Path, say: Callable[[str], None]) -> Tokenizer:
    """Train a tokenizer on the corpus's files and save it in the folder `out`."""
    fresh(out)
    tokenizer = make_tokenizer(PretrainRecipe(corpus=corpus, tokenizer=recipe), None)
    tokenizer.save(out)
    report_notes(tokenizer, say)
    say(f"{tokenizer.vocab_size:,} ids, fingerprint {tokenizer.fingerprint[:12]}: {out}")
    return tokenizer


def build_shards(corpus: CorpusRecipe, tokenizer: Path, out: Path, say: Callable[[str], None]) -> Shards:
    """Filter, de-duplicate, tokenize and pack the corpus's files into the folder `out`, with its data card."""
    from modeledge.recipes.data_card import write_data_card

    fresh(out)
    say_left(out, say)
    ledger = Ledger()
    loaded = Tokenizer.load(tokenizer)
    with tempfile.TemporaryDirectory() as place:
        aside = Path(place) / QUARANTINE

        def finish(folder: Path) -> None:
            if aside.stat().st_size:
                shutil.copyfile(aside, folder / QUARANTINE)
            write_data_card(folder)

        documents = watch_specials(read(corpus, ledger, Path(place)), loaded, ledger, corpus)
        shards = build_corpus(documents, loaded, out, config=building(corpus), ledger=ledger, finish=finish)
    report_ledger(ledger, say)
    return shards


def say_left(out: Path, say: Callable[[str], None]) -> None:
    """Name what builds into this folder left that were killed. It is not removed: one of them may be running."""
    for path in sorted(out.parent.glob(f".{glob.escape(out.name)}.tmp-*")):
        say(f"note: {path} is of a build that was killed, or still runs; remove it if none does")


def fresh(out: Path) -> None:
    """Refuse an output that is there already (`E-OUTPUT`)."""
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise ModeledgeError("E-OUTPUT", "it is there already", where=str(out))
