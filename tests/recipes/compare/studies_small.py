"""A study of two tiny cells on generated text: seconds to run, and everything that a real one has."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from modeledge.config import load_config
from modeledge.recipes.compare import StudyRecipe

WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
STACK = {
    "layers": 1,
    "attention": {"heads": 2},
    "feedforward": {"width": 32},
    "position": {"kind": "rotary"},
}
NUMBERS = {"length": 32, "threads": 1, "precision": "fp32"}


def sentences(count: int, words: int, seed: int) -> list[str]:
    lots = random.Random(seed)
    return [" ".join(lots.choices(WORDS, k=words)) for _ in range(count)]


def generated(folder: Path) -> Path:
    """Text to pre-train on and rows with labels."""
    (folder / "texts").mkdir(parents=True)
    (folder / "texts" / "a.txt").write_text("\n".join(sentences(200, 12, 0)) + "\n")
    rows = [f"{text},{int('red' in text)}" for text in dict.fromkeys(sentences(90, 8, 1))]
    (folder / "tone.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def tree(data: Path, **changes: Any) -> dict[str, Any]:
    """The study as plain values."""
    cells = {
        "next": {"label": "Decoder", "pretrain": {"model": {"shape": {"decoder": STACK}}}},
        "hidden": {
            "label": "Encoder",
            "pretrain": {"model": {"shape": {"encoder": STACK}}, "objective": {"kind": "masked"}},
        },
    }
    tone = {
        "data": "{data}/tone.csv",
        "test_share": 0.3,
        "apart": "text",
        "values": {"label": {"0": "grey", "1": "red"}},
        "metrics": ["accuracy", "f1_macro"],
        "finetune": {"text": "text", "label": "label", "task": "classification"},
    }
    return {
        "title": "Two cells",
        "data": str(data),
        "against": "next",
        "corpus": {"paths": ["{data}/texts/*.txt"]},
        "tokenizer": {"vocab_size": 320},
        "pretrain": {"model": {"shape": {"width": 16}}, "train": {**NUMBERS, "steps": 4, "batch": 4, "save_every": 1}},
        "finetune": {"epochs": 0.5, "train": {**NUMBERS, "batch": 8, "learning_rate": 3e-3, "save_every": 1}},
        "cells": cells,
        "tasks": {"tone": tone},
        **changes,
    }


def study(data: Path, **changes: Any) -> StudyRecipe:
    return load_config(StudyRecipe, None, values=tree(data, **changes))


def quiet(line: str) -> None:
    """Says nothing."""
