"""Sentinels: tokens that stand for a stretch of text that was taken out (Raffel et al. 2020, section 3.1.4).

T5 has a hundred, `<extra_id_0>` to `<extra_id_99>`. Each is used once a text, so that many spans can be taken out of
one. A tokenizer is trained with them (`train_tokenizer(extra=sentinel_names(100))`): they are no words of any text.
"""

from __future__ import annotations

USUAL = 100  # T5's number
SPELLED = "<extra_id_{}>"


def sentinel_names(count: int = USUAL) -> tuple[str, ...]:
    """The first `count` sentinels, as T5 spells them."""
    return tuple(SPELLED.format(number) for number in range(count))
