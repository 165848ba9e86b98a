"""Files and folders that are whole or absent, and digests that notice every change."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.files import committed_folder, read_json, sha256, verify_folder, write_bytes, write_json, write_text


def everything(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*"))


def killed(block: Callable[[], None]) -> None:
    """Run the block in a child process that must end by SIGKILL."""
    child = os.fork()
    if child == 0:
        try:
            block()
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def die(*args: Any, **kwargs: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


# ---- single files


def test_a_file_is_written_whole_with_its_folders(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.bin"
    write_bytes(path, b"one")
    write_bytes(path, b"\x00two")
    assert path.read_bytes() == b"\x00two"
    assert sha256(path) == hashlib.sha256(b"\x00two").hexdigest()
    write_text(path, "é\n\r\n")
    assert path.read_bytes() == "é\n\r\n".encode()
    assert everything(tmp_path) == ["a", "a/b", "a/b/c.bin"]


@pytest.mark.parametrize(
    ("step", "number", "code"),
    [
        ("fsync", errno.ENOSPC, "E-DISK"),
        ("fsync", errno.EIO, "E-DISK"),
        ("replace", errno.EACCES, "E-PERMISSION"),
        ("replace", errno.EROFS, "E-DISK"),
    ],
)
def test_a_refused_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, number: int, code: str
) -> None:
    path = tmp_path / "f"
    write_bytes(path, b"old")

    def refuse(*args: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, step, refuse)
    with pytest.raises(ModeledgeError) as caught:
        write_bytes(path, b"new")
    assert (caught.value.code, caught.value.where) == (code, str(path))
    assert path.read_bytes() == b"old"
    assert everything(tmp_path) == ["f"]


def test_a_folder_in_the_way_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "f" / "inside").mkdir(parents=True)
    with pytest.raises(ModeledgeError, match="E-DISK"):
        write_bytes(tmp_path / "f", b"x")
    assert everything(tmp_path) == ["f", "f/inside"]
    write_bytes(tmp_path / "file", b"")
    with pytest.raises(ModeledgeError, match="E-DISK"):
        write_bytes(tmp_path / "file" / "below", b"x")


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_kill_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    path = tmp_path / "f"
    write_bytes(path, b"old")
    monkeypatch.setattr(os, step, die)
    killed(lambda: write_bytes(path, b"new"))
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert len(everything(tmp_path)) == 2, "the killed process could not tidy up"
    files.remove_stale(tmp_path)
    assert everything(tmp_path) == ["f"]


def test_what_is_durable_comes_before_what_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Content is flushed before the rename, the folder's names after it."""
    seen: list[str] = []
    real_sync, real_replace = os.fsync, os.replace

    def sync(handle: int) -> None:
        seen.append("folder" if os.path.isdir(f"/proc/self/fd/{handle}") else "file")
        real_sync(handle)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "replace", lambda a, b: (seen.append("rename"), real_replace(a, b)))
    write_bytes(tmp_path / "f", b"x")
    assert seen == ["file", "rename", "folder"]


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path, done = tmp_path / "f", threading.Event()
    versions = [bytes([n]) * 300_000 for n in range(2)]
    write_bytes(path, versions[0])

    def write() -> None:
        for n in range(60):
            write_bytes(path, versions[n % 2])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    reads = 0
    while not done.is_set():
        assert path.read_bytes() in versions
        reads += 1
    writer.join()
    assert reads


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=50)
@given(value=plain)
def test_json_comes_back_and_equal_values_give_equal_bytes(
    tmp_path_factory: pytest.TempPathFactory, value: Any
) -> None:
    path = tmp_path_factory.mktemp("json") / "v.json"
    write_json(path, {"b": value, "a": 1})
    first = path.read_bytes()
    assert read_json(path) == {"b": value, "a": 1}
    write_json(path, {"a": 1, "b": json.loads(json.dumps(value))})
    assert path.read_bytes() == first


