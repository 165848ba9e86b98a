"""The data verbs by themselves: a tokenizer, a corpus."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from modeledge.corpus.pipeline import build_corpus
from modeledge.corpus.restart import work_folder
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.files import MANIFEST
from modeledge.recipes.continued import building, opened
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


def build_shards(
    corpus: CorpusRecipe, tokenizer: Path, out: Path, say: Callable[[str], None], *, resume: bool = False
) -> Shards:
    """Filter, de-duplicate, tokenize and pack the corpus's files into the folder `out`, with its data card.

    With `resume` a build that was killed goes on (see `corpus.restart`), and one that was finished is opened.
    """
    from modeledge.recipes.data_card import write_data_card

    loaded = Tokenizer.load(tokenizer)
    if resume and (out / MANIFEST).exists():
        say(f"the corpus is finished: {out}")
        return opened(out, loaded)
    fresh(out)
    ledger = Ledger()
    begun, key, aside = work_folder(out).exists(), key_of(corpus, loaded), aside_of(out)
    if begun:
        say("going on with a build that was begun" if resume else "note: a build that was begun here is begun anew")

    def finish(folder: Path) -> None:
        if (aside / QUARANTINE).exists() and (aside / QUARANTINE).stat().st_size:
            shutil.copyfile(aside / QUARANTINE, folder / QUARANTINE)
        write_data_card(folder)

    aside.mkdir(parents=True, exist_ok=True)
    documents = watch_specials(read(corpus, ledger, aside), loaded, ledger, corpus)
    how: dict[str, Any] = {"key": key, "resume": resume, "say": say, "finish": finish}
    try:
        shards = build_corpus(documents, loaded, out, config=building(corpus), ledger=ledger, **how)
    finally:
        if not work_folder(out).exists():  # it is there, or nothing was begun that could go on
            shutil.rmtree(aside, ignore_errors=True)
    report_ledger(ledger, say)
    return shards


def aside_of(out: Path) -> Path:
    """Where the records that are set aside wait until the corpus is there: a build that goes on does not read again."""
    return out.with_name(f".{out.name}.aside")


def key_of(corpus: CorpusRecipe, tokenizer: Tokenizer) -> str:
    """Names what is built: the recipe but for who does the work, the tokenizer, and the size and time of each file."""
    recipe = corpus.model_dump(mode="json", exclude={"engine", "processes", "backend", "memory"})
    places = [*corpus.files, *(corpus.against.paths if corpus.against else ())]
    files = [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in _files(places)]
    return hashlib.sha256(json.dumps([recipe, tokenizer.fingerprint, files], sort_keys=True).encode()).hexdigest()


def _files(places: Iterable[str]) -> list[Path]:
    """The files at some paths, in folders and under globs, as far as they are there."""
    found = [Path(name) for place in places for name in (glob.glob(place, recursive=True) or [place])]
    return sorted({p for path in found for p in (path.rglob("*") if path.is_dir() else [path]) if p.is_file()})


def fresh(out: Path) -> None:
    """Refuse an output that is there already (`E-OUTPUT`)."""
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise ModeledgeError("E-OUTPUT", "it is there already", where=str(out))
