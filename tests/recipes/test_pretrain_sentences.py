"""Whole runs of ELECTRA, BERT, ALBERT and SimCSE: what they write, how they go on, and what they refuse."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.recipes.objectives import AIMS
from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.recipes.resume import resume
from modeledge.records import Document

WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
SHAPE = {
    "width": 16,
    "embed": {"types": 2, "norm": True},
    "encoder": {
        "layers": 1,
        "attention": {"heads": 2},
        "feedforward": {"width": 32},
        "norm": {"place": "post", "eps": 1e-12},
        "position": {"kind": "learned", "length": 64},
        "dropout": {"hidden": 0.1, "embed": 0.1, "attention": 0.1},
    },
}
KINDS = {
    "electra": ({"generator": 0.5}, "ElectraForPreTraining", {"lm", "replaced"}),
    "bert": ({}, "BertForPreTraining", {"lm", "next"}),
    "albert": ({}, "BertForPreTraining", {"lm", "next"}),
    "simcse": ({}, "BertModel", {"rank"}),
}


def texts(count: int = 30, sentences: int = 8) -> list[Document]:
    lots = random.Random(0)
    made = []
    for number in range(count):
        said = [" ".join(lots.choices(WORDS, k=lots.randint(3, 9))).capitalize() + "." for _ in range(sentences)]
        made.append(Document(" ".join(said), f"d{number}"))
    return made


def recipe(kind: str, **changes: Any) -> PretrainRecipe:
    values: dict[str, Any] = {
        "corpus": {},
        "tokenizer": {"kind": "wordpiece", "vocab_size": 150},
        "model": {"shape": SHAPE},
        "objective": {"kind": kind, **KINDS[kind][0]},
        "train": {"steps": 4, "batch": 8, "length": 32, "save_every": 2, "precision": "fp32"},
        "held_out": 0.2,
    }
    return load_config(PretrainRecipe, None, values={**values, **changes})


def quiet(line: str) -> None:
    """Says nothing."""


def losses(folder: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_opens_in_the_reference_library(kind: str, tmp_path: Path) -> None:
    _, named, terms = KINDS[kind]
    folder = tmp_path / "run"
    pretrain(recipe(kind), folder, documents=texts(), say=quiet)
    record = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert set(record["terms"]) == terms
    config = json.loads((folder / "model" / "config.json").read_text())
    assert config["architectures"] == [named]
    transformers = pytest.importorskip("transformers")
    _, report = getattr(transformers, named).from_pretrained(folder / "model", output_loading_info=True)
    unread = {"pooler"} if kind == "simcse" else set()
    assert not [name for name in report["missing_keys"] if not unread & set(name.split("."))]
    assert not report["unexpected_keys"]
    assert (folder / "generator").exists() is (kind == "electra")


def test_electra_writes_its_generator(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    pretrain(recipe("electra"), folder, documents=texts(), say=quiet)
    generator, model = load_model(folder / "generator"), load_model(folder / "model")
    assert set(generator.heads) == {"lm"}
    assert set(model.heads) == {"replaced"}
    assert (generator.config.width, model.config.width) == (8, 16)
    assert generator.tokens.equal(model.tokens)
    transformers = pytest.importorskip("transformers")
    kind = transformers.ElectraForMaskedLM
    _, report = kind.from_pretrained(folder / "generator", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]


@pytest.mark.parametrize("kind", ["electra", "bert", "simcse"])
def test_a_run_that_was_stopped_goes_on_bit_for_bit(kind: str, tmp_path: Path) -> None:
    class Enough(Exception):
        """The run is stopped from outside."""

    def stop(record: Any) -> None:
        if record.step == 3:
            raise Enough

    lines = tmp_path / "texts.jsonl"
    lines.write_text("".join(json.dumps({"id": d.id, "text": d.text}) + "\n" for d in texts()))
    asked = recipe(kind, corpus={"paths": [str(lines)]})
    whole = pretrain(asked, tmp_path / "whole", say=quiet)
    with pytest.raises(Enough):
        pretrain(asked, tmp_path / "stopped", listeners=[stop], say=quiet)
    resume(tmp_path / "stopped", say=quiet)
    assert losses(tmp_path / "stopped") == losses(tmp_path / "whole")
    for folder in ["model", *(["generator"] if kind == "electra" else [])]:
        name = f"{folder}/model.safetensors"
        assert (tmp_path / "stopped" / name).read_bytes() == (whole.parent / name).read_bytes()


def refused(code: str, asked: PretrainRecipe, documents: list[Document], folder: Path) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        pretrain(asked, folder, documents=documents, say=quiet)
    assert caught.value.code == code, str(caught.value)
    assert not (folder / "metrics.jsonl").exists()
    return caught.value


def test_what_cannot_be_learned_is_refused_before_the_first_step(tmp_path: Path) -> None:
    alone = [Document(f"The {word} sleeps near an old red house.", word) for word in WORDS[2:12]]
    for kind in ("bert", "albert"):
        error = refused("E-NO-TARGET", recipe(kind), alone, tmp_path / "a")
        assert "none of the 10 documents has two sentences" in error.what
    one = texts(1, 60)
    assert "1 document has pairs" in refused("E-NO-TARGET", recipe("bert"), one, tmp_path / "b").what
    plain = {**SHAPE, "embed": {"norm": True}}
    error = refused("E-CONFIG", recipe("bert", model={"shape": plain}), texts(), tmp_path / "c")
    assert error.where == "model.embed.types"
    still = {**SHAPE, "encoder": {**SHAPE["encoder"], "dropout": {}}}  # type: ignore[dict-item]
    assert "alike" in refused("E-CONFIG", recipe("simcse", model={"shape": still}), texts(), tmp_path / "d").what
    decoder = {"width": 16, "decoder": {"layers": 1, "attention": {"heads": 2}, "feedforward": {"width": 32}}}
    for kind in KINDS:
        error = refused("E-CONFIG", recipe(kind, model={"shape": decoder}), texts(), tmp_path / "e")
        assert error.where == "objective.kind"
    for kind, reason in (("electra", "writes its texts anew"), ("bert", "reads examples of its own kind")):
        parts = {"a": {"objective": {"kind": kind}}, "b": {"objective": {"kind": "masked"}}}
        blend = {"kind": "blend", "mode": "in turn", "parts": parts}
        assert reason in refused("E-CONFIG", recipe(kind, objective=blend), texts(), tmp_path / "f").what
    for wrong in ({"as_mask": 0.8}, {"generator": 0}, {"weight": -1}):
        with pytest.raises(ModeledgeError, match="E-CONFIG"):
            recipe("electra", objective={"kind": "electra", **wrong})


def test_what_is_skipped_is_said(tmp_path: Path) -> None:
    said: list[str] = []
    lone = Document("One sentence that stands alone.", "lone")
    pretrain(recipe("bert"), tmp_path / "run", documents=[*texts(), lone], say=said.append)
    assert [line for line in said if line.startswith("note: 1 documents of one sentence (")]


def test_shards_without_sentences_are_refused(tmp_path: Path) -> None:
    pretrain(recipe("electra"), tmp_path / "run", documents=texts(), say=quiet)
    corpus = {"shards": str(tmp_path / "run" / "corpus")}
    asked = recipe("bert", corpus=corpus, tokenizer={"path": str(tmp_path / "run" / "tokenizer")})
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD: .*'sentences'"):
        pretrain(asked, tmp_path / "other", say=quiet)


def test_the_kinds_are_in_the_table() -> None:
    assert KINDS.keys() <= AIMS.keys()