@pytest.mark.parametrize("value", [float("nan"), [float("inf")], {"a": -float("inf")}])
def test_json_holds_finite_numbers_only(tmp_path: Path, value: Any) -> None:
    with pytest.raises(ValueError):
        write_json(tmp_path / "v.json", value)
    assert everything(tmp_path) == []


# ---- committed folders


def fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "a.bin").write_bytes(bytes(range(256)))
    (folder / "deep" / "é.txt").write_text("text")
    (folder / "empty").write_bytes(b"")


def commit(final: Path) -> Path:
    with committed_folder(final, {"schema": 1}) as folder:
        fill(folder)
    return final


def test_a_committed_folder_is_listed_whole(tmp_path: Path) -> None:
    final = commit(tmp_path / "runs" / "one")
    manifest = verify_folder(final)
    assert manifest["schema"] == 1
    assert set(manifest["files"]) == {"a.bin", "deep/é.txt", "empty"}
    assert manifest["files"]["a.bin"] == {"bytes": 256, "sha256": hashlib.sha256(bytes(range(256))).hexdigest()}
    assert everything(tmp_path / "runs") == [
        "one",
        *(f"one/{name}" for name in ("MANIFEST.json", "a.bin", "deep", "deep/é.txt", "empty")),
    ]


def test_an_empty_folder_can_be_committed(tmp_path: Path) -> None:
    with committed_folder(tmp_path / "one", {}):
        pass
    assert verify_folder(tmp_path / "one") == {"files": {}}


