"""Every kind of pre-training on every architecture: it learns a toy language, or is refused with a reason.

**The language.** A text is in one of six tongues and has two halves, of two sentences of five words each; the words of
a half are drawn from the three that its tongue has for that half. No two of the twelve sets share a word. So a reader
who has seen one word of a sentence knows its set, which is worth ln 12 = 2.48 nats for each word; which of the three
words it is nobody can know.

**The bars.** A blind reader, who sees nothing of a text and knows how often each answer is right, pays the entropy of
the answers: that is computed for each cell from the answers that it asks for. A cell must do better than the blind by
what `BARS` states, with its reason.
"""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeledge.config import load_config
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model.transformer import Transformer
from modeledge.objectives import prepared
from modeledge.objectives.middle import NAMES
from modeledge.objectives.mixture import MODES
from modeledge.recipes.objectives import AIMS
from modeledge.recipes.objectives.fits import ARCHITECTURES, PREFIX, fits
from modeledge.recipes.pretrain import prepare_corpus, pretrain, ready
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.recipes.start import shape
from modeledge.records import Document
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer
from modeledge.train import StepRecord

SYLLABLES = [a + b for a in "bdfgkl" for b in "aeiou"]
TONGUES, WORDS = 6, 3
STEPS, LAST = 60, 10
TURNED = "decoder read both ways"
HALF = 0.5 * math.log(2 * TONGUES)
BARS: dict[str, tuple[float, str]] = {
    "lm": (HALF, "half of what the set of a word tells of the word: 2.48 nats of a word, which most answers are"),
    "next": (0.1, "ln 2 is blind; the halves that follow and the tongues that do not match tell more than 0.4 nats"),
    "rank": (0.5, "one of twelve sets is worth 2.48 nats, where each sentence is told from those of 31 others"),
    "replaced": (0.02, "a word of another tongue stands out, until the generator knows the tongue as well"),
}
MORE: dict[str, dict[str, Any]] = {
    "multi-token": {"ahead": 2},
    "simcse": {"pool": "mean"},
    "electra": {"generator": 0.5},
    **dict.fromkeys(("masked", "span", "unilm"), {"rate": 0.3}),
}
PARTS = {"encoder": ("masked", "diffusion"), "decoder": ("causal", "fim"), "encoder-decoder": ("denoise", "prefix")}


def text(lots: random.Random) -> str:
    tongue = lots.randrange(TONGUES)
    sets = [SYLLABLES[2 * tongue + half] for half in (0, 0, 1, 1)]
    return " ".join(" ".join(s + lots.choice(SYLLABLES[:WORDS]) for _ in range(5)).capitalize() + "." for s in sets)


def quiet(line: str) -> None:
    """Says nothing."""


class Ground:
    """The language as shards of every channel, and a tokenizer with every special token, a word a token."""

    def __init__(self, folder: Path) -> None:
        lots, self.folder = random.Random(0), folder
        documents = [Document(text(lots), f"d{number}") for number in range(600)]
        corpus = {"channels": ["sentences", "words"], "deduplicate": False}
        tokenizer = {"kind": "wordpiece", "vocab_size": 200, "lowercase": True, "sentinels": 20}
        folder.mkdir()
        made = load_config(
            PretrainRecipe,
            None,
            values={"corpus": corpus, "tokenizer": {**tokenizer, "extra": [*NAMES, *MODES]}},
        )
        self.tokenizer, self.shards = prepare_corpus(made, folder, documents, quiet)

    def recipe(self, kind: str, architecture: str, start: Path) -> PretrainRecipe:
        """A cell: sixty steps. A decoder that is to be read both ways lies in the folder `start`."""
        model: dict[str, Any] = {"shape": body(architecture, kind)}
        if architecture == TURNED:
            drawn = Transformer(shape(None, model["shape"], self.tokenizer.vocab_size))
            save_model(drawn, start, family="modeledge")
            self.tokenizer.save(start)
            model = {"start": str(start), "bidirectional": True}
        values = {
            "corpus": {"shards": str(self.folder / "corpus")},
            "tokenizer": {"path": str(self.folder / "tokenizer")},
            "model": model,
            "objective": objective(kind, architecture),
            "train": {"steps": STEPS, "batch": 32, "length": 32, "learning_rate": 0.01, "precision": "fp32"},
        }
        return load_config(PretrainRecipe, None, values=values)


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("grid") / "ground")


