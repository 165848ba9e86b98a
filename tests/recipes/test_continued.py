"""Continued pre-training: new pieces, replay, marks on held-out text, samples, and rules for rates."""

from __future__ import annotations

import json
import math
import random
import re
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config
from modeledge.corpus.mix import MixedStream
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.model.batch import Batch, Side
from modeledge.recipes.pretraining.continued import replay_shards
from modeledge.recipes.pretraining.held import marks_on, split_stream
from modeledge.recipes.pretraining.pretrain import build_trainer, prepare_corpus, pretrain, stream_of
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe
from modeledge.recipes.resume import resume
from modeledge.report import run_report
from modeledge.tokens import Tokenizer

COMMON = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
DOMAIN = "acute myocardial infarction ischaemia of cardiac tissue with thrombolysis and angioplasty".split()  # noqa: SIM905
STACK = {"layers": 1, "attention": {"heads": 2}, "feedforward": {"width": 32}, "position": {"kind": "rotary"}}
PAGE = Path(__file__).parents[2] / "docs" / "pretraining.md"
TRAIN = {"steps": 6, "batch": 4, "length": 24, "save_every": 2, "judge_every": 3, "precision": "fp32"}


def quiet(line: str) -> None:
    """Says nothing."""


def text(words: list[str], count: int, seed: int) -> str:
    lots = random.Random(seed)
    return "\n".join(" ".join(lots.choices(words, k=12)) for _ in range(count)) + "\n"


def recipe(path: Path, kind: str = "causal", **changes: Any) -> PretrainRecipe:
    side = {"causal": "decoder", "masked": "encoder"}[kind]
    values: dict[str, Any] = {
        "corpus": {"paths": [str(path)]},
        "tokenizer": {"vocab_size": 320},
        "model": {"shape": {"width": 16, side: STACK}},
        "objective": {"kind": kind},
        "held_out": 0.1,
        "train": TRAIN,
    }
    return load_config(PretrainRecipe, None, values={**values, **changes})


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("continued")
    (folder / "general.txt").write_text(text(COMMON, 150, 0))
    (folder / "domain.txt").write_text(text(DOMAIN, 120, 1))
    for kind in ("causal", "masked"):
        pretrain(recipe(folder / "general.txt", kind), folder / kind, say=quiet)
    return folder


def going_on(ground: Path, kind: str = "causal", **changes: Any) -> PretrainRecipe:
    replay = {"paths": [str(ground / "general.txt")], "share": 0.25}
    more = {"model": {"start": str(ground / kind)}, "tokenizer": {"extend": 20}, "replay": replay}
    return recipe(ground / "domain.txt", kind, **{**more, **changes})


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_a_domain_with_new_pieces_and_replay(ground: Path, tmp_path: Path, kind: str) -> None:
    asked = going_on(ground, kind, samples={"every": 3, "tokens": 4})
    folder = pretrain(asked, tmp_path / "run", say=quiet)
    old, new = Tokenizer.load(ground / kind / "model"), Tokenizer.load(folder)
    assert old.vocab_size < new.vocab_size <= old.vocab_size + 20
    assert len(new.encode("acute myocardial infarction")) < len(old.encode("acute myocardial infarction"))
    model = load_model(folder)
    assert model.config.table.vocab == new.vocab_size
    marks = rows_of(tmp_path / "run" / "metrics.jsonl")[-1]["eval"]
    names = {"pseudo_loss"} if kind == "masked" else {"loss", "perplexity", "bits_per_byte"}
    assert set(marks) == names | {f"replay.{name}" for name in names}
    assert set(json.loads((tmp_path / "run" / "ledger.json").read_text())) == {"corpus", "replay"}
    assert {row["step"] for row in rows_of(tmp_path / "run" / "samples.jsonl")} == {3, 6}
    page = run_report(tmp_path / "run").read_text()
    assert "After step 3" in page
    assert "replay" in page


