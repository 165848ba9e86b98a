"""A writer of SentencePiece `.model` files for tests, from the public `.proto`, apart from the reader under test."""

from __future__ import annotations

import struct
from collections.abc import Iterable


def varint(value: int) -> bytes:
    value &= (1 << 64) - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def block(field: int, value: bytes) -> bytes:
    return varint(field << 3 | 2) + varint(len(value)) + value


def piece(text: str, score: float, kind: int = 1) -> bytes:
    return block(1, block(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, kind))


def spm(
    pieces: Iterable[tuple[str, float, int]],
    *,
    algorithm: int = 1,
    unk: int = 0,
    charsmap: bytes = b"",
    trim: bool = True,
    prefix: bool = True,
    byte_fallback: bool = False,
) -> bytes:
    """The bytes of a model; `pieces` are (text, score, kind)."""
    trainer = number(3, algorithm) + number(35, byte_fallback) + number(40, unk) + number(43, -1) + block(45, b"<unk>")
    normalizer = block(1, b"a name") + block(2, charsmap) + number(3, prefix) + number(4, trim)
    return b"".join(piece(*row) for row in pieces) + block(2, trainer) + block(3, normalizer)
