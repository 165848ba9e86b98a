"""What a shard says of each token beside its id: does a word begin here, a sentence, a name?

A channel is found on the *text* and carried over to tokens by their offsets, so that it means the same for every
tokenizer: WordPiece, byte-level BPE and SentencePiece cut one text into other tokens and the same words. Each value is
one byte:

    words       1 where a token begins a word
    sentences   1 where a token begins a sentence
    salient     1 where a token begins a name, a date or a number, 2 inside one, 0 elsewhere

The first token of a document begins a word and a sentence. The end-of-text token that a corpus puts behind a document
is a word of its own, belongs to the last sentence, and is never salient. White space that is a token of its own
belongs to the word after it. An example that a stream cuts may begin in the middle of a word, sentence or span.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np

from modeledge.corpus.salient import salient_spans
from modeledge.corpus.sentences import sentence_starts
from modeledge.errors import ModeledgeError, nearest
from modeledge.records import IntArray

WORDS, SENTENCES, SALIENT = "words", "sentences", "salient"
BEGINS, INSIDE = 1, 2  # of what "salient" holds
SPACE, LETTER, ALONE = range(3)  # kinds of characters
IDEOGRAPHS = ((0x3400, 0x4DBF), (0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x2FA1F))


@dataclass(frozen=True)
class Coded:
    """A text and the characters that its tokens stand for: `spans [tokens, 2]`."""

    text: str
    spans: IntArray


def words(coded: Coded) -> IntArray:
    """1 where a token begins a word, `[tokens]`."""
    return _begins(_firsts(coded), word_starts(coded.text))


def sentences(coded: Coded) -> IntArray:
    """1 where a token begins a sentence, `[tokens]`."""
    return _begins(_firsts(coded), sentence_starts(coded.text))


def salient(coded: Coded) -> IntArray:
    """1 where a token begins a salient span, 2 where it goes on with one, `[tokens]`."""
    spans, firsts = salient_spans(coded.text), _firsts(coded)
    if not len(spans):
        return np.zeros(len(firsts), dtype=np.uint8)
    which = np.searchsorted(spans[:, 0], firsts, side="right") - 1
    within = (which >= 0) & (firsts < spans[which, 1])
    goes_on = np.zeros(len(firsts), dtype=bool)
    goes_on[1:] = within[1:] & within[:-1] & (which[1:] == which[:-1])
    marks: IntArray = (within * np.where(goes_on, INSIDE, BEGINS)).astype(np.uint8)
    return marks


CHANNELS: dict[str, Callable[[Coded], IntArray]] = {WORDS: words, SENTENCES: sentences, SALIENT: salient}
AT_THE_END = {WORDS: 1, SENTENCES: 0, SALIENT: 0}  # what the end-of-text token has


def make_channels(names: Iterable[str], coded: Coded, *, end: bool) -> dict[str, IntArray]:
    """The named channels of a text, `[tokens]` each, one longer where an end-of-text token follows."""
    made = {}
    for name in names:
        values = CHANNELS[name](coded)
        if len(values) and name != SALIENT:
            values[0] = BEGINS
        last = BEGINS if not len(values) and name != SALIENT else AT_THE_END[name]
        made[name] = np.append(values, np.uint8(last)) if end else values
    return made


def check_channels(names: Iterable[str], where: str = "channels") -> tuple[str, ...]:
    """The names in their order, each once. Raises `E-CONFIG-VALUE` for a channel that is not known here."""
    chosen = sorted(set(names))
    for name in chosen:
        if name not in CHANNELS:
            what = f"no channel {name!r} can be found on a text"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy=nearest(name, CHANNELS))
    return tuple(chosen)


def word_starts(text: str) -> IntArray:
    """The places of the characters that words begin with, rising, `[words]`.

    Words are what BERT's whole-word masking takes for words (its basic tokenizer, Devlin et al. 2019): runs between
    white space, cut before and behind each sign of punctuation and each ideograph. In scripts that write without spaces
    and are none of ideographs (Thai, kana) a whole run counts as one word.

    >>> word_starts("I don't, 漢字").tolist()
    [0, 2, 5, 6, 7, 9, 10]
    """
    kinds = _kinds(text)
    if not len(kinds):
        return np.zeros(0, dtype=np.int64)
    before = np.concatenate([[SPACE], kinds[:-1]])
    return np.flatnonzero((kinds == ALONE) | ((kinds == LETTER) & (before != LETTER)))


def _kinds(text: str) -> IntArray:
    """What each character is: SPACE, LETTER, or ALONE."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")
    distinct, place = np.unique(codes, return_inverse=True)
    return np.array([_kind(int(code)) for code in distinct], dtype=np.int64)[place]


@cache
def _kind(code: int) -> int:
    character = chr(code)
    category = unicodedata.category(character)
    if character.isspace() or category in ("Cc", "Zs"):
        return SPACE
    ascii_sign = code < 128 and not character.isalnum()
    ideograph = any(first <= code <= last for first, last in IDEOGRAPHS)
    return ALONE if ascii_sign or ideograph or category[0] == "P" else LETTER


def _firsts(coded: Coded) -> IntArray:
    """For each token its first character that is not white space; behind white space alone, the next one there is."""
    kinds = _kinds(coded.text)
    places = np.where(kinds != SPACE, np.arange(len(kinds)), len(kinds))
    following = np.append(np.minimum.accumulate(places[::-1])[::-1], len(kinds)).astype(np.int64)
    starts = coded.spans.reshape(-1, 2)[:, 0]
    return np.maximum.accumulate(following[starts]) if len(starts) else np.zeros(0, dtype=np.int64)


def _begins(firsts: IntArray, starts: IntArray) -> IntArray:
    """1 where a token is the first that reaches into what begins at one of `starts`."""
    number = np.searchsorted(starts, firsts, side="right")
    return (np.diff(number, prepend=0) > 0).astype(np.uint8)
