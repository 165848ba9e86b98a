"""Adapters under every kind of task and body: what a run left answers as the run did."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from test_adapter_runs import quiet, recipe, run, saved, texts

from modeledge.families import save_model
from modeledge.model import Attention, Buckets, FeedForward, Norm, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, StrategyRecipe
from modeledge.tokens import train_tokenizer

TAGGED = [{"tokens": t.split(), "tags": ["N" if w.isdigit() else "O" for w in t.split()]} for t in texts(24)]
WRITTEN = [{"source": t, "target": t.split()[-1]} for t in texts(24)]
ASKED = [
    {"id": str(n), "question": "which number?", "context": f"{t} and {t} again and again", "answers": [str(n)]}
    for n, t in enumerate(texts(24))
]
CASES: tuple[tuple[str, str, list[dict[str, Any]], dict[str, Any]], ...] = (
    ("encoder", "tag", TAGGED, {}),
    ("encoder", "extract", ASKED, {"stride": 4}),
    ("decoder", "write", WRITTEN, {"max_target": 8}),
    ("both", "write", WRITTEN, {"max_target": 8}),
)
STRATEGIES = {"lora": {"rank": 2}, "prompt": {"length": 2}, "prefix": {"length": 2}}


def both(folder: Path) -> Path:
    """A T5 in small."""
    tokenizer = train_tokenizer(texts(200), kind="bpe", vocab_size=320)
    stack = Stack(
        layers=2,
        attention=Attention(heads=2, bias=False),
        feedforward=FeedForward(width=32, bias=False),
        norm=Norm(kind="rms"),
        position=Buckets(count=8, distance=16),
    )
    model = Transformer(
        TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), encoder=stack, decoder=stack)
    )
    save_model(model, folder)
    tokenizer.save(folder)
    return folder


def asked(model: Path, kind: str, task: str, options: dict[str, Any], **fields: Any) -> FinetuneRecipe:
    made = recipe(model, kind, task=task, options=options, check=False, **fields)
    strategies = (StrategyRecipe(kind=kind, options=STRATEGIES[kind]),)
    return made.model_copy(update={"strategies": strategies, "epochs": 1.0})


@pytest.mark.parametrize("kind", STRATEGIES)
@pytest.mark.parametrize(("shape", "task", "rows", "options"), CASES, ids=[f"{c[0]}-{c[1]}" for c in CASES])
def test_what_a_run_left_answers(
    tmp_path: Path, shape: str, task: str, rows: list[dict[str, Any]], options: dict[str, Any], kind: str
) -> None:
    base = both(tmp_path / "base") if shape == "both" else saved(tmp_path / "base", shape)
    results = run(asked(base, kind, task, options), tmp_path / "run", rows[:18], test_rows=rows[18:])
    assert (tmp_path / "run" / "model" / "adapter_model.safetensors").is_file()
    model = Model.load(tmp_path / "run", say=quiet)
    told = model.evaluate(rows[18:], say=quiet)["scores"]
    assert {n: s["value"] for n, s in told.items()} == {n: s["value"] for n, s in results["scores"].items()}
    assert len(model.predict(rows[:3], say=quiet)) == 3


def test_a_wrapped_model_with_lora(tmp_path: Path) -> None:
    hf = pytest.importorskip("transformers")
    tokenizer = train_tokenizer(texts(200), kind="wordpiece", vocab_size=320)
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20}
    config = hf.DebertaV2Config(vocab_size=tokenizer.vocab_size, max_position_embeddings=64, **sizes)
    hf.DebertaV2Model(config).save_pretrained(tmp_path / "base")
    tokenizer.save(tmp_path / "base")
    rows = [{"text": t, "label": "ab"[n % 2]} for n, t in enumerate(texts(24))]
    made = recipe(tmp_path / "base", check=False)
    results = run(made, tmp_path / "run", rows[:18], test_rows=rows[18:])
    told = Model.load(tmp_path / "run", say=quiet).evaluate(rows[18:], say=quiet)["scores"]
    assert {n: s["value"] for n, s in told.items()} == {n: s["value"] for n, s in results["scores"].items()}
