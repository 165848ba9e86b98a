"""Which files are read: names become a checked list of regular files, each read once and unchanged while it is read.

Everything that can be refused before the first record is refused here, for all files at once: a path that does not
exist, a pipe, an empty file, one file named twice, a name that contradicts the content.
"""

from __future__ import annotations

import errno
import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from modeledge.corpus.archives import TAR_AT, TAR_MAGIC, refuse_tar, refuse_zip
from modeledge.corpus.intake import ReadConfig
from modeledge.corpus.languages import ENDINGS
from modeledge.corpus.unpack import CHUNK, GZIP, ZSTD, gunzip, unzstd
from modeledge.errors import ModeledgeError, printable
from modeledge.records import Ledger

SUFFIXES = {
    ".txt": "txt",
    ".text": "txt",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".warc": "warc",
    ".wet": "warc",
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".md", ".markdown"), "markdown"),
    ".tex": "latex",
    **dict.fromkeys(ENDINGS, "code"),
}
TREES = ("code", "latex")  # read file by file out of folders that hold other things too
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".zstd": "zstd"}
MAGIC = {
    GZIP: "gzip",
    ZSTD: "zstd",
    b"PAR1": "Parquet",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"%PDF-": "PDF",
}
FREE_EXPANSION = 100_000_000  # unpacked bytes that any file may have, however small it is


@dataclass
class Source:
    """One file to be read: what it is, and its size and time of change when it was accepted."""

    path: Path
    name: str
    format: str
    compression: str
    stamp: tuple[int, int]
    cut: bool = False  # the compressed file ends too early, which the user allowed

    def chunks(self, config: ReadConfig) -> Iterator[bytes]:
        """The content, unpacked, in pieces of at most 1 MiB.

        Raises what `unpack` raises, `E-BOMB`, `E-PERMISSION`, `E-READ` and `E-INPUT-CHANGED`.
        """
        total = 0
        with open_file(self.path, self.name) as file:
            self.unchanged(file)
            try:
                for chunk in {"": _plain, "gzip": gunzip, "zstd": unzstd}[self.compression](file, self.name):
                    total += len(chunk)
                    if self.compression and total > max(FREE_EXPANSION, config.max_expansion * self.stamp[0]):
                        raise self._bomb(config)
                    yield chunk
            except ModeledgeError as error:
                self.unchanged(file)
                if not (error.code == "E-GZIP-TRUNCATED" and self.cut):
                    raise
            except OSError as error:
                raise ModeledgeError("E-READ", error.strerror or str(error), where=self.name) from error
            self.unchanged(file)

    def verify(self, config: ReadConfig) -> None:
        """Unpack a compressed file once, to the end, using nothing; raises what `chunks` raises.

        A file that ends too early is marked as `cut` where `allow_partial` is set.
        """
        size = lines = 0
        try:
            for chunk in self.chunks(config) if self.compression else ():
                size += len(chunk)
                lines += chunk.count(b"\n")
        except ModeledgeError as error:
            if error.code != "E-GZIP-TRUNCATED":
                raise
            if not config.allow_partial:
                what = f"{error.what}, after {lines:,} whole lines"
                raise ModeledgeError(error.code, what, where=self.name, why="none of its records was used") from error
            self.cut = True
        if self.compression and not size:
            raise ModeledgeError("E-EMPTY-FILE", "the file has no bytes when it is unpacked", where=self.name)

    def unchanged(self, file: BinaryIO | None = None) -> None:
        """Raise `E-INPUT-CHANGED` unless file and path still are what was accepted."""
        try:
            now = [os.stat(self.path), *([os.fstat(file.fileno())] if file else [])]
        except OSError as error:
            raise ModeledgeError("E-INPUT-CHANGED", "the file vanished while it was read", where=self.name) from error
        for seen in now:
            if (seen.st_size, seen.st_mtime_ns) != self.stamp:
                what = f"it had {self.stamp[0]:,} bytes and has {seen.st_size:,}, or was written again"
                raise ModeledgeError("E-INPUT-CHANGED", what, where=self.name)

    def _bomb(self, config: ReadConfig) -> ModeledgeError:
        what = (
            f"{self.stamp[0]:,} bytes expand more than {config.max_expansion:g}-fold, beyond {FREE_EXPANSION:,} bytes"
        )
        return ModeledgeError("E-BOMB", what, where=self.name, why="it could fill memory or disk")