def test_a_stop_changes_nothing_of_it(ground: Path, tmp_path: Path) -> None:
    class Enough(Exception):
        """The machine was switched off."""

    def die(record: Any) -> None:
        if record.step == 5:
            raise Enough

    asked = going_on(ground, samples={"every": 2, "tokens": 5, "temperature": 1.0})
    pretrain(asked, tmp_path / "whole", say=quiet)
    with pytest.raises(Enough):
        pretrain(asked, tmp_path / "parts", listeners=[die], say=quiet)
    resume(tmp_path / "parts", say=quiet)
    for name in ("metrics.jsonl", "samples.jsonl", "model/model.safetensors", "model/tokenizer.json", "ledger.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name


@pytest.mark.parametrize("kind", ["causal", "masked"])
@pytest.mark.parametrize("prompts", [(), ("the quick [MASK] fox", "a [MASK]")])
def test_samples_do_not_touch_the_training(ground: Path, tmp_path: Path, kind: str, prompts: tuple[str, ...]) -> None:
    stack = {**STACK, "dropout": {"hidden": 0.1, "embed": 0.1}}
    side = {"causal": "decoder", "masked": "encoder"}[kind]
    model = {"shape": {"width": 16, side: stack}}
    train = {**TRAIN, "ema": 0.9}
    asked = [
        recipe(ground / "general.txt", kind, model=model, train=train, samples=samples)
        for samples in (None, {"every": 1, "prompts": prompts, "tokens": 6, "temperature": 1.0})
    ]
    for number, one in enumerate(asked):
        pretrain(one, tmp_path / f"{number}", say=quiet)
    for name in ("metrics.jsonl", "model/model.safetensors", "checkpoints/step-6/state.safetensors"):
        assert (tmp_path / "0" / name).read_bytes() == (tmp_path / "1" / name).read_bytes(), name
    rows = rows_of(tmp_path / "1" / "samples.jsonl")
    assert len(rows) == 6 * (len(prompts) or 3)
    told = "answer" if kind == "masked" else "continuation"
    assert all(("[MASK]" in row["prompt"]) and "[MASK]" not in row[told] for row in rows if kind == "masked")
    assert len({row[told] for row in rows}) > 1


def test_perplexity_and_bits_per_byte_are_of_the_same_sum(ground: Path, tmp_path: Path) -> None:
    """Against a plain loop over the held-out examples: their tokens one by one, their text decoded whole."""
    asked = recipe(ground / "general.txt")
    tokenizer, shards = prepare_corpus(asked, tmp_path, None, quiet)
    trainer = build_trainer(asked, tokenizer, shards)
    assert trainer.judge is not None
    held = [trainer.stream.example(i) for i in range(5)]
    marks = marks_on(trainer.module, {"": held}, trainer.config, tokenizer)(trainer.model.eval())
    nats, tokens, size = 0.0, 0, 0
    for example in held:
        ids = torch.tensor(example.ids)[None]
        with torch.no_grad():
            logs = torch.log_softmax(trainer.model.logits(trainer.model(Batch(target=Side.of(ids[:, :-1]))).last), -1)
        nats -= float(logs[0].gather(1, ids[0, 1:, None]).sum())
        tokens, size = tokens + ids.shape[1] - 1, size + len(tokenizer.decode(ids[0, 1:]).encode())
    assert marks["loss"] == pytest.approx(nats / tokens, rel=1e-5)
    assert marks["perplexity"] == pytest.approx(math.exp(nats / tokens), rel=1e-5)
    assert marks["bits_per_byte"] == pytest.approx(nats / size / math.log(2), rel=1e-5)


def test_replay_takes_its_share_and_never_what_is_held_out(ground: Path, tmp_path: Path) -> None:
    asked = going_on(ground, tokenizer={})
    tokenizer, shards = prepare_corpus(asked, tmp_path, None, quiet)
    general = replay_shards(asked, tmp_path, tokenizer, quiet)
    assert general is not None
    trainer = build_trainer(asked, tokenizer, shards, general)
    stream = trainer.stream
    assert isinstance(stream, MixedStream)
    seen = [stream.at(k) for k in range(80)]
    assert sum(e.index >= stream.offsets[1] for e in seen) == 20
    assert all("myo" not in tokenizer.decode(e.ids) for e in seen if e.index >= stream.offsets[1])
    held = {e.where for e in split_stream(stream_of(asked, trainer.model, tokenizer, general), 0.1, 0)[1]}
    replayed = {stream.streams[1].example(i).where for i in range(len(stream.streams[1]))}
    assert held
    assert not held & replayed


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {"shape": {"width": 16, "decoder": STACK}}}, "no tokenizer to extend"),
        ({"corpus": {"shards": "corpus"}}, "ready shards"),
    ],
)
def test_an_extension_that_cannot_be_is_refused(
    ground: Path, tmp_path: Path, changes: dict[str, Any], says: str
) -> None:
    with pytest.raises(ModeledgeError, match=rf"E-CONFIG.*{says}"):
        pretrain(going_on(ground, **changes), tmp_path / "x", say=quiet)


def test_the_width_rule_in_a_recipe(ground: Path, tmp_path: Path) -> None:
    """At half the base width the matrices begin √2 wider and move twice as fast; fine-tuning has no such rule."""
    built = []
    for base in (None, 32):
        asked = recipe(ground / "general.txt", train={**TRAIN, "base_width": base})
        tokenizer, shards = prepare_corpus(asked, tmp_path, None, quiet)
        built.append(build_trainer(asked, tokenizer, shards))
    weights = [run.model.tower.blocks[0].feedforward.up.weight.detach().numpy() for run in built]
    np.testing.assert_allclose(weights[1], weights[0] * math.sqrt(2), rtol=1e-6)
    with pytest.raises(ModeledgeError, match="base_width"):
        load_config(FinetuneRecipe, None, values={"model": "m", "data": "d", "train": {"base_width": 32}})


@pytest.mark.parametrize("block", re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL))
def test_the_recipes_of_the_page_are_recipes(block: str) -> None:
    """docs/pretraining.md shows no key that is not there."""
    values = tomllib.loads(block)
    held_out = 0.01 if "patience" in block or "judge_every" in block else 0.0
    assert load_config(PretrainRecipe, None, values={"corpus": {"paths": ["a"]}, "held_out": held_out, **values})


def test_the_range_test_from_the_command_line(ground: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        f'held_out = 0.1\n[corpus]\npaths = ["{ground / "general.txt"}"]\n[tokenizer]\nvocab_size = 320\n'
        "[model.shape]\nwidth = 16\n[model.shape.decoder]\nlayers = 1\nattention = { heads = 2 }\n"
        "feedforward = { width = 32 }\n[train]\nbatch = 4\nlength = 24\n"
    )
    told = CliRunner().invoke(
        app, ["lr-range", str(path), "--out", str(tmp_path / "out"), "--steps", "12", "--high", "3"]
    )
    assert told.exit_code == 0, told.output
    found = json.loads((tmp_path / "out" / "lr_range.json").read_text())
    assert f"train.learning_rate={found['suggested']:.2g}" in told.output
    assert "<svg" in (tmp_path / "out" / "report.html").read_text()
