"""The whole column on real text: corpus → tokenizer → pre-training → fine-tuning → comparison → report."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from modeledge import files
from modeledge.config import Settings, to_toml
from modeledge.families import load_model
from modeledge.generate import Sampling, continue_text, fill_text, ready
from modeledge.model.transformer import Transformer
from modeledge.objectives import CausalLM
from modeledge.recipes.asking.use import held_out_loss
from modeledge.recipes.corpora.build import build_shards, build_tokenizer
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe
from modeledge.recipes.folder import run_folder
from modeledge.recipes.objectives import CausalAim, MaskedAim
from modeledge.recipes.pretraining.continued import opened
from modeledge.recipes.pretraining.pretrain import build_trainer, pretrain
from modeledge.recipes.quickstart import story
from modeledge.recipes.quickstart.grid import QUICK, WHOLE, classical, gains, neural
from modeledge.recipes.quickstart.scripture import write_documents
from modeledge.recipes.recipe import ModelRecipe, PretrainRecipe
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer
from modeledge.train import TrainConfig
from modeledge.train.session import Listener, write_environment

Say = Callable[[str], None]
Progress = Callable[[str], AbstractContextManager[Listener]]

VOCAB, LENGTH, BATCH = 2000, 128, 32
SHARE = {"decoder": 0.4, "encoder": 0.6}  # of twice `minutes`: the masked objective learns from fewer tokens a row
PROMPTS = ("And it came to pass", "The LORD is my", "Blessed are the")
GAPS = (
    "In the beginning God created the heaven and the [MASK].",
    "And Jesus said unto [MASK], Follow me.",
    "The king of [MASK] sent messengers.",
)


class QuickstartRecipe(Settings):
    """What `modeledge quickstart` was asked for."""

    kind: str = "quickstart"
    seed: int = 0
    minutes: float = 2.0
    full: bool = False


def quickstart(
    out: Path, *, minutes: float, full: bool, seed: int, say: Say = print, progress: Progress
) -> dict[str, Any]:
    """Run everything in `out`; returns what `results.json` holds. `minutes` is the pre-training time a model."""
    began = time.perf_counter()
    recipe = QuickstartRecipe(seed=seed, minutes=minutes, full=full)
    with run_folder(out, to_toml(recipe)):
        write_environment(out, seed)
        tokenizer = prepare(out, say)
        trained = {kind: train_one(out, kind, recipe, say, progress) for kind in ("decoder", "encoder")}
        models = {kind: model for kind, (model, _) in trained.items()}
        steps = {kind: count for kind, (_, count) in trained.items()}
        plan = WHOLE if full else QUICK
        say("fine-tuning and comparing")
        cells = [*classical(plan, say), *neural(models, tokenizer, plan, say)]
        results = {
            "steps": steps,
            "cells": [cell.as_plain() for cell in cells],
            "gains": [story.gain_as_plain(gain) for gain in gains(cells)],
            "held_out": held_out(out, models["decoder"], tokenizer, say),
            "samples": samples(models["decoder"], tokenizer, seed),
            "gaps": [[text, fill_text(models["encoder"], tokenizer, text)] for text in GAPS],
            "minutes": round((time.perf_counter() - began) / 60, 2),
        }
        results |= {"table": story.table(cells), "findings": [text for text, _ in story.verdicts(gains(cells), steps)]}
        files.write_json(out / "results.json", results)
        story.write(out, command(recipe), cells, gains(cells), results)
        say(f"{results['minutes']} minutes")
        return results


def prepare(out: Path, say: Say) -> Tokenizer:
    """Files → documents → tokenizer and token shards; the chapters of the test rows stay out of both."""
    say("reading the corpus")
    paths = write_documents(out / "raw")
    kept = CorpusRecipe(paths=tuple(str(path) for path in paths))
    tokenizer = build_tokenizer(kept, TokenizerRecipe(vocab_size=VOCAB), out / "tokenizer", say)
    build_shards(kept, out / "tokenizer", out / "corpus", say)
    files.write_json(out / "ledger.json", files.read_json(out / "corpus" / "ledger.json"))
    return tokenizer


def train_one(out: Path, kind: str, recipe: QuickstartRecipe, say: Say, progress: Progress) -> tuple[Transformer, int]:
    """Pre-train one model for its share of the minutes; the number of steps is measured first, then kept and told."""
    objective = CausalAim() if kind == "decoder" else MaskedAim(rate=0.15)
    train = TrainConfig(batch=BATCH, length=LENGTH, learning_rate=2e-3, weight_decay=0.05, warmup=0.05, save_every=200)
    asked = PretrainRecipe(
        seed=recipe.seed,
        corpus=CorpusRecipe(shards=str(out / "corpus")),
        tokenizer=TokenizerRecipe(path=str(out / "tokenizer")),
        model=ModelRecipe(preset=f"{kind}-small"),
        objective=objective,
        train=train,
    )
    steps = steps_in(asked, 2 * SHARE[kind] * recipe.minutes * 60)
    asked = asked.model_copy(update={"train": train.model_copy(update={"steps": steps})})
    say(f"pre-training the {kind}: {steps} steps of {BATCH * LENGTH:,} tokens")
    with progress(f"pre-training the {kind}") as listen:
        folder = pretrain(asked, out / kind, listeners=[listen], say=say)
    return load_model(folder).eval(), steps


def steps_in(recipe: PretrainRecipe, seconds: float) -> int:
    """How many steps fit into the time, from the quicker ones of a few that are then thrown away."""
    assert recipe.tokenizer.path is not None
    assert recipe.corpus.shards is not None
    tokenizer = Tokenizer.load(recipe.tokenizer.path)
    trainer = build_trainer(recipe, tokenizer, opened(Path(recipe.corpus.shards), tokenizer))
    times = sorted(trainer.step().seconds for _ in range(24))
    return max(20, int(seconds / times[len(times) // 4]))


def command(recipe: QuickstartRecipe) -> str:
    """What to type for the same run again."""
    words = f"modeledge quickstart --minutes {recipe.minutes:g} --seed {recipe.seed}"
    return f"{words} --full" if recipe.full else words


def held_out(out: Path, decoder: Transformer, tokenizer: Tokenizer, say: Say) -> dict[str, float]:
    """The decoder's likelihood on the chapters that it never saw."""
    held = CorpusRecipe(paths=(str(out / "raw" / "held-out.jsonl.gz"),))
    shards = build_shards(held, out / "tokenizer", out / "held-out", say)
    size = files.read_json(out / "held-out" / "ledger.json")["kept"]["bytes"]
    return held_out_loss(decoder, CausalLM(), shards, LENGTH, tokens=len(shards), bytes=size)


def samples(decoder: Transformer, tokenizer: Tokenizer, seed: int) -> list[dict[str, str]]:
    """What the decoder writes after each prompt."""
    model = ready(decoder)
    told = continue_text(
        model,
        tokenizer,
        PROMPTS,
        max_new_tokens=60,
        sampling=Sampling(temperature=0.7, top_p=0.95),
        noise=Noise(seed),
    )
    return [{"prompt": p, "continuation": t} for p, t in zip(PROMPTS, told, strict=True)]
