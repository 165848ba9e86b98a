"""How well a tokenizer fits a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modeledge.errors import ModeledgeError
from modeledge.records import IntArray
from modeledge.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Measure:
    """Bytes a token (higher is denser), tokens a word between spaces (fertility: Rust et al. 2021, arXiv 2012.15613),
    shares of unknown tokens and of texts that come back as they were, how often special tokens were written out in the
    text, and the number of tokens."""

    bytes_per_token: float
    fertility: float
    unknown: float
    round_trip: float
    specials_in_text: int
    tokens: int


def text_bytes(tokenizer: Tokenizer, ids: IntArray) -> int:
    """How many UTF-8 bytes of text these ids stand for; special tokens stand for none.

    Exact for byte-level tokenizers, wherever the ids were cut; others are decoded, with the spacing that their decoder
    gives, and what they do not know counts nothing.
    """
    if not tokenizer.byte_level:
        return len(tokenizer.decode(ids).encode())
    return sum(tokenizer.piece_bytes(int(id)) for id in ids)


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> Measure:
    """Encode the texts and count. `E-NO-RECORDS` where there is nothing to count."""
    if isinstance(texts, str):
        raise ModeledgeError("E-USAGE", "texts is one string", remedy="pass a list of texts")
    tokens = size = words = unknown = same = count = specials = 0
    for text in texts:
        ids = tokenizer.encode(text)
        tokens, size, words, count = tokens + len(ids), size + len(text.encode()), words + len(text.split()), count + 1
        unknown += int((ids == tokenizer.specials.unk).sum()) if tokenizer.specials.unk is not None else 0
        same += tokenizer.decode(ids) == text
        specials += tokenizer.count_specials_in(text)
    if tokens == 0:
        raise ModeledgeError("E-NO-RECORDS", "there is no text to measure")
    return Measure(size / tokens, tokens / max(words, 1), unknown / tokens, same / count, specials, tokens)
