"""LoRA of rank 8 on every linear map of a MiniLM-shaped encoder, on sentences of SST-2-like lengths: speed and memory.

python benchmarks/adapters.py               all of it, in less than five minutes
python benchmarks/adapters.py --pairs 15    more pairs, for tighter figures

Speed: our LoRA beside PEFT's in its best bf16 setting (rows grouped by length) and at its default (fp32, padded to
128), beside our own full fine-tuning, and beside itself with 99 other adapters on the model; a linear probe and a
classical head over cached states beside full fine-tuning, an epoch after the first pass; beside itself over maps in
fewer bits, with the kernel of bitsandbytes and without. Both sides have the same weights, sentences and moving parts;
dropout is 0; PEFT runs in a bare loop, without Trainer.

Memory: the most bytes of tensors alive during LoRA's steps (what stays, and what torch counts as made and not dropped),
beside the sum of what has to be there: frozen weights and their bf16 copies, activations (what autograd keeps, each
storage once), adapters with their gradients and Adam's states. What is resident above an empty process is told with it:
that holds kernels' scratch memory, the heap's gaps and libraries loaded at the first step too.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from classify import BATCH, POOL, STEPS
from pairs import Side, compare, save

WAYS = {"full": (), "lora": ("lora",), "probe": ("probe",), "bitfit": ("bitfit",), "ia3": ("ia3",)}


def ours(way: str, **more: Any) -> Any:
    import classify

    return classify.ours(0.0, WAYS[way], **more)


def hf(bf16: bool = False, longest: bool = False, nf4: bool = False) -> Any:
    import classify

    return classify.hf(0.0, bf16=bf16, longest=longest, lora=True, nf4=nf4)


def features() -> Any:
    """A logistic regression over the mean of an example's cached states, trained by SGD: one block's rows a block."""
    import numpy as np
    from sklearn.linear_model import SGDClassifier

    from classify import sentences

    random = np.random.default_rng(0)
    labels = [label for batch in sentences() for _, label in batch]
    held = random.normal(size=(len(labels), 384)).astype(np.float32)  # the numbers do not matter for the time
    head, done = SGDClassifier(loss="log_loss"), 0

    def block() -> str:
        nonlocal done
        for _ in range(STEPS):
            at = done % POOL * BATCH
            head.partial_fit(held[at : at + BATCH], labels[at : at + BATCH], classes=[0, 1])
            done += 1
        return f"{float(head.coef_.std()):.4f}"

    return block


def over(form: str, **more: Any) -> tuple[str, dict[str, Any]]:
    return "ours", {"way": "lora", "form": form, **more}


LORA = ("ours", {"way": "lora"})
AGAINST = {  # name → (the quicker side, the other side, asked)
    "A/A control": (LORA, LORA, ""),
    "LoRA against PEFT bf16 grouped": (LORA, ("hf", {"bf16": True, "longest": True}), "≥ 1.6"),
    "LoRA against PEFT fp32 padded to 128": (LORA, ("hf", {}), "≥ 5"),
    "LoRA against our full fine-tuning": (LORA, ("ours", {"way": "full"}), "≥ 1.3"),
    "LoRA alone against 99 adapters beside it": (LORA, ("ours", {"way": "lora", "beside": 99}), "≤ 1.05"),
    "probe on cached states against full": (
        ("ours", {"way": "probe", "cached": True}),
        ("ours", {"way": "full"}),
        "≥ 10",
    ),
    "features on cached states against full": (("features", {}), ("ours", {"way": "full"}), "≥ 10"),
    "LoRA against LoRA over int8": (LORA, over("int8"), ""),
    "LoRA against LoRA over nf4": (LORA, over("nf4"), ""),
    "LoRA against LoRA over nf4, no kernel": (LORA, over("nf4", kernel=False), ""),
    "LoRA against LoRA over nf4-double": (LORA, over("nf4-double"), ""),
    "LoRA over nf4 against PEFT's, bf16 grouped": (
        over("nf4"),
        ("hf", {"bf16": True, "longest": True, "nf4": True}),
        "",
    ),
}


def speed(pairs: int, threads: int, warm: int, only: str) -> dict[str, Any]:
    """Each row of AGAINST; a side that several rows name runs in one process."""
    sides: dict[str, Side] = {}
    rows: dict[str, Any] = {}

    def side(named: tuple[str, dict[str, Any]], key: str) -> Side:
        if key not in sides:
            sides[key] = Side("adapters", named[0], named[1], threads, warm)
        return sides[key]

    for name, (one, two, asked) in AGAINST.items():
        if only and only not in name:
            continue
        first, second = side(one, str(one)), side(two, f"{two}{' again' if one == two else ''}")
        at = len(first.times), len(second.times)
        row = compare(first, second, pairs)
        rate = [STEPS * BATCH / statistics.median(s.times[i:]) for s, i in zip((first, second), at, strict=True)]
        row |= {"examples/s": rate[0], "the other's": rate[1], "asked": asked, "value": [first.value, second.value]}
        rows[name] = row
        print(f"{name:42s} {row['ratio']:7.2f}x  [{row['low']:.2f}, {row['high']:.2f}]  {asked:7s} {rate[0]:10,.0f} /s")
        later = list(AGAINST)[list(AGAINST).index(name) + 1 :]
        needed = {str(n) for k in later for n in AGAINST[k][:2]}
        for key in [key for key in sides if key not in needed]:
            sides.pop(key).close()
    for each in sides.values():
        each.close()
    return rows


def resident(folder: str, beside: int = 0) -> dict[str, float]:
    """In this process: what LoRA's steps must hold, and what was resident at their peak, in bytes."""
    import torch

    import classify
    from modeledge.adapt.graft import all_grafts
    from modeledge.machine import peak_memory
    from modeledge.model.working import Working

    classify.STEPS = 1  # a block is a step
    import modeledge.families
    import modeledge.train  # noqa: F401  (all that a run imports, before what is resident is counted)

    nothing = peak_memory(reset=True)
    block = ours("lora", beside=beside, folder=folder)
    model = block.model
    kept: dict[int, int] = {}
    parameters = {p.untyped_storage().data_ptr() for p in model.parameters()}
    grafted = [p for _, grafts in all_grafts(model) for p in grafts.parameters()]
    moving = [p for p in model.parameters() if p.requires_grad]
    frozen = [p for p in model.parameters() if not p.requires_grad]
    copies = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    block()
    for module in model.modules():
        working = getattr(module, "working", None)
        if isinstance(working, Working) and working.copy is not None:
            storage = working.copy.untyped_storage()
            copies[storage.data_ptr()] = storage.nbytes()
    most = 0
    for _ in range(24):
        kept.clear()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            block()
        most = max(most, sum(size for at, size in kept.items() if at not in copies))
    before = peak_memory(reset=True)
    for _ in range(24):
        block()
    at_peak = peak_memory()
    size = lambda tensors: sum(t.numel() * t.element_size() for t in tensors)  # noqa: E731
    return {
        "frozen weights": size(frozen),
        "bf16 copies": sum(copies.values()),
        "activations": most,
        "adapters, gradients and states": 4 * size(moving),
        "bytes of one adapter": size(grafted) / (1 + beside),
        "all adapters": size(grafted),
        "resident without a model": nothing,
        "resident before the steps": before,
        "resident at the peak": at_peak,
        "made and dropped by a step, at its peak": most_alive(block),
    }


