"""The kinds of numbers that a GGUF file stores, each as bytes → fp32.

Quantised ones are blocks of 32 numbers with a scale d (fp16) each: Q8_0 holds 8-bit q and means d·q; Q4_0 holds 4-bit q
and means d·(q − 8); Q4_1 adds a minimum m (fp16) and means d·q + m. The low halves of a block's bytes are its first 16
numbers, the high halves its last.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]
BLOCK = 32


def plain(dtype: str) -> Callable[[Bytes], Floats]:
    """Numbers that are stored as they are."""
    return lambda raw: raw.view(dtype).astype(np.float32)


def bf16(raw: Bytes) -> Floats:
    """The upper halves of fp32 numbers."""
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


def q8_0(raw: Bytes) -> Floats:
    """Blocks of 34 bytes: d, then 32 numbers of 8 bits."""
    blocks = raw.reshape(-1, 34)
    return half(blocks[:, :2]) * blocks[:, 2:].view(np.int8).astype(np.float32)


def q4_0(raw: Bytes) -> Floats:
    """Blocks of 18 bytes: d, then 32 numbers of 4 bits, 8 standing for 0."""
    blocks = raw.reshape(-1, 18)
    return half(blocks[:, :2]) * (nibbles(blocks[:, 2:]) - 8)


def q4_1(raw: Bytes) -> Floats:
    """Blocks of 20 bytes: d, m, then 32 numbers of 4 bits."""
    blocks = raw.reshape(-1, 20)
    return half(blocks[:, :2]) * nibbles(blocks[:, 4:]) + half(blocks[:, 2:4])


def half(raw: Bytes) -> Floats:
    """Two bytes a row → one number a row."""
    return np.ascontiguousarray(raw).view("<f2").astype(np.float32)


def nibbles(raw: Bytes) -> Floats:
    """Each row's low halves of bytes, then its high ones."""
    return np.concatenate((raw & 15, raw >> 4), axis=1).astype(np.float32)


# by the format's number: its name, bytes a block, numbers a block, and how they are read
KINDS: Mapping[int, tuple[str, int, int, Callable[[Bytes], Floats]]] = {
    0: ("F32", 4, 1, plain("<f4")),
    1: ("F16", 2, 1, plain("<f2")),
    2: ("Q4_0", 18, BLOCK, q4_0),
    3: ("Q4_1", 20, BLOCK, q4_1),
    8: ("Q8_0", 34, BLOCK, q8_0),
    30: ("BF16", 2, 1, bf16),
}
