"""Writing that survives a power cut, and the digests that prove it.

A file or folder appears under its final name only when it is complete: write to a temporary name beside it, flush,
fsync, rename, fsync the parent. SHA-256 names what was written.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

from modeledge.errors import ModeledgeError

MANIFEST = "MANIFEST.json"
MOST_RUNS = 64  # of one level on disk before they are merged
RECIPE = "run.toml"  # what a run folder says of its run
MASK = os.umask(0o077)  # asking is setting, so it is set back at once
os.umask(MASK)
ORDINARY = 0o666 & ~MASK  # the mode of a new file


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_bytes(path: Path, data: bytes) -> None:
    """Write a whole file atomically and durably."""
    temporary = path.with_name(f".{path.name}.tmp-{uuid4().hex[:8]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise disk_error(path, error) from error


def write_text(path: Path, text: str) -> None:
    """Write a text file (UTF-8, `\\n`) atomically and durably."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted keys, so that equal values give equal bytes. NaN and infinity are refused."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that we wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sync_file(path: Path) -> None:
    """Make the content of a file, written by whoever, durable, and let read it whoever may read new files here: some
    writers (safetensors) leave files that only their owner can open."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fchmod(handle, ORDINARY)
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def committed_folder(final: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """A folder that is either whole or absent.

    Yields a temporary folder beside `final`; when the block ends without an error every file in it is fsynced, a
    `MANIFEST.json` with each file's size and SHA-256 (and the keys of `manifest`) is added, and the folder is renamed
    to `final`. An existing `final` is an error: committed folders are never overwritten.
    """
    temporary = final.with_name(f".{final.name}.tmp-{uuid4().hex[:8]}")
    try:
        temporary.mkdir(parents=True)
        yield temporary
        commit_folder(temporary, final, manifest)
    except OSError as error:
        raise disk_error(final, error) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def commit_folder(folder: Path, final: Path, manifest: Mapping[str, Any]) -> None:
    """Make a folder durable, list its files in its `MANIFEST.json` (beside the keys of `manifest`), and give it the
    name `final`, on the same disk. Raises `E-OUTPUT` where that is taken."""
    listing = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        sync_file(path)
        name = path.relative_to(folder).as_posix()
        listing[name] = {"bytes": path.stat().st_size, "sha256": sha256(path)}
    write_json(folder / MANIFEST, {**manifest, "files": listing})
    if final.exists():
        raise ModeledgeError("E-OUTPUT", "the folder exists already", where=str(final))
    os.rename(folder, final)
    sync_folder(final.parent)


def verify_folder(folder: Path) -> dict[str, Any]:
    """The manifest of a committed folder whose every size and digest is right; `E-CHECKPOINT` names what is wrong."""

    def wrong(what: str) -> ModeledgeError:
        return ModeledgeError("E-CHECKPOINT", what, where=str(folder))

    try:
        manifest = read_json(folder / MANIFEST)
        files = manifest["files"]
        listed = {str(name): (int(row["bytes"]), str(row["sha256"])) for name, row in files.items()}
    except FileNotFoundError as error:
        raise wrong(f"{MANIFEST} is missing") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise wrong(f"{MANIFEST} cannot be read ({type(error).__name__})") from error
    present = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()} - {MANIFEST}
    for name in sorted(present ^ set(listed)):
        raise wrong(f"{name} is {'not in the manifest' if name in present else 'missing'}")
    for name, (size, digest) in sorted(listed.items()):
        if (folder / name).stat().st_size != size or sha256(folder / name) != digest:
            raise wrong(f"{name} does not match its size or SHA-256")
    return dict(manifest)


class Runs:
    """Sorted records on disk, a file each time that memory was full.

    `MOST_RUNS` of one level are merged into one of the next: each is an open file, of which a process may have a
    thousand. `opened` gives a fresh file, `merged` the records of several files in order.
    """

    def __init__(
        self, opened: Callable[[], IO[bytes]], merged: Callable[[Sequence[IO[bytes]]], Iterable[bytes]]
    ) -> None:
        self._opened, self._merged = opened, merged
        self._levels: list[tuple[int, IO[bytes]]] = []  # each with how many times it was merged

    def __len__(self) -> int:
        return len(self._levels)

    def add(self, records: Iterable[bytes], level: int = 0) -> None:
        """Write records that are in order."""
        run = self._opened()
        run.writelines(records)
        self._levels.append((level, run))
        alike = [run for at, run in self._levels if at == level]
        if len(alike) == MOST_RUNS:
            self.add(self._merged(alike), level + 1)
            self._levels = [(at, run) for at, run in self._levels if at != level]
            for done in alike:
                done.close()

    @property
    def files(self) -> list[IO[bytes]]:
        """All that are there, to be merged by whoever reads them."""
        return [run for _, run in self._levels]

    def close(self) -> None:
        """Let go of all files."""
        for run in self.files:
            run.close()
        self._levels = []


def remove_folder(folder: Path) -> None:
    """Remove a folder so that it is whole or absent under its name, whenever the process dies."""
    doomed = folder.with_name(f".{folder.name}.tmp-{uuid4().hex[:8]}")
    os.rename(folder, doomed)
    shutil.rmtree(doomed, ignore_errors=True)


def remove_stale(folder: Path, name: str | None = None) -> None:
    """Remove temporary files and folders that an earlier, killed process left here, of all names or of one."""
    if folder.is_dir():
        for path in folder.glob(f".{'*' if name is None else glob.escape(name)}.tmp-*"):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def disk_error(path: Path, error: OSError) -> ModeledgeError:
    """The catalogued error for a refused write."""
    code = "E-PERMISSION" if isinstance(error, PermissionError) else "E-DISK"
    return ModeledgeError(code, error.strerror or str(error), where=str(path))
