"""Features of a body with an adapter: it acts, and states are kept under all that it computes by."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import modeledge as me
from modeledge import files
from modeledge.adapt import STRATEGIES
from modeledge.adapt.graft import activate
from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.tuning.rows import split_rows
from modeledge.seed import Noise
from modeledge.tasks.featured import body_digest
from modeledge.tokens import train_tokenizer

WORDS = {"up": "rise gain high climb".split(), "down": "fall loss low sink".split()}  # noqa: SIM905
ROWS = [
    {"text": f"{WORDS[label][n % 4]} number {n} {WORDS[label][(n // 4) % 4]}", "label": label}
    for n in range(40)
    for label in ("up", "down")
]
SMALL = ("train.length=16", "train.precision=fp32", "train.threads=1", "check=false")
KINDS = ("lora", "ia3", "adapter", "prompt", "prefix")


def quiet(line: str) -> None:
    """Says nothing."""


def body(vocab: int = 200) -> Transformer:
    stack = Stack(
        layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=32), position=Learned(length=64)
    )
    return Transformer(TransformerConfig(width=16, embed=Tokens(vocab=vocab), encoder=stack, init=0.3), seed=1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    tokenizer = train_tokenizer([row["text"] for row in ROWS], kind="wordpiece", vocab_size=200)
    me.save(Model(body(tokenizer.vocab_size), tokenizer), folder / "base", to="modeledge")
    return folder


def adapted(home: Path, kind: str) -> Path:
    """A run with an adapter on the base, which has learned a little."""
    if not (home / kind).exists():
        strategies = f'strategies=[{{kind="{kind}"}}]'
        rate = ("epochs=1", "train.batch=8", "train.learning_rate=1e-2")
        me.finetune(home / "base", ROWS, home / kind, *SMALL, *rate, strategies, say=quiet)
    return home / kind


def features(model: Path, out: Path, *more: str, say: Any = quiet) -> dict[str, Any]:
    return me.finetune(model, ROWS, out, *SMALL, "features.head=logistic", "features.strength=1.0", *more, say=say)


def states(folder: Path) -> dict[str, bytes]:
    return {p.parent.name: p.read_bytes() for p in (folder / ".states").rglob("*.safetensors")}


@pytest.mark.parametrize("kind", KINDS)
def test_the_adapter_acts_and_its_folder_answers_as_the_run_did(home: Path, tmp_path: Path, kind: str) -> None:
    run = adapted(home, kind)
    features(run, tmp_path / "run")
    features(home / "base", tmp_path / "plain" / "run")
    assert not set(states(tmp_path).values()) & set(states(tmp_path / "plain").values()), "the adapter changes states"
    before, after = Model.load(run, say=quiet), Model.load(tmp_path / "run", say=quiet)
    assert body_digest(before.transformer) == body_digest(after.transformer)
    assert (tmp_path / "run" / "model" / "adapter_config.json").exists()
    assert not (tmp_path / "run" / "model" / "model.safetensors").exists(), "no second copy of the base"
    test = split_rows(load_config(FinetuneRecipe, tmp_path / "run" / "run.toml"), ROWS, say=quiet).test
    told = [row["prediction"] for row in after.predict([{"text": row["text"]} for row in test], say=quiet)]
    kept = files.read_json(tmp_path / "run" / "answers.json")[0]["predictions"]
    assert told == [("down", "up")[number] for number in kept]


def test_another_scale_is_not_served_old_states_nor_an_old_head(home: Path, tmp_path: Path) -> None:
    """The same folder, its weights as they were: only `lora_alpha` in its configuration is another."""
    shutil.copytree(adapted(home, "lora"), tmp_path / "lora")
    heard: list[str] = []
    features(tmp_path / "lora", tmp_path / "one", say=heard.append)
    features(tmp_path / "lora", tmp_path / "again", say=heard.append)
    assert sum("from the cache" in line for line in heard) == 2
    before = states(tmp_path)
    turn(tmp_path / "lora" / "model")
    heard.clear()
    features(tmp_path / "lora", tmp_path / "other", say=heard.append)
    assert not any("from the cache" in line for line in heard)
    new = {name: value for name, value in states(tmp_path).items() if name not in before}
    assert len(new) == 2
    assert not set(new.values()) & set(before.values())
    turn(tmp_path / "one" / "model")
    with pytest.raises(ModeledgeError, match="E-FEATURES"):
        Model.load(tmp_path / "one", say=quiet).predict(["rise number 3 gain"], say=quiet)


def turn(folder: Path) -> None:
    """Another factor of what the adapter adds."""
    said = files.read_json(folder / "adapter_config.json")
    (folder / "adapter_config.json").write_text(json.dumps({**said, "lora_alpha": 5 * said["lora_alpha"]}))


def test_the_digest_knows_what_acts_and_how() -> None:
    found = set[str]()
    options: list[tuple[str, dict[str, Any]]] = [
        ("lora", {"rank": 2, "alpha": 4.0}), ("lora", {"rank": 2, "alpha": 8.0}), ("adapter", {"size": 2}),
        ("adapter", {"size": 2, "activation": "relu"}), ("adapter", {"size": 2, "scale": 2.0}),
        ("prompt", {"length": 2}),
    ]  # fmt: skip
    for kind, said in [("full", {}), *options]:
        model = body()
        STRATEGIES[kind](**said).attach(model, Noise(0))
        again = body()
        STRATEGIES[kind](**said).attach(again, Noise(0))
        assert body_digest(model) == body_digest(again)
        found.add(body_digest(model))
        if kind != "full":
            activate(model, ())
            found.add(body_digest(model))
    assert len(found) == 1 + 2 * len(options)


def test_merge_beside_features_is_refused(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match="merge is not read where features are"):
        features(home / "base", tmp_path / "run", "merge=true")
