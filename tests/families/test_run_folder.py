"""`load_model` takes the run folder around a model, as the command does."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.files import MANIFEST, committed_folder
from modeledge.model import Attention, FeedForward, Rotary, Stack, Tokens, Transformer, TransformerConfig


@pytest.fixture
def model() -> Transformer:
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Rotary())
    return Transformer(TransformerConfig(width=8, embed=Tokens(vocab=11), decoder=stack))


def test_the_run_folder_around_a_model(tmp_path: Path, model: Transformer) -> None:
    save_model(model, tmp_path / "run" / "model")
    for folder in (tmp_path / "run", str(tmp_path / "run" / "model")):
        assert torch.equal(load_model(folder).tokens, model.tokens)


def test_a_flipped_bit_in_finished_weights_is_found(tmp_path: Path, model: Transformer) -> None:
    with committed_folder(tmp_path / "model", {}) as folder:
        save_model(model, folder)
    load_model(tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ModeledgeError) as caught:
        load_model(tmp_path / "model")
    assert caught.value.code == "E-SAFETENSORS"
    assert MANIFEST in str(caught.value.what)
    assert "copy it again" in str(caught.value.remedy)


def test_a_model_written_over_a_finished_one_is_read(tmp_path: Path, model: Transformer) -> None:
    with committed_folder(tmp_path / "model", {}) as folder:
        save_model(model, folder)
    with torch.no_grad():
        model.tokens += 1.0
    save_model(model, tmp_path / "model")
    assert torch.equal(load_model(tmp_path / "model").tokens, model.tokens)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"files": {"model.safetensors": 3}}', "[" * 100_000])
def test_a_manifest_of_others_is_none_of_ours(tmp_path: Path, model: Transformer, text: str) -> None:
    save_model(model, tmp_path)
    (tmp_path / MANIFEST).write_text(text)
    load_model(tmp_path)
