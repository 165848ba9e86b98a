"""What each kind of pre-training makes of the machine: products a second beside those of masked and causal training.

python benchmarks/objectives.py
python benchmarks/objectives.py --only causal,denoise --steps 20

Every kind trains a model of its own body (d256, 4 layers a tower, bf16) on the same made-up documents through the real
trainer: stream, noise, rows, step, update. Products are counted by torch over one step, forward and backward; the rate
is theirs over the median time of a step. Kinds run in turns, so that a busy second meets all of them. `prepared` is the
share of a step that noise and rows take where nothing is fetched ahead.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeledge.machine import tune_malloc
from modeledge.model.flops import measured
from modeledge.objectives import Shape, collate, prepared
from modeledge.recipes.pretraining.pretrain import build_trainer, prepare_corpus
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Document
from modeledge.seed import Noise
from modeledge.train import Trainer

LENGTH, BATCH = 128, 32
STACK = {
    "layers": 4,
    "attention": {"heads": 4},
    "feedforward": {"width": 1024},
    "norm": {"place": "pre"},
    "position": {"kind": "learned", "length": 1024},
}
KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "masked": ("encoder", {}),
    "span": ("encoder", {}),
    "bert": ("encoder", {}),
    "electra": ("encoder", {}),
    "diffusion": ("encoder", {}),
    "causal": ("decoder", {}),
    "prefix": ("decoder", {}),
    "unilm": ("decoder", {}),
    "denoise (prefix LM)": ("decoder", {"kind": "denoise"}),
    "denoise": ("encoder-decoder", {}),
    "bart": ("encoder-decoder", {}),
    "ul2": ("encoder-decoder", {}),
}
BESIDE = {"encoder": "masked", "decoder": "causal", "encoder-decoder": "causal"}


def documents() -> Iterator[Document]:
    """Texts of some hundred words in sentences, drawn by Zipf's law."""
    random = np.random.default_rng(0)
    words = ["".join(random.choice(list("etaoinshrdlu"), 2 + i % 7)) for i in range(4000)]
    for number in range(1500):
        drawn = [words[int(i)] for i in random.zipf(1.25, 400) % 4000]
        lines = [" ".join(drawn[at : at + 12]).capitalize() + "." for at in range(0, 400, 12)]
        yield Document(" ".join(lines), f"made {number}")


def trainer_of(kind: str, folder: Path) -> Trainer:
    """The trainer of one kind, on a corpus of its own."""
    body, fields = KINDS[kind]
    towers = {side: STACK for side in ("encoder", "decoder") if side in body.split("-")}
    types = {"types": 2} if kind == "bert" else {}
    recipe = PretrainRecipe.model_validate(
        {
            "corpus": {"paths": ()},
            "tokenizer": {"kind": "bpe", "vocab_size": 8192},
            "model": {"shape": {"width": 256, "embed": types, **towers}},
            "objective": {"kind": fields.get("kind", kind), **{k: v for k, v in fields.items() if k != "kind"}},
            "train": {"steps": 10_000, "batch": BATCH, "length": LENGTH, "precision": "auto"},
        }
    )
    tokenizer, shards = prepare_corpus(recipe, folder, documents(), lambda line: None)
    return build_trainer(recipe, tokenizer, shards)


def prepared_in(trainer: Trainer) -> float:
    """Seconds of the noise and the rows of a step."""
    objective = trainer.module.objective
    examples = [trainer.stream.at(number) for number in range(BATCH)]  # type: ignore[attr-defined]
    times = []
    for _ in range(7):
        began = time.perf_counter()
        collate([prepared(objective, example, Noise(0)) for example in examples], Shape(trainer.config.length))
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def main() -> None:
    from pairs import save

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    tune_malloc()
    chosen = [kind for kind in KINDS if not options.only or kind in options.only.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        trainers = {kind: trainer_of(kind, Path(folder) / str(n)) for n, kind in enumerate(chosen)}
        work = {kind: measured(trainer.step) for kind, trainer in trainers.items()}
        noise = {kind: prepared_in(trainer) for kind, trainer in trainers.items()}
        seconds: dict[str, list[float]] = {kind: [] for kind in chosen}
        for turn in range(options.steps):
            for kind in chosen if turn % 2 else reversed(chosen):
                began = time.perf_counter()
                trainers[kind].step()
                seconds[kind].append(time.perf_counter() - began)
    rates = {kind: work[kind] / statistics.median(times) for kind, times in seconds.items()}
    rows = {}
    print(f"{'kind':22s} {'body':16s} {'GFLOP/s':>8s} {'beside':>7s} {'ms a step':>10s} {'prepared':>9s}")
    for kind in chosen:
        other, body = rates.get(BESIDE[KINDS[kind][0]]), KINDS[kind][0]
        median = statistics.median(seconds[kind])
        rows[kind] = {
            "body": body,
            "GFLOP/s": rates[kind] / 1e9,
            "beside masked or causal": rates[kind] / other if other else None,
            "ms a step": 1000 * median,
            "prepared": noise[kind] / median,
        }
        beside = f"{rates[kind] / other:6.2f}x" if other else ""
        shown = f"{rates[kind] / 1e9:8.1f} {beside:>7s} {1000 * median:10.0f} {noise[kind] / median:9.1%}"
        print(f"{kind:22s} {body:16s} {shown}")
    if not options.no_save:
        save("objectives", rows, torch.get_num_threads())


if __name__ == "__main__":
    main()
