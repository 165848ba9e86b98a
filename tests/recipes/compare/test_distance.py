"""How far a source is from a target, and what a study with several sources says of transfer."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.spatial.distance import jensenshannon
from studies_small import NUMBERS, STACK, generated, quiet, sentences

from modeledge import files
from modeledge.config import load_config
from modeledge.corpus.filter import STAGES
from modeledge.corpus.shard import Shards
from modeledge.recipes.compare import StudyRecipe
from modeledge.recipes.compare.distance import TOKENS, bits_a_piece, distances, divergence, sampled, trigrams
from modeledge.recipes.compare.results import difference
from modeledge.recipes.compare.table import finish_study
from modeledge.recipes.compare.transfer import Ways, ways_of
from modeledge.records import Document
from modeledge.tokens import Tokenizer

FAR = "zwei drei vier neun acht alte neue rote Pferde laufen ins dunkle Haus hinein".split()  # noqa: SIM905
PROBE = {"strategies": [{"kind": "probe"}]}


def source(name: str, **more: Any) -> dict[str, Any]:
    return {"corpus": {"sources": [{"name": name, "paths": [f"{{data}}/{name}.txt"], "split": "line"}], **more}}


CELLS: dict[str, Any] = {
    "near": source("near"),
    "near-probe": {"of": "near", "finetune": PROBE},
    "shuffled": source("near", stages={"nfc": True, "shuffled_words": True}),
    "far": source("far"),
    "far-probe": {"of": "far", "finetune": PROBE},
    "scratch": {"of": "near", "finetune": {"fresh": True}},
    "own": {**source("near"), "tokenizer": {"vocab_size": 270}},
    "mixed": {
        "mixture": {
            "sources": {
                "a": {"paths": ["{data}/near.txt"], "split": "line", "weight": 9.0},
                "b": {"paths": ["{data}/far.txt"], "split": "line", "weight": 1.0},
            }
        }
    },
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> tuple[StudyRecipe, Path]:
    """A study of near, shuffled, far, mixed sources, and one with a tokenizer of its own, and a task of the near one's
    sentences."""
    data, lots = generated(tmp_path_factory.mktemp("data")), random.Random(0)
    ordered = [" ".join(sorted(set(text.split()))) for text in sentences(400, 9, 3)]
    (data / "near.txt").write_text("\n".join(dict.fromkeys(ordered)) + "\n")
    (data / "far.txt").write_text("\n".join(" ".join(lots.choices(FAR, k=9)) for _ in range(300)) + "\n")
    rows = [" ".join(sorted(set(text.split()))) for text in sentences(120, 9, 8)]
    (data / "tone.csv").write_text("\n".join(["text,label", *(f"{t},{int('red' in t)}" for t in rows)]) + "\n")
    whole = [{"name": name, "paths": [f"{{data}}/{name}.txt"], "split": "line"} for name in ("near", "far")]
    tone = {"data": "{data}/tone.csv", "apart": "text", "metrics": ["accuracy"], "test_share": 0.4}
    tone["finetune"] = {"text": "text", "label": "label", "task": "classification"}
    train = {**NUMBERS, "save_every": 9}
    values = {
        "title": "Sources",
        "data": str(data),
        "seeds": [0, 1],
        "against": "scratch",
        "corpus": {"sources": whole},
        "tokenizer": {"vocab_size": 330},
        "pretrain": {
            "model": {"shape": {"width": 16, "decoder": STACK}},
            "check": False,
            "train": {**train, "steps": 3, "batch": 4},
        },
        "finetune": {"epochs": 0.5, "check": False, "train": {**train, "batch": 8, "learning_rate": 3e-3}},
        "cells": CELLS,
        "tasks": {"tone": tone},
    }
    study, folder = load_config(StudyRecipe, None, values=values), tmp_path_factory.mktemp("runs") / "study"
    finish_study(study, folder, say=quiet)
    return study, folder


def test_divergence_is_that_of_scipy() -> None:
    lots = np.random.default_rng(0)
    one = [lots.integers(0, 9, 50), lots.integers(3, 6, 7)]
    other = [lots.integers(2, 12, 40)]
    p, q = (np.bincount(np.concatenate(side), minlength=12) for side in (one, other))
    assert divergence(one, other, 12) == pytest.approx(jensenshannon(p, q, base=2) ** 2, abs=1e-12)
    assert divergence(one, one, 12) == 0
    assert divergence([np.array([0, 1])], [np.array([2])], 3) == 1, "nothing in common is one bit"


def test_bits_know_the_order_and_divergence_does_not() -> None:
    lots = np.random.default_rng(0)
    ordered = [np.sort(lots.choice(30, 12, replace=False)) for _ in range(200)]
    mixed = [lots.permutation(ids) for ids in ordered]
    target = [np.sort(lots.choice(30, 12, replace=False)) for _ in range(50)]
    assert divergence(ordered, target, 30) == divergence(mixed, target, 30)
    assert bits_a_piece(trigrams(ordered, 30), target) < bits_a_piece(trigrams(mixed, 30), target) - 0.5


def test_shuffled_words_are_the_same_words() -> None:
    documents = [Document(id=str(n), text=text, source="s") for n, text in enumerate(sentences(20, 12, 1))]
    first, again = (list(STAGES["shuffled_words"](documents)) for _ in range(2))
    assert first == again
    assert list(STAGES["shuffled_words"](documents[5:])) == first[5:], "the lot is that of the document alone"
    moved = [a.text != b.text for a, b in zip(documents, first, strict=True)]
    assert sum(moved) > 15
    for before, after in zip(documents, first, strict=True):
        assert sorted(before.text.split()) == sorted(after.text.split())
        assert before.id == after.id


def test_a_source_is_as_far_as_its_texts_are(ran: tuple[StudyRecipe, Path]) -> None:
    study, folder = ran
    found = {cell: told for (cell, _), told in distances(study, folder).items()}
    assert set(found) == {"near", "shuffled", "far", "own", "mixed"}, "cells of another's body have its texts"
    assert found["near"].divergence < found["mixed"].divergence < found["far"].divergence
    assert found["near"].bits < found["shuffled"].bits < found["far"].bits
    assert found["shuffled"].divergence < found["far"].divergence / 10, "words begin a text that stood within one"
    assert found["own"].divergence == pytest.approx(found["near"].divergence, abs=0.05), "one tokenizer measures all"
    rows = json.loads((folder / "results.json").read_text())["distances"]
    assert {(row["cell"], row["divergence"]) for row in rows} == {(n, d.divergence) for n, d in found.items()}


def test_a_mixture_gives_its_shares(ran: tuple[StudyRecipe, Path]) -> None:
    _, folder = ran
    planned = files.read_json(folder / "cells" / "mixed" / "seed-0" / "pretrain" / "mixture.json")["sources"]
    assert planned[0]["planned"] > 5 * planned[1]["planned"]


def test_as_many_tokens_are_drawn_as_are_asked_for(ran: tuple[StudyRecipe, Path]) -> None:
    _, folder = ran
    tokenizer, shards = Tokenizer.load(folder / "tokenizer"), Shards.open(next((folder / "corpora").iterdir()))
    texts = list(sampled(shards, 100, tokenizer))
    eos = tokenizer.need("eos")
    assert sum(len(ids) for ids in texts) + sum(eos in shards.tokens() for _ in texts[:-1]) == pytest.approx(100, abs=1)
    assert not any((ids == eos).any() for ids in texts)
    assert len(shards) < TOKENS


def test_what_a_cell_is_to_a_source_is_read_from_its_tables(ran: tuple[StudyRecipe, Path]) -> None:
    study, _ = ran
    assert ways_of(study, "near") == Ways("near", "near-probe", "scratch")
    assert ways_of(study, "far") == Ways("far", "far-probe", "scratch"), "fresh weights know no source"
    assert ways_of(study, "shuffled") == Ways("shuffled", None, "scratch")


def test_the_gain_is_the_difference_from_the_row_compared_with(ran: tuple[StudyRecipe, Path]) -> None:
    study, folder = ran
    outcomes = {o["cell"]: o for o in files.read_json(folder / "results.json")["outcomes"]}
    told = difference(study, folder, "tone", "accuracy", ("far", "scratch"))
    assert told is not None
    assert vars(told) == pytest.approx(outcomes["far"]["against"])
    back = difference(study, folder, "tone", "accuracy", ("scratch", "far"))
    assert back is not None
    assert back.mean == -told.mean


def test_the_report_shows_gain_and_gap_by_distance(ran: tuple[StudyRecipe, Path]) -> None:
    page = (ran[1] / "report.html").read_text()
    for words in ("Transfer by distance", "Probe-to-full gap", "Jensen-Shannon divergence (bits)", "transfer gain"):
        assert words in page, words


def test_a_study_of_one_corpus_has_no_distances(ran: tuple[StudyRecipe, Path], tmp_path: Path) -> None:
    study, folder = ran
    kept = {name: study.cells[name] for name in ("near", "near-probe", "scratch")}
    assert distances(study.model_copy(update={"cells": kept}), folder) == {}
    assert distances(study, tmp_path) == {}, "nothing is built yet"
