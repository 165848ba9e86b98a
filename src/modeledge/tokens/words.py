"""Each distinct word is tokenized once: language repeats itself (Zipf 1949), and a table is quicker than a merge.

Where a pipeline looks at words alone (GPT-2's byte-level expression, BERT's words), the ids of a text are those of its
pieces, cut before each run of white space, and between a letter of ASCII and a mark of punctuation: ` the` means the
same everywhere. So a text is cut by one regular expression, pieces that were met before are looked up, and the library
is asked about the others, all at once. The ids of all
pieces lie in one array, from which those of the texts are gathered without a loop over tokens.

What is white space to Python but not to the library (separators U+001C–1F, vertical tab, NEL, U+2028) could move a cut
into what the library takes for a word: such a text is one piece. So is a text of a pipeline's added tokens. The table
is emptied when it takes more than the memory it was given.
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
ROOM = 96 << 20  # bytes for the table: about 450,000 pieces
A_PIECE = 200  # bytes of memory that a piece takes, beside its characters
ASKED = 8192  # pieces that the library is asked about at once: what it holds of each is ten times as much
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
    """A tokenizer with a table of the words that it has met, in about `room` bytes; it changes no id."""

    name = "tokenizers, each distinct word once"

    def __init__(self, tokenizer: Tokenizer, room: int = ROOM) -> None:
        self._tokenizer, self._room = tokenizer, room
        self._seen: dict[str, int] = {}
        self._ids: IntArray = np.zeros(0, np.uint32)
        self._starts: IntArray = np.zeros(0, np.int64)
        self._lengths: IntArray = np.zeros(0, np.int64)
        self._characters = 0

    @staticmethod
    def unfit(tokenizer: Tokenizer) -> str:
        """Why this way is none for a tokenizer, or ""."""
        return why_not_words(tokenizer.pipeline())

    def __reduce__(self) -> tuple[type[WordCoder], tuple[Tokenizer, int]]:
        return WordCoder, (self._tokenizer, self._room)

    def __call__(self, texts: Sequence[str]) -> Flat:
        if A_PIECE * len(self._seen) + self._characters > self._room:
            self.__init__(self._tokenizer, self._room)  # type: ignore[misc]  # the table is emptied
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
        ids, lengths = [self._ids], [self._lengths]
        for start in range(0, len(pieces), ASKED):
            rows = self._tokenizer.encode_batch(pieces[start : start + ASKED])
            lengths.append(np.fromiter(map(len, rows), np.int64, len(rows)))
            ids.append(np.concatenate(rows).astype(np.uint32))
        self._seen.update(zip(pieces, range(len(self._seen), len(self._seen) + len(pieces)), strict=True))
        self._ids, self._lengths = np.concatenate(ids), np.concatenate(lengths)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._characters += sum(map(len, pieces))
