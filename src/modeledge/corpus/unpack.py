"""Compressed files, unpacked with suspicion.

The standard tools forgive too much: Python's `gzip` calls an empty file fine and a plain text a broken one in the
same words; a missing tail shows only when the last block is asked for, after everything before it was used. Here
damage is told apart (the end is missing, the checksum is wrong, something follows the end) and met on a first pass,
before one record is used. gzip: RFC 1952; Zstandard: RFC 8878.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from modeledge.errors import ModeledgeError

CHUNK = 1 << 20
GZIP, ZSTD = b"\x1f\x8b", b"\x28\xb5\x2f\xfd"
_SKIPPABLE = range(0x184D2A50, 0x184D2A60)


def gunzip(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The content of a gzip file of one or more members; zeros may follow the last one.

    Raises `E-GZIP-TRUNCATED`, `E-GZIP-CRC`, `E-GZIP-TRAILING`, the first only after all that can be read was given.
    """
    member, pending = zlib.decompressobj(31), file.read(CHUNK)
    while True:
        try:
            out = member.decompress(pending, CHUNK)
        except zlib.error as error:
            raise _damaged(name, str(error)) from error
        if out:
            yield out
        elif not pending and not member.eof:
            raise _truncated(name)
        if not member.eof:
            pending = member.unconsumed_tail or file.read(CHUNK)
            continue
        pending = member.unused_data
        while not (pending := pending.lstrip(b"\0")):
            if not (pending := file.read(CHUNK)):
                return
        if len(pending) == 1:
            pending += file.read(1)
        if pending[:2] != GZIP:
            raise _trailing(name, file.tell() - len(pending))
        member = zlib.decompressobj(31)


def unzstd(file: BinaryIO, name: str) -> Iterator[bytes]:
    """The content of a Zstandard file of one or more frames. Raises as `gunzip` does.

    The frames are walked first, header by header, because the decoder does not tell a missing tail from a foreign one.
    """
    import pyarrow as pa

    try:
        _walk_frames(file, name)
        cut, step = None, CHUNK
    except ModeledgeError as error:
        if error.code != "E-GZIP-TRUNCATED":
            raise
        cut, step = error, 1 << 12  # small steps: the decoder gives nothing of the step in which it fails
    file.seek(0)
    try:
        # a handle of its own, because pyarrow closes what it reads
        with (
            open(os.dup(file.fileno()), "rb") as own,
            pa.CompressedInputStream(pa.PythonFile(own, mode="r"), "zstd") as stream,
        ):
            while out := stream.read(step):
                yield out
    except (OSError, pa.ArrowException) as error:
        raise cut or _damaged(name, str(error)) from error
    if cut:
        raise cut


def _walk_frames(file: BinaryIO, name: str) -> None:
    size = os.fstat(file.fileno()).st_size
    frames = 0

    def take(count: int) -> bytes:
        data = file.read(count)
        if len(data) < count:
            raise _truncated(name)
        return data

    while (start := file.tell()) < size:
        magic = file.read(4)
        if int.from_bytes(magic, "little") in _SKIPPABLE:
            file.seek(int.from_bytes(take(4), "little"), os.SEEK_CUR)
        elif magic == ZSTD:
            frames += 1
            described = take(1)[0]
            single, check = described >> 5 & 1, described >> 2 & 1
            take((not single) + (0, 1, 2, 4)[described & 3] + (single, 2, 4, 8)[described >> 6])
            last = False
            while not last:
                block = int.from_bytes(take(3), "little")
                last, kind, length = bool(block & 1), block >> 1 & 3, block >> 3
                file.seek(1 if kind == 1 else length, os.SEEK_CUR)
            take(4 * check)
        elif ZSTD.startswith(magic):
            raise _truncated(name)
        else:
            raise _trailing(name, start)
        if file.tell() > size:
            raise _truncated(name)


def _truncated(name: str) -> ModeledgeError:
    return ModeledgeError("E-GZIP-TRUNCATED", "the compressed data end too early", where=name)


def _damaged(name: str, why: str) -> ModeledgeError:
    return ModeledgeError("E-GZIP-CRC", f"the compressed data are damaged ({why})", where=name)


def _trailing(name: str, offset: int) -> ModeledgeError:
    what = f"bytes that are no compressed data follow its end, at byte {offset:,}"
    return ModeledgeError("E-GZIP-TRAILING", what, where=name)
