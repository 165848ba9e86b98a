"""Training on one GPU: ours against transformers with torch's compiler, the same weights and the same tokens.

python benchmarks/gpu.py                    builds, checks, times; one table and one dated file
python benchmarks/gpu.py --only gpt2 --pairs 9
python benchmarks/gpu.py --smoke            tiny shapes on whatever is here, to see that it runs

It needs torch ≥ 2.11 and Python ≥ 3.11, and no installation: it reads the package from this checkout. Where
transformers is missing our own side is timed alone. Three trainings, bf16 products over fp32 masters, fused AdamW,
dropout 0, vocabularies rounded up to a multiple of 64:

  gpt2   GPT-2 124M, next token, full rows of 1,024
  bert   BERT-base, 15 % masked, texts of lognormal lengths (median 90 tokens, at most 512), packed by us and padded
         by them
  t5     T5-base, span corruption's shape: 512 tokens read, 114 written (Raffel et al. 2020, section 3.1.4)

Before anything is timed the loss on the GPU is compared with that of the CPU. MFU is the rate at which a model that
does nothing twice would compute, over the 989 TFLOP/s of an H100 or H200 in bf16: 6 operations a weight and token
(the table counted once, for the scores) and 12 · width · length a layer for full attention (Chowdhery et al. 2022,
appendix B). Ratios are medians of ABBA pairs in one process.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1] / "src"), str(Path(__file__).parent)]

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from gpu_works import DISTINCT, Work, batches, operations, padded, works  # noqa: E402
from modeledge.families import save_model  # noqa: E402
from modeledge.model import Transformer  # noqa: E402
from modeledge.objectives import Shape, Step, collate  # noqa: E402
from modeledge.seed import Noise  # noqa: E402

PEAK = 989e12  # dense bf16, H100 and H200 (datasheets)
Block = Callable[[], float]


# ---- the two sides


def ours(work: Work, device: str, *, compiled: bool) -> tuple[Transformer, Block]:
    """Our step: prepare, collate, forward, backward, clip, update."""
    model = Transformer(work.config, seed=1)
    step = Step(model, work.objective).to(device)
    model.compute = torch.bfloat16
    if compiled:
        model.compile_blocks()
    optimizer, feed = updater(step), batches(work)

    def block() -> float:
        batch = collate(next(feed), Shape(work.length)).to(device)
        loss = step(batch, Noise(0)).value(step.objective.weights(batch))
        return updated(loss, step, optimizer)

    return model, block


def theirs(work: Work, device: str, *, compiled: bool) -> Block:
    """Their model with our weights, under autocast; padding to a multiple of 64, so that few shapes are compiled."""
    import transformers

    with tempfile.TemporaryDirectory() as folder:
        model = Transformer(work.config, seed=1)
        model.add_heads(work.objective.heads, Noise(0))
        save_model(model, folder, family=work.name)
        other = getattr(transformers, work.theirs).from_pretrained(folder).to(device).train()

    def loss_of(inputs: dict[str, torch.Tensor], labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            scores = other(**inputs, use_cache=False).logits if work.name != "bert" else other(**inputs).logits
        return F.cross_entropy(scores.float().flatten(0, 1), labels.flatten(), ignore_index=-100)

    run = torch.compile(loss_of) if compiled else loss_of
    optimizer, feed = updater(other), batches(work)

    def block() -> float:
        inputs, labels = padded(work, next(feed))
        there = {name: value.to(device, non_blocking=True) for name, value in inputs.items()}
        return updated(run(there, labels.to(device, non_blocking=True)), other, optimizer)

    return block


def updater(module: torch.nn.Module) -> torch.optim.Optimizer:
    """Fused AdamW, as our trainer has it: matrices decay, vectors do not."""
    groups = [
        {"params": [p for p in module.parameters() if (p.ndim >= 2) is decays], "weight_decay": 0.01 * decays}
        for decays in (True, False)
    ]
    return torch.optim.AdamW(groups, lr=1e-4, betas=(0.9, 0.98), fused=True)


def updated(loss: torch.Tensor, module: torch.nn.Module, optimizer: torch.optim.Optimizer) -> float:
    """One update; the loss is read at its end, as a log does."""
    loss.backward()
    torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


# ---- what is measured


def check(work: Work, device: str) -> float:
    """How far the loss of two examples on this device is from that on the CPU, as a part of it, in fp32."""
    one, found = replace(work, batch=2), []
    for place in ("cpu", device):
        step = Step(Transformer(work.config, seed=1), work.objective).to(place)
        batch = collate(one.examples(0), Shape(work.length)).to(place)
        with torch.no_grad():
            found.append(float(step(batch, Noise(0)).value(step.objective.weights(batch))))
    away = abs(found[1] - found[0]) / abs(found[0])
    if not away < 1e-4:
        raise SystemExit(f"{work.name}: the loss is {found[0]} on the CPU and {found[1]} on {device}")
    return away


def timed(block: Block, steps: int, device: str) -> float:
    """Seconds of a few steps, everything done."""
    wait(device)
    began = time.perf_counter()
    for _ in range(steps):
        block()
    wait(device)
    return (time.perf_counter() - began) / steps


def wait(device: str) -> None:
    """Until the device has done what it was told."""
    if device == "cuda":
        torch.cuda.synchronize()


def measure(work: Work, device: str, pairs: int, steps: int, compiled: bool) -> dict[str, Any]:
    """One row of the table."""
    row: dict[str, Any] = {"away from the CPU": check(work, device)}
    sides: dict[str, Block] = {}

    def build(name: str, make: Callable[[], Any]) -> Any:
        resident = torch.cuda.memory_allocated() if device == "cuda" else 0
        if device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        made = make()
        sides[name] = made[1] if isinstance(made, tuple) else made
        row[f"{name} loss"] = round(sides[name](), 4)  # of the first step, before any update
        for _ in range(DISTINCT):
            sides[name]()
        row[f"{name} GiB"] = (torch.cuda.max_memory_allocated() - resident) / 2**30 if device == "cuda" else None
        return made

    model = build("ours", lambda: ours(work, device, compiled=compiled))[0]
    try:
        build("theirs", lambda: theirs(work, device, compiled=compiled))
    except ImportError:
        print("transformers is not here: our own side alone")
    times: dict[str, list[float]] = {name: [] for name in sides}
    for number in range(pairs):
        for name in list(sides)[:: -1 if number % 2 else 1]:
            times[name].append(timed(sides[name], steps, device))
    seconds = {name: statistics.median(values) for name, values in times.items()}
    row |= {f"{name} ms": 1000 * value for name, value in seconds.items()}
    row["MFU %"] = 100 * operations(work, model) / seconds["ours"] / PEAK if device == "cuda" else None
    if "theirs" in times:
        row["ratio"] = statistics.median(b / a for a, b in zip(times["ours"], times["theirs"], strict=True))
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description="Training on one GPU")
    parser.add_argument("--only", default="", help="comma-separated: gpt2, bert, t5")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--smoke", action="store_true", help="tiny shapes, uncompiled, on whatever is here")
    parser.add_argument("--eager", action="store_true", help="without torch's compiler, on both sides")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cpu":
        print("there is no CUDA device here: the --smoke form runs on the CPU, and its times mean nothing")
    smoke = options.smoke or device == "cpu"
    rows: dict[str, Any] = {}
    for work in works(smoke):
        if not options.only or work.name in options.only.split(","):
            compiled = not (smoke or options.eager)
            rows[work.name] = measure(work, device, 1 if smoke else options.pairs, 1 if smoke else 10, compiled)
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    print(" | ".join(["", *names, ""]).strip())
    for name, row in rows.items():
        cells = (row.get(n) for n in names)
        print(
            " | ".join([name, *(f"{c:.4g}" if isinstance(c, float) else "–" if c is None else str(c) for c in cells)])
        )
    if not (smoke or options.no_save):
        from pairs import save

        card = {"name": torch.cuda.get_device_name(), "torch": torch.__version__, "cuda": torch.version.cuda}
        save("gpu" + (" eager" if options.eager else ""), {"device": card, **rows}, os.cpu_count() or 1)


if __name__ == "__main__":
    main()
