"""Which language a page is in, by py3langid (Lui and Baldwin 2012, "langid.py"), the optional extra `language`.

C4 kept pages of which a classifier said English with probability 0.99, FineWeb with 0.65. The first characters decide:
more of them change hardly a verdict and cost time.
"""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any

from pydantic import Field

from modeledge.config import Settings
from modeledge.corpus.quality.page import Share
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import Document


class Language(Settings):
    """Drop what is not in one of the languages (ISO 639-1: `en`, `de`) with at least this probability.

    `characters` is how much of the text's beginning is looked at. Without py3langid: `E-EXTRA`.
    """

    languages: tuple[str, ...] = Field(default=("en",), min_length=1)
    at_least: Share = 0.65
    characters: int = Field(default=4000, ge=1)

    @cached_property
    def _classify(self) -> Any:
        return identifier(self.languages)

    def prepare(self) -> None:
        """Load the identifier now, so that a missing package or an unknown language is an error at the start."""
        assert self._classify is not None

    def __call__(self, document: Document) -> str | None:
        """`language.XX` for another language than those wanted, `language.unsure` below the probability."""
        found, probability = self._classify(document.text[: self.characters])
        if found not in self.languages:
            return f"language.{found}"
        return "language.unsure" if probability < self.at_least else None


def identifier(languages: tuple[str, ...]) -> Any:
    """text → (language, probability). Raises `E-EXTRA` without py3langid, `E-CONFIG-VALUE` for an unknown language."""
    try:
        package = importlib.import_module("py3langid.langid")
    except ImportError as error:
        remedy = "pip install 'modeledge[language]'"
        what = "the language filter needs py3langid, which is not installed"
        raise ModeledgeError("E-EXTRA", what, where="filters.language", remedy=remedy) from error
    made = package.LanguageIdentifier.from_model_file(package.MODEL_FILE, norm_probs=True)
    known = sorted(str(name) for name in made.labels)
    for name in languages:
        if name not in known:
            what = f"language {name!r} is not one that py3langid knows"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="filters.language", remedy=nearest(name, known))

    def classify(text: str) -> tuple[str, float]:
        found, probability = made.classify(text)
        return str(found), float(probability)

    return classify
