"""The only door between data and markup: escaping, and how numbers are set.

What comes from data may hold anything: tags, quotes, control characters, half a surrogate pair, characters that turn
the direction of the text around. `escape` makes all of it visible text.
"""

from __future__ import annotations

import html
import math
import re

# C0 and C1 controls but tab and newline, surrogates, bidirectional overrides and isolates, non-characters
UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]"
)
DASH = "–"


def clean(text: str) -> str:
    """The text with line ends as `\\n` and characters that nobody can see, or that lie, written as `\\u….`"""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", lines)


def escape(text: object) -> str:
    """Text that is safe between tags and inside double-quoted attributes."""
    return html.escape(clean(str(text)), quote=True)


def number(value: float) -> str:
    """A number for reading: thousands parted by commas, four significant digits, a true minus sign.

    >>> number(31102), number(0.58123456), number(-1234.5), number(2.5e-7)
    ('31,102', '0.5812', '−1,234', '2.5e−07')
    """
    if isinstance(value, int):
        text = f"{value:,}"
    elif not math.isfinite(value):
        text = str(value)
    elif abs(value) >= 1e15 or 0 < abs(value) < 1e-4:
        text = f"{value:.3g}"
    else:
        digits = max(0, 3 - math.floor(math.log10(abs(value)))) if value else 0
        text = f"{value:,.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−")


def together(*values: float) -> list[str]:
    """Numbers that are read side by side: equally many decimals, four significant digits for the largest.

    >>> together(1.93, 1.9, 1.961)
    ['1.930', '1.900', '1.961']
    """
    largest = max(abs(value) for value in values)
    if not 1e-4 <= largest < 1e15:
        return [number(value) for value in values]
    digits = max(0, 3 - math.floor(math.log10(largest)))
    return [f"{value:,.{digits}f}".replace("-", "−") for value in values]


def plain(value: str | float | bool | None) -> str:
    """A table cell as text."""
    if value is None:
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    return number(value) if isinstance(value, int | float) else value


def size(count: int) -> str:
    """Bytes for reading, in steps of 1,000.

    >>> size(950), size(8_123_456)
    ('950 B', '8.1 MB')
    """
    if count < 1000:
        return f"{count} B"
    value = float(count)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.95:
            return f"{value:.1f} {unit}"
    return f"{value / 1000:,.1f} TB"
