"""Fine-tuning a MiniLM-shaped encoder on sentences of SST-2-like lengths: packed rows against padding.

python benchmarks/classify.py
python benchmarks/classify.py --dropout 0.1
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

WIDTH, LAYERS, HEADS, VOCAB, BATCH, STEPS, POOL = 384, 6, 12, 30522, 32, 4, 64


def sentences() -> list[list[tuple[np.ndarray, int]]]:
    """64 batches of 32 labelled sentences, lengths log-normal with mean 24 as in SST-2; the same everywhere."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(3.0, 0.55, size=POOL * BATCH).astype(int), 5, 64)
    rows = [
        (np.concatenate([[101], random.integers(1000, VOCAB, n - 2), [102]]), int(random.integers(2))) for n in lengths
    ]
    return [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]


def grouped() -> list[list[tuple[np.ndarray, int]]]:
    """The same sentences, batches made of similar lengths (group_by_length).

    Each four batches in a row hold about as many tokens as any other four, so that all timed blocks are equal work.
    """
    rows = sorted((row for batch in sentences() for row in batch), key=lambda row: len(row[0]))
    batches = [rows[i : i + BATCH] for i in range(0, len(rows), BATCH)]
    quarter = POOL // 4
    order = np.random.default_rng(1).permutation(quarter)
    fours = ((k, 2 * quarter - 1 - k, 2 * quarter + k, POOL - 1 - k) for k in order)
    return [batches[i] for four in fours for i in four]


def hf_model(dropout: float) -> Any:
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=VOCAB, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=4 * WIDTH,
        hidden_dropout_prob=dropout, attention_probs_dropout_prob=dropout,
    )  # fmt: skip
    return BertForSequenceClassification(config).train()


def ours(
    dropout: float,
    strategies: tuple[str, ...] = (),
    cached: bool = False,
    beside: int = 0,
    folder: str | None = None,
    form: str | None = None,
    kernel: bool = True,
) -> Any:
    """One side: our step. `strategies` are rows of STRATEGIES at their defaults, `lora` with rank 8 on all linear maps;
    without one all weights move. `cached`: the states below what moves are run once. `beside`: so many other LoRAs are
    on the model, and do not act. `folder` holds the weights, where they are not to be made here. `form` is that of the
    frozen maps; without `kernel` bitsandbytes does not help with it."""
    import tempfile
    from contextlib import nullcontext
    from pathlib import Path

    import torch

    from modeledge.adapt import (
        STRATEGIES,
        Clock,
        Lora,
        apply_moving,
        cache_features,
        compose,
        frozen_depth,
        nf4,
        starting_above,
    )
    from modeledge.adapt.graft import activate
    from modeledge.adapt.quantize import quantize
    from modeledge.families import load_model
    from modeledge.machine import tune_malloc
    from modeledge.model import ClassHead
    from modeledge.objectives import Classify, LabelPrepare, Shape, Step, collate
    from modeledge.records import Example
    from modeledge.seed import Noise
    from modeledge.train.config import TrainConfig
    from modeledge.train.optim import Optimizer

    tune_malloc()
    with tempfile.TemporaryDirectory() as made:  # the other side's very weights
        if folder is None:
            hf_model(dropout).save_pretrained(made)
        model = load_model(Path(folder or made))
    head = ClassHead(outputs=2, hidden=True, dropout=dropout)
    step = Step(model, Classify(LabelPrepare("source", 128, "class"), head))
    model.compute = torch.bfloat16
    if not kernel:
        nf4.kernel = lambda: None
    if form is not None:
        quantize(model, form)
    rows = [STRATEGIES[name]() for name in strategies]
    for row in rows:
        row.attach(model, Noise(0))
    for number in range(beside):
        Lora(name=f"other-{number}").attach(model, Noise(number))
    if beside:
        activate(model, ["default"])
    rates = compose(rows, model, Clock(0, 1, 0.0))
    apply_moving(model, rates)
    optimizer = Optimizer(dict(step.named_parameters()), TrainConfig())
    moving = {f"model.{name}": rate for name, rate in rates.items()}
    weights = [optimizer.parameters[name] for name in moving]
    data, done = sentences(), 0

    def batch_of(number: int) -> Any:
        ready = [
            step.objective.prepare(Example(number * BATCH + i, ids, label=label), Noise(0))
            for i, (ids, label) in enumerate(data[number])
        ]
        return collate(ready, Shape(128))

    cache = None
    if cached:
        depth = frozen_depth(model, rates)
        assert depth, "nothing is frozen below what moves"
        cache = cache_features(model, (batch_of(i) for i in range(POOL)), depth, limit=2**30)

    def loss_on(number: int) -> Any:
        batch = batch_of(number)
        with nullcontext() if cache is None else starting_above(cache, model, batch):
            return step(batch, Noise(0, (done,))).value(step.objective.weights(batch))

    with torch.no_grad():
        start = float(loss_on(0))

    def block() -> str:
        nonlocal done
        for _ in range(STEPS):
            value = loss_on(done % POOL)
            value.backward()
            norm = torch.nn.utils.get_total_norm([p.grad for p in weights if p.grad is not None])
            if float(norm) > 1.0:  # as the trainer does
                torch.nn.utils.clip_grads_with_norm_(weights, 1.0, norm)
            optimizer.update(2e-5, moving)
            optimizer.zero_grad()
            done += 1
        return f"{start:.4f} → {float(value.detach()):.4f}"

    block.model = model  # type: ignore[attr-defined]
    return block


