"""Loading a model: memory at the peak, and the time until the first logits, beside transformers.

    python benchmarks/load.py [--memory] [--model FOLDER ...] [--repeats 6] [--out FILE]

Memory: a random Llama of 200 MB is written, and read by a fresh process that measures its largest resident size above
the resident size after `import torch`, for a file in fp32 and in bf16. It reads `VmHWM`: `ru_maxrss` would count the
parent that it was forked from. The promise: at most 1.15 times the bytes of the weights in memory, and one tensor more
where the dtype changes. (transformers maps a file in its own dtype and has not read most of it at that moment.)

Time: processes that import nothing before, in turns (A B B A), from `import` to the first logits; the same clock for
both, the caches of the disk warm. `--memory` leaves it out; run it on a quiet machine.
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

OURS = """
import json, sys
def resident(name="VmRSS"):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024
import torch
before = resident()
from modeledge.families import load_model
library = resident()
model = load_model(sys.argv[1])
peak = resident("VmHWM")
weights = [t.nbytes for t in model.state_dict().values()]
told = {"before": before, "library": library, "peak": peak, "weights": sum(weights), "largest": max(weights)}
print(json.dumps(told))
"""
THEIRS = """
import json, sys
def resident(name="VmRSS"):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(name)) * 1024
import torch
before = resident()
from transformers import AutoModelForCausalLM
library = resident()
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
peak = resident("VmHWM")
weights = [t.nbytes for t in model.parameters()]
told = {"before": before, "library": library, "peak": peak, "weights": sum(weights), "largest": max(weights)}
print(json.dumps(told))
"""
FIRST = {
    "modeledge": """
import sys, time
start = time.perf_counter()
import torch
from modeledge.families import load_model
from modeledge.objectives import Shape, collate
from modeledge.records import Piece, Prepared
imported = time.perf_counter()
model = load_model(sys.argv[1]).eval()
import numpy as np
side = "source" if model.config.encoder is not None else "target"
with torch.inference_mode():
    states = model(collate([Prepared(0, **{side: Piece(np.arange(5, 21))})], Shape(16))).last
    if "lm" in model.heads:
        states = states @ model.table.T.to(states.dtype)
print(time.perf_counter() - start, time.perf_counter() - imported)
""",
    "transformers": """
import sys, time
start = time.perf_counter()
import torch
from transformers import AutoModel, AutoModelForCausalLM, AutoConfig
decoder = any("CausalLM" in name or "LMHead" in name for name in AutoConfig.from_pretrained(sys.argv[1]).architectures)
kind = AutoModelForCausalLM if decoder else AutoModel
imported = time.perf_counter()
model = kind.from_pretrained(sys.argv[1], dtype=torch.float32).eval()
with torch.inference_mode():
    model(input_ids=torch.arange(5, 21)[None])
print(time.perf_counter() - start, time.perf_counter() - imported)
""",
}


def run(code: str, folder: Path) -> str:
    """What a fresh process prints."""
    setting = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_VERBOSITY": "error"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=True, env=setting
    )
    return done.stdout.strip().splitlines()[-1]


def write_random(folder: Path, megabytes: float, dtype: str) -> None:
    """A random Llama of about this size in memory (fp32), stored in `dtype`."""
    from modeledge.families import save_model
    from modeledge.model import (
        Attention,
        FeedForward,
        LMHead,
        Norm,
        Rotary,
        Stack,
        Tokens,
        Transformer,
        TransformerConfig,
    )
    from modeledge.recipes.store.models import dtype_of
    from modeledge.seed import Noise

    width, layers = 512, max(1, round(megabytes * 1e6 / 4 / (12 * 512 * 512) * 0.9))
    stack = Stack(
        layers=layers,
        attention=Attention(heads=8, bias=False),
        feedforward=FeedForward(width=width * 8 // 3 // 8 * 8, kind="swiglu", bias=False),
        norm=Norm(kind="rms"),
        position=Rotary(),
    )
    model = Transformer(TransformerConfig(width=width, embed=Tokens(vocab=8000), decoder=stack))
    model.add_heads({"lm": LMHead()}, Noise(0))
    save_model(model, folder, dtype=dtype_of(dtype))


def memory(
    megabytes: float = 200.0, *, theirs: bool = False, dtypes: tuple[str, ...] = ("float32", "bfloat16")
) -> dict[str, Any]:
    """For each stored dtype: peak above `import torch` over the bytes of the weights in memory."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as room:
        for dtype in dtypes:
            folder = Path(room) / dtype
            write_random(folder, megabytes, dtype)
            for name, code in (("modeledge", OURS), *((("transformers", THEIRS),) if theirs else ())):
                told = json.loads(run(code, folder))
                told["ratio"] = (told["peak"] - told["before"]) / told["weights"]
                found[f"{name} {dtype}"] = told
    return found


def first_logits(folder: Path, repeats: int) -> dict[str, Any]:
    """Seconds to the first logits of both, in turns; the ratio is the median of pairs."""
    pairs = []
    for name in ("modeledge", "transformers"):
        run(FIRST[name], folder)  # warm
    for turn in range(repeats):
        order = ("modeledge", "transformers") if turn % 2 == 0 else ("transformers", "modeledge")
        told = {name: [float(word) for word in run(FIRST[name], folder).split()] for name in order}
        pairs.append(told)
    ratios = [p["transformers"][0] / p["modeledge"][0] for p in pairs]
    loaded = [p["transformers"][1] / p["modeledge"][1] for p in pairs]
    return {
        "whole process: theirs / ours": statistics.median(ratios),
        "after imports: theirs / ours": statistics.median(loaded),
        "pairs": pairs,
    }


def main() -> None:
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--memory", action="store_true", help="measure memory alone")
    words.add_argument("--megabytes", type=float, default=200.0)
    words.add_argument("--model", type=Path, action="append", default=[], help="a folder to time")
    words.add_argument("--repeats", type=int, default=6)
    words.add_argument("--out", type=Path)
    asked = words.parse_args()
    results: dict[str, Any] = {"memory": memory(asked.megabytes, theirs=True)}
    for name, told in results["memory"].items():
        print(f"{name}: peak {told['ratio']:.3f} × the {told['weights'] / 1e6:.0f} MB of weights", flush=True)
    if not asked.memory:
        with tempfile.TemporaryDirectory() as room:
            folders = asked.model or [Path(room) / "random"]
            if not asked.model:
                write_random(folders[0], asked.megabytes, "float32")
            for folder in folders:
                results[folder.name] = first_logits(folder, asked.repeats)
                told = {k: round(v, 3) for k, v in results[folder.name].items() if k != "pairs"}
                print(f"{folder.name}: {told}", flush=True)
    if asked.out:
        asked.out.write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
