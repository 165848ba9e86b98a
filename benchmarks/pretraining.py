"""Span corruption on T5, and masked language modelling on texts of mixed lengths: our step against transformers'.

python benchmarks/pretraining.py t5           128 tokens read, 29 written (15 %, mean length 3); d256, 4 + 4 layers
python benchmarks/pretraining.py lengths      texts of 8 to 126 tokens (lognormal, median 40); d256, 4 layers

Both sides have the same weights, the same damaged texts and no dropout; theirs pads each batch to its longest text.
Noise is drawn before the clock, rows are filled inside it. `gpu.py` trains the same works on a GPU.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

VOCAB, STEPS = 8192, 2


def work_of(name: str) -> Any:
    from gpu_works import Work, still
    from modeledge.model import LMHead
    from modeledge.objectives import MaskedLM, MaskedPrepare, Write, WritePrepare
    from modeledge.recipes.presets import PRESETS, bert

    if name == "t5":
        base = still(PRESETS["t5-base"](VOCAB))
        assert base.encoder is not None
        stack = replace(
            base.encoder,
            layers=4,
            attention=replace(base.encoder.attention, heads=4, head_width=64),
            feedforward=replace(base.encoder.feedforward, width=1024),
        )
        writing = WritePrepare(eos=1, length=128, max_target=29, start=(0,))
        config = replace(base, width=256, encoder=stack, decoder=stack)
        return Work(
            "t5", config, Write(writing, head=LMHead()), "T5ForConditionalGeneration", 128, 32, lambda r: (127, 28)
        )

    def mixed(random: np.random.Generator) -> tuple[int, int]:
        return int(np.clip(random.lognormal(np.log(40), 0.8), 8, 126)), 0

    masking = MaskedPrepare(vocab=VOCAB, mask=4, specials=(0, 1, 2, 3, 4), cls=2, sep=3)
    config = still(bert(VOCAB, 256, 4, 4))
    return Work("bert", config, MaskedLM(masking), "BertForMaskedLM", 128, 64, mixed)


def ours(name: str) -> Callable[[], float]:
    from gpu import ours as side
    from modeledge.machine import tune_malloc

    tune_malloc()
    step = side(work_of(name), "cpu", compiled=False)[1]

    def block() -> float:
        return round([step() for _ in range(STEPS)][-1], 4)

    return block


def hf(name: str, bf16: bool = False, compiled: bool = False) -> Callable[[], float]:
    import torch

    from gpu import theirs as side

    step = side(work_of(name), "cpu", compiled=compiled, bf16=bf16, multiple=64 if compiled else 1)
    torch._dynamo.config.cache_size_limit = 64

    def block() -> float:
        return round([step() for _ in range(STEPS)][-1], 4)

    return block


if __name__ == "__main__":
    from pairs import main

    name = sys.argv.pop(1) if len(sys.argv) > 1 and not sys.argv[1].startswith("-") else "t5"
    others = {
        "Hugging Face fp32 (default)": ("hf", {"name": name}),
        "Hugging Face bf16": ("hf", {"name": name, "bf16": True}),
        "Hugging Face bf16 + compile": ("hf", {"name": name, "bf16": True, "compiled": True}),
    }
    texts = work_of(name).batch
    main(f"pretraining {name}", "pretraining", ("ours", {"name": name}), others, "texts", STEPS * texts, warm=6)
