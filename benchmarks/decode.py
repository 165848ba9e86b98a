"""Greedy decoding, GPT-2 124M shape, the same weights on both sides: our cache against `transformers.generate`.

python benchmarks/decode.py              batch 1
python benchmarks/decode.py --batch 16
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

NEW, PROMPT = 256, 32


def hf_model(bf16: bool) -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    model: Any = GPT2LMHeadModel(
        GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, eos_token_id=None, bos_token_id=None)
    ).eval()
    return model.to(torch.bfloat16) if bf16 else model


def prompts(batch: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 50257, size=(batch, PROMPT))


def ours(batch: int, bf16: bool = True) -> Any:
    import tempfile
    from pathlib import Path

    import torch

    from modeledge.families import load_model
    from modeledge.generate import generate
    from modeledge.generate.ready import ready

    with tempfile.TemporaryDirectory() as folder:
        hf_model(False).save_pretrained(folder)
        model = ready(load_model(Path(folder)), torch.bfloat16 if bf16 else torch.float32)
    rows = list(prompts(batch))

    def block() -> str:
        return " ".join(map(str, generate(model, rows, max_new_tokens=NEW)[0]))

    return block


def hf(batch: int, bf16: bool = True) -> Any:
    import torch

    model, ids = hf_model(bf16), torch.from_numpy(prompts(batch))

    def block() -> str:
        with torch.inference_mode():
            out = model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=NEW, do_sample=False, pad_token_id=0
            )
        return " ".join(map(str, out[0, PROMPT:].tolist()))

    return block


if __name__ == "__main__":
    from pairs import main

    batch = 1
    if "--batch" in sys.argv:
        at = sys.argv.index("--batch")
        batch = int(sys.argv.pop(at + 1))
        sys.argv.pop(at)
    others = {
        "transformers bf16": ("hf", {"batch": batch}),
        "transformers fp32 (default)": ("hf", {"batch": batch, "bf16": False}),
    }
    main(f"decode batch {batch}", "decode", ("ours", {"batch": batch}), others, "tokens", NEW * batch)
