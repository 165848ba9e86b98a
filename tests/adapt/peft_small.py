"""Tiny random models of transformers on the disk, adapters of ours and of peft with every number drawn, and the scores
of both libraries."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from modeledge.adapt import STRATEGIES
from modeledge.adapt.graft import PLACE
from modeledge.model import Batch, Side
from modeledge.model.backbone import Backbone
from modeledge.seed import Noise

VOCAB = 23
IDS = torch.randint(2, VOCAB, (3, 7), generator=torch.Generator().manual_seed(5))
BASES = ("bert", "gpt2", "neox", "llama", "t5")
SHAPES: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": (
        "BertForSequenceClassification",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20, "num_labels": 3},
    ),
    "gpt2": ("GPT2LMHeadModel", {"n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 32}),
    "neox": (
        "GPTNeoXForCausalLM",
        {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 20},
    ),
    "llama": (
        "LlamaForCausalLM",
        {
            "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1,
            "intermediate_size": 20,
        },
    ),
    "t5": ("T5ForConditionalGeneration", {"d_model": 16, "d_kv": 8, "d_ff": 20, "num_layers": 2, "num_heads": 2}),
}  # fmt: skip
TASKS = {"bert": "SEQ_CLS", "t5": "SEQ_2_SEQ_LM"}


def library(name: str) -> Any:
    """transformers or peft; the test is skipped where it is missing."""
    found = pytest.importorskip(name)
    if name == "transformers":
        found.utils.logging.set_verbosity_error()
        found.utils.logging.disable_progress_bar()
    return found


def written(base: str, folder: Path) -> Path:
    """A tiny model of transformers, no weight at its neutral start."""
    hf = library("transformers")
    name, fields = SHAPES[base]
    kind = getattr(hf, name)
    ids = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1, "decoder_start_token_id": 0}
    ids = ids if base == "t5" else {k: v for k, v in ids.items() if k != "decoder_start_token_id"}
    torch.manual_seed(0)
    model = kind(kind.config_class(**{"vocab_size": VOCAB, **fields, **ids}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    return folder


def theirs(base: str, folder: Path) -> Any:
    """The model of transformers out of a folder."""
    return getattr(library("transformers"), SHAPES[base][0]).from_pretrained(folder).eval()


def their_scores(base: str, model: Any) -> torch.Tensor:
    more = {"decoder_input_ids": IDS[:, :4]} if base == "t5" else {}
    with torch.no_grad():
        return model(input_ids=IDS, **more).logits  # type: ignore[no-any-return]


def our_scores(base: str, model: Backbone) -> torch.Tensor:
    model.eval()
    spans = torch.tensor([[row, 0, IDS.shape[1]] for row in range(len(IDS))])
    batch = Batch(target=Side.of(IDS), spans=spans)
    if base == "bert":
        batch = Batch(source=Side.of(IDS), spans=spans)
    elif base == "t5":
        batch = Batch(source=Side.of(IDS), target=Side.of(IDS[:, :4]))
    with torch.no_grad():
        last = model(batch).last
        return model.heads["class"](last, batch) if base == "bert" else model.logits(last)  # type: ignore[no-any-return]


def shaken(parameters: Any) -> None:
    """Every trained number of an adapter drawn anew, near 1 where it scales."""
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for name, parameter in parameters:
            noise = 0.4 * torch.randn(parameter.shape, generator=draw)
            scales = "ia3_l" in name or "magnitude" in name
            parameter.copy_(parameter * (1 + noise) if scales else noise)


def adapted(model: Backbone, kind: str, seed: int = 1, **fields: Any) -> Backbone:
    """A model with an adapter of ours whose numbers are all drawn."""
    STRATEGIES[kind](**fields).attach(model, Noise(seed))
    mark = f".{PLACE}.{fields.get('name', 'default')}:"
    shaken((n, p) for n, p in model.named_parameters() if mark in n)
    return model


def peft_adapted(base: str, folder: Path, config: str, **fields: Any) -> Any:
    """A model of transformers with an adapter of peft whose numbers are all drawn."""
    peft = library("peft")
    made = getattr(peft, config)(task_type=TASKS.get(base, "CAUSAL_LM"), **fields)
    model = peft.get_peft_model(theirs(base, folder), made)
    shaken((n, p) for n, p in model.named_parameters() if p.requires_grad)
    return model.eval()


def peft_opened(base: str, folder: Path, adapter: Path) -> Any:
    """An adapter's folder, opened by peft on the model of transformers."""
    return importlib.import_module("peft").PeftModel.from_pretrained(theirs(base, folder), adapter).eval()


def quiet(line: str) -> None:
    """Nobody listens."""


def written_once(factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a base by its name, written when it is first asked for."""
    held: dict[str, Path] = {}

    def get(base: str) -> Path:
        if base not in held:
            held[base] = written(base, factory.mktemp("base") / base)
        return held[base]

    return get
