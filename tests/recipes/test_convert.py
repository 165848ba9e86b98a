"""Models in another form or dtype: whole or not at all, tokenizers as they were, losses said, pickles in a sandbox."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hub_small import llama
from safetensors.torch import load_file
from test_use import TOKENIZER, made, refused

import modeledge as me
from modeledge.families import origin_of
from modeledge.recipes.store import sandbox
from modeledge.recipes.store.convert import Wish, convert


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = me.save(llama(TOKENIZER), tmp_path_factory.mktemp("made") / "model")
    (folder / "merges.txt").write_text("odd bytes \x07 stay\n")
    return folder


def same(one: Path, two: Path, dtype: torch.dtype = torch.float32) -> None:
    first, second = (me.load(folder).transformer.state_dict() for folder in (one, two))
    assert first.keys() == second.keys()
    assert all(torch.equal(t.to(dtype).float(), second[name]) for name, t in first.items())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("to", ["hf", "modeledge"])
def test_there_and_back(model: Path, tmp_path: Path, to: str, dtype: str) -> None:
    told: list[str] = []
    convert(model, tmp_path / "out", Wish(to, dtype), told.append)
    same(model, tmp_path / "out", getattr(torch, dtype))
    assert {str(t.dtype) for t in load_file(tmp_path / "out" / "model.safetensors").values()} == {f"torch.{dtype}"}
    lossy = [line for line in told if "was asked for and rounds" in line]
    assert bool(lossy) == (dtype != "float32"), told
    convert(tmp_path / "out", tmp_path / "back", Wish("hf"), told.append)
    same(tmp_path / "out", tmp_path / "back")
    origin = origin_of(me.load(tmp_path / "back").transformer)
    assert origin is not None
    assert origin.family == "llama"
    for name in ("tokenizer.json", "tokenizer_config.json", "merges.txt"):
        assert (tmp_path / "back" / name).read_bytes() == (model / name).read_bytes()


def test_the_reference_library_reads_what_was_saved(model: Path) -> None:
    hf = pytest.importorskip("transformers")
    theirs, ids = hf.AutoModelForCausalLM.from_pretrained(model), torch.arange(8)[None]
    with torch.no_grad():
        logits = theirs(input_ids=ids).logits[0]
    ours = me.load(model).transformer
    from modeledge.model import Batch, Side

    with torch.no_grad():
        states = ours(Batch(target=Side.of(ids))).last[0]
    assert (states @ ours.table.T - logits).abs().max() < 1e-5


def test_what_another_form_leaves_out_is_said(model: Path, tmp_path: Path) -> None:
    told: list[str] = []
    convert(model, tmp_path / "out", Wish("modeledge"), told.append)
    assert any("eos_token_id" in line and "change no number" in line for line in told)


def test_a_weight_too_large_for_the_dtype_is_refused(tmp_path: Path) -> None:
    big = llama(TOKENIZER)
    with torch.no_grad():
        big.transformer.tokens[0, 0] = 1e5
    me.save(big, tmp_path / "big")
    words = refused("E-CONFIG-VALUE", lambda: convert(tmp_path / "big", tmp_path / "out", Wish(dtype="float16"), str))
    assert "65,504" in words
    assert "embed_tokens" in words
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".out*"))


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (lambda m, t: convert(m, m, Wish(), str), "E-OUTPUT"),
        (lambda m, t: convert(m, t / "x", Wish("gguf"), str), "E-USAGE"),
        (lambda m, t: convert(m, t / "x", Wish(dtype="int8"), str), "E-USAGE"),
        (lambda m, t: convert(m, t / "x", Wish(revision="main"), str), "E-USAGE"),
        (lambda m, t: convert(t / "none", t / "x", Wish(), str), "E-NO-FILE"),
        (lambda m, t: convert(t / "none", t / "x", Wish(from_pickle=True), str), "E-NO-FILE"),
        (lambda m, t: convert(m / "config.json", t / "x", Wish(from_pickle=True), str), "E-USAGE"),
        (lambda m, t: me.save(made("decoder"), t / "x"), "E-OUTSIDE-FAMILY"),
    ],
)
def test_what_cannot_be_done_is_refused(
    model: Path, tmp_path: Path, call: Callable[[Path, Path], Any], code: str
) -> None:
    refused(code, lambda: call(model, tmp_path))
    assert not (tmp_path / "x").exists()


def test_the_command(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from modeledge.cli import main

    out = tmp_path / "out"
    monkeypatch.setattr(sys, "argv", ["modeledge", "convert", str(model), str(out), "--dtype", "bfloat16"])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0
    same(model, out, torch.bfloat16)


# ---- pickles


class Run:
    """A pickle that would run a function."""

    def __init__(self, call: Any, *args: Any) -> None:
        self.call, self.args = call, args

    def __reduce__(self) -> Any:
        return (self.call, self.args)


def pickled(model: Path, folder: Path, *, name: str = "pytorch_model.bin", wrap: Any = None, **how: Any) -> Path:
    """The same model with its weights in a pickle."""
    folder.mkdir()
    for file in ("config.json", "tokenizer.json", "tokenizer_config.json"):
        (folder / file).write_bytes((model / file).read_bytes())
    weights = load_file(model / "model.safetensors")
    torch.save(weights if wrap is None else wrap(weights), folder / name, **how)
    return folder


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt"])
@pytest.mark.parametrize("zipped", [True, False])
def test_pickled_weights_become_safetensors(model: Path, tmp_path: Path, name: str, zipped: bool) -> None:
    source = pickled(model, tmp_path / "old", name=name, _use_new_zipfile_serialization=zipped)
    for path in (source, source / name):
        words = refused("E-UNSAFE-FORMAT", lambda path=path: convert(path, tmp_path / "out", Wish(), str))  # type: ignore[misc]
        assert "modeledge convert FOLDER OUT --to hf --from-pickle" in words
        out = tmp_path / f"out-{path.name}"
        convert(path, out, Wish(from_pickle=True), str)
        same(model, out)
        assert (out / "tokenizer.json").read_bytes() == (model / "tokenizer.json").read_bytes()
        assert not list(out.glob("*.bin")) + list(out.glob("*.pt"))


def test_pickled_shards_and_shared_tensors(model: Path, tmp_path: Path) -> None:
    source = pickled(model, tmp_path / "old")
    weights = load_file(model / "model.safetensors")
    weights["lm_head.weight"] = weights["model.embed_tokens.weight"]  # one memory, two names
    names, files = sorted(weights), ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
    placed = {name: files[n % 2] for n, name in enumerate(names)}
    for file in files:
        torch.save({n: weights[n] for n in names if placed[n] == file}, source / file)
    import json

    (source / "pytorch_model.bin").unlink()
    index = source / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    convert(source, tmp_path / "out", Wish(from_pickle=True), str)
    same(model, tmp_path / "out")
    index.write_text(json.dumps({"metadata": {}, "weight_map": {**placed, names[0]: "../old/model.bin"}}))
    refused("E-UNSAFE-PATH", lambda: convert(source, tmp_path / "again", Wish(from_pickle=True), str))


def test_what_stood_around_the_weights_is_named(model: Path, tmp_path: Path) -> None:
    told: list[str] = []
    source = pickled(model, tmp_path / "old", wrap=lambda w: {"state_dict": w, "epoch": 3, "note\x1b": "x"})
    convert(source, tmp_path / "out", Wish(from_pickle=True), told.append)
    assert any("epoch" in line and "left out" in line for line in told)
    assert "\x1b" not in "".join(told)
    same(model, tmp_path / "out")


@pytest.mark.parametrize("kind", ["raw", "zip", "bomb", "list", "nothing", "cut"])
def test_hostile_pickles_are_refused_and_leave_no_trace(
    model: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, trap = pickled(model, tmp_path / "old"), tmp_path / "sprung"
    path = source / "pytorch_model.bin"
    if kind == "raw":
        path.write_bytes(pickle.dumps(Run(Path.touch, trap)))
    elif kind == "zip":
        torch.save({"a": Run(os.system, f"touch {trap}")}, path)
    elif kind == "bomb":  # 1 GB of zeros in a small file
        monkeypatch.setattr(sandbox, "MEMORY", 256 << 20)
        torch.save({"a": torch.zeros(4)}, path)
        path.write_bytes(deflated(path.read_bytes()))
    elif kind == "cut":
        path.write_bytes(path.read_bytes()[:-300])
    else:
        torch.save([torch.zeros(2)] if kind == "list" else {"a": 1}, path)
    words = refused("E-UNSAFE-FORMAT", lambda: convert(source, tmp_path / "out", Wish(from_pickle=True), str))
    assert "was not read" in words
    assert kind != "bomb" or "memory" in words.lower() or "alloc" in words.lower(), words
    assert not trap.exists()
    assert not (tmp_path / "out").exists()


def deflated(data: bytes) -> bytes:
    """The same archive, whose tensors unpack to a gigabyte of zeros."""
    import io
    import zipfile

    out, old = io.BytesIO(), zipfile.ZipFile(io.BytesIO(data))
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, bytes(1 << 30) if "/data/" in name else old.read(name))
    return out.getvalue()


WORKER = """
import sys
sys.argv = ["unpickle.py"]
sys.path.insert(0, {folder!r})
import torch
import unpickle
def load(*args, **kwargs):
    {act}
