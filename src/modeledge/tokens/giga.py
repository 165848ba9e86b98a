"""Byte-level BPE by `gigatoken` (Rød, MIT licence), where it is installed and its ids are those of `tokenizers`.

It cuts words by vector instructions instead of a regular expression and keeps what it has merged. It is given the
pipeline without the special tokens: text that spells `<|endoftext|>` is plain text here. Whether it agrees is not
assumed but tried (`tokens.proof`).
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from modeledge.tokens.flat import Flat
from modeledge.tokens.tokenizer import Tokenizer


class GigaCoder:
    """A tokenizer whose ids are found by gigatoken; what it refuses the library encodes, or refuses by its name."""

    name = "gigatoken"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._core: Any = None

    @staticmethod
    def unfit(tokenizer: Tokenizer) -> str:
        """Why this way is none for a tokenizer, or ""."""
        if any(importlib.util.find_spec(name) is None for name in ("gigatoken", "awkward")):
            return "it is not installed (pip install gigatoken)"
        tree = json.loads(tokenizer.pipeline())
        if tree["model"]["type"] != "BPE" or not tokenizer.byte_level:
            return "the tokenizer is not a byte-level BPE"
        if any(not token["special"] for token in tree["added_tokens"]):
            return "the tokenizer has added tokens"
        return "its merges are dropped at random" if tree["model"].get("dropout") else ""

    def __reduce__(self) -> tuple[type[GigaCoder], tuple[Tokenizer]]:
        return GigaCoder, (self._tokenizer,)

    def __call__(self, texts: Sequence[str]) -> Flat:
        if not texts:
            return Flat(np.zeros(0, np.uint32), np.zeros(0, np.int64))
        try:
            rows = self._opened().encode_batch(list(texts)).layout.to_ListOffsetArray64(True)
        except Exception:
            self._tokenizer.encode_batch(texts)  # says which text, and why, where it is a text's fault
            raise
        offsets = np.asarray(rows.offsets.data, np.int64)
        return Flat(np.asarray(rows.content.data, np.uint32)[: offsets[-1]], np.diff(offsets))

    def _opened(self) -> Any:
        if self._core is None:
            import gigatoken

            tree = json.loads(self._tokenizer.pipeline())
            self._core = gigatoken.Tokenizer.from_json(json.dumps({**tree, "added_tokens": []}))
        return self._core
