"""`modeledge corpus classifier` and `modeledge corpus perplexity`: training what judges pages."""

from __future__ import annotations

from typing import Annotated

import typer

from modeledge.cli.corpus import CorpusKeys, Out
from modeledge.cli.terminal import say

classifier_app = typer.Typer(help="A classifier of good and bad text.", no_args_is_help=True)
perplexity_app = typer.Typer(help="An n-gram model of good text.", no_args_is_help=True)


@classifier_app.command("train")
def classifier_train(
    good: Annotated[str, typer.Argument(help="A file, folder or glob of good (clean) texts.")],
    bad: Annotated[str, typer.Argument(help="The same of bad (toxic) texts.")],
    out: Out,
    keys: CorpusKeys = None,
) -> None:
    """Learn to tell good texts from bad; print AUC, and precision and recall of a filter, on held-out rows."""
    from modeledge.recipes.corpora.judges import build_classifier, texts_of

    build_classifier(texts_of([good], keys or (), say), texts_of([bad], keys or (), say), out, say)
    say(f"classifier: {out}")


@perplexity_app.command("train")
def perplexity_train(
    good: Annotated[list[str], typer.Argument(help="Files, folders, globs of good texts.")],
    out: Out,
    vocabulary: Annotated[int, typer.Option(help="How many of the commonest words are known.")] = 50_000,
    keys: CorpusKeys = None,
) -> None:
    """Count an n-gram model of good texts; print the deciles of the perplexity of held-out ones."""
    from modeledge.recipes.corpora.judges import build_ngrams, texts_of

    build_ngrams(texts_of(good, keys or (), say), out, vocabulary, say)
    say(f"n-gram model: {out}")
