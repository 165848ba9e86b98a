"""LoRA of rank 8 on every linear map of a MiniLM-shaped encoder, on sentences of SST-2-like lengths.

python benchmarks/adapters.py             our LoRA against PEFT's in fp32 padded and bf16 grouped, and against our full
python benchmarks/adapters.py --memory    the most bytes resident of each way to adapt, each in a process of its own

Both sides have the same weights, sentences and moving parts; dropout is 0. PEFT runs in a bare loop, without Trainer.
"""

from __future__ import annotations

import subprocess
import sys
from typing import Any

from classify import BATCH, STEPS

WAYS = {"full": (), "lora": ("lora",), "probe": ("probe",), "bitfit": ("bitfit",), "ia3": ("ia3",)}


def ours(way: str) -> Any:
    import classify

    return classify.ours(0.0, WAYS[way])


def hf(bf16: bool = False, longest: bool = False) -> Any:
    import classify

    return classify.hf(0.0, bf16=bf16, longest=longest, lora=True)


def memory() -> None:
    """Resident bytes at the peak of training steps above those before the first one, a process a way."""
    for way in WAYS:
        code = (
            "from adapters import ours; from modeledge.machine import peak_memory; "
            f"block = ours({way!r}); before = peak_memory(reset=True); [block() for _ in range(6)]; "
            "print(f'{before / 1e6:8.0f} MB before, {peak_memory() / 1e6:8.0f} MB at the peak')"
        )
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=sys.path[0])
        print(f"{way:8s} {told.stdout.strip()}")


if __name__ == "__main__":
    from pairs import main

    if "--memory" in sys.argv:
        memory()
        sys.exit()
    others = {
        "PEFT fp32 padded to 128": ("hf", {}),
        "PEFT bf16 grouped": ("hf", {"bf16": True, "longest": True}),
        "our full fine-tuning": ("ours", {"way": "full"}),
    }
    main("adapters", "adapters", ("ours", {"way": "lora"}), others, "examples", STEPS * BATCH, warm=10)
