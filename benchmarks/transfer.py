"""One real checkpoint fine-tuned on the same rows by us and by transformers' Trainer: marks and time, side by side.

    python benchmarks/transfer.py MODEL DATA --out results.json --seeds 3
    python benchmarks/transfer.py MODEL DATA --tasks mrpc --pairs 3 --rows 640   # whole runs in turns: the ratio

MODEL is the folder of all-MiniLM-L6-v2 (a BERT of 22.7 M parameters), DATA holds GLUE's files, UD English EWT and
SQuAD's. Both sides have the same rows, epochs, batch, rate, warm-up, decay, clipping, dropout, length and seed, and
bf16 products where the machine has them; both answer all test rows, which the same code marks. Each run is one line of
the results, and a run that is there already is not run again. Theirs pads each batch to its longest row, and may group
rows by length (`--grouped`), the best that it offers.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import torch

from modeledge.corpus.layouts import read_layout
from modeledge.machine import has_fast_bf16
from modeledge.metrics import METRICS, bootstrap

Row = dict[str, Any]
BATCH, DECAY, WARMUP, RATE = 32, 0.01, 0.1, 1e-4


@dataclass(frozen=True)
class Setting:
    """One data set: its files, which columns are read, and the numbers of the run."""

    layout: str
    train: tuple[str, ...]
    test: str
    split: tuple[str, str]
    metrics: tuple[str, ...]
    kind: str = "classification"
    text: str = ""
    pair: str | None = None
    label: str = "label"
    epochs: float = 3.0
    length: int = 128
    asked: Mapping[str, float] = field(default_factory=dict)


SETTINGS = {
    "sst2": Setting(
        "sst2", ("sst2/train_full.tsv",), "sst2/dev.tsv", ("train", "dev"), ("accuracy",),
        text="sentence", epochs=1.0, asked={"accuracy": 0.90},
    ),
    "cola": Setting(
        "cola", ("cola/train.tsv", "cola/val.tsv"), "cola/dev.tsv", ("train", "dev"), ("matthews", "accuracy"),
        text="sentence", epochs=3.0, asked={"matthews": 0.30},
    ),
    "mrpc": Setting(
        "mrpc", ("mrpc/msr_paraphrase_train.txt",), "mrpc/msr_paraphrase_test.txt", ("msr_train", "msr_test"),
        ("f1", "accuracy"), text="#1 String", pair="#2 String", label="Quality", epochs=3.0,
        asked={"f1": 0.85, "accuracy": 0.78},
    ),
    "rte": Setting(
        "rte", ("rte/train.tsv",), "rte/dev.tsv", ("train", "dev"), ("accuracy",),
        text="sentence1", pair="sentence2", epochs=3.0,
    ),
    "stsb": Setting(
        "stsb", ("stsb/train.tsv",), "stsb/dev.tsv", ("train", "dev"), ("pearson", "spearman"), kind="regression",
        text="sentence1", pair="sentence2", label="score", epochs=3.0, asked={"pearson": 0.86, "spearman": 0.86},
    ),
    "pos": Setting(
        "conllu", ("ud_ewt/train.conllu.gz",), "ud_ewt/dev.conllu.gz", ("train", "dev"), ("accuracy",), kind="tag",
        text="tokens", label="upos", epochs=1.0, asked={"accuracy": 0.94},
    ),
    "squad": Setting(
        "squad", ("squad/dev-v1.1.rebuilt.json.gz",), "", ("dev", ""), ("exact_match", "f1_answer"), kind="extract",
        epochs=2.0, length=384,
    ),
}  # fmt: skip


def rows_of(name: str, data: Path) -> tuple[list[Row], list[Row]]:
    """The training and the test rows. SQuAD's are its development file, split by article: every fifth is for test."""
    setting = SETTINGS[name]
    train = [row for file in setting.train for row in read_layout(setting.layout, data / file, setting.split[0])]
    if not setting.test:
        titles = sorted({row["title"] for row in train})
        held = set(titles[::5])
        return [r for r in train if r["title"] not in held], [r for r in train if r["title"] in held]
    return train, read_layout(setting.layout, data / setting.test, setting.split[1])


