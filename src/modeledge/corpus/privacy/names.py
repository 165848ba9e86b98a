"""People's names, by a model of spaCy: the optional step, as no rule tells a name from another capitalised word."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

from modeledge.corpus.privacy.spans import Finder
from modeledge.errors import ModeledgeError

PERSON = "person"
LABELS = ("PERSON", "PER")
CHUNK = 100_000  # characters of a text that the model gets at once; its memory grows with them


def person_finder(model: str) -> Finder:
    """What finds people. Raises `E-EXTRA` where spaCy, or the model, is not installed."""
    where = "stages.redact.names"
    try:
        spacy: Any = importlib.import_module("spacy")
    except ImportError as error:
        what, remedy = (
            "names need spaCy, which is not installed",
            "pip install 'modeledge[privacy]', or leave names out",
        )
        raise ModeledgeError("E-EXTRA", what, where=where, remedy=remedy) from error
    try:
        read = spacy.load(model, exclude=["tagger", "parser", "lemmatizer", "attribute_ruler"])
    except OSError as error:
        what, remedy = f"spaCy has no model {model!r}", f"python -m spacy download {model}"
        raise ModeledgeError("E-EXTRA", what, where=where, remedy=remedy) from error

    def finder(text: str) -> Iterator[tuple[int, int]]:
        for start in range(0, len(text), CHUNK):
            for entity in read(text[start : start + CHUNK]).ents:
                if entity.label_ in LABELS:
                    yield start + entity.start_char, start + entity.end_char

    return finder
