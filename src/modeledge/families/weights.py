"""safetensors files, read after their header was checked by ourselves.

The format is a JSON header and bytes: eight bytes say how long the header is, the header says where each tensor lies
(https://github.com/huggingface/safetensors). Nothing in it can run. What can go wrong is named here before the library
maps the file: a header that is longer than the file, ranges that overlap or leave holes, shapes that do not fit their
ranges. A pickle under this name is recognised by its first bytes and refused: reading one runs the code in it.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn
from uuid import uuid4

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from modeledge import files
from modeledge.corpus.strictjson import Flaw, parse
from modeledge.errors import ModeledgeError, printable

MAX_HEADER = 32 << 20  # bytes; 100,000 entries with long names stay below it
MAX_ENTRIES = 100_000  # tensors; the largest published models have some ten thousand
BITS = {
    "F64": 64, "I64": 64, "U64": 64, "C64": 64, "F32": 32, "I32": 32, "U32": 32, "F16": 16, "BF16": 16, "I16": 16,
    "U16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "I8": 8, "U8": 8, "BOOL": 8,
}  # fmt: skip
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def read_weights(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a file, mapped and not yet copied, and its notes. Raises `E-SAFETENSORS`, `E-UNSAFE-FORMAT`."""
    notes = check_header(path)
    try:
        with safe_open(str(path), framework="pt", device="cpu") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        damaged(path, str(error))
    except OSError as error:
        raise ModeledgeError("E-READ", error.strerror or str(error), where=str(path)) from error


def write_weights(
    path: Path, tensors: Mapping[str, Tensor], notes: Mapping[str, str], *, ready: Callable[[], None] = lambda: None
) -> None:
    """Write a file that appears under its name only when it is whole and durable; `ready` is called just before."""
    temporary = path.with_name(f".{path.name}.tmp-{uuid4().hex[:8]}")
    try:
        save_file(
            {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, temporary, dict(notes)
        )
        files.sync_file(temporary)
        ready()
        os.replace(temporary, path)
        files.sync_folder(path.parent)
    except OSError as error:
        raise files.disk_error(path, error) from error
    except SafetensorError as error:
        raise ModeledgeError("E-DISK", str(error), where=str(path)) from error
    finally:
        temporary.unlink(missing_ok=True)


def check_header(path: Path) -> dict[str, str]:
    """Check a file's header against its size and return its notes (`__metadata__`)."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
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
    return notes


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
        remedy="convert it in a sandbox: safetensors.torch.save_file(torch.load(path, weights_only=True), …)",
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
        if not isinstance(dtype, str) or dtype not in BITS:
            damaged(path, f"{name!r} has the unknown dtype {dtype!r}")
        if not _naturals(shape) or not _naturals(offsets) or len(offsets) != 2 or offsets[0] > offsets[1]:
            damaged(path, f"{name!r} has the shape {shape!r} at {offsets!r}")
        start, stop = offsets
        if math.prod(shape) * BITS[dtype] != (stop - start) * 8:
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
