"""Strings to try tokenizers on: all planes of Unicode, all white space, controls, marks, emoji, look-alikes, runs."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Iterator, Sequence

SPACES = [chr(c) for c in range(0x3001) if chr(c).isspace()] + ["\u200b", "\u2060", "\ufeff", "\u180e", "\u2581"]
CONTROLS = [chr(c) for c in (*range(32), *range(127, 160), 0xAD, 0x200E, 0x202E, 0x2066, 0xFFF9, 0xE0001)]
MARKS = [chr(c) for c in range(0x300, 0x1E00) if unicodedata.combining(chr(c))]
EMOJI = ["👨‍👩‍👧‍👦", "🏳️‍🌈", "👍🏽", "🇩🇪", "1️⃣", "🧑🏿‍🚀", "❤️", "☺", "🫠"]
SAMPLES = """
the The THE don't we'll I'M 3.14 1,000 9, 2024-01-02 naïve Ångström ﬁnance İstanbul straße ΑΣ ﷽ ½ Ⅷ ㎏ ｆｕｌｌ हिन्दी
ไทย 日本語 한국어 العربية עברית https://a.b/?q=1&r=%20 foo_bar() ``quoted'' ... -- $5 #tag @me e\u0301 <0x0A> </w> ##s
"""
WORDS = SAMPLES.split()
SPECIALS = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>", "<pad>", "<unk>", "<mask>", "<|endoftext|>",
    "<|im_end|>", "<|padding|>", "<extra_id_0>", "<extra_id_99>", "en_XX", "<|begin_of_text|>", "[INST]",
    "<bos>", "<|startoftext|>",
]  # fmt: skip
PLANES = [(0, 0xD7FF), (0xE000, 0xFFFF), *((p << 16, (p << 16) + 0xFFFF) for p in range(1, 17))]


def strings(seed: int, count: int, more: Sequence[str] = ()) -> Iterator[str]:
    """`count` strings, always the same for a seed; `more` are look-alikes of the tokenizer at hand."""
    draw = random.Random(seed)
    for number in range(count):
        if number % 50 == 0:
            yield _run(draw)
        else:
            yield "".join(_part(draw, more) for _ in range(draw.randrange(1, 9)))


def _part(draw: random.Random, more: Sequence[str]) -> str:
    kind = draw.randrange(10)
    if kind < 3:
        return draw.choice(WORDS) + draw.choice(["", " ", " ", "  ", "\n"])
    if kind == 3:
        return draw.choice(SPACES) * draw.choice([1, 1, 2, 5])
    if kind == 4:
        return draw.choice(CONTROLS)
    if kind == 5:
        return draw.choice("aeAo日") + "".join(draw.choices(MARKS, k=draw.randrange(1, 4)))
    if kind == 6:
        return draw.choice(EMOJI)
    if kind == 7:
        token = draw.choice([*SPECIALS, *more])
        return draw.choice([token, token.lower(), token[:-1], f" {token} ", token * 2, token[0] + " " + token[1:]])
    if kind == 8:
        return "".join(chr(draw.randint(*draw.choice(PLANES))) for _ in range(draw.randrange(1, 5)))
    return "".join(chr(draw.randrange(32, 0x250)) for _ in range(draw.randrange(1, 12)))


def _run(draw: random.Random) -> str:
    """One thing, many times over."""
    unit = draw.choice([*WORDS, *SPACES, *EMOJI, *SPECIALS, "a", "=", "0", "\u0301", "ab", "x\u0301", "\U000f0000"])
    return draw.choice(["", "a", " "]) + unit * draw.choice([10, 17, 100, 333])