def marks_of(name: str, told: Sequence[Any], gold: Sequence[Any], seed: int) -> dict[str, Any]:
    """Each metric with its interval over the test rows."""
    scores = {}
    for metric in SETTINGS[name].metrics:
        score = bootstrap(METRICS[metric], told, gold, seed=seed)
        scores[metric] = {"value": score.value, "low": score.low, "high": score.high, "n": score.n}
    return scores


def ours(name: str, model: Path, train: list[Row], test: list[Row], seed: int) -> dict[str, Any]:
    """`modeledge finetune`, as a user calls it from Python, its pre-flight included."""
    import modeledge as me

    setting = SETTINGS[name]
    columns = {"tokens": setting.text, "tags": setting.label}
    if setting.kind == "extract":
        columns = {role: role for role in ("question", "context", "answers", "id")}
    elif setting.kind != "tag":
        columns = {"text": setting.text, "label": setting.label, **({"pair": setting.pair} if setting.pair else {})}
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        _, results = me.finetune(
            model,
            train,
            Path(folder) / "run",
            f"train.learning_rate={RATE}",
            f"train.batch={BATCH}",
            f"train.length={setting.length}",
            f"train.weight_decay={DECAY}",
            f"train.warmup={WARMUP}",
            "train.beta2=0.999",
            test=test,
            task=setting.kind,
            columns=columns,
            epochs=setting.epochs,
            seed=seed,
            allow_leak=True,  # CoLA's and SST-2's own files share rows between train and dev
            say=lambda line: None,
        )
        seconds = time.perf_counter() - began
        steps = [json.loads(line) for line in (Path(folder) / "run" / "speed.jsonl").read_text().splitlines()]
    training = sum(step["seconds"] for step in steps)
    scores = {name: results["scores"][name] for name in setting.metrics}
    return {"scores": scores, "training": training, "seconds": seconds}


def theirs(
    name: str, model: Path, train: list[Row], test: list[Row], seed: int, *, bf16: bool = True, grouped: bool = True
) -> dict[str, Any]:
    """transformers' Trainer with the same numbers."""
    import transformers as hf

    from peers_transfer import PEERS  # the preparation of rows, as their own examples do it

    setting = SETTINGS[name]
    hf.logging.set_verbosity_error()
    tokenizer = hf.AutoTokenizer.from_pretrained(model)
    began = time.perf_counter()
    hf.set_seed(seed)
    peer = PEERS[setting.kind](setting, tokenizer, model, train, test)
    with tempfile.TemporaryDirectory() as folder:
        arguments = hf.TrainingArguments(
            output_dir=folder,
            per_device_train_batch_size=BATCH,
            per_device_eval_batch_size=64,
            num_train_epochs=setting.epochs,
            learning_rate=RATE,
            weight_decay=DECAY,
            warmup_steps=WARMUP,
            lr_scheduler_type="linear",
            adam_beta2=0.999,
            max_grad_norm=1.0,
            bf16=bf16 and has_fast_bf16(),
            train_sampling_strategy="group_by_length" if grouped else "random",
            seed=seed,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            logging_strategy="no",
            use_cpu=True,
        )
        trainer = hf.Trainer(model=peer.model, args=arguments, train_dataset=peer.examples, data_collator=peer.collator)
        fitting = time.perf_counter()
        trainer.train()
        training = time.perf_counter() - fitting
        arguments.train_sampling_strategy = "random"  # grouped, it answers in another order than that of the rows
        told, gold = peer.answers(trainer)
    return {
        "scores": marks_of(name, told, gold, seed),
        "training": training,
        "seconds": time.perf_counter() - began,
    }