@pytest.mark.parametrize("error", [RuntimeError("x"), KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_an_error_in_the_block_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def block() -> None:
        with committed_folder(tmp_path / "one", {}) as folder:
            fill(folder)
            assert not (tmp_path / "one").exists()
            raise error

    with pytest.raises(type(error)):
        block()
    assert everything(tmp_path) == []


def test_a_disk_error_in_the_block_is_catalogued(tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match=r"E-DISK.*No space left"), committed_folder(tmp_path / "one", {}):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert everything(tmp_path) == []


def test_a_committed_folder_is_never_overwritten(tmp_path: Path) -> None:
    final = commit(tmp_path / "one")
    before = (final / "MANIFEST.json").read_bytes()
    with pytest.raises(ModeledgeError, match="E-OUTPUT"), committed_folder(final, {"schema": 2}) as folder:
        (folder / "new").write_text("x")
    assert (final / "MANIFEST.json").read_bytes() == before
    verify_folder(final)
    assert [p.name for p in tmp_path.iterdir()] == ["one"]


@pytest.mark.parametrize("step", ["block", "manifest", "rename"])
def test_a_kill_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    if step == "manifest":
        monkeypatch.setattr(files, "write_json", die)
    if step == "rename":
        monkeypatch.setattr(os, "rename", die)

    def block() -> None:
        with committed_folder(tmp_path / "one", {}) as folder:
            fill(folder)
            if step == "block":
                die()

    killed(block)
    monkeypatch.undo()
    assert not (tmp_path / "one").exists()
    files.remove_stale(tmp_path)
    assert everything(tmp_path) == []
    verify_folder(commit(tmp_path / "one"))


def test_every_file_is_durable_before_the_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    real_sync, real_rename = os.fsync, os.rename

    def sync(handle: int) -> None:
        seen.append(Path(os.readlink(f"/proc/self/fd/{handle}")).name)
        real_sync(handle)

    monkeypatch.setattr(os, "fsync", sync)
    monkeypatch.setattr(os, "rename", lambda a, b: (seen.append("rename"), real_rename(a, b)))
    commit(tmp_path / "one")
    before, after = seen[: seen.index("rename")], seen[seen.index("rename") + 1 :]
    assert {"a.bin", "é.txt", "empty"} <= set(before)
    assert any(name.startswith(".MANIFEST.json") for name in before)
    assert after == [tmp_path.name]


def test_remove_stale_touches_nothing_else(tmp_path: Path) -> None:
    for name in (".hidden", "a.tmp-1", "data"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".one.tmp-12345678").mkdir()
    files.remove_stale(tmp_path)
    files.remove_stale(tmp_path / "absent")
    assert everything(tmp_path) == [".hidden", "a.tmp-1", "data"]


# ---- what verification notices


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(data))


def wrong(folder: Path) -> str:
    with pytest.raises(ModeledgeError) as caught:
        verify_folder(folder)
    assert caught.value.code == "E-CHECKPOINT"
    assert caught.value.where == str(folder)
    return caught.value.what


@settings(max_examples=40)
@given(bit=st.integers(0, 256 * 8 - 1))
def test_a_flipped_bit_is_noticed(tmp_path_factory: pytest.TempPathFactory, bit: int) -> None:
    final = commit(tmp_path_factory.mktemp("flip") / "one")
    flip(final / "a.bin", bit)
    assert wrong(final) == "a.bin does not match its size or SHA-256"
    flip(final / "a.bin", bit)
    verify_folder(final)


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda f: (f / "a.bin").write_bytes(bytes(range(255))), "a.bin does not match"),
        (lambda f: (f / "a.bin").write_bytes(b""), "a.bin does not match"),
        (lambda f: (f / "a.bin").write_bytes(bytes(range(256)) + b"\0"), "a.bin does not match"),
        (lambda f: (f / "empty").write_bytes(b"x"), "empty does not match"),
        (lambda f: (f / "deep" / "é.txt").unlink(), "deep/é.txt is missing"),
        (lambda f: (f / "extra").write_bytes(b""), "extra is not in the manifest"),
        (lambda f: (f / "deep" / ".hidden").write_bytes(b""), "deep/.hidden is not in the manifest"),
        (lambda f: (f / "empty").rename(f / "full"), "empty is missing"),
        (lambda f: (f / "MANIFEST.json").unlink(), "MANIFEST.json is missing"),
        (lambda f: (f / "MANIFEST.json").write_bytes(b""), "MANIFEST.json cannot be read"),
        (lambda f: (f / "MANIFEST.json").write_bytes(b"\xff"), "MANIFEST.json cannot be read"),
        (lambda f: (f / "MANIFEST.json").write_text("[]"), "MANIFEST.json cannot be read"),
        (lambda f: (f / "MANIFEST.json").write_text('{"files": {"a.bin": 1}}'), "MANIFEST.json cannot be read"),
        (lambda f: (f / "MANIFEST.json").write_text('{"files": []}'), "MANIFEST.json cannot be read"),
    ],
)
def test_every_damage_is_noticed(tmp_path: Path, change: Callable[[Path], Any], what: str) -> None:
    final = commit(tmp_path / "one")
    change(final)
    assert wrong(final).startswith(what)


def test_a_file_that_the_manifest_names_outside_is_not_looked_for(tmp_path: Path) -> None:
    final = commit(tmp_path / "one")
    (tmp_path / "secret").write_bytes(b"s")
    manifest = read_json(final / "MANIFEST.json")
    manifest["files"]["../secret"] = {"bytes": 1, "sha256": sha256(tmp_path / "secret")}
    (final / "MANIFEST.json").write_text(json.dumps(manifest))
    assert wrong(final) == "../secret is missing"


def test_what_is_committed_can_be_read_as_any_new_file(tmp_path: Path) -> None:
    """safetensors writes files for their owner alone; a model folder is for whoever may read the others."""
    (tmp_path / "new").write_text("x")
    with files.committed_folder(tmp_path / "folder", {}) as temporary:
        (temporary / "closed").write_text("x")
        (temporary / "closed").chmod(0o600)
    assert (tmp_path / "folder" / "closed").stat().st_mode == (tmp_path / "new").stat().st_mode