def most_alive(block: Any, steps: int = 24) -> int:
    """The most bytes of tensors that a step has made and not yet dropped, by torch's own count of its allocations."""
    from torch.profiler import ProfilerActivity, profile

    most = 0
    for _ in range(steps):
        with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as told:
            block()
        events = sorted(
            (e for e in told.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns()
        )
        alive = 0
        for event in events:
            alive += event.nbytes()
            most = max(most, alive)
    return most


def memory() -> dict[str, Any]:
    """Peak above an empty process beside what must be there; and what 99 more adapters add."""
    code = "from adapters import resident; import json; print(json.dumps(resident({!r}, {})))"
    make = "import classify; classify.hf_model(0.0).save_pretrained({!r}); print()"

    def told(text: str) -> str:
        done = subprocess.run(
            [sys.executable, "-c", text], capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        )
        return (done.stdout.strip().splitlines() or [""])[-1]

    with tempfile.TemporaryDirectory() as folder:
        told(make.format(folder))
        one, hundred = (json.loads(told(code.format(folder, beside))) for beside in (0, 99))
    parts = ("frozen weights", "bf16 copies", "activations", "adapters, gradients and states")
    needed = sum(one[part] for part in parts)
    stays = needed - one["activations"]
    peak = stays + one["made and dropped by a step, at its peak"]
    resident_peak = one["resident at the peak"] - one["resident without a model"]
    own = 99 * one["bytes of one adapter"]
    added = hundred["all adapters"] - one["all adapters"]
    row = {**one, "needed": needed, "peak": peak, "ratio": peak / needed, "asked": "≤ 1.1"}
    row |= {
        "resident peak above an empty process": resident_peak,
        "99 more adapters, their bytes": own,
        "what they added": added,
    }
    row["what they added resident"] = hundred["resident at the peak"] - one["resident at the peak"]
    print(f"{'peak memory of LoRA over what must be there':42s} {row['ratio']:7.2f}x  ≤ 1.1  {peak / 1e6:,.0f} MB")
    steps = one["resident at the peak"] - one["resident before the steps"]
    print(f"  resident above an empty process, libraries and heap with it: {resident_peak / 1e6:,.0f} MB")
    print(f"  of it added by the steps: {steps / 1e6:,.0f} MB beside {one['activations'] / 1e6:,.0f} of activations")
    print(f"{'99 more adapters':42s} {added / 1e6:,.0f} MB held, {row['what they added resident'] / 1e6:,.0f} resident")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--warm", type=int, default=4)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--only", default="", help="rows whose name holds this text")
    parser.add_argument("--no-save", action="store_true")
    asked = parser.parse_args()
    rows = speed(asked.pairs, asked.threads, asked.warm, asked.only)
    if not asked.only or asked.only == "memory":
        rows["memory"] = memory()
    if not asked.no_save:
        save(f"adapters {asked.only}".strip(), rows, asked.threads)  # some rows do not take the place of all


if __name__ == "__main__":
    main()
