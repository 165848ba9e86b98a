"""safetensors files, read after their header was checked by ourselves.

The format is a JSON header and bytes: eight bytes say how long the header is, the header says where each tensor lies
(https://github.com/huggingface/safetensors). Nothing in it can run. What can go wrong is named here before a number is
read: a header that is longer than the file, ranges that overlap or leave holes, shapes that do not fit their ranges. A
pickle under this name is recognised by its first bytes and refused: reading one runs the code in it.

Tensors are read one at a time, straight into the memory where they stay. A mapped file would count a second time.
"""

from __future__ import annotations

import contextlib
import math
import mmap
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from modeledge import files
from modeledge.errors import ModeledgeError, printable
from modeledge.strictjson import Flaw, parse

MAX_HEADER = 32 << 20  # bytes; 100,000 entries with long names stay below it
MAX_ENTRIES = 100_000  # tensors; the largest published models have some ten thousand
KINDS = {
    "F64": torch.float64, "I64": torch.int64, "U64": torch.uint64, "C64": torch.complex64, "F32": torch.float32,
    "I32": torch.int32, "U32": torch.uint32, "F16": torch.float16, "BF16": torch.bfloat16, "I16": torch.int16,
    "U16": torch.uint16, "F8_E4M3": torch.float8_e4m3fn, "F8_E5M2": torch.float8_e5m2, "I8": torch.int8,
    "F8_E8M0": torch.float8_e8m0fnu, "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
OWN_PAGES = 256 << 10  # bytes
MAX_MANIFEST = 4 << 20  # bytes
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


@dataclass(frozen=True)
class Stored:
    """One tensor of an open file: its kind and shape are known, its numbers are read when they are asked for."""

    file: FileIO
    path: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int

    def read(self) -> Tensor:
        """The tensor, in memory of its own. A file that became shorter meanwhile is `E-SAFETENSORS`."""
        tensor = empty(self.shape, self.dtype)
        if tensor.numel() == 0:
            return tensor
        room = memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)
        try:
            self.file.seek(self.start)
            while room:
                count = self.file.readinto(room)
                if not count:
                    damaged(self.path, "it became shorter while it was read")
                room = room[count:]
        except OSError as error:
            raise ModeledgeError("E-READ", error.strerror or str(error), where=str(self.path)) from error
        return tensor


