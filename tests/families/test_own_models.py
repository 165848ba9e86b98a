"""Models of our own: which format holds them, that it gives them back, and that our format is as strict."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from families_small import VOCAB, assert_same, content, refused, said
from safetensors import SafetensorError

from modeledge.errors import ModeledgeError
from modeledge.families import FAMILIES, load_model, save_model
from modeledge.families.checkpoint import holds
from modeledge.families.family import blank
from modeledge.families.rules import same_bits
from modeledge.model import (
    Attention,
    ClassHead,
    Dropout,
    FeedForward,
    Head,
    Learned,
    LMHead,
    Norm,
    Rotary,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
    ValueHead,
)
from modeledge.seed import Noise

POST = Stack(
    layers=2,
    attention=Attention(heads=2),
    feedforward=FeedForward(width=12, kind="relu"),
    norm=Norm(place="post", eps=1e-7),
    position=Learned(length=9),
    dropout=Dropout(embed=0.2, hidden=0.2, attention=0.3),
)
PRE = Stack(
    layers=2,
    attention=Attention(heads=2, qkv="fused"),
    feedforward=FeedForward(width=12, kind="gelu_tanh"),
    position=Learned(length=9),
)
MODERN = Stack(
    layers=2,
    attention=Attention(heads=2, kv_heads=1, bias=False, qk_norm="head", windows=(None, 4)),
    feedforward=FeedForward(width=12, kind="swiglu", bias=False),
    norm=Norm(kind="rms"),
    position=Rotary(base=500.0),
)
ENCODER = TransformerConfig(width=8, embed=Tokens(vocab=VOCAB, types=2, norm=True), encoder=POST)
DECODER = TransformerConfig(width=8, embed=Tokens(vocab=VOCAB), decoder=PRE)
LATER = TransformerConfig(width=8, embed=Tokens(vocab=VOCAB), decoder=MODERN)
SCORE = ClassHead(outputs=1, pool="last", bias=False)
OWN: dict[str, tuple[str, TransformerConfig, dict[str, Head]]] = {
    "encoder": ("bert", ENCODER, {"lm": LMHead(transform=True, bias=True)}),
    "classifier": ("bert", ENCODER, {"class": ClassHead(outputs=4, hidden=True, dropout=0.1)}),
    "regressor": ("bert", ENCODER, {"value": ValueHead(hidden=True)}),
    "body": ("bert", ENCODER, {}),
    "decoder": ("gpt2", DECODER, {"lm": LMHead()}),
    "untied": ("gpt2", DECODER, {"lm": LMHead(tie=False), "class": SCORE}),
    "mean": ("modeledge", DECODER, {"class": ClassHead(outputs=2, pool="mean")}),
    "modern": ("modeledge", LATER, {"lm": LMHead(tie=False), "critic": ValueHead(pool=None)}),
}


@pytest.mark.parametrize("name", OWN)
def test_a_model_of_our_own_is_written_by_the_family_that_holds_it(name: str, hf: Any, tmp_path: Path) -> None:
    family, config, heads = OWN[name]
    model = Transformer(config, seed=5)
    model.add_heads(heads, Noise(5))
    save_model(model, tmp_path)
    said, _ = content(tmp_path)
    assert said["model_type"] == family
    again = load_model(tmp_path)
    assert again.config == config
    assert again.state_dict().keys() == model.state_dict().keys()
    assert all(same_bits(a, again.state_dict()[n]) for n, a in model.state_dict().items())
    save_model(again, tmp_path / "twice")
    assert_same(tmp_path, tmp_path / "twice")
    if family != "modeledge":
        _, told = getattr(hf, said["architectures"][0]).from_pretrained(tmp_path, output_loading_info=True)
        assert not told["mismatched_keys"]
        assert all(
            "lm_head" in k or "pooler" in k or k == "cls.predictions.decoder.bias"
            for k in told["missing_keys"] | told["unexpected_keys"]
        )


def test_a_bare_body_is_named_as_the_bare_class_names_it(tmp_path: Path) -> None:
    save_model(Transformer(OWN["body"][1]), tmp_path)
    said, weights = content(tmp_path)
    assert said["architectures"] == ["BertModel"]
    assert "embeddings.word_embeddings.weight" in weights


def test_a_family_that_gives_back_other_heads_does_not_hold_a_model() -> None:
    _, config, heads = OWN["encoder"]
    assert holds(FAMILIES["bert"], config, heads)
    assert not holds(replace(FAMILIES["bert"], heads=lambda said, names: {}), config, heads)
    assert not holds(FAMILIES["bert"], replace(config, init=0.5), {"lm": LMHead()})


def test_split_queries_are_written_as_gpt2_when_asked(tmp_path: Path) -> None:
    split = Stack(layers=2, attention=Attention(heads=2), feedforward=PRE.feedforward, position=Learned(length=9))
    config = TransformerConfig(width=8, embed=Tokens(vocab=VOCAB), decoder=split)
    model = Transformer(config)
    save_model(model, tmp_path / "own")
    assert content(tmp_path / "own")[0]["model_type"] == "modeledge"
    save_model(model, tmp_path / "theirs", family="gpt2")
    again = load_model(tmp_path / "theirs")
    parts = [model.tower.blocks[1].attention.get_submodule(p).weight for p in ("query", "key", "value")]  # type: ignore[union-attr, operator]
    assert torch.equal(torch.cat(parts), again.tower.blocks[1].attention.qkv.weight)  # type: ignore[union-attr]


@pytest.mark.parametrize("family", ["bert", "gpt2"])
def test_a_family_that_cannot_hold_a_model_says_why(family: str, tmp_path: Path) -> None:
    model = Transformer(OWN["modern"][1])
    with pytest.raises(
        ModeledgeError, match=r"its positions are not learned; its norm is not LayerNorm|it is a decoder"
    ) as caught:
        save_model(model, tmp_path, family=family)
    assert caught.value.code == "E-OUTSIDE-FAMILY"
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("family", [name for name in FAMILIES if name != "modeledge"])
def test_every_family_reads_back_the_configuration_that_it_writes(family: str) -> None:
    row = FAMILIES[family]
    for _, config, heads in (o for o in OWN.values() if o[0] == family):
        said = {
            **row.write_config(config, row.read_config({"model_type": family})[1]),
            **row.write_heads(config, heads),
        }
        assert row.read_config(said)[0] == config
        names = {r.ours for r in FAMILIES["modeledge"].rules(config, heads)}  # type: ignore[union-attr]
        assert names == set(blank(config, heads).state_dict())


def test_adapters_that_are_not_merged_are_not_lost_in_silence(tmp_path: Path) -> None:
    model = Transformer(OWN["decoder"][1])
    model.tower.blocks[0].register_parameter("extra", torch.nn.Parameter(torch.zeros(2)))
    with pytest.raises(ModeledgeError, match="extra") as caught:
        save_model(model, tmp_path)
    assert caught.value.code == "E-OUTSIDE-FAMILY"


@pytest.fixture
def own(tmp_path: Path) -> Path:
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=8), position=Learned(length=4))
    model = Transformer(TransformerConfig(width=4, embed=Tokens(vocab=5), decoder=stack))
    model.add_heads({"lm": LMHead()}, Noise(0))
    save_model(model, tmp_path / "own")
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"schema": 2}, "E-CONFIG-VALUE", "schema 2"),
        ({"hidden_size": 2}, "E-CONFIG-KEY", "hidden_size"),
        ({"model": 3}, "E-CONFIG-VALUE", "model"),
        ({"auto_map": {}}, "E-CONFIG-UNSAFE", "auto_map"),
        ({"heads": []}, "E-CONFIG-VALUE", "heads"),
        ({"heads": {"lm": {"kind": "llm"}}}, "E-CONFIG-VALUE", "did you mean 'lm'?"),
        ({"heads": {"lm": {"kind": "lm", "tied": True}}}, "E-CONFIG-KEY", "did you mean 'tie'?"),
        ({"heads": {"lm": {"kind": "lm", "tie": 1}}}, "E-CONFIG-VALUE", "tie"),
        ({"heads": {"class": {"kind": "class"}}}, "E-CONFIG-VALUE", "outputs is missing"),
        ({"heads": {"class": {"kind": "class", "outputs": 2, "pool": "median"}}}, "E-CONFIG-VALUE", "median"),
        ({"heads": {"lm": {"kind": "lm", "tie": False}}}, "E-KEYS", "missing: heads.lm.weight"),
    ],
    ids=str,
)  # fmt: skip
def test_our_own_format_is_as_strict(own: Path, change: Any, code: str, words: str) -> None:
    load_model(own)
    said(own, **change)
    refused(own, code, words)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("decoder.feedforward.kind", "gelu_tan", "did you mean 'gelu_tanh'?"),
        ("decoder.norm.kind", "rmsnorm", "did you mean 'rms'?"),
        ("decoder.norm.eps", "1e-5", "eps is '1e-5'"),
        ("decoder.attention.heads", 2.0, "heads is 2.0"),
        ("decoder.attention.bias", 1, "bias is 1"),
        ("decoder.attention.windows", [], "windows is ()"),
        ("decoder.attention.windows", [4, "x"], "windows is (4, 'x')"),
        ("decoder.position", {"kind": "learned", "length": None}, "length is None"),
        ("decoder.position", 3, "position is 3"),
        ("decoder", 3, "decoder is 3"),
        ("width", True, "width is True"),
    ],
)
def test_a_value_of_our_own_format_is_what_its_field_declares(own: Path, path: str, value: Any, words: str) -> None:
    model = json.loads((own / "config.json").read_text())["model"]
    part = model
    *parents, last = path.split(".")
    for name in parents:
        part = part[name]
    part[last] = value
    said(own, model=model)
    refused(own, "E-CONFIG-VALUE", f"model.{path}", words)


def test_a_folder_without_a_configuration_is_not_whole(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A write that dies between weights and configuration leaves no folder that looks whole."""
    model = load_model(own)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("modeledge.families.shards.files.write_json", full)
    with pytest.raises(OSError, match="No space"):
        save_model(model, own)
    refused(own, "E-NO-FILE", "config.json")


def test_a_file_is_not_written_over_by_a_folder(own: Path) -> None:
    with pytest.raises(ModeledgeError) as caught:
        save_model(load_model(own), own / "config.json")
    assert caught.value.code == "E-OUTPUT"


def test_a_disk_that_fills_up_leaves_the_model_that_was_there(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    before = {path.name: path.read_bytes() for path in own.iterdir()}
    model = load_model(own)
    monkeypatch.setattr("modeledge.families.weights.save_file", full)
    with pytest.raises(ModeledgeError, match="No space left") as caught:
        save_model(model, own)
    assert caught.value.code == "E-DISK"
    assert {path.name: path.read_bytes() for path in own.iterdir()} == before


def test_a_model_without_memory_draws_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing on the meta device would load torch's compiler: five seconds for nothing."""

    def drawn(*_: Any) -> None:
        raise AssertionError("a generator was asked for")

    monkeypatch.setattr(torch, "Generator", drawn)
    assert all(p.is_meta for p in blank(*OWN["modern"][1:]).parameters())
