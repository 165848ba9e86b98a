"""A run that begins from a model in another architecture: trained, saved in our own form, and said."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import modeledge as me
from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.model import Attention, FeedForward, LMHead, Norm, Stack, Tokens, Transformer, TransformerConfig
from modeledge.model.kinds import Learned
from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.recipes.resume import resume
from modeledge.seed import Noise
from modeledge.tokens import train_tokenizer

TRAIN = {"steps": 4, "batch": 4, "length": 16, "save_every": 2, "precision": "fp32"}
WORDS = ["abc", "de", "fgh", "cab", "bed", "had"]


def saved(folder: Path, side: str, family: str) -> Path:
    """A tiny GPT-2 or BERT, written as theirs, with a tokenizer."""
    tokenizer = train_tokenizer([" ".join(WORDS)] * 4, vocab_size=270)
    stack = Stack(
        layers=1,
        attention=Attention(heads=2, qkv="fused" if side == "decoder" else "split"),
        feedforward=FeedForward(width=32),
        norm=Norm(place="pre") if side == "decoder" else Norm(place="post", eps=1e-12),
        position=Learned(length=32),
    )
    types = 0 if side == "decoder" else 2
    embed = Tokens(vocab=tokenizer.vocab_size, types=types, norm=side == "encoder")
    model = Transformer(TransformerConfig(width=16, embed=embed, **{side: stack}))
    model.add_heads({"lm": LMHead(transform=side == "encoder", bias=side == "encoder")}, Noise(3))
    save_model(model, folder, family=family)
    tokenizer.save(folder)
    return folder


def text(folder: Path) -> str:
    lots = random.Random(0)
    (folder / "a.txt").write_text("\n".join(" ".join(lots.choices(WORDS, k=9)) for _ in range(60)))
    return str(folder / "a.txt")


def recipe(folder: Path, **model: Any) -> PretrainRecipe:
    values = {"corpus": {"paths": [text(folder)]}, "model": model, "train": TRAIN, "objective": {"kind": "masked"}}
    return load_config(PretrainRecipe, None, values=values)


def rows(count: int) -> list[dict[str, Any]]:
    lots = random.Random(0)
    words = sorted({"".join(lots.choices("abcdefgh", k=4)) for _ in range(2 * count)})[:count]
    return [{"text": word, "other": word[::-1]} for word in words]


def test_a_decoder_learns_to_read_both_ways(tmp_path: Path) -> None:
    start, told = saved(tmp_path / "gpt", "decoder", "gpt2"), []
    out = pretrain(recipe(tmp_path, start=str(start), bidirectional=True), tmp_path / "run", say=told.append)
    assert any("decoder is read both ways" in line and "gpt2 checkpoint cannot" in line for line in told)
    model = load_model(out)
    assert model.config.decoder is None
    assert not model.tower.causal
    with pytest.raises(ModeledgeError, match=r"gpt2 checkpoint cannot hold this model: it is an encoder"):
        save_model(model, tmp_path / "x", family="gpt2")
    (tmp_path / "run" / "model").rename(tmp_path / "kept")
    resume(tmp_path / "run", say=lambda line: None)
    assert (out / "model.safetensors").read_bytes() == (tmp_path / "kept" / "model.safetensors").read_bytes()


def test_a_decoder_read_both_ways_by_one_word(tmp_path: Path) -> None:
    start, told = saved(tmp_path / "gpt", "decoder", "gpt2"), []
    causal, both = me.load(start), me.load(start, bidirectional=True, say=told.append)
    assert any("both ways" in line for line in told)
    assert both.transformer.config.encoder == causal.transformer.config.decoder
    me.save(both, tmp_path / "native", to="modeledge")
    again = me.load(tmp_path / "native")
    assert again.transformer.config == both.transformer.config
    assert (again.embed("abc de") == both.embed("abc de")).all()
    assert (again.embed("abc de") != causal.embed("abc de")).any()
    with pytest.raises(ModeledgeError, match="reads both ways already"):
        me.load(tmp_path / "native", bidirectional=True)


@pytest.mark.parametrize("decoder", ["copied", "fresh", "shared"])
def test_an_encoder_learns_to_write(tmp_path: Path, decoder: str) -> None:
    start, told = saved(tmp_path / "bert", "encoder", "bert"), []
    numbers = {"batch": 8, "length": 24, "threads": 1, "precision": "fp32", "learning_rate": 3e-3}
    model, results = me.finetune(
        start, rows(40), tmp_path / "run", decoder=decoder, task="translate", text="text", label="other", epochs=1.0,
        options={"max_target": 8}, train=numbers, say=told.append,
    )  # fmt: skip
    assert any("now an encoder–decoder" in line for line in told)
    assert model.transformer.config.both
    assert model.transformer.config.share_sides is (decoder == "shared")
    assert results["scores"]["nats_per_token"]["n"] == 8
    assert len(model.predict([{"text": "abcd"}], say=lambda line: None)) == 1


@pytest.mark.parametrize("pool", [None, "mean"])
def test_classes_from_a_decoder_read_both_ways(tmp_path: Path, pool: str | None) -> None:
    start = saved(tmp_path / "gpt", "decoder", "gpt2")
    data = [{"text": row["text"], "label": "low" if row["text"] < "d" else "high"} for row in rows(60)]
    numbers = {"batch": 8, "length": 24, "threads": 1, "precision": "fp32"}
    options = {} if pool is None else {"pool": pool}
    model, _ = me.finetune(
        start, data, tmp_path / "run", bidirectional=True, train=numbers, epochs=1.0, options=options,
        say=lambda line: None,
    )  # fmt: skip
    assert model.transformer.config.encoder is not None
    assert model.predict([{"text": "abc"}], say=lambda line: None)[0]["prediction"] in ("low", "high")


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ({"bidirectional": True}, "bidirectional is said of a model to start from"),
        ({"decoder": "copied"}, "decoder is said of a model to start from"),
        ({"start": "bert", "bidirectional": True}, "reads both ways already"),
        ({"start": "bert", "bidirectional": True, "decoder": "copied"}, "not both at once"),
    ],
)
def test_what_cannot_become_another_is_refused(tmp_path: Path, model: dict[str, Any], said: str) -> None:
    if "start" in model:
        model = {**model, "start": str(saved(tmp_path / "bert", "encoder", "bert"))}
    with pytest.raises(ModeledgeError, match=said):
        pretrain(recipe(tmp_path, **model), tmp_path / "run", say=lambda line: None)
