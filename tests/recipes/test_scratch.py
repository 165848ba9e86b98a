"""A fine-tuning from fresh weights of a preset: its tokenizer is of its own training rows, and the run can go on."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

import modeledge as me
from modeledge.config import load_config
from modeledge.corpus.layouts import read_layout
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.model import TransformerConfig
from modeledge.recipes import presets
from modeledge.recipes.look import check_recipe
from modeledge.recipes.presets import vaswani
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.resume import resume
from modeledge.recipes.tuning.finetune import finetune
from modeledge.records import Ledger
from modeledge.tokens import Tokenizer

SHARED = Path(__file__).parents[3] / "shared" / "data"
NUMBERS = {"batch": 8, "length": 24, "threads": 1, "precision": "fp32", "learning_rate": 3e-3}


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    def made(vocab: int) -> TransformerConfig:
        return vaswani(vocab, 32, 2, 2)

    monkeypatch.setitem(presets.PRESETS, "tiny", made)


def rows(count: int) -> list[dict[str, Any]]:
    lots = random.Random(0)
    words = sorted({"".join(lots.choices("abcdefgh", k=4)) for _ in range(2 * count)})[:count]
    return [{"text": word, "other": word[::-1]} for word in words]


def told(**more: Any) -> dict[str, Any]:
    asked = {"text": "text", "label": "other", "task": "translate", "tokenizer": {"vocab_size": 290}}
    options = {"max_target": 8, "smoothing": 0.1}
    return {"model": "preset:tiny", "epochs": 1.0, "train": NUMBERS, "options": options, **asked, **more}


def test_a_preset_learns_a_task(tmp_path: Path) -> None:
    more = {k: v for k, v in told().items() if k != "model"}
    model, results = me.finetune("preset:tiny", rows(40), tmp_path / "run", say=quiet, **more)
    assert results["scores"]["nats_per_token"]["n"] == 8
    assert model.transformer.config == vaswani(model.tokenizer.vocab_size, 32, 2, 2)
    assert model.tokenizer.vocab_size <= 290
    start = load_model(tmp_path / "run" / "start")
    assert start.config == model.transformer.config
    assert "None: the weights were drawn" in (tmp_path / "run" / "model" / "README.md").read_text()


def test_the_tokenizer_never_sees_a_test_row(tmp_path: Path) -> None:
    test = [{"text": "zzzzzzzz", "other": "zzzzzzzz"}] * 9
    more = {k: v for k, v in told().items() if k != "model"}
    me.finetune("preset:tiny", rows(40), tmp_path / "run", test=test, say=quiet, **more)
    tokenizer = Tokenizer.load(tmp_path / "run" / "start")
    assert len(tokenizer.encode("zzzzzzzz")) == 8
    assert len(tokenizer.encode(rows(40)[0]["text"])) < 4


def test_its_tokenizer_reserves_what_is_asked_for(tmp_path: Path) -> None:
    asked = {"vocab_size": 290, "sentinels": 3, "extra": ["[COLUMN]"]}
    more = {k: v for k, v in told(tokenizer=asked).items() if k != "model"}
    model, _ = me.finetune("preset:tiny", rows(40), tmp_path / "run", say=quiet, **more)
    known = model.needed_tokenizer()
    assert [known.token(i) for i in known.sentinels] == ["<extra_id_0>", "<extra_id_1>", "<extra_id_2>"]
    assert known.id("[COLUMN]") is not None
    assert known.id("[COLUMN]") not in known.encode("[COLUMN]")


def test_a_run_from_a_preset_goes_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text,other\n" + "".join(f"{r['text']},{r['other']}\n" for r in rows(60)))
    values = told(data=str(tmp_path / "a.csv"), train={**NUMBERS, "save_every": 2})
    recipe = load_config(FinetuneRecipe, None, values=values)
    finetune(recipe, tmp_path / "run", say=quiet)
    (tmp_path / "run" / "model").rename(tmp_path / "kept")
    resume(tmp_path / "run", say=quiet)
    one, two = (folder / "model.safetensors" for folder in (tmp_path / "kept", tmp_path / "run" / "model"))
    assert one.read_bytes() == two.read_bytes()
    assert check_recipe(tmp_path / "run" / "run.toml", (), {}, quiet)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"model": "preset:tyni"}, "there is no preset 'tyni'"),
        ({"revision": "main"}, "a preset is no model on a hub"),
    ],
)
def test_what_is_no_preset_is_refused(more: dict[str, Any], said: str, tmp_path: Path) -> None:
    recipe = load_config(FinetuneRecipe, None, values=told(data="rows from memory", **more))
    with pytest.raises(ModeledgeError, match=said):
        finetune(recipe, tmp_path / "run", rows=rows(40), say=quiet)


def test_a_tokenizer_is_of_a_preset_alone() -> None:
    with pytest.raises(ModeledgeError, match="brings its own"):
        load_config(FinetuneRecipe, None, values=told(model="folder", data="a.csv"))


@pytest.mark.shared_data
def test_the_transformer_of_2017_learns_to_translate(tmp_path: Path) -> None:
    """Scaled down to seconds: fresh weights beat themselves on multi30k's validation sentences, and BLEU is computed.
    The command of docs/pretraining.md is the whole run."""
    if not (SHARED / "multi30k").is_dir():
        pytest.skip("multi30k is not beside the checkout")
    data = read_layout("parallel", SHARED / "multi30k" / "val.en.gz", "train", ledger=Ledger())[:400]
    columns = {"text": "source", "label": "target"} if "source" in data[0] else {}
    options = {"max_target": 24, "smoothing": 0.1, "metrics": ["bleu"]}
    numbers = {**NUMBERS, "length": 32, "batch": 32, "learning_rate": 3e-3, "beta2": 0.98, "eps": 1e-9}
    scores = [
        me.finetune(
            "preset:tiny", data, tmp_path / f"{epochs}", say=quiet, task="translate", epochs=epochs, options=options,
            train=numbers, tokenizer={"vocab_size": 1000}, **columns,
        )[1]["scores"]
        for epochs in (0.1, 12.0)
    ]  # fmt: skip
    before, after = (score["nats_per_token"]["value"] for score in scores)
    assert after < before - 0.5
    assert 0 <= scores[1]["bleu"]["value"] <= 100
