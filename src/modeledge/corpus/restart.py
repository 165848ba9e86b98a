"""What a build has done so far, on disk, so that one that was killed goes on without a lost or doubled document.

A build has three stages: read (and judge), clean, tokenize. The first two end in a folder that is committed whole: the
documents that are left, in their order, with the ledger and what was dropped until then. A stage that was killed
before it was committed is done again from the one before. Tokenization, the longest, makes what it has written durable
every `CHECKPOINT` tokens; the next build keeps that much of the files and goes on with the next document. As every
stage is a function of the documents alone, the bytes are those of a build that nobody touched.

The folder is `.NAME.work` beside the corpus, and is removed when the corpus is there. `key` names what the build was
asked to do, and of what: another key is another build.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from modeledge.corpus.spool import packed, unpacked
from modeledge.errors import ModeledgeError
from modeledge.files import MANIFEST, committed_folder, read_json, remove_stale, verify_folder, write_json
from modeledge.records import Document, Ledger

DOCUMENTS, STATE, PROGRESS, KEY = "documents.bin", "state.json", "progress.json", "key.json"
STAGES = ("read", "clean")
PASSING = ("E-DISK", "E-PERMISSION", "E-WORKER")  # what is refused for another reason is refused again
CHECKPOINT = 1 << 22  # tokens between two moments that a killed build goes on from


class Keeps(Protocol):
    """What is shown the dropped documents, and can go on from a state."""

    def state(self) -> Any: ...

    def restore(self, state: Any) -> None: ...


def work_folder(folder: Path) -> Path:
    """Where a build of the corpus `folder` keeps what it has done."""
    return folder.with_name(f".{folder.name}.work")


@contextmanager
def begun(folder: Path, key: str, *, resume: bool) -> Iterator[Path]:
    """The work folder of a build, held against other processes until the block ends; empty where it begins anew.

    Without `resume` what an earlier build left is removed. Raises `E-OUTPUT` where another process is at work,
    `E-RESUME` where the earlier build was another one.
    """
    place = work_folder(folder)
    place.mkdir(parents=True, exist_ok=True)
    lock = os.open(place / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModeledgeError("E-OUTPUT", "another process builds this corpus", where=str(folder)) from error
        if (place / KEY).exists():
            if not resume:
                _empty(place)
            elif read_json(place / KEY) != key:
                what = "the build that was begun here read other files, or was asked for something else"
                remedy = "restore them, or begin anew without --resume"
                raise ModeledgeError("E-RESUME", what, where=str(folder), remedy=remedy)
        else:
            _empty(place)
        remove_stale(place)
        write_json(place / KEY, key)
        try:
            yield place
        except BaseException as error:
            refused = isinstance(error, ModeledgeError) and error.code not in PASSING
            if refused or not any((place / name).exists() for name in STAGES):
                shutil.rmtree(place, ignore_errors=True)  # there is nothing that a next build could go on with
            raise
        shutil.rmtree(place, ignore_errors=True)
    finally:
        os.close(lock)


def staged(
    place: Path | None, name: str, make: Callable[[], Iterable[Document]], ledger: Ledger, dropped: Keeps
) -> Iterable[Document]:
    """The documents of a stage: made now and committed with the ledger, or those that an earlier build committed.

    Without a `place` nothing is kept. Of a document's fields those that JSON can hold are.
    """
    if place is None:
        return make()
    folder = place / name
    if folder.exists():
        verify_folder(folder)
        state = read_json(folder / STATE)
        ledger.restore(state["ledger"])
        dropped.restore(state["dropped"])
    else:
        with committed_folder(folder, {"schema": 1}) as temporary:
            with (temporary / DOCUMENTS).open("wb") as file:
                file.writelines(packed(document) for document in make())
            left = dropped.state()  # first: it may have something to add to the ledger
            write_json(temporary / STATE, {"ledger": ledger.as_dict(), "dropped": left})
    return _documents(folder / DOCUMENTS)


def progress_of(place: Path | None) -> dict[str, Any]:
    """The last checkpoint of tokenization, or nothing."""
    path = None if place is None else place / PROGRESS
    return dict(read_json(path)) if path is not None and path.exists() else {}


def write_progress(place: Path, state: dict[str, Any]) -> None:
    """A checkpoint, after what it speaks of is durable."""
    write_json(place / PROGRESS, state)


def tape_folder(place: Path) -> Path:
    """Where shards are written, without what an earlier build put there at its end."""
    folder = place / "tokens"
    folder.mkdir(exist_ok=True)
    remove_stale(folder)
    (folder / MANIFEST).unlink(missing_ok=True)
    return folder


def scratch_folder(place: Path) -> Path:
    """For temporary files, without those of a build that was killed."""
    folder = place / "scratch"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    return folder


def beyond(documents: Iterable[Document], count: int) -> Iterator[Document]:
    """The documents after the first `count`."""
    return islice(iter(documents), count, None)


def _documents(path: Path) -> Iterator[Document]:
    with path.open("rb") as file:
        yield from unpacked(file)


def _empty(place: Path) -> None:
    """Remove what is in a work folder: its key first, so that a death in between leaves a build that never was."""
    (place / KEY).unlink(missing_ok=True)
    for path in place.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()
