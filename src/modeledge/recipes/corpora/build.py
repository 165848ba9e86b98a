"""The data verbs by themselves: a tokenizer, the shards of a corpus."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from modeledge.corpus.inputs import expand
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.source import report_notes
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe
from modeledge.recipes.corpora.vocabulary import make_tokenizer
from modeledge.recipes.recipe import PretrainRecipe
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
    from modeledge.recipes.corpora.corpus_build import build
    from modeledge.recipes.corpora.corpus_file import CorpusFile

    asked = CorpusFile(corpus=corpus, tokenizer=TokenizerRecipe(path=str(tokenizer)))
    return build(asked, out, say, resume=resume)[""]


def aside_of(out: Path) -> Path:
    """Where records that were set aside, a tokenizer and finished sources wait until the corpus is there."""
    whole = out if out.name else out.absolute()
    return whole.with_name(f".{whole.name}.aside")


def stamps(places: Iterable[str]) -> list[tuple[str, int, int]]:
    """Size and time of change of the files at some paths, in folders and under globs, as far as they are there."""
    named = {path for place in places for path in _there(place)}
    return [(str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(named)]


def _there(place: str) -> list[Path]:
    """The files that are read of a path; none where reading it is going to be refused."""
    try:
        return expand([place])
    except ModeledgeError:
        return []


def fresh(out: Path) -> None:
    """Refuse an output that is there already, or is the folder that one is in (`E-OUTPUT`)."""
    if out.exists() and (out.is_file() or any(out.iterdir())):
        raise ModeledgeError("E-OUTPUT", "it is there already", where=str(out))
    if not out.name:
        raise ModeledgeError("E-OUTPUT", "this is where you are", where=str(out), remedy="name a folder within")
