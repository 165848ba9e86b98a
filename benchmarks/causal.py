"""Causal-LM training, GPT-2 shape: our step against Hugging Face's default and its best options, equal work.

python benchmarks/causal.py
"""

from __future__ import annotations

from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, VOCAB, SEQ, BATCH, STEPS = 256, 4, 4, 8192, 256, 16, 2


def examples(step: int) -> np.ndarray:
    """The same ids [batch, seq + 1] for every side."""
    return np.random.default_rng(step % 8).zipf(1.3, size=(BATCH, SEQ + 1)) % (VOCAB - 10) + 5


def hf_model() -> Any:
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=VOCAB, n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=1024,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0,
    )  # fmt: skip
    return GPT2LMHeadModel(config).train()


def ours() -> Any:
    import tempfile
    from pathlib import Path

    import torch

    from modeledge.families import load_model
    from modeledge.machine import tune_malloc
    from modeledge.objectives import CausalLM, Shape, Step, collate
    from modeledge.records import Example
    from modeledge.seed import Noise
    from modeledge.train.config import TrainConfig
    from modeledge.train.optim import Optimizer

    tune_malloc()
    with tempfile.TemporaryDirectory() as folder:  # the other side's very weights
        hf_model().save_pretrained(folder)
        model = load_model(Path(folder))
    step = Step(model, CausalLM())
    model.compute = torch.bfloat16
    optimizer = Optimizer(dict(step.named_parameters()), TrainConfig())
    moving = dict.fromkeys(optimizer.parameters, 1.0)
    done = 0

    def block() -> float:
        nonlocal done
        for _ in range(STEPS):
            ready = [step.objective.prepare(Example(i, ids), Noise(0)) for i, ids in enumerate(examples(done))]
            batch = collate(ready, Shape(SEQ))
            loss = step(batch, Noise(0, (done,)))
            value = loss.value(step.objective.weights(batch))
            value.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in step.parameters() if p.grad is not None])
            if float(norm) > 1.0:  # as the trainer does
                torch.nn.utils.clip_grads_with_norm_(step.parameters(), 1.0, norm)
            optimizer.update(1e-4, moving)
            optimizer.zero_grad()
            done += 1
        return round(float(value.detach()), 4)

    return block


def hf(bf16: bool = False, compiled: bool = False) -> Any:
    import torch

    model = hf_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    run = torch.compile(model) if compiled else model
    done = 0

    def block() -> float:
        nonlocal done
        for _ in range(STEPS):
            ids = torch.from_numpy(examples(done))
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                scores = run(input_ids=ids[:, :-1], use_cache=False).logits
                loss = torch.nn.functional.cross_entropy(scores.float().reshape(-1, VOCAB), ids[:, 1:].reshape(-1))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
        return round(float(loss.detach()), 4)

    return block


if __name__ == "__main__":
    from pairs import main

    others = {
        "Hugging Face fp32 (default)": ("hf", {}),
        "Hugging Face bf16": ("hf", {"bf16": True}),
        "Hugging Face bf16 + compile": ("hf", {"bf16": True, "compiled": True}),
    }
    main("causal", "causal", ("ours", {}), others, "tokens", STEPS * BATCH * SEQ)