def in_four_bits(model: Any) -> Any:
    """The model with its maps held by bitsandbytes, products in bf16."""
    import tempfile

    import torch
    from transformers import BertForSequenceClassification, BitsAndBytesConfig

    bits = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=["classifier"],
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return BertForSequenceClassification.from_pretrained(folder, quantization_config=bits, device_map="cpu").train()


def hf(dropout: float, bf16: bool = False, longest: bool = False, lora: bool = False, nf4: bool = False) -> Any:
    """The other side: transformers' step, with `lora` PEFT's rank 8 on all linear maps and the classifier, with `nf4`
    over bitsandbytes' 4-bit maps."""
    import torch

    model = hf_model(dropout)
    if nf4:
        model = in_four_bits(model)
    if lora:
        from peft import LoraConfig, get_peft_model

        model = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=8, target_modules="all-linear")).train()
    weights = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=2e-5, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
    data, done = grouped() if longest else sentences(), 0

    def loss_on(rows: list[tuple[np.ndarray, int]]) -> Any:
        width = max(len(ids) for ids, _ in rows) if longest else 128
        ids, seen = np.zeros((BATCH, width), dtype=np.int64), np.zeros((BATCH, width), dtype=np.int64)
        for i, (row, _) in enumerate(rows):
            ids[i, : len(row)], seen[i, : len(row)] = row, 1
        labels = torch.tensor([label for _, label in rows])
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(seen), labels=labels).loss

    with torch.no_grad():
        start = float(loss_on(sentences()[0]))

    def block() -> str:
        nonlocal done
        for _ in range(STEPS):
            loss = loss_on(data[done % POOL])
            loss.backward()
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            optimizer.zero_grad()
            done += 1
        return f"{start:.4f} → {float(loss.detach()):.4f}"

    return block


if __name__ == "__main__":
    from pairs import main

    rate = 0.0
    if "--dropout" in sys.argv:
        at = sys.argv.index("--dropout")
        rate = float(sys.argv.pop(at + 1))
        sys.argv.pop(at)
    others = {
        "Hugging Face fp32 padded to 128": ("hf", {"dropout": rate}),
        "Hugging Face bf16 grouped": ("hf", {"dropout": rate, "bf16": True, "longest": True}),
    }
    main(
        f"classify dropout {rate}", "classify", ("ours", {"dropout": rate}), others, "examples", STEPS * BATCH, warm=10
    )
