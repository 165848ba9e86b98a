"""What a body costs: its parameters, the floating-point operations of a token, the tokens that it saw, the seconds.

Operations are counted while one real batch goes forwards and backwards (`torch.utils.flop_counter`: the matrix products
that run, two operations a multiply-add, attention among them), and divided by the tokens of that batch: of the source
and of the target where there are two sides. So compute that a formula would miss (a head over part of the positions,
layers that are used twice) is in the figure, and padding, where there is any, shows.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from torch.utils.flop_counter import FlopCounterMode

from modeledge import files
from modeledge.recipes.pretraining.pretrain import Texts, build_trainer
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe
from modeledge.recipes.tuning.finetune import make_ready
from modeledge.recipes.tuning.rows import split_rows
from modeledge.recipes.tuning.scratch import starting_model
from modeledge.tokens import Tokenizer
from modeledge.train import Trainer

FACTS = "facts.json"
TAIL = 20  # the last steps, whose mean loss is told


def write_facts(recipe: PretrainRecipe, folder: Path, tokenizer: Tokenizer, texts: Texts) -> dict[str, Any]:
    """`facts.json` of a finished pre-training: what `measured` counts, and what its log says."""
    facts = {**measured(build_trainer(recipe, tokenizer, texts)), **logged(folder)}
    files.write_json(folder / FACTS, facts)
    return facts


def write_supervised_facts(recipe: FinetuneRecipe, folder: Path) -> dict[str, Any]:
    """Likewise of a body that was trained on labelled rows."""
    parts = split_rows(recipe, None, None, say=_unsaid)
    ready = make_ready(recipe, parts, starting_model(recipe, parts.train, folder), _unsaid)
    facts = {**measured(ready.trainer), **logged(folder)}
    files.write_json(folder / FACTS, facts)
    return facts


def _unsaid(line: str) -> None:
    """It was said when the run began."""


def measured(trainer: Trainer) -> dict[str, Any]:
    """Parameters of model and objective (each once, however often it is used), and operations a token of training."""
    batches = trainer.pull()
    with FlopCounterMode(display=False) as counter:
        for number, batch in enumerate(batches):
            loss = trainer.module(batch, trainer.noise.at("step", 0, number, 0))
            loss.value({name: term.weight for name, term in loss.terms.items()}).backward()
    tokens = sum(batch.tokens for batch in batches)
    parameters = sum(p.numel() for p in trainer.model.parameters())
    beside = sum(p.numel() for p in trainer.module.objective.parameters())
    return {
        "parameters": parameters,
        "objective_parameters": beside,
        "flops_per_token": counter.get_total_flops() / tokens,
        "tokens_per_step": tokens,
    }


def logged(folder: Path) -> dict[str, Any]:
    """What the log of a run says: steps, tokens, the mean loss of the last steps, and the seconds of all of them."""
    steps = records(folder / "metrics.jsonl")
    judged = [row["eval"] for row in steps if "eval" in row]
    return {
        "steps": len(steps),
        "tokens": sum(row["tokens"] for row in steps),
        "loss": fmean(row["loss"] for row in steps[-TAIL:]) if steps else None,
        "held_out": judged[-1] if judged else None,
        "seconds": seconds(folder),
    }


def seconds(folder: Path) -> float:
    """How long the steps of a run took, over all its parts if it was stopped in between; without saving and judging.
    Of a run without steps: how long its body and the fitting of its head did."""
    stepped = records(folder / "speed.jsonl")
    if not stepped and (folder / "results.json").exists():
        return float(sum(files.read_json(folder / "results.json").get("features", {}).get("seconds", {}).values()))
    return float(sum(row["seconds"] for row in stepped))


def records(path: Path) -> list[Mapping[str, Any]]:
    """The whole lines of a log."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    return [json.loads(line) for line in lines if line]
