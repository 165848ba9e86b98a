"""What `modeledge plan` says beside what the run then takes: time of the steps, peak memory, disk.

    python benchmarks/plan.py TEXTS... [--steps 300] [--recipes causal masked t5 bart] [--repeats 3]

Each shipped recipe of pre-training is planned on the given text files and then run, each in a process of its own, in
turns. The run's time is the sum of its steps' seconds, its memory the highest that was resident in its process, its
disk the size of its folder, corpus and tokenizer left out. A ratio is planned over taken; asked are 20 %.
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

from pairs import save

RECIPES = Path(__file__).parent.parent / "recipes"
RUN = """
import json, sys
from modeledge.machine import calm_threads, peak_memory
calm_threads()  # as the command does
from modeledge.recipes.api import pretrain
peak_memory(reset=True)
pretrain(sys.argv[1], sys.argv[2], *sys.argv[3:])
print(json.dumps(peak_memory()))
"""


def last_line(*command: str) -> Any:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def planned(recipe: Path, words: list[str]) -> dict[str, float]:
    told = json.loads(last_line(sys.executable, "-m", "modeledge", "plan", str(recipe), *words, "--json"))
    return {"seconds": told["seconds"], "memory": told["peak"], "disk": told["disk"]}


def taken(recipe: Path, words: list[str], folder: Path) -> dict[str, float]:
    memory = int(last_line(sys.executable, "-c", RUN, str(recipe), str(folder), *words).splitlines()[-1])
    steps = [json.loads(line) for line in (folder / "speed.jsonl").read_text().splitlines()]
    parts = [p for p in folder.iterdir() if p.name not in ("corpus", "tokenizer", "quarantine.jsonl")]
    disk = sum(f.stat().st_size for p in parts for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file())
    return {"seconds": sum(step["seconds"] for step in steps), "memory": memory, "disk": disk}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("texts", nargs="+")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--recipes", nargs="+", default=["causal", "masked", "t5", "bart"])
    given = parser.parse_args()
    words = [f"corpus.paths={json.dumps(given.texts)}", f"train.steps={given.steps}"]
    rows: dict[str, Any] = {}
    for name in given.recipes:
        recipe, turns = RECIPES / f"{name}.toml", []
        for _ in range(given.repeats):
            with tempfile.TemporaryDirectory() as place:
                turns.append((planned(recipe, words), taken(recipe, words, Path(place) / "run")))
        rows[name] = {"planned": turns[-1][0], "taken": turns[-1][1]}
        rows[name]["ratio"] = {
            what: statistics.median(plan[what] / run[what] for plan, run in turns) for what in turns[0][0]
        }
        print(name, {what: f"{ratio:.2f}" for what, ratio in rows[name]["ratio"].items()}, flush=True)
    save("plan", rows, int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)))


if __name__ == "__main__":
    main()
