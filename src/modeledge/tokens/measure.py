"""How well a tokenizer fits a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from modeledge.errors import ModeledgeError
from modeledge.tokens.tokenizer import Tokenizer


@dataclass(frozen=True)
class Measure:
    """Bytes a token (higher is denser), tokens a word (fertility), shares of unknown tokens and of texts that come
    back as they were, and how often special tokens were written out in the text."""

    bytes_per_token: float
    fertility: float
    unknown: float
    round_trip: float
    specials_in_text: int
    tokens: int


def measure(tokenizer: Tokenizer, texts: Iterable[str]) -> Measure:
    """Encode the texts and count."""
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