def sources(paths: Sequence[str | os.PathLike[str]], config: ReadConfig, ledger: Ledger | None = None) -> list[Source]:
    """The files behind `paths`, each looked at; raises what `expand` raises, `E-EMPTY-FILE` and `E-FORMAT`."""
    return [_source(path, config) for path in expand(paths, ledger)]


def expand(paths: Sequence[str | os.PathLike[str]], ledger: Ledger | None = None) -> list[Path]:
    """Files, folders (all files below, sorted) and globs, as a list of regular files.

    Hidden files of a folder are left out, and noted in the ledger. Raises `E-NO-FILE`, `E-NOT-A-FILE`,
    `E-PERMISSION`, and `E-DUP-INPUT` where two names lead to one file.
    """
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    found: dict[str, tuple[str, Path]] = {}
    for argument in [os.fspath(path) for path in paths]:
        for path in _matches(argument, ledger):
            real = os.path.realpath(path)
            if real in found:
                earlier = found[real][0]
                also = f"{earlier!r} and {argument!r} lead" if earlier != argument else f"{argument!r} leads twice"
                raise ModeledgeError("E-DUP-INPUT", f"{also} to the same file", where=printable(str(path)))
            found[real] = (argument, path)
    if not found:
        raise ModeledgeError("E-NO-FILE", "no input was named")
    return [path for _, path in found.values()]


def open_file(path: Path, name: str) -> BinaryIO:
    """Open a file for reading; raises `E-PERMISSION`, `E-INPUT-CHANGED` (it was there a moment ago), `E-READ`."""
    try:
        return open(path, "rb")
    except FileNotFoundError as error:
        raise ModeledgeError("E-INPUT-CHANGED", "the file vanished before it was read", where=name) from error
    except OSError as error:
        raise refused(error, name) from error


def refused(error: OSError, name: str) -> ModeledgeError:
    """The catalogued error for a refused read."""
    code = "E-PERMISSION" if isinstance(error, PermissionError) else "E-READ"
    return ModeledgeError(code, error.strerror or str(error), where=name)