def body(architecture: str, kind: str) -> dict[str, Any]:
    """Two layers of width 32 on each side (one, with half of them), and what a kind needs beside its towers."""
    stack = {
        "layers": 1 if architecture == "half the layers" else 2,
        "attention": {"heads": 2},
        "feedforward": {"width": 64},
        "position": {"kind": "rotary"},
        "dropout": {"hidden": 0.1 if AIMS[kind].needs == "dropout" else 0.0},
    }
    towers = ["decoder"] if architecture == TURNED else ARCHITECTURES[architecture].split("-")
    types = {"embed": {"types": 2}} if AIMS[kind].needs == "token types" else {}
    shared = {"share_sides": True} if architecture == "shared layers" else {}
    return {"width": 32, **types, **shared, **dict.fromkeys(towers, stack)}


def objective(kind: str, architecture: str) -> dict[str, Any]:
    """The kind in the form of this architecture; a blend has two parts that it can train."""
    if kind == "blend":
        names = ("denoise", "prefix") if architecture == PREFIX else PARTS[ARCHITECTURES[architecture]]
        parts = {name: {"objective": objective(name, architecture)} for name in names}
        return {"kind": kind, "mode": "in turn", "parts": parts}
    form = {PREFIX: "prefix", "decoder": "causal"}.get(architecture)
    chosen = {"form": form} if form and (AIMS[kind].forms or form == "prefix") else {}
    return {"kind": kind, **MORE.get(kind, {}), **chosen}


def trained(ground: Ground, kind: str, architecture: str, start: Path) -> dict[str, tuple[float, float]]:
    """What each term costs over the last steps, and what it costs the blind."""
    trainer, stream = ready(ground.recipe(kind, architecture, start), ground.tokenizer, ground.shards)
    answers: dict[str, Counter[int]] = defaultdict(Counter)
    for number in range(200):
        item = prepared(trainer.module.objective, stream.example(number), Noise(number))
        for name, labels in item.labels.items():
            answers[name].update(np.ravel(labels).tolist())
    seen: dict[str, list[float]] = defaultdict(list)
    replaced: list[float] = []

    def listen(record: StepRecord) -> None:
        if record.step > STEPS - LAST:
            for name, value in record.terms.items():
                seen[name].append(value)
            replaced.extend(value for name, value in record.logs.items() if name == "share_replaced")

    trainer.fit(STEPS, [listen])
    blind = {name: entropy(list(counts.values())) for name, counts in answers.items()}
    blind["rank"] = math.log(32)
    if replaced:
        share = float(np.mean(replaced))
        blind["replaced"] = entropy([share, 1 - share])
    return {name: (float(np.mean(values)), blind[name]) for name, values in seen.items()}


def entropy(counts: list[float] | list[int]) -> float:
    """Of answers that come so often, in nats."""
    shares = np.array(counts, np.float64) / sum(counts)
    return float(-(shares * np.log(shares)).sum())


if __name__ == "__main__":
    import sys
    import time

    where = Path(sys.argv[1])
    ground = Ground(where / "ground")
    for kind in sys.argv[2:] or AIMS:
        for architecture in ARCHITECTURES:
            if fits(AIMS[kind], architecture):
                begun, cpu = time.time(), time.process_time()
                try:
                    out = trained(ground, kind, architecture, where / f"{kind}-{architecture}")
                    said = "  ".join(f"{k} {v:.3f} blind {b:.3f} gain {b-v:.3f}" for k, (v,b) in out.items())
                except Exception as e:
                    said = f"{type(e).__name__}: {e}"
                print(f"{kind:12} {architecture:24} {time.time() - begun:.1f} s cpu {time.process_time()-cpu:.1f} {said}", flush=True)
