"""Numbers of one kind on disk, one after another over as many files as they need; written here, and memory-mapped."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.records import AnyArray, IntArray

REBUILD = "build the corpus again"


class TapeWriter:
    """Numbers of one kind, written over as many files as they need."""

    def __init__(self, folder: Path, name: str, kind: str, cut: int, written: int = 0) -> None:
        self._folder, self._name, self._type, self._cut = folder, name, np.dtype(kind).newbyteorder("<"), cut
        self._written = 0
        self._file: BinaryIO | None = None
        self.digest = hashlib.sha256()
        self._go_on(written)

    def write(self, values: IntArray) -> None:
        data = values.astype(self._type, copy=False)
        self.digest.update(np.ascontiguousarray(data).data)
        while len(data):
            place = self._written % self._cut
            if place == 0:
                self.sync()
                self.close()
                self._file = file_of(self._folder, self._name, self._written // self._cut).open("xb")
            assert self._file is not None
            part, data = data[: self._cut - place], data[self._cut - place :]
            self._file.write(part.tobytes())
            self._written += len(part)

    def sync(self) -> None:
        """What was written is on the disk when this returns."""
        if self._file is not None:
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _go_on(self, written: int) -> None:
        """Keep the first `written` numbers of an earlier, killed writer, and nothing else that it left."""
        for path in sorted(self._folder.glob(f"{self._name}-*.bin")):
            number = int(path.stem.rpartition("-")[2])
            keep = min(max(written - number * self._cut, 0), self._cut) * self._type.itemsize
            if not keep:
                path.unlink()
                continue
            if path.stat().st_size < keep:
                raise damaged(self._folder, f"{path.name} is shorter than its checkpoint says")
            self.close()
            self._file = path.open("r+b")
            self._file.truncate(keep)
            for block in iter(lambda: self._file.read(1 << 20) if self._file else b"", b""):
                self.digest.update(block)
        self._written = written


class Tape:
    """The same numbers, memory-mapped."""

    def __init__(self, folder: Path, name: str, kind: str, total: int, cut: int) -> None:
        self._cut, self._total = cut, total
        sizes = [min(cut, total - start) for start in range(0, total, cut)]
        self._files = [mapped(file_of(folder, name, i), kind, size) for i, size in enumerate(sizes)]

    def read(self, start: int, stop: int) -> IntArray:
        if not 0 <= start <= stop <= self._total:
            raise IndexError(f"{start}:{stop} is not inside the {self._total} tokens")
        first, last = start // self._cut, max(stop - 1, start) // self._cut
        parts = [
            self._files[i][max(start - i * self._cut, 0) : stop - i * self._cut]
            for i in range(first, min(last + 1, len(self._files)))
        ]
        return np.concatenate(parts) if parts else self._files[-1][:0].copy()


def reopened(path: Path, size: int) -> BinaryIO:
    """A file to be written from its byte `size` on; what an earlier writer left behind that is cut off."""
    file = path.open("r+b" if size else "wb")
    if size and path.stat().st_size < size:
        raise damaged(path.parent, f"{path.name} is shorter than its checkpoint says")
    file.truncate(size)
    file.seek(size)
    return file


def file_of(folder: Path, name: str, number: int) -> Path:
    return folder / f"{name}-{number:05d}.bin"


def mapped(path: Path, kind: str, count: int) -> AnyArray:
    """A file of `count` numbers as a read-only array; `E-CHECKPOINT` when its size is another."""
    wanted = np.dtype(kind).newbyteorder("<")
    found = path.stat().st_size
    if found != count * wanted.itemsize:
        raise damaged(path.parent, f"{path.name} has {found} bytes instead of {count * wanted.itemsize}")
    return np.memmap(path, dtype=wanted, mode="r", shape=(count,)).view(np.ndarray)


def damaged(folder: Path, what: str) -> ModeledgeError:
    return ModeledgeError("E-CHECKPOINT", what, where=str(folder), remedy=REBUILD)
