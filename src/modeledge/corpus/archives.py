"""Archives are looked at and never unpacked: the message that says "unpack it" must not send anyone into a trap.

A corpus is read from files and folders. A zip or tar file is refused, but not before its list of members was read,
because whoever follows the advice to unpack it may meet what archives are known to hold: names that lead out of the
folder (`../`, absolute ones, links; CVE-2007-4559), names that some systems cannot tell apart or cannot hold (case,
`CON`), the same name twice, a million members, an archive in an archive, a few bytes that fill a disk.
"""

from __future__ import annotations

import io
import os
import re
import stat
import struct
import tarfile
import zipfile
from collections.abc import Iterator
from typing import BinaryIO

from modeledge.corpus.intake import ReadConfig
from modeledge.errors import ModeledgeError, printable

MEMBERS = 100_000
DIRECTORY = 50_000_000  # bytes of a zip file's list of members
TAR_MAGIC, TAR_AT = b"ustar", 257
INNER = re.compile(r"\.(zip|tar|tgz|7z|rar|tar\.\w+)$", re.IGNORECASE)
RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # on Windows, with any ending


def refuse_zip(file: BinaryIO, name: str, config: ReadConfig, free: int) -> ModeledgeError:
    """The error for a zip file: what makes it a danger, else that it has to be unpacked. `free` bytes may expand.

    The codes are `E-UNSAFE-PATH`, `E-DUP-MEMBER`, `E-ARCHIVE-LIMIT`, `E-BOMB`, `E-FORMAT`.
    """
    try:
        _refuse_many(file, name)
        with zipfile.ZipFile(file) as archive:
            infos = archive.infolist()
    except ModeledgeError as error:
        return error
    except (zipfile.BadZipFile, NotImplementedError, OSError, ValueError, struct.error) as error:
        return ModeledgeError(
            "E-FORMAT", f"the first bytes say zip, but it is damaged ({error})", where=name, remedy="fetch it again"
        )
    seen = Members(name)
    try:
        for info in infos:
            link = stat.S_ISLNK(info.external_attr >> 16)
            seen.add(info.orig_filename, "a symbolic link" if link else "")
    except ModeledgeError as error:
        return error
    size = sum(info.file_size for info in infos)
    if size > max(free, config.max_expansion * os.fstat(file.fileno()).st_size):
        what = f"its members say that they unpack to {size:,} bytes, more than {config.max_expansion:g}-fold"
        return ModeledgeError("E-BOMB", what, where=name, why="it could fill memory or disk")
    return seen.refusal("zip")


def refuse_tar(chunks: Iterator[bytes], name: str) -> ModeledgeError:
    """The error for a tar file, unpacked in `chunks` where it is compressed; see `refuse_zip`."""
    kinds = {tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.FIFOTYPE: "a pipe"}
    seen = Members(name)
    try:
        with tarfile.open(fileobj=io.BufferedReader(_Chunks(chunks)), mode="r|") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile would remember each
                seen.add(member.name, "" if member.isfile() or member.isdir() else kinds.get(member.type, "a device"))
    except ModeledgeError as error:
        return error
    except (tarfile.TarError, ValueError, EOFError) as error:
        return ModeledgeError(
            "E-FORMAT", f"it should be tar, but it is damaged ({error})", where=name, remedy="fetch it again"
        )
    return seen.refusal("tar")


class Members:
    """The names of an archive, each looked at."""

    def __init__(self, archive: str) -> None:
        self.archive = archive
        self.names: dict[str, str] = {}  # as a system without case would see them → as they are

    def add(self, name: str, kind: str) -> None:
        """Raise for a member that should not be unpacked; `kind` says what it is where it is no file or folder."""
        parts = name.replace("\\", "/").rstrip("/").split("/")
        shown = repr(printable(name, 100))
        if kind:
            raise self._unsafe(f"member {shown} is {kind}")
        if parts[0] == "" or re.match(r"[a-zA-Z]:", name):
            raise self._unsafe(f"member {shown} has an absolute path")
        if ".." in parts:
            raise self._unsafe(f"member {shown} leads out of the folder")
        if bad := next((part for part in parts if RESERVED.match(part)), None):
            raise self._unsafe(f"member {shown} holds {bad!r}, which is a device on Windows")
        folded = "/".join(part for part in parts if part != ".").casefold()
        earlier = self.names.setdefault(folded, name)
        if len(self.names) > MEMBERS:
            raise _limit(f"it has more than {MEMBERS:,} members", self.archive)
        if earlier is not name and not name.endswith("/"):
            if earlier == name:
                why = "one would overwrite the other"
                raise ModeledgeError("E-DUP-MEMBER", f"member {shown} occurs twice", where=self.archive, why=why)
            raise self._unsafe(f"members {printable(earlier, 100)!r} and {shown} differ by case alone")
        if INNER.search(name):
            raise _limit(f"member {shown} is an archive itself", self.archive)

    def refusal(self, kind: str) -> ModeledgeError:
        """What is said of an archive in which nothing is wrong."""
        what = f"a {kind} archive ({len(self.names):,} members) is not read as it is"
        return ModeledgeError("E-FORMAT", what, where=self.archive, remedy="unpack it and name the folder")

    def _unsafe(self, what: str) -> ModeledgeError:
        why = "unpacking it could write or read elsewhere than in its folder"
        remedy = "do not unpack it; ask for a clean one"
        return ModeledgeError("E-UNSAFE-PATH", what, where=self.archive, why=why, remedy=remedy)


class _Chunks(io.RawIOBase):
    """An iterator of bytes as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self.chunks, self.left = chunks, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        while not self.left:
            chunk = next(self.chunks, None)
            if chunk is None:
                return 0
            self.left = chunk
        count = min(len(buffer), len(self.left))
        buffer[:count], self.left = self.left[:count], self.left[count:]
        return count


def _limit(what: str, name: str) -> ModeledgeError:
    return ModeledgeError("E-ARCHIVE-LIMIT", what, where=name)


def _refuse_many(file: BinaryIO, name: str) -> None:
    """Read the end record before the list: Python would make an object of each of a million members."""
    size = os.fstat(file.fileno()).st_size
    file.seek(max(0, size - 66_000))
    tail = file.read()
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) < at + 22:
        return
    count, directory = struct.unpack("<H", tail[at + 10 : at + 12])[0], struct.unpack("<L", tail[at + 12 : at + 16])[0]
    wide = tail.rfind(b"PK\x06\x06", 0, at)
    if wide >= 0 and at >= wide + 56:
        count, directory = struct.unpack("<QQ", tail[wide + 32 : wide + 48])
    if count > MEMBERS or directory > DIRECTORY:
        raise _limit(f"it has {count:,} members, listed in {directory:,} bytes", name)
