"""SentencePiece's `.model` files (Kudo and Richardson 2018, arXiv 1808.06226), read without their library.

The file is one message of Protocol Buffers, `ModelProto` of `sentencepiece_model.proto`: the pieces with their scores
and kinds, how the trainer was set, and how text is normalised first, with a compiled map of characters. The wire
format is small: a message is a run of fields, each a number, a type, and a value; a field that is not known is skipped
by its type. This reader is strict: a length that leaves the file, a number of more than 64 bits, a piece that is no
UTF-8 or a kind that does not exist is an error, and nothing is allocated that the file does not hold.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from modeledge.errors import ModeledgeError

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
UNIGRAM, BPE = 1, 2
SPACE = "\u2581"  # how SentencePiece writes a space
_MASK64 = (1 << 64) - 1


@dataclass(frozen=True)
class Piece:
    """One entry of the vocabulary; its place in the list is its id."""

    text: str
    score: float
    kind: int


@dataclass(frozen=True)
class SentencePieceModel:
    """What a `.model` file says. `charsmap` is empty where text is taken as it is; an id of -1 is none."""

    pieces: tuple[Piece, ...]
    algorithm: int
    byte_fallback: bool
    unk: int
    bos: int
    eos: int
    pad: int
    charsmap: bytes
    dummy_prefix: bool
    trim: bool  # spaces at the ends go, runs of them become one
    suffix: bool  # the space belongs to the end of a word

    def spelled(self, id: int) -> str | None:
        """The piece with an id, or `None` for no id."""
        return self.pieces[id].text if 0 <= id < len(self.pieces) else None


def parse(data: bytes) -> SentencePieceModel:
    """The model in the bytes of a file (`E-TOKENIZER`)."""
    try:
        return _model(data)
    except (_Flaw, struct.error, UnicodeDecodeError) as error:
        raise ModeledgeError("E-TOKENIZER", f"no SentencePiece model: {error}") from error


def merges(model: SentencePieceModel) -> list[tuple[str, str]]:
    """The merges of a BPE model, first the ones that SentencePiece does first.

    SentencePiece stores no merges: it joins the two neighbours whose joint piece has the best score. Only pieces that
    text can become take part. Of two ways to cut one piece the one with the longer left half comes first, which is
    the leftmost where both are possible.
    """
    scores = {piece.text: piece.score for piece in model.pieces if piece.kind == NORMAL}
    ids = {piece.text: id for id, piece in enumerate(model.pieces)}
    found = []
    for text, score in scores.items():
        for cut in range(1, len(text)):
            left, right = text[:cut], text[cut:]
            if left in scores and right in scores:
                found.append((-score, ids[text], -len(left), (left, right)))
    found.sort()
    return [pair for _, _, _, pair in found]


# ---- the message


def _model(data: bytes) -> SentencePieceModel:
    pieces: list[Piece] = []
    trainer: dict[int, int | bytes] = {}
    normalizer: dict[int, int | bytes] = {}
    for number, value in _fields(data):
        if number == 1:
            pieces.append(_piece(_bytes(value)))
        elif number == 2:
            trainer |= dict(_fields(_bytes(value)))
        elif number == 3:
            normalizer |= dict(_fields(_bytes(value)))
    if not pieces:
        raise _Flaw("it holds no piece")
    model = SentencePieceModel(
        pieces=tuple(pieces),
        algorithm=_number(trainer, 3, UNIGRAM),
        byte_fallback=bool(_number(trainer, 35, 0)),
        unk=_number(trainer, 40, 0),
        bos=_number(trainer, 41, 1),
        eos=_number(trainer, 42, 2),
        pad=_number(trainer, 43, -1),
        charsmap=_bytes(normalizer.get(2, b"")),
        dummy_prefix=bool(_number(normalizer, 3, 1)),
        trim=bool(_number(normalizer, 4, 1)),
        suffix=bool(_number(trainer, 24, 0)),
    )
    _check(model)
    return model


def _check(model: SentencePieceModel) -> None:
    texts = [piece.text for piece in model.pieces]
    if len(set(texts)) != len(texts):
        raise _Flaw("two of its pieces are the same")
    if model.algorithm not in (UNIGRAM, BPE):
        raise _Flaw(f"its algorithm is number {model.algorithm}, neither unigram nor BPE")
    if not 0 <= model.unk < len(texts):
        raise _Flaw(f"its unknown piece has id {model.unk} of {len(texts):,}")
    if model.suffix:
        raise _Flaw("it puts spaces at the ends of words, which is not supported")
    if any(piece.kind == UNUSED for piece in model.pieces):
        raise _Flaw("some of its pieces are switched off, which is not supported")
    table = model.charsmap
    if table and (len(table) < 4 or int.from_bytes(table[:4], "little") > len(table) - 4 or table[0] % 4):
        raise _Flaw("its map of characters is damaged")


def _piece(data: bytes) -> Piece:
    said = dict(_fields(data))
    text = _bytes(said.get(1, b"")).decode()
    score = struct.unpack("<f", _bytes(said.get(2, b"\0\0\0\0")))[0]
    kind = _number(said, 3, NORMAL)
    if not text or not math.isfinite(score) or not NORMAL <= kind <= BYTE:
        raise _Flaw(f"a piece is broken ({text[:20]!r}, score {score}, kind {kind})")
    return Piece(text, score, kind)


# ---- the wire format


class _Flaw(ValueError):
    """What is wrong with the bytes."""


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: whole numbers as they are, everything else as its bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise _Flaw("a field has the number 0")
        if kind == VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == BYTES:
            size, at = _varint(data, at)
        elif kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
        else:
            raise _Flaw(f"a field has the wire type {kind}")
        if size > len(data) - at:
            raise _Flaw(f"a field of {size:,} bytes leaves the file")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for place in range(10):
        if at + place >= len(data):
            raise _Flaw("it ends within a number")
        byte = data[at + place]
        value |= (byte & 0x7F) << (7 * place)
        if byte < 0x80:
            if value > _MASK64:
                break
            return value, at + place + 1
    raise _Flaw("a number has more than 64 bits")


def _number(said: Mapping[int, int | bytes], number: int, default: int) -> int:
    """A 32-bit integer; a negative one travels as 64 bits of two's complement."""
    value = said.get(number, default)
    if isinstance(value, bytes):
        raise _Flaw(f"field {number} is no whole number")
    return value - (1 << 64) if value >> 63 == 1 else value


def _bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise _Flaw("a field that holds bytes is a number")
    return value
