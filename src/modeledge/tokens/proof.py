"""Is a quick coder the tokenizer? Texts of the corpus and strings on which tokenizers like to differ decide.

The strings: contractions in both cases, every white space of Unicode, controls, line ends, marks that combine or stand
alone, emoji joined and flagged, scripts without spaces, look-alikes of special tokens, long runs of one character, and
a thousand characters drawn from all planes. A proof it is not, as no finite test is; each of the two coders that it
judges is a way to say the same, and this finds a pipeline or a version with which it is not.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.tokens.flat import Coder
from modeledge.tokens.tokenizer import Tokenizer

WORDS = " ".join(
    [
        "the The THE don't DON'T we'll I'M it's 's 'S '' ' Don’t naïve nai\u0308ve \u0308 Ångström ﬁnance İstanbul",
        "straße ΑΣ ﷽ ½ Ⅷ ٣٤ 3.14 1,000,000 2024-01-02 $5 #tag @me foo_bar() snake_case CamelCase https://a.b/?q=1&r=%20",
        "--- ... !?. ``x'' हिन्दी ไทย日本語 한국어 العربية עברית 👨‍👩‍👧‍👦 🏳️‍🌈 👍🏽 🇩🇪 1️⃣ ❤️ \u200b \ufeff \u00ad",
        "\u202e a\u0301\u0323 \x00 \x7f \ue000 \U0010ffff",
    ]
)
SPACES = [chr(c) for c in range(0x3001) if chr(c).isspace()]
PLANES = ((0x20, 0x7F), (0, 0x2FF), (0x300, 0x2FFF), (0x3000, 0xD7FF), (0xE000, 0xFFFF), (0x10000, 0x10FFFF))


def strings(names: Sequence[str] = ()) -> Iterator[str]:
    """The strings, always the same; `names` are special tokens to be written out."""
    draw = random.Random(7)
    words = [*WORDS.split(" "), *names]
    yield from ("", " ", "  ", "\n", "\r\n", " \n \n", WORDS, WORDS.replace(" ", "\n"), WORDS.replace(" ", "  "))
    for space in SPACES:
        yield from (f"a{space}b", f"a{space} b", f"a {space}b", f"{space}a{space}{space}", f"!{space}1{space} ?")
    yield from (f"{word}{gap}{word}" for word in words for gap in ("", " ", "\n\n", "\t "))
    yield from (character * 700 for character in "a 1.\n日é")
    for _ in range(120):
        yield "".join(chr(draw.randint(*draw.choice(PLANES))) for _ in range(draw.randint(1, 20)))
    for _ in range(120):
        gaps = (draw.choice(["", " ", " ", "  ", "\n", *SPACES]) for _ in range(12))
        yield "".join(draw.choice(words) + gap for gap in gaps)


def difference(coder: Coder, tokenizer: Tokenizer, sample: Sequence[str]) -> str:
    """Where a coder's ids are not the tokenizer's, in words; "" where they agree. An error of the coder is one."""
    texts = [*strings(sorted(tokenizer.names.values())), *sample]
    try:
        rows = tokenizer.encode_batch(texts)
    except ModeledgeError:
        texts = [text for text in texts if _encodable(tokenizer, text)]
        rows = tokenizer.encode_batch(texts)
    try:
        found: Any = coder(texts)
    except Exception as error:
        return f"it fails ({type(error).__name__}: {error})"
    parts = np.split(found.ids, np.cumsum(found.lengths)[:-1])
    for text, wanted, got in zip(texts, rows, parts, strict=True):
        if not np.array_equal(wanted, got):
            return f"its ids differ from those of tokenizers for {text[:40]!r}"
    return ""


def _encodable(tokenizer: Tokenizer, text: str) -> bool:
    """What the tokenizer refuses (half a surrogate pair, a character it lacks) is refused where it is met, not here."""
    try:
        tokenizer.encode(text)
    except ModeledgeError:
        return False
    return True