SIDES: dict[str, Callable[..., dict[str, Any]]] = {"modeledge": ours, "transformers": theirs}


def table(runs: Sequence[Mapping[str, Any]]) -> str:
    """The marks of both sides: mean and spread over seeds; the interval is that of the first seed's test rows."""
    lines = [
        "| data | metric | modeledge | transformers | difference | rows | asked |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, setting in SETTINGS.items():
        for metric in setting.metrics:
            cells, means = [], {}
            for side in SIDES:
                found = [r["scores"][metric] for r in runs if r["task"] == name and r["side"] == side]
                if not found:
                    cells.append("")
                    continue
                values = [s["value"] for s in found]
                means[side] = float(np.mean(values))
                spread = f" ± {statistics.stdev(values):.4f}" if len(values) > 1 else ""
                cells.append(f"{means[side]:.4f}{spread} [{found[0]['low']:.3f}, {found[0]['high']:.3f}]")
                count = found[0]["n"]
            if means:
                gap = f"{means['modeledge'] - means['transformers']:+.4f}" if len(means) == 2 else ""
                asked = f"≥ {setting.asked[metric]:.2f}" if metric in setting.asked else ""
                lines.append(f"| {name} | {metric} | {' | '.join(cells)} | {gap} | {count:,} | {asked} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--tasks", default=",".join(SETTINGS))
    parser.add_argument("--sides", default=",".join(SIDES))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--pairs", type=int, default=0, help="time whole runs in turns instead")
    parser.add_argument("--rows", type=int, default=0, help="of the training and of the test rows, for --pairs")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path(f"benchmarks/results/transfer-{date.today()}.json"))
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    if asked.pairs:
        return timed(asked)
    runs = json.loads(asked.out.read_text())["runs"] if asked.out.exists() else []
    there = {(r["task"], r["side"], r["seed"]) for r in runs}
    for seed in range(asked.seeds):
        for name in asked.tasks.split(","):
            train, test = rows_of(name, asked.data)
            for side in asked.sides.split(","):
                if (name, side, seed) in there:
                    continue
                run = SIDES[side](name, asked.model, train, test, seed)
                shown = ", ".join(f"{m} {s['value']:.4f}" for m, s in run["scores"].items())
                print(
                    f"{name:6s} seed {seed} {side:13s} {shown}  {run['training']:.0f} s of {run['seconds']:.0f}",
                    flush=True,
                )
                runs.append({"task": name, "side": side, "seed": seed, **run})
                asked.out.write_text(json.dumps({"date": str(date.today()), "runs": runs}, indent=1))
    print(table(runs))


def timed(asked: argparse.Namespace) -> None:
    """Whole runs in ABBA order: the median ratio of the time that training takes, against their default and best."""
    found: dict[str, Any] = {}
    for name in asked.tasks.split(","):
        train, test = (rows[: asked.rows or None] for rows in rows_of(name, asked.data))
        for label, options in (("default, fp32", {"bf16": False, "grouped": False}), ("bf16, grouped by length", {})):
            ratios, whole = [], []
            for number in range(asked.pairs):
                order = ("modeledge", "transformers") if number % 2 == 0 else ("transformers", "modeledge")
                runs = {
                    side: SIDES[side](name, asked.model, train, test, 0, **(options if side == "transformers" else {}))
                    for side in order
                }
                ratios.append(runs["transformers"]["training"] / runs["modeledge"]["training"])
                whole.append(runs["transformers"]["seconds"] / runs["modeledge"]["seconds"])
            found[f"{name}: {label}"] = {"training": statistics.median(ratios), "whole": statistics.median(whole)}
            middle = f"training {statistics.median(ratios):.2f}x, whole run {statistics.median(whole):.2f}x"
            print(f"{name}, Trainer {label}: {middle}", flush=True)
    asked.out.with_name(asked.out.stem + "-times.json").write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
