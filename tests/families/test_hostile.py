"""Hostile artifacts in a child process that is watched: nothing runs, nothing is fetched, nothing hangs.

Numbers are those of the project's list of bad inputs.
"""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import socket
import struct
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hostile_child import in_child
from mutate import MUTATIONS, joined, parts
from safetensors.torch import load_file

from modeledge import files
from modeledge.config import load_config
from modeledge.errors import CATALOGUE
from modeledge.families import load_model, save_model
from modeledge.model import (
    Attention,
    FeedForward,
    Learned,
    LMHead,
    Norm,
    Rotary,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
)
from modeledge.recipes.asking.use import Model
from modeledge.recipes.corpora.vocabulary import given_tokenizer
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer, train_tokenizer

TEXTS = ["the quick fox", "a dog", "the lazy dog sleeps", "a fox and a dog and a fox"]


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A decoder and an encoder in our own form, a Llama in shards; loaded once, so that all is imported."""
    tokenizer = train_tokenizer([*TEXTS] * 3, kind="bpe", vocab_size=270)
    room, made = tmp_path_factory.mktemp("good"), {}
    for name, side, position in (
        ("ours", "decoder", Learned(length=16)),
        ("llama", "decoder", Rotary()),
        ("bert", "encoder", Learned(length=16)),
    ):
        llama = name == "llama"
        stack = Stack(
            layers=1,
            attention=Attention(heads=2, bias=not llama),
            feedforward=FeedForward(width=12, kind="swiglu" if llama else "gelu", bias=not llama),
            norm=Norm(kind="rms" if llama else "layer"),
            position=position,
        )
        embed = Tokens(vocab=tokenizer.vocab_size)
        model = Transformer(TransformerConfig(width=8, embed=embed, **{side: stack}), seed=1)  # type: ignore[arg-type]
        model.add_heads({"lm": LMHead()}, Noise(0))
        family = "llama" if llama else "modeledge"
        save_model(model, room / name, family=family, shard_bytes=8000 if llama else 10**9)
        tokenizer.save(room / name)
        made[name] = room / name
        loaded = Model.load(room / name)
        if side == "decoder":
            loaded.generate("a fox", max_new_tokens=2)
    return made


@pytest.fixture
def ours(good: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(good["ours"], tmp_path / "model"))


@pytest.fixture
def llama(good: dict[str, Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(good["llama"], tmp_path / "llama"))


def refused(folder: Path, code: str, *words: str, call: Callable[[], Any] | None = None) -> dict[str, Any]:
    """The error of a child that reads the folder, in which nothing else happened."""
    (told,) = in_child([(folder, call or (lambda: load_model(folder) and None))])
    assert told["wrong"] == []
    assert told["code"] == code, told["what"]
    for word in words:
        assert word in told["what"]
    return told


def said(folder: Path, **change: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))


class Trap:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.touch, (self.path,))


# ---- the watch itself


@pytest.mark.parametrize(
    "act",
    [
        lambda: os.system("true"),
        lambda: os.posix_spawn("/bin/true", ["true"], {}),
        lambda: socket.create_connection(("127.0.0.1", 9)),
        lambda: open("/etc/passwd").close(),
        lambda: pickle.loads(pickle.dumps(Path("x"))),  # noqa: S301
    ],
)
def test_the_watch_sees(ours: Path, act: Callable[[], Any]) -> None:
    (told,) = in_child([(ours, lambda: act() and None)])
    assert told["wrong"]


def test_the_limits_hold(ours: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hostile_child.SECONDS", 0.2)

    def forever() -> None:
        while True:
            pass

    told = in_child([(ours, forever), (ours, lambda: bytearray(1 << 30) and None), (ours, lambda: os._exit(1))])
    assert [t["code"] for t in told] == ["HANG", "CRASH", "DIED"]
    assert "MemoryError" in told[1]["what"]


def test_a_good_model_opens_each_of_its_files_once(ours: Path, llama: Path) -> None:
    for folder in (ours, llama):
        (told,) = in_child([(folder, lambda folder=folder: load_model(folder) and None)])  # type: ignore[misc]
        assert (told["code"], told["wrong"]) == ("", [])
        opened = Counter(Path(path).name for path in told["opened"])
        assert {name: n for name, n in opened.items() if name.endswith(".safetensors")} == {
            path.name: 1 for path in folder.glob("*.safetensors")
        }


# ---- the numbered cases


def test_79_a_tokenizer_with_more_ids_than_rows(ours: Path) -> None:
    path = ours / "tokenizer.json"
    told = json.loads(path.read_text())
    told["model"]["vocab"]["zzz"] = 5000
    path.write_text(json.dumps(told))
    refused(ours, "E-VOCAB-SIZE", "5,001", "270")


def test_80_another_tokenizer_than_the_models(ours: Path, tmp_path: Path) -> None:
    train_tokenizer(["other words"] * 9, kind="bpe", vocab_size=262).save(tmp_path / "model" / "other")
    values = {"corpus": {}, "tokenizer": {"path": str(ours / "other")}, "model": {"start": str(ours)}}
    recipe = load_config(PretrainRecipe, None, values=values)
    refused(ours, "E-TOKENIZER-MISMATCH", call=lambda: given_tokenizer(recipe))


def test_81_a_special_token_that_is_needed(good: dict[str, Path], tmp_path: Path) -> None:
    folder = Path(shutil.copytree(good["bert"], tmp_path / "bert"))
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "mask_token": None}))
    refused(folder, "E-SPECIAL-TOKEN", "mask", call=lambda: Tokenizer.load(folder).need("mask"))
    refused(folder, "E-SPECIAL-TOKEN", "mask", call=lambda: Model.load(folder).fill("a [MASK]"))


def test_84_a_text_longer_than_the_positions(ours: Path) -> None:
    refused(ours, "E-POSITION", call=lambda: Model.load(ours).generate("a fox " * 90))


def test_85_heads_that_do_not_divide_the_width(ours: Path, llama: Path) -> None:
    said(llama, num_attention_heads=3)
    refused(llama, "E-CONFIG", "3")


@pytest.mark.parametrize(
    "text",
    ["!!python/object/apply:os.system [touch sprung]", "a: &a [x]\nb: &b [*a, *a, *a]\nc: [*b, *b]", "a: 1\na: 2"],
)
def test_88_yaml_is_no_recipe(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    refused(tmp_path, "E-CONFIG-UNSAFE", call=lambda: load_config(PretrainRecipe, path))


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "weights.ckpt", "model.safetensors"])
def test_89_pickles(ours: Path, name: str) -> None:
    (ours / "model.safetensors").unlink()
    (ours / name).write_bytes(pickle.dumps(Trap(ours / "sprung")))
    refused(ours, "E-UNSAFE-FORMAT", "modeledge convert", "--from-pickle")
    assert not (ours / "sprung").exists()


def test_89_pickles_beside_a_model_are_left_alone(ours: Path) -> None:
    for name in ("rng_state.pth", "optimizer.pt", "training_args.bin", "modeling.py", "__init__.py", "torch.py"):
        (ours / name).write_bytes(pickle.dumps(Trap(ours / "sprung")))
    (told,) = in_child([(ours, lambda: load_model(ours) and None)])
    assert (told["code"], told["wrong"]) == ("", [])
    assert not {Path(path).name for path in told["opened"]} & {"rng_state.pth", "optimizer.pt", "training_args.bin"}


@pytest.mark.parametrize("kind", ["length", "overlap", "negative", "dtype", "entries", "text", "overflow", "deep"])
def test_90_damaged_headers(ours: Path, kind: str) -> None:
    path = ours / "model.safetensors"
    header, body = parts(path)
    names = sorted(set(header) - {"__metadata__"})
    first, second = next((a, b) for a in names for b in names if a < b and header[a]["shape"] == header[b]["shape"])
    if kind == "length":
        path.write_bytes(struct.pack("<Q", 1 << 62) + path.read_bytes()[8:])
    elif kind == "entries":
        joined(path, {f"{n}": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]} for n in range(100_001)}, b"")
    elif kind == "text":
        joined(path, b"{nonsense", body)
    elif kind == "deep":
        joined(path, b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", body)
    elif kind == "overflow":
        none = {"dtype": "F32", "shape": [1 << 40, 1 << 40, 0], "data_offsets": [len(body)] * 2}
        joined(path, {**header, "zz": none}, body)
    else:
        change = {
            "overlap": {"data_offsets": header[second]["data_offsets"]},
            "negative": {"data_offsets": [-4, 0]},
            "dtype": {"dtype": "F64"},
        }[kind]
        joined(path, {**header, first: {**header[first], **change}}, body)
    refused(ours, "E-SAFETENSORS")


@pytest.mark.parametrize("kind", ["missing", "digest", "shard", "extra"])
def test_91_damaged_checkpoints(ours: Path, kind: str) -> None:
    for name, text in (("a", "one"), ("b", "two")):
        with files.committed_folder(ours / name, {"schema": 1}) as folder:
            (folder / "state").write_text(text)
    match kind:
        case "missing":
            (ours / "a" / "state").unlink()
        case "digest":
            (ours / "a" / "state").write_text("onE")
        case "shard":
            shutil.copy(ours / "b" / "state", ours / "a" / "state")
        case _:
            (ours / "a" / "more").write_text("x")
    refused(ours, "E-CHECKPOINT", "state" if kind != "extra" else "more", call=lambda: files.verify_folder(ours / "a"))


@pytest.mark.parametrize("name", ["../x.safetensors", "/etc/passwd", "..\\x.safetensors", "C:\\x.safetensors"])
def test_92_a_shard_map_that_leads_out(llama: Path, name: str) -> None:
    path = llama / "model.safetensors.index.json"
    told = json.loads(path.read_text())
    told["weight_map"]["model.norm.weight"] = name
    path.write_text(json.dumps(told))
    refused(llama, "E-UNSAFE-PATH", "leads out")


@pytest.mark.parametrize("which", ["config.json", "tokenizer.json", "model.safetensors.index.json", "shard", "part"])
def test_92_a_link_that_leads_out(llama: Path, which: str) -> None:
    path = sorted(llama.glob("*.safetensors"))[0] if which in ("shard", "part") else llama / which
    shutil.move(path, llama.parent / path.name)
    path.symlink_to(llama.parent / path.name)
    if which == "part":  # the folder of a shard is the link
        path.unlink()
        (llama.parent / "sub").mkdir()
        shutil.move(llama.parent / path.name, llama.parent / "sub" / path.name)
        (llama / "sub").symlink_to(llama.parent / "sub")
        index = llama / "model.safetensors.index.json"
        index.write_text(index.read_text().replace(path.name, f"sub/{path.name}"))
    refused(llama, "E-UNSAFE-PATH", "the link leads out")


def test_93_the_weights_of_another_model(ours: Path, llama: Path, good: dict[str, Path]) -> None:
    shutil.copy(good["bert"] / "config.json", ours / "config.json")
    (ours / "model.safetensors").unlink()
    for path in [*good["llama"].glob("*.safetensors"), good["llama"] / "model.safetensors.index.json"]:
        shutil.copy(path, ours)
    refused(ours, "E-KEYS", "missing", "unexpected")


# ---- keys that would run code


@pytest.mark.parametrize("name", ["auto_map", "trust_remote_code", "_attn_implementation_internal", "_target_"])
@pytest.mark.parametrize("deep", [False, True])
def test_keys_that_would_run_code(llama: Path, name: str, deep: bool) -> None:
    value = {"AutoModel": "evil/repo--modeling.Evil"}
    said(llama, **({"task_specific_params": {"a": [{name: value}]}} if deep else {name: value}))
    refused(llama, "E-CONFIG-UNSAFE", name)


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("hidden_act", "os.system", "E-CONFIG-VALUE"),
        ("model_type", "../../x", "E-FAMILY"),
        ("model_type", "os:system", "E-FAMILY"),
        ("rope_parameters", {"rope_type": "os.system"}, "E-CONFIG-VALUE"),
        ("quantization_config", {"quant_method": "evil"}, "E-CONFIG-KEY"),
        ("kernel_config", {"repo": "evil/kernels"}, "E-CONFIG-KEY"),
    ],
)
def test_names_are_words_of_a_list(llama: Path, key: str, value: Any, code: str) -> None:
    said(llama, **{key: value})
    refused(llama, code)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(ours: Path) -> None:
    for name, code in (("config.json", "E-NOT-A-FILE"), ("model.safetensors", "E-NO-FILE")):
        folder = Path(shutil.copytree(ours, ours.parent / f"pipe-{name}"))
        (folder / name).unlink()
        os.mkfifo(folder / name)
        refused(folder, code)


# ---- damage by lot

COUNT = 162  # for each of three folders


def wrong_weights(folder: Path, model: Transformer) -> str:
    """What differs from what an independent reader finds in the files: by name in our own form, else as a whole."""
    theirs = {n: t for path in sorted(folder.glob("*.safetensors")) for n, t in load_file(path).items()}
    mine = model.state_dict()
    if json.loads((folder / "config.json").read_text())["model_type"] == "modeledge":
        names = [n for n in mine if mine[n].numpy().tobytes() != theirs[n].to(mine[n].dtype).numpy().tobytes()]
        return f"other weights: {names}" if names or mine.keys() != theirs.keys() else ""
    bits = [Counter(t.to(torch.float32).numpy().tobytes() for t in part.values()) for part in (mine, theirs)]
    return "" if bits[0] == bits[1] else "other weights"


@pytest.mark.parametrize("kind", ["ours", "llama", "bert"])
def test_damage_by_lot(good: dict[str, Path], tmp_path: Path, kind: str) -> None:
    """486 spoilt folders: each is refused by a code of ours, or loads what another reader reads in it."""
    cases, how = [], []
    for n in range(COUNT):
        folder = Path(shutil.copytree(good[kind], tmp_path / f"{n}"))
        mutation = MUTATIONS[n % len(MUTATIONS)]
        mutation(folder, random.Random(f"{kind} {n}"))
        how.append(f"{n} {mutation.__name__}")
        cases.append((folder, lambda folder=folder: load_model(folder)))  # type: ignore[misc]
    told = in_child(cases, lambda n, model: wrong_weights(cases[n][0], model))
    rows = list(zip(how, told, strict=True))
    assert [(h, t) for h, t in rows if t["code"] not in {"", *CATALOGUE}] == []
    assert [(h, t) for h, t in rows if t["wrong"] or (not t["code"] and t["what"])] == []
    codes = Counter(t["code"] for t in told)
    assert 3 <= codes[""] <= COUNT // 2, codes  # some damage does not matter, most does
    assert len(codes) >= 8, codes


def test_the_comparison_sees_other_weights(ours: Path, good: dict[str, Path]) -> None:
    model = load_model(ours)
    assert wrong_weights(ours, model) == ""
    with torch.no_grad():
        model.tokens[0, 0] += 1
    assert wrong_weights(ours, model)


def test_a_tokenizer_of_others_is_refused_by_our_codes(good: dict[str, Path], tmp_path: Path) -> None:
    cases = []
    for n in range(30):
        folder = Path(shutil.copytree(good["ours"], tmp_path / f"{n}"))
        mutation = next(m for m in MUTATIONS if m.__name__ == ("odd_tokenizer", "flip_beside", "double_key")[n % 3])
        mutation(folder, random.Random(f"tokenizer {n}"))
        cases.append((folder, lambda folder=folder: Tokenizer.load(folder) and None))  # type: ignore[misc]
    told = in_child(cases)
    assert [t for t in told if t["wrong"] or t["code"] not in {"", *CATALOGUE}] == []
