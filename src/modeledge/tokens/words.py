"""Each distinct word is tokenized once: language repeats itself (Zipf 1949), and a table is quicker than a merge.

Where a pipeline looks at words alone (GPT-2's byte-level expression, BERT's words), the ids of a text are those of its
pieces, cut before each run of white space, and between a letter of ASCII and a mark of punctuation: ` the` means the
same everywhere. So a text is cut by one regular expression, pieces that were met before are looked up, and the library
is asked about the others, all at once. The ids of all
pieces lie in one array, from which those of the texts are gathered without a loop over tokens.

What is white space to Python but not to the library (separators U+001C–1F, vertical tab, NEL, U+2028) could move a cut
into what the library takes for a word: such a text is one piece. So is a text of a pipeline's added tokens. The table
is emptied when it holds `MOST` characters.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import chain

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.records import IntArray
from modeledge.tokens.flat import Flat
from modeledge.tokens.tokenizer import Tokenizer

PIECES = re.compile(r"\s*[A-Za-z]+(?=[\s,.;:!?\"'()_-]|\Z)|\s*\S+|\s+")
DOUBTFUL = re.compile("[\x0b\x0c\x1c-\x1f\x85\u2028\u2029]")
MOST = 400_000  # distinct pieces that are remembered, about 80 MB
LONG = 1 << 24  # and their characters
WORDLY = ("ByteLevel", "BertPreTokenizer")  # pre-tokenizers that cut at each run of white space
HARMLESS = ("BertNormalizer", "Lowercase", "NFC")  # normalizers that join nothing over white space


def pieces_of(text: str) -> list[str]:
    """A text cut before white space and punctuation, or whole where that is not safe."""
    if DOUBTFUL.search(text):
        return [text]
    return PIECES.findall(text)


def why_not_words(pipeline: str) -> str:
    """Why a pipeline (its JSON) sees more than one word at a time, or "" where it does not."""
    tree = json.loads(pipeline)
    before, words, model = tree["normalizer"], tree["pre_tokenizer"] or {}, tree["model"]
    kind = words.get("type")
    whole = kind == "ByteLevel" and (words.get("add_prefix_space") or not words.get("use_regex", True))
    if kind not in WORDLY or whole:
        return f"its pre-tokenizer ({kind}) may see more than a word"
    if before is not None and before["type"] not in HARMLESS:
        return f"its normalizer ({before['type']}) may see more than a word"
    if any(not token["special"] for token in tree["added_tokens"]):
        return "it has added tokens"
    return "its merges are dropped at random" if model.get("dropout") else ""


class WordCoder:
    """A tokenizer with a table of the words that it has met."""

    name = "tokenizers, each distinct word once"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._seen: dict[str, int] = {}
        self._ids: IntArray = np.zeros(0, np.uint32)
        self._starts: IntArray = np.zeros(0, np.int64)
        self._lengths: IntArray = np.zeros(0, np.int64)
        self._characters = 0

    @staticmethod
    def unfit(tokenizer: Tokenizer) -> str:
        """Why this way is none for a tokenizer, or ""."""
        return why_not_words(tokenizer.pipeline())

    def __reduce__(self) -> tuple[type[WordCoder], tuple[Tokenizer]]:
        return WordCoder, (self._tokenizer,)

    def __call__(self, texts: Sequence[str]) -> Flat:
        if len(self._seen) > MOST or self._characters > LONG:
            self.__init__(self._tokenizer)  # type: ignore[misc]  # the table is emptied
        try:
            cut = [pieces_of(text) for text in texts]
            self._learn(set(chain.from_iterable(cut)).difference(self._seen))
        except (ModeledgeError, TypeError):
            self._tokenizer.encode_batch(texts)  # says which text, and why
            raise
        counts = np.fromiter(map(len, cut), np.int64, len(cut))
        numbers = np.fromiter(map(self._seen.__getitem__, chain.from_iterable(cut)), np.int64, int(counts.sum()))
        starts, lengths = self._starts[numbers], self._lengths[numbers]
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        places = np.repeat(starts - ends[:-1], lengths) + np.arange(ends[-1])
        return Flat(self._ids[places], np.diff(ends[np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])]))

    def _learn(self, unknown: set[str]) -> None:
        """Ask the library about pieces that were not met before."""
        if not unknown:
            return
        pieces = list(unknown)
        rows = self._tokenizer.encode_batch(pieces)
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        first = len(self._ids)
        self._seen.update(zip(pieces, range(len(self._seen), len(self._seen) + len(pieces)), strict=True))
        self._ids = np.concatenate([self._ids, *(row.astype(np.uint32) for row in rows)])
        self._starts = np.concatenate([self._starts, first + np.cumsum(lengths) - lengths])
        self._lengths = np.concatenate([self._lengths, lengths])
        self._characters += sum(map(len, pieces))
