"""`load_model` takes the run folder around a model, as the command does."""

from __future__ import annotations

from pathlib import Path

import torch

from modeledge.families import load_model, save_model
from modeledge.model import Attention, FeedForward, Rotary, Stack, Tokens, Transformer, TransformerConfig


def test_the_run_folder_around_a_model(tmp_path: Path) -> None:
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Rotary())
    model = Transformer(TransformerConfig(width=8, embed=Tokens(vocab=11), decoder=stack))
    save_model(model, tmp_path / "run" / "model")
    for folder in (tmp_path / "run", str(tmp_path / "run" / "model")):
        assert torch.equal(load_model(folder).tokens, model.tokens)
