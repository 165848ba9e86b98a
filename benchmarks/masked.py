"""Masked-LM training, BERT shape: our step against Hugging Face's default and its best options, equal work.

python benchmarks/masked.py                 dropout 0 on both sides
python benchmarks/masked.py --dropout 0.1
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, VOCAB, SEQ, BATCH, STEPS = 256, 4, 4, 8192, 128, 32, 2


def examples(step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same ids, masked positions and labels for every side: [batch, seq], [n], [n]."""
    random = np.random.default_rng(step % 8)
    labels = random.zipf(1.3, size=(BATCH, SEQ)) % (VOCAB - 10) + 5
    chosen = np.sort(np.concatenate([row * SEQ + random.choice(SEQ, 19, replace=False) for row in range(BATCH)]))
    ids = labels.copy().reshape(-1)
    ids[chosen] = 4
    return ids.reshape(BATCH, SEQ), chosen, labels.reshape(-1)[chosen]


def hf_config(dropout: float) -> Any:
    from transformers import BertConfig

    return BertConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        max_position_embeddings=SEQ, hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip


def hf_model(dropout: float) -> Any:
    import torch
    from transformers import BertForMaskedLM

    torch.manual_seed(0)
    return BertForMaskedLM(hf_config(dropout)).train()


def ours(dropout: float) -> Any:
    import tempfile
    from pathlib import Path

    import torch

    from modeledge.families import load_model
    from modeledge.machine import tune_malloc
    from modeledge.model import Batch, Side
    from modeledge.objectives import MaskedLM, MaskedPrepare, Step
    from modeledge.seed import Noise
    from modeledge.train.config import TrainConfig
    from modeledge.train.optim import Optimizer

    tune_malloc()
    with tempfile.TemporaryDirectory() as folder:  # the other side's very weights
        hf_model(dropout).save_pretrained(folder)
        model = load_model(Path(folder))
    step = Step(model, MaskedLM(MaskedPrepare(vocab=VOCAB, mask=4)))
    model.compute = torch.bfloat16
    optimizer = Optimizer(dict(step.named_parameters()), TrainConfig())
    moving = dict.fromkeys(optimizer.parameters, 1.0)
    done = 0

    def block() -> float:
        nonlocal done
        for _ in range(STEPS):
            ids, chosen, labels = examples(done)
            weights = torch.ones(len(chosen))
            side = Side.of(torch.from_numpy(ids))
            batch = Batch(
                source=side,
                reads={"lm": torch.from_numpy(chosen)},
                labels={"lm": torch.from_numpy(labels)},
                weights={"lm": weights},
            )
            loss = step(batch, Noise(0, (done,)))
            value = loss.value({"lm": weights.sum()})
            value.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in step.parameters() if p.grad is not None])
            if float(norm) > 1.0:  # as the trainer does
                torch.nn.utils.clip_grads_with_norm_(step.parameters(), 1.0, norm)
            optimizer.update(1e-4, moving)
            optimizer.zero_grad()
            done += 1
        return round(float(value.detach()), 4)

    return block


def hf(dropout: float, bf16: bool = False, compiled: bool = False) -> Any:
    import torch

    model = hf_model(dropout)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    run = torch.compile(model) if compiled else model
    done = 0

    def block() -> float:
        nonlocal done
        for _ in range(STEPS):
            ids, chosen, picked = examples(done)
            labels = np.full(BATCH * SEQ, -100)
            labels[chosen] = picked
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                loss = run(input_ids=torch.from_numpy(ids), labels=torch.from_numpy(labels.reshape(BATCH, SEQ))).loss
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
        return round(float(loss.detach()), 4)

    return block


if __name__ == "__main__":
    from pairs import main

    rate = 0.1 if "--dropout" in sys.argv else 0.0
    if rate:
        at = sys.argv.index("--dropout")
        rate = float(sys.argv.pop(at + 1))
        sys.argv.pop(at)
    others = {
        "Hugging Face fp32 (default)": ("hf", {"dropout": rate}),
        "Hugging Face bf16": ("hf", {"dropout": rate, "bf16": True}),
        "Hugging Face bf16 + compile": ("hf", {"dropout": rate, "bf16": True, "compiled": True}),
    }
    main(f"masked dropout {rate}", "masked", ("ours", {"dropout": rate}), others, "tokens", STEPS * BATCH * SEQ)