torch.load = load
unpickle.main({source!r}, {target!r}, str(1 << 30), "60")
"""


@pytest.mark.parametrize(
    "act",
    [
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
        "import socket; socket.create_connection(('127.0.0.1', {port}), 1)",
        "open({trap!r}, 'w')",
        "import os; os.open({trap!r}, os.O_CREAT | os.O_WRONLY)",
        "bytearray(3 << 30)",
    ],
)
def test_the_sandbox_holds_even_where_the_unpickler_has_a_hole(model: Path, tmp_path: Path, act: str) -> None:
    """What a pickle would do, had `weights_only` failed: the hook and the limits end it."""
    source, trap = pickled(model, tmp_path / "old") / "pytorch_model.bin", tmp_path / "trap"
    with socket.create_server(("127.0.0.1", 0)) as server:
        act = act.format(port=server.getsockname()[1], trap=str(trap))
        names = {"folder": str(Path(sandbox.__file__).parent), "source": str(source), "target": str(tmp_path / "t")}
        done = subprocess.run(
            [sys.executable, "-c", WORKER.format(act=act, **names)], capture_output=True, text=True, check=False
        )
    assert done.returncode != 0
    assert "it wanted" in done.stderr or "MemoryError" in done.stderr, done.stderr
    assert not trap.exists()
    assert not (tmp_path / "t").exists()


def test_a_reader_that_takes_too_long_is_ended(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "SECONDS", 0.05)
    source = pickled(model, tmp_path / "old")
    words = refused("E-UNSAFE-FORMAT", lambda: convert(source, tmp_path / "out", Wish(from_pickle=True), str))
    assert "seconds" in words


def test_the_reader_sees_no_secret_of_the_environment(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    seen: dict[str, str] = {}
    run = subprocess.run

    def watched(*args: Any, env: dict[str, str], **more: Any) -> Any:
        seen.update(env)
        return run(*args, env=env, **more)

    monkeypatch.setattr(sandbox.subprocess, "run", watched)
    convert(pickled(model, tmp_path / "old"), tmp_path / "out", Wish(from_pickle=True), str)
    assert set(seen) == {"PATH", "PYTHONPATH", "OMP_NUM_THREADS", "HOME"}
