"""Cells with a corpus, a mixture or a tokenizer of their own, and columns that mark bodies without a task."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from studies_small import NUMBERS, STACK, generated, quiet, sentences

from modeledge.config import load_config
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.metrics import METRICS
from modeledge.objectives import CausalLM
from modeledge.recipes.compare import StudyRecipe, compare
from modeledge.recipes.compare.grid import Unit, pretrain_recipe, texts_of
from modeledge.recipes.compare.marks import nats_of
from modeledge.recipes.compare.table import write_results
from modeledge.tokens import Tokenizer

SECOND = {"paths": ["{data}/more.txt"], "weight": 1.0}
CELLS: dict[str, Any] = {
    "raw": {},
    "again": {"label": "the same by other words", "corpus": {"split": "line"}},
    "short": {"corpus": {"filters": {"longer_than": 11}}},
    "twice": {"corpus": {"duplicate": {"share": 0.5, "times": 3}}},
    "mixed": {"mixture": {"sources": {"a": {"paths": ["{data}/texts/a.txt"], "weight": 3.0}, "more": SECOND}}},
    "weighed": {"mixture": {"sources": {"a": {"paths": ["{data}/texts/a.txt"], "weight": 1.0}, "more": SECOND}}},
    "other": {"tokenizer": {"vocab_size": 270}},
}
MARKS = {
    "held": {"label": "Held out", "paths": ["{data}/held.txt"], "split": "line", "shortest": 10, "count": 6},
    "leaps": {"kind": "spikes"},
    "loops": {
        "kind": "samples",
        "paths": ["{data}/held.txt"],
        "split": "line",
        "shortest": 10,
        "count": 4,
        "tokens": 8,
    },
}


def tree(data: Path, **changes: Any) -> dict[str, Any]:
    return {
        "title": "Texts",
        "data": str(data),
        "seeds": [0, 1],
        "against": "raw",
        "corpus": {"paths": ["{data}/texts/a.txt"], "split": "line"},
        "tokenizer": {"vocab_size": 320},
        "pretrain": {"model": {"shape": {"width": 16, "decoder": STACK}}, "train": {**NUMBERS, "steps": 3, "batch": 4}},
        "cells": CELLS,
        "marks": MARKS,
        **changes,
    }


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = generated(tmp_path_factory.mktemp("data"))
    lines = sentences(40, 9, 5) + sentences(40, 14, 6)
    (folder / "texts" / "a.txt").write_text("\n".join(lines) + "\n")
    (folder / "more.txt").write_text("\n".join(sentences(50, 10, 7)) + "\n")
    (folder / "held.txt").write_text("\n".join(sentences(10, 10, 8)) + "\n")
    return folder


@pytest.fixture(scope="module")
def ran(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecipe, Path, list[str]]:
    study, folder, said = load_config(StudyRecipe, None, values=tree(data)), tmp_path_factory.mktemp("s") / "study", []
    assert compare(study, folder, say=said.append) == [], said
    return study, folder, said


def test_equal_corpora_are_built_once(ran: tuple[StudyRecipe, Path, list[str]]) -> None:
    study, folder, _ = ran
    where = {name: [home for _, home in texts_of(study, name, folder).corpora.values()] for name in study.cells}
    assert where["raw"] == where["again"] == [folder / "corpus"]
    assert where["mixed"] == where["weighed"], "weights are not of the corpus"
    built = {path.name for path in (folder / "corpora").iterdir()}
    assert built == {home.name for name in ("short", "twice", "mixed", "other") for home in where[name]}
    assert len(built) == 5
    assert len(list((folder / "tokenizers").iterdir())) == 1
    sizes = {name: len(Shards.open(where[name][0])) for name in ("raw", "short", "twice")}
    assert sizes["short"] < 0.6 * sizes["raw"]
    assert 1.5 * sizes["raw"] < sizes["twice"] < 2.6 * sizes["raw"]
    recipe = pretrain_recipe(study, Unit("mixed", 0), folder)
    assert recipe.mixture is not None
    assert [source.weight for source in recipe.mixture.sources.values()] == [3.0, 1.0]
    other = Tokenizer.load(folder / "cells" / "other" / "seed-0" / "pretrain" / "model")
    assert other.vocab_size <= 270 < Tokenizer.load(folder / "tokenizer").vocab_size


def test_bodies_are_marked_without_a_task(ran: tuple[StudyRecipe, Path, list[str]], data: Path) -> None:
    study, folder, _ = ran
    results = write_results(study, folder)
    found = {(o.cell, o.task): o for o in results.outcomes}
    assert set(found) == {(cell, mark) for cell in study.cells for mark in study.marks}
    assert found["raw", "held"].by_seed == found["again", "held"].by_seed, "the same text, the same bytes"
    assert found["twice", "held"].by_seed != found["raw", "held"].by_seed
    assert found["other", "held"].against is not None, "other tokens, the same bytes: they compare"
    assert found["raw", "held"].items == 6
    assert found["raw", "leaps"].items == 3
    page = (folder / "report.html").read_text()
    assert "Held out (bits_per_byte), against raw" in page
    told = json.loads((folder / "cells" / "other" / "seed-1" / "pretrain" / "marks.json").read_text())["held"]
    texts = (data / "held.txt").read_text().splitlines()[:6]
    assert told["labels"] == [len(text.encode()) for text in texts]
    assert found["other", "held"].by_seed[1] == pytest.approx(
        sum(told["predictions"]) / sum(told["labels"]) / math.log(2)
    )


def test_nats_are_those_of_a_plain_loop(ran: tuple[StudyRecipe, Path, list[str]]) -> None:
    """Token by token, each from at most `length` before it in its window; every byte is foretold."""
    _, folder, _ = ran
    where = folder / "cells" / "raw" / "seed-0" / "pretrain" / "model"
    model, tokenizer = load_model(where).eval(), Tokenizer.load(where)
    text, length = " ".join(sentences(5, 9, 9)), 16
    ids = [tokenizer.need("eos"), *tokenizer.encode(text).tolist()]
    total = 0.0
    for start in range(0, len(ids) - 1, length):
        window = ids[start : start + length + 1]
        total += -sum(
            torch.log_softmax(logits_of(model, window[:-1]), -1)[n, t].item() for n, t in enumerate(window[1:])
        )
    assert nats_of(model, CausalLM(), tokenizer, text, length) == pytest.approx(total, rel=1e-4)
    assert len(ids) > 2 * length


def logits_of(model: Any, ids: list[int]) -> torch.Tensor:
    from modeledge.model.batch import Batch, Side

    row = torch.tensor([ids])
    side = Side(row, torch.arange(len(ids))[None], torch.ones_like(row))
    batch = Batch(None, side, torch.tensor([[0, 0, len(ids)]]), {}, {}, {}, torch.tensor([0]), {})
    with torch.no_grad():
        logits: torch.Tensor = model.logits(model(batch).last)[0]
    return logits


def test_what_is_finished_is_not_built_again(ran: tuple[StudyRecipe, Path, list[str]]) -> None:
    study, folder, _ = ran
    before = {path: path.stat().st_mtime_ns for path in folder.glob("cor*/**/*.json")}
    assert compare(study, folder, resume=True, say=quiet) == []
    assert {path: path.stat().st_mtime_ns for path in folder.glob("cor*/**/*.json")} == before


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "of": ({"cells": {"raw": {}, "b": {"of": "raw", "corpus": {"split": "line"}}}}, "that is pre-trained here"),
    "key": ({"cells": {"raw": {"corpus": {"splt": "line"}}, "b": {}}}, "split"),
    "both": (
        {"cells": {"raw": {}, "b": {"corpus": {"paths": ["a"]}, "mixture": CELLS["mixed"]["mixture"]}}},
        "one corpus or a mixture",
    ),
    "metric": ({"marks": {"held": {**MARKS["held"], "metrics": ["accuracy"]}}}, "'text' is marked by bits_per_byte"),
    "paths": ({"marks": {"held": {"kind": "text"}}}, "paths name the texts"),
    "masked": (
        {"pretrain": {"model": {"shape": {"width": 16, "encoder": STACK}}, "objective": {"kind": "masked"}}},
        "says no likelihood",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_studies_are_refused_before_a_run(data: Path, tmp_path: Path, name: str) -> None:
    changes, told = WRONG[name]
    with pytest.raises(ModeledgeError) as caught:
        compare(load_config(StudyRecipe, None, values=tree(data, **changes)), tmp_path / "study", say=quiet)
    assert told in str(caught.value)
    assert not (tmp_path / "study").exists() or not any((tmp_path / "study").iterdir())


def test_spike_scores_and_bits() -> None:
    assert METRICS["spike_score"]([0, 1, 0, 1], [0] * 4) == 0.5
    with pytest.raises(ModeledgeError, match="E-SCORES"):
        METRICS["spike_score"]([0.5], [0])
    nats, size = np.array([10.0, 30.0]), np.array([8, 24])
    assert METRICS["bits_per_byte"](nats, size) == pytest.approx(40 / 32 / math.log(2))