class OnDisk(Mapping[str, Tensor]):
    """Tensors by name, each read anew from its file whenever it is asked for."""

    def __init__(self, stored: Mapping[str, Stored]) -> None:
        self.stored = stored

    def __getitem__(self, name: str) -> Tensor:
        return self.stored[name].read()

    def __contains__(self, name: object) -> bool:
        return name in self.stored

    def __iter__(self) -> Iterator[str]:
        return iter(self.stored)

    def __len__(self) -> int:
        return len(self.stored)

    def outlines(self) -> dict[str, Tensor]:
        """The same names with shape and dtype, and no memory behind them."""
        return {n: torch.empty(s.shape, dtype=s.dtype, device="meta") for n, s in self.stored.items()}


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Memory for a tensor; large ones have pages of their own, which go back at once when the tensor goes.

    Among the blocks of malloc a tensor that is read, turned and let go would leave a hole, and the next one of its size
    does not fit into it: the alignment is lost.
    """
    count = math.prod(shape)
    if count * dtype.itemsize < OWN_PAGES:
        return torch.empty(shape, dtype=dtype)
    pages = mmap.mmap(-1, count * dtype.itemsize, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    return torch.frombuffer(pages, dtype=dtype, count=count).view(shape)


@contextlib.contextmanager
def open_weights(path: Path) -> Iterator[tuple[dict[str, Stored], dict[str, str]]]:
    """The tensors of a file, not yet read, and its notes. Raises `E-SAFETENSORS`, `E-UNSAFE-FORMAT`."""
    check_digest(path)
    try:
        file = path.open("rb", buffering=0)
    except OSError as error:
        raise ModeledgeError("E-READ", error.strerror or str(error), where=str(path)) from error
    with file:
        header, notes, begin = read_header(path, file)
        yield (
            {
                name: Stored(file, path, KINDS[e["dtype"]], tuple(e["shape"]), begin + e["data_offsets"][0])
                for name, e in header.items()
            },
            notes,
        )


def check_digest(path: Path) -> None:
    """Refuse a file that is not what a manifest of ours beside it says (`E-SAFETENSORS`): its bytes were altered.

    A folder that others wrote, or that `save` did, has no such manifest, and nothing is compared.
    """
    manifest = path.with_name(files.MANIFEST)
    try:
        if manifest.stat().st_size > MAX_MANIFEST or not manifest.is_file():
            return
        stated = files.read_json(manifest)["files"][path.name]["sha256"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return
    if path.is_file() and files.sha256(path) != stated:
        raise ModeledgeError(
            "E-SAFETENSORS",
            f"its SHA-256 is not the one that {files.MANIFEST} beside it states",
            where=str(path),
            why="its bytes changed after it was written",
            remedy=f"copy it again, or remove {files.MANIFEST} if you changed the weights yourself",
        )


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """All tensors of a file, and its notes."""
    with open_weights(path) as (stored, notes):
        return dict(OnDisk(stored)), notes


def write_weights(path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str]) -> Path:
    """Write a whole, durable file under a temporary name beside `path`; renaming it is the caller's.

    A manifest that states the digest of the file before goes (see `check_digest`).
    """
    temporary = path.with_name(f".{path.name}.tmp-{uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, dict(notes)
        )
        files.sync_file(temporary)
        path.with_name(files.MANIFEST).unlink(missing_ok=True)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise files.disk_error(path, error) from error
        raise ModeledgeError("E-DISK", str(error), where=str(path)) from error
    return temporary


def read_header(path: Path, file: FileIO) -> tuple[dict[str, Any], dict[str, str], int]:
    """The checked entries of an open file, its notes (`__metadata__`), and where its tensors begin."""
    try:
        size = os.fstat(file.fileno()).st_size
        first = file.read(10)
        length = int.from_bytes(first[:8], "little")
        if len(first) < 9 or length > size - 8 or first[8:9] != b"{":
            refuse_pickle(path, first)
        if size < 10:
            damaged(path, f"{size} bytes are too few")
        if length > size - 8:
            damaged(path, f"it announces a header of {length:,} bytes and has {size:,} in all")
        if length > MAX_HEADER:
            damaged(path, f"its header has {length:,} bytes; {MAX_HEADER:,} are allowed")
        file.seek(8)
        raw = file.read(length)
    except OSError as error:
        raise ModeledgeError("E-READ", error.strerror or str(error), where=str(path)) from error
    header = _parsed(path, raw)
    notes = header.pop("__metadata__", {})
    if not isinstance(notes, dict) or not all(isinstance(v, str) for v in notes.values()):
        damaged(path, "__metadata__ must map words to words")
    if len(header) > MAX_ENTRIES:
        damaged(path, f"it lists {len(header):,} tensors; {MAX_ENTRIES:,} are allowed")
    _check_ranges(path, header, size - 8 - length)
    return header, notes, 8 + length


def refuse_pickle(path: Path, first: bytes) -> None:
    """Refuse bytes that begin as a pickle does, or the zip around one (`E-UNSAFE-FORMAT`)."""
    pickled = first[:1] == b"\x80" and len(first) > 1 and first[1] <= 5
    if pickled or first[:4] == b"PK\x03\x04":
        unsafe(path)


def unsafe(path: Path) -> NoReturn:
    raise ModeledgeError(
        "E-UNSAFE-FORMAT",
        "this is a pickle, not safetensors",
        where=str(path),
        why="pickle files can run code when they are read",
        remedy="`modeledge convert FOLDER OUT --to hf --from-pickle` reads it in a sandbox and writes safetensors",
    )


def damaged(path: Path, what: str) -> NoReturn:
    raise ModeledgeError("E-SAFETENSORS", printable(what), where=str(path))


def _parsed(path: Path, raw: bytes) -> dict[str, Any]:
    try:
        header = parse(raw.decode("utf-8"))
    except UnicodeDecodeError:
        damaged(path, "its header is not UTF-8")
    except Flaw as flaw:
        damaged(path, f"its header is not JSON: {flaw.what}")
    if not isinstance(header, dict):
        damaged(path, "its header is not an object")
    return header


def _check_ranges(path: Path, header: Mapping[str, Any], room: int) -> None:
    """Every tensor has the bytes of its shape, and all together fill the file without a hole."""
    ranges = []
    for name, entry in header.items():
        if not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            damaged(path, f"the entry of {name!r} has not the fields dtype, shape and data_offsets")
        dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(dtype, str) or dtype not in KINDS:
            damaged(path, f"{name!r} has the unknown dtype {dtype!r}")
        if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            damaged(path, f"{name!r} has the shape {shape!r} at {offsets!r}")
        start, stop = offsets
        if math.prod(max(length, 1) for length in shape) >= 1 << 60:
            damaged(path, f"{name!r} has the impossible shape {shape}")
        if math.prod(shape) * KINDS[dtype].itemsize != stop - start:
            damaged(path, f"{name!r} {shape} {dtype} does not have the {stop - start:,} bytes that are announced")
        ranges.append((start, stop, name))
    end = 0
    for start, stop, name in sorted(ranges):
        if start != end:
            damaged(
                path, f"{name!r} begins at byte {start:,}, where {end:,} is expected: tensors overlap or leave a hole"
            )
        end = stop
    if end != room:
        damaged(path, f"its tensors have {end:,} bytes, the file has {room:,}")


def _naturals(value: Any) -> bool:
    return isinstance(value, list) and all(type(v) is int and v >= 0 for v in value)
