"""Perplexity as a measure of quality, after CCNet (Wenzek et al. 2020, arXiv 1911.00359): a model of good text finds
word salad surprising, and a page that repeats itself not surprising at all.

The thresholds belong to the model and have no default: `modeledge corpus perplexity` prints the deciles of held-out
text when it trains one. CCNet took the thirds of a crawl, and many recipes keep the best two.
"""

from __future__ import annotations

from functools import cached_property, lru_cache
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.corpus.quality.ngram import NgramModel
from modeledge.records import Document

Bound = Annotated[float, Field(gt=0)]


class Perplexity(Settings):
    """Drop pages whose perplexity a word under the n-gram `model` (a folder) is above `at_most` or below `at_least`."""

    model: str
    at_most: Bound | None = None
    at_least: Bound | None = None

    @model_validator(mode="after")
    def _bounded(self) -> Perplexity:
        if self.at_most is None and self.at_least is None:
            raise ValueError("name at_most or at_least: how surprising may a text be?")
        return self

    @cached_property
    def _loaded(self) -> NgramModel:
        return load_once(self.model)

    def prepare(self) -> None:
        """Open the model now, so that a missing or damaged one is an error before the first document."""
        assert self._loaded is not None

    def __call__(self, document: Document) -> str | None:
        """`perplexity.high` or `perplexity.low`."""
        found = self._loaded.perplexity(document.text)
        if self.at_most is not None and found > self.at_most:
            return "perplexity.high"
        return "perplexity.low" if self.at_least is not None and found < self.at_least else None


@lru_cache(maxsize=2)
def load_once(folder: str) -> NgramModel:
    """The model of a folder, kept in memory."""
    return NgramModel.load(Path(folder))
