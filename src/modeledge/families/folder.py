"""What lies in a model folder: the configuration, the files of weights, and how many ids the tokenizer has.

Nothing is followed out of the folder by a name that a file holds, and no pickle is opened.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import Any

from modeledge.errors import ModeledgeError, printable
from modeledge.families.weights import PICKLES, OnDisk, Stored, damaged, open_weights, unsafe
from modeledge.strictjson import Flaw, parse

CONFIG, WEIGHTS, INDEX, TOKENIZER = "config.json", "model.safetensors", "model.safetensors.index.json", "tokenizer.json"
MAX_CONFIG = 4 << 20  # bytes; the largest published ones, with 21,000 labels, have below 2 MiB
MAX_INDEX = 64 << 20
MAX_SHARDS = 500  # files that are open at once; the largest published models have some 200
READ = (".json", ".safetensors", ".txt", ".model")  # what is read in a model folder


@contextlib.contextmanager
def located(path: Path) -> Iterator[None]:
    """Errors of this block name the file."""
    try:
        yield
    except ModeledgeError as error:
        where = f"{path}: {error.where}" if error.where else str(path)
        raise ModeledgeError(error.code, error.what, where=where, why=error.why, remedy=error.remedy) from error


def check_folder(folder: Path) -> None:
    """Refuse what is not a model folder: `E-NO-FILE`, `E-NOT-A-FILE`, and `E-UNSAFE-FORMAT` for pickles."""
    if folder.is_file():
        if folder.suffix in PICKLES:
            unsafe(folder)
        raise ModeledgeError("E-NOT-A-FILE", "this is a file", where=str(folder), remedy="name the folder around it")
    if not folder.is_dir():
        raise ModeledgeError("E-NO-FILE", "there is no such model folder", where=str(folder))
    for path in folder.iterdir():
        if path.suffix in READ:
            check_link(path, folder)
    if (folder / WEIGHTS).is_file() or (folder / INDEX).is_file():
        return
    pickles = sorted(p for p in folder.iterdir() if p.suffix in PICKLES)
    if pickles:
        unsafe(pickles[0])
    what = f"there is no {WEIGHTS}"
    raise ModeledgeError("E-NO-FILE", what, where=str(folder), remedy="name a folder that save_model wrote")


def read_json_object(path: Path, limit: int) -> dict[str, Any]:
    """A JSON object from a file, read strictly: `E-NO-FILE`, `E-UTF8`, `E-JSON…`; `E-CONFIG-UNSAFE` above the limit."""
    try:
        if path.exists() and not path.is_file():
            raise ModeledgeError("E-NOT-A-FILE", f"{path.name} is no regular file", where=str(path))
        if path.stat().st_size > limit:
            raise ModeledgeError("E-CONFIG-UNSAFE", f"more than {limit:,} bytes", where=str(path))
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError as error:
        raise ModeledgeError("E-NO-FILE", f"there is no {path.name}", where=str(path.parent)) from error
    except OSError as error:
        raise ModeledgeError("E-READ", error.strerror or str(error), where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ModeledgeError("E-UTF8", f"byte {error.start:,} is not UTF-8", where=str(path)) from error
    try:
        value = parse(text)
    except Flaw as flaw:
        raise ModeledgeError(flaw.code, flaw.what, where=str(path), why=flaw.why, remedy=flaw.remedy) from flaw
    if not isinstance(value, dict):
        raise ModeledgeError("E-JSON-TYPE", "it is not an object", where=str(path), remedy="write one JSON object")
    return value


@dataclass(frozen=True)
class FolderWeights:
    """All tensors of a folder, the notes of the (first) file, and which shard holds which tensor (none: one file)."""

    tensors: OnDisk
    notes: dict[str, str]
    placed: dict[str, str]


@contextlib.contextmanager
def open_folder(folder: Path) -> Iterator[FolderWeights]:
    """The weights of a folder, from one file or from shards, to be read while the block lasts."""
    if (folder / WEIGHTS).is_file():
        with open_weights(folder / WEIGHTS) as (stored, notes):
            yield FolderWeights(OnDisk(stored), notes, {})
        return
    index = folder / INDEX
    placed = read_json_object(index, MAX_INDEX).get("weight_map")
    if not isinstance(placed, dict) or not placed or not all(isinstance(v, str) for v in placed.values()):
        damaged(index, "weight_map must map names to files")
    shards = sorted(set(placed.values()))
    if len(shards) > MAX_SHARDS:
        damaged(index, f"weight_map names {len(shards):,} files; {MAX_SHARDS} are allowed")
    for shard in shards:
        check_inside(index, shard)
    tensors: dict[str, Stored] = {}
    first: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for shard in shards:
            check_link(folder / shard, folder)
            if not (folder / shard).is_file():
                raise ModeledgeError("E-NO-FILE", f"the shard {printable(shard)} is missing", where=str(index))
            found, notes = stack.enter_context(open_weights(folder / shard))
            listed = {name for name, file in placed.items() if file == shard}
            for name in sorted(listed ^ found.keys()):
                what = "is not listed in weight_map" if name in found else "is not where weight_map says"
                raise ModeledgeError("E-KEYS", f"{printable(name)} ({printable(shard)}) {what}", where=str(index))
            tensors |= found
            first = first or notes
        yield FolderWeights(OnDisk(tensors), first, placed)


def check_link(path: Path, folder: Path) -> None:
    """Refuse a file that lies elsewhere (`E-UNSAFE-PATH`): in the folder, and for the hub's cache in the `blobs` of the
    same repository, where its snapshots point to."""
    try:
        real, home = path.resolve(), folder.resolve()
    except (OSError, RuntimeError) as error:  # a loop of links
        raise ModeledgeError("E-UNSAFE-PATH", "the links lead nowhere", where=str(path)) from error
    homes = [home, home.parent.parent / "blobs"] if home.parent.name == "snapshots" else [home]
    if not any(real.is_relative_to(h) for h in homes):
        what, remedy = "the link leads out of the folder", "put the file itself into the folder, if you trust it"
        raise ModeledgeError("E-UNSAFE-PATH", what, where=str(path), remedy=remedy)


def check_inside(index: Path, name: str, kinds: tuple[str, ...] = (".safetensors",)) -> None:
    """Refuse a file name that leads out of the folder (`E-UNSAFE-PATH`), or to a pickle (`E-UNSAFE-FORMAT`)."""
    path = PureWindowsPath(name)  # knows both kinds of slashes and drives
    if not path.parts or path.drive or path.root or ".." in path.parts or "\0" in name:
        what = f"weight_map names {printable(name)!r}"
        raise ModeledgeError("E-UNSAFE-PATH", what, where=str(index), why="the path leads out of the folder")
    if path.suffix in PICKLES and path.suffix not in kinds:
        unsafe(index.parent / name)
    if path.suffix not in kinds:
        damaged(index, f"weight_map names {name!r}, which is no {' or '.join(kinds)} file")


def tokenizer_ids(folder: Path) -> int | None:
    """How many ids the folder's `tokenizer.json` has (the highest and one); `None` where there is none."""
    path = folder / TOKENIZER
    if not path.is_file():
        return None
    said = read_json_object(path, MAX_INDEX)
    model, added = said.get("model"), said.get("added_tokens") or []
    vocabulary = model.get("vocab") if isinstance(model, dict) else None
    if isinstance(vocabulary, dict):
        ids = list(vocabulary.values())
    elif isinstance(vocabulary, list):
        ids = [len(vocabulary) - 1]
    else:
        raise ModeledgeError("E-TOKENIZER", "it holds no vocabulary", where=str(path))
    ids += [token.get("id") for token in added if isinstance(token, dict)]
    if not all(type(i) is int for i in ids):
        raise ModeledgeError("E-TOKENIZER", "an id is not a whole number", where=str(path))
    return max(ids, default=-1) + 1