def regular(path: Path) -> os.stat_result:
    """The state of a regular file. Raises `E-NO-FILE`, `E-NOT-A-FILE`, `E-PERMISSION`."""
    name = printable(str(path))
    try:
        state = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        what = "it is a link to something that is not there" if path.is_symlink() else "there is no such file"
        raise ModeledgeError("E-NO-FILE", what, where=name) from None
    except OSError as error:
        if error.errno == errno.ELOOP:
            what, remedy = "the link leads back to itself", "remove it, or name the file that was meant"
            raise ModeledgeError("E-NO-FILE", what, where=name, remedy=remedy) from None
        raise refused(error, name) from error
    if not stat.S_ISREG(state.st_mode):
        kinds = {stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
        kind = kinds.get(stat.S_IFMT(state.st_mode), "a device")
        raise ModeledgeError("E-NOT-A-FILE", f"it is {kind}, not a regular file", where=name)
    return state


def _matches(argument: str, ledger: Ledger | None) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        found = list(_below(path, set(), ledger))
        if not found:
            raise ModeledgeError("E-NO-FILE", "the folder holds no file", where=printable(argument))
    elif glob.has_magic(argument) and not path.exists():
        found = [Path(p) for p in sorted(glob.glob(argument, recursive=True)) if not os.path.isdir(p)]
        if not found:
            raise ModeledgeError("E-NO-FILE", "no file matches", where=printable(argument))
    else:
        found = [path]
    for file in found:
        regular(file)
    return found


def _below(folder: Path, seen: set[str], ledger: Ledger | None) -> Iterator[Path]:
    real = os.path.realpath(folder)
    if real in seen:
        what, remedy = (
            "a link leads to a folder that is read already",
            "remove the link, or name the folders one by one",
        )
        raise ModeledgeError("E-DUP-INPUT", what, where=printable(str(folder)), remedy=remedy)
    seen.add(real)
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise refused(error, printable(str(folder))) from error
    hidden = [entry.name for entry in entries if entry.name.startswith(".")]
    if hidden and ledger is not None:
        ledger.notes.append(f"{printable(str(folder))}: {len(hidden):,} hidden files or folders were left out")
    for entry in entries:
        if not entry.name.startswith("."):
            yield from _below(entry, seen, ledger) if entry.is_dir() else [entry]


def _source(path: Path, config: ReadConfig) -> Source:
    name, state = printable(str(path)), regular(path)
    stamp = (state.st_size, state.st_mtime_ns)
    asked = SUFFIXES.get(path.suffix.lower(), "") if config.format == "auto" else config.format
    if asked in TREES:
        return Source(path, name, asked, "", stamp)
    if not state.st_size:
        raise ModeledgeError("E-EMPTY-FILE", "the file has no bytes", where=name)
    compression = COMPRESSIONS.get(path.suffix.lower(), "")
    suffix = Path(path.stem if compression else path.name).suffix.lower()
    stamp = (state.st_size, state.st_mtime_ns)
    _refuse_archive(
        Source(path, name, "", compression or COMPRESSIONS[".gz"] * (suffix == ".tgz"), stamp), config, suffix
    )
    format = SUFFIXES.get(suffix, "") if config.format == "auto" else config.format
    if not format:
        remedy = f"pass --format, or use one of {' '.join(SUFFIXES)} (with .gz or .zst)"
        raise ModeledgeError(
            "E-FORMAT", f"the name ending {suffix!r} does not tell the format", where=name, remedy=remedy
        )
    with open_file(path, name) as file:
        head = file.read(8)
    actual = next((kind for magic, kind in MAGIC.items() if head.startswith(magic)), "plain")
    expected = compression or ("Parquet" if format == "parquet" else "plain")
    if actual != expected and not (compression and compression_start(head)):
        remedy = {"gzip": "rename it to end in .gz", "zstd": "rename it to end in .zst"}.get(actual, "")
        what = f"the name says {expected} {format}, the first bytes say {actual}"
        raise ModeledgeError("E-FORMAT", what, where=name, remedy=remedy or "rename or convert the file")
    if compression and format == "parquet":
        raise ModeledgeError("E-FORMAT", "Parquet inside another compression", where=name, remedy="unpack it first")
    return Source(path, name, format, compression, stamp)


def _refuse_archive(source: Source, config: ReadConfig, suffix: str) -> None:
    """Raise what is wrong with a zip or tar file, at least that it has to be unpacked."""
    with open_file(source.path, source.name) as file:
        head = file.read(TAR_AT + len(TAR_MAGIC))
        if head.startswith(b"PK\x03\x04") or (suffix == ".zip" and head.startswith(b"PK")):
            raise refuse_zip(file, source.name, config, FREE_EXPANSION)
    if head[TAR_AT:] == TAR_MAGIC or suffix in (".tar", ".tgz"):
        raise refuse_tar(source.chunks(config), source.name)


def compression_start(head: bytes) -> bool:
    """Could these be the first bytes of a compressed file that was cut after them, or of a skippable frame?"""
    cut = any(magic.startswith(head) for magic in (GZIP, ZSTD))
    return cut or (0x50 <= head[0] <= 0x5F and head[1:4] == b"\x2a\x4d\x18")


def _plain(file: BinaryIO, name: str) -> Iterator[bytes]:
    """A growing file is read no further than it was long: `unchanged` then says so."""
    left = os.fstat(file.fileno()).st_size
    while left > 0 and (chunk := file.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk
