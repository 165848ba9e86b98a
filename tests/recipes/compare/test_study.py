"""What a study asks for, the recipes that it becomes, and the rows that all runs share."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from studies_small import STACK, generated, quiet, study, tree

from modeledge.config import load_config, to_toml
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare import StudyRecipe, load_study
from modeledge.recipes.compare.grid import Unit, corpus_recipe, finetune_recipe, pretrain_recipe, selected, units
from modeledge.recipes.compare.rows import chosen_rows, table_of, write_rows
from modeledge.recipes.compare.tables import over


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("data"))


def refused(code: str, call: Any, *args: Any, **named: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        call(*args, **named)
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


# ---- the file


def test_a_study_is_read_back_as_it_was_written(data: Path) -> None:
    asked = study(data)
    again = load_config(StudyRecipe, None, values=_toml(to_toml(asked)))
    assert again == asked


def _toml(text: str) -> dict[str, Any]:
    import tomllib

    return tomllib.loads(text)


def test_a_scale_lies_over_the_file_and_words_over_both(data: Path, tmp_path: Path) -> None:
    values = tree(data)
    scales = {"smoke": {"seeds": [3], "finetune": {"epochs": 0.25}, "tasks": {"tone": {"rows": 9}}}}
    path = tmp_path / "study.toml"
    path.write_text(to_toml(study(data, scales=scales)))
    plain, smoke = load_study(path), load_study(path, "smoke", ["tasks.tone.rows=8"])
    assert (plain.scale, plain.seeds, plain.finetune["epochs"]) == ("default", (0, 1), values["finetune"]["epochs"])
    assert (smoke.scale, smoke.seeds, smoke.finetune["epochs"], smoke.tasks["tone"].rows) == ("smoke", (3,), 0.25, 8)
    assert smoke.tasks["tone"].finetune == plain.tasks["tone"].finetune
    assert smoke.scales == {}
    path.write_text(to_toml(smoke))
    assert load_study(path) == smoke, "the run.toml of a study is a study"
    path.write_text(to_toml(study(data, scales=scales)))
    assert "did you mean 'smoke'" in refused("E-CONFIG-VALUE", load_study, path, "smok")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seeds": [1, 1]}, "a seed is named twice"),
        ({"against": "nxt"}, "did you mean 'next'"),
        ({"cells": {"a b": {}}}, "is no name of a folder"),
        ({"cells": {"pretrain": {}}}, "is no name of a folder"),
        ({"cells": {"next": {"of": "hidden"}}}, "is no cell with a body of its own"),
        ({"cells": {"next": {"of": "x", "model": "y"}}}, "name one of the three"),
        ({"cells": {"next": {"tasks": ["tune"]}}}, "there is no task 'tune'"),
        ({"cells": {}}, "cells"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(changes: dict[str, Any], words: str, data: Path) -> None:
    assert words in refused("E-CONFIG-VALUE", study, data, **changes)


# ---- the recipes


def test_a_cell_says_only_in_what_it_differs(data: Path, tmp_path: Path) -> None:
    asked = study(data)
    one, other = (pretrain_recipe(asked, Unit(cell, 4), tmp_path) for cell in ("next", "hidden"))
    assert (one.seed, one.objective.kind, other.objective.kind) == (4, "causal", "masked")
    assert one.train == other.train
    assert one.model.shape["width"] == other.model.shape["width"] == 16
    assert one.corpus.shards == str(tmp_path / "corpus")
    tuned = finetune_recipe(asked, Unit("hidden", 4, "tone"), tmp_path)
    assert tuned.model == str(tmp_path / "cells" / "hidden" / "seed-4" / "pretrain")
    assert (tuned.seed, tuned.epochs, tuned.task) == (4, 0.5, "classification")
    assert corpus_recipe(asked, tmp_path).corpus.paths == (f"{data}/texts/*.txt",)


def test_the_shared_corpus_carries_what_any_cell_asks_for(data: Path, tmp_path: Path) -> None:
    both = {"decoder": STACK, "encoder": STACK}
    cells = {
        **tree(data)["cells"],
        "words": {
            "pretrain": {"model": {"shape": {"encoder": STACK}}, "objective": {"kind": "masked", "unit": "word"}}
        },
        "spans": {"pretrain": {"model": {"shape": both}, "objective": {"kind": "denoise"}}},
    }
    built = corpus_recipe(study(data, cells=cells), tmp_path)
    assert built.corpus.channels == ("words",)
    assert "<extra_id_0>" in built.reserved
    assert corpus_recipe(study(data), tmp_path).reserved == ()


def test_an_objective_of_another_kind_brings_none_of_the_others_keys(data: Path, tmp_path: Path) -> None:
    below = {**tree(data)["pretrain"], "objective": {"kind": "masked", "rate": 0.3}}
    asked = study(data, pretrain=below)
    assert pretrain_recipe(asked, Unit("hidden", 0), tmp_path).objective.rate == 0.3  # type: ignore[union-attr]
    cells = {**tree(data)["cells"], "next": {"pretrain": {"objective": {"kind": "causal"}}}}
    other = study(data, pretrain=below, cells=cells)
    assert pretrain_recipe(other, Unit("next", 0), tmp_path).objective.kind == "causal"


def test_a_body_may_be_anothers_or_a_model_that_exists(data: Path, tmp_path: Path) -> None:
    cells = {
        "probe": {"of": "next", "finetune": {"strategies": [{"kind": "probe"}]}},
        "next": tree(data)["cells"]["next"],
        "given": {"model": "{data}/model"},
    }
    asked = study(data, cells=cells, seeds=[0])
    assert [unit.name for unit in units(asked)] == [
        "next/seed-0/pretrain",
        "probe/seed-0/tone",
        "next/seed-0/tone",
        "given/seed-0/tone",
    ]
    assert finetune_recipe(asked, Unit("given", 0, "tone"), tmp_path).model == f"{data}/model"
    probe = finetune_recipe(asked, Unit("probe", 0, "tone"), tmp_path)
    assert probe.model.endswith("cells/next/seed-0/pretrain")
    assert probe.strategies[0].kind == "probe"
    assert [u.name for u in selected(asked, ["probe"])] == ["next/seed-0/pretrain", "probe/seed-0/tone"]


def test_a_wrong_key_names_its_cell(data: Path, tmp_path: Path) -> None:
    cells = {"next": {"pretrain": {"objective": {"kind": "masked", "rat": 0.2}}}}
    said = refused("E-CONFIG-KEY", pretrain_recipe, study(data, cells=cells), Unit("next", 0), tmp_path)
    assert "cells.next.pretrain" in said
    assert "did you mean 'objective.rate'" in said
    for key, where in (("seed", "seeds"), ("corpus", "corpus")):
        asked = study(data, pretrain={key: 1 if key == "seed" else {}})
        assert f"set {where}" in refused("E-CONFIG-KEY", pretrain_recipe, asked, Unit("next", 0), tmp_path)
    bare = {**tree(data)["tasks"]["tone"], "finetune": {}}
    unnamed = study(data, tasks={"tone": bare})
    assert "no column" in refused("E-CONFIG", finetune_recipe, unnamed, Unit("next", 0, "tone"), tmp_path)
    assert "no corpus" in refused("E-CONFIG", corpus_recipe, study(data, corpus="none"), tmp_path)


# ---- the rows


def test_rows_are_drawn_once_with_words_for_labels(data: Path, tmp_path: Path) -> None:
    tone = {**tree(data)["tasks"]["tone"], "rows": 30, "test_rows": 10}
    asked = study(data, tasks={"tone": tone})
    write_rows(asked, tmp_path, "tone", quiet)
    parts = [[json.loads(line) for line in table_of(tmp_path, "tone", p).open()] for p in ("train", "test")]
    assert [len(part) for part in parts] == [30, 10]
    assert all(row["label"] == ("red" if "red" in row["text"] else "grey") for part in parts for row in part)
    assert not {row["text"] for row in parts[0]} & {row["text"] for row in parts[1]}
    fewer = {**tone, "rows": 20}
    again = chosen_rows(study(data, tasks={"tone": fewer}), "tone", quiet)
    assert again[1] == parts[1], "the test rows do not depend on how many are learned"
    assert all(row in parts[0] for row in again[0]), "a smaller budget is part of a larger one"


def test_what_stands_on_both_sides_is_left_out_aloud(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text("text,label\n" + "".join(f"t{i},{i % 2}\n" for i in range(20)))
    (tmp_path / "test.csv").write_text("text,label\nt3,1\nnew,0\n")
    task = {"data": "{data}/train.csv", "test": "{data}/test.csv", "apart": "text", "metrics": ["accuracy"]}
    told: list[str] = []
    train, test = chosen_rows(study(tmp_path, tasks={"tone": task}), "tone", told.append)
    assert (len(train), len(test)) == (19, 2)
    assert told == ["tone: 1 training rows left out: a test row has the same 'text'"]
    lost = study(tmp_path, tasks={"tone": {**task, "apart": "txt"}})
    assert "did you mean 'text'" in refused("E-MISSING-FIELD", chosen_rows, lost, "tone", quiet)


def test_columns_are_made_of_others(tmp_path: Path) -> None:
    """A benchmark's file becomes text to text: a question with its passage, and all right answers."""
    answers = [{"text": "in May", "answer_start": 9}, {"text": "May", "answer_start": 12}]
    answers.append(answers[0])
    pages = [
        {
            "title": f"T{n}",
            "paragraphs": [
                {"context": f"It began in May {n}.", "qas": [{"id": f"q{n}", "question": "When?", "answers": answers}]}
            ],
        }
        for n in range(4)
    ]
    path = tmp_path / "dev.json.gz"
    path.write_bytes(gzip.compress(json.dumps({"version": "1.1", "data": pages}).encode()))
    task = {
        "data": "{data}/dev.json.gz",
        "layout": "squad",
        "test_share": 0.5,
        "apart": "title",
        "lists": {"target": "answers.text"},
        "texts": {"source": "question: {question} context: {context}"},
        "metrics": ["f1_answer"],
    }
    for page in pages:
        for answer in page["paragraphs"][0]["qas"][0]["answers"]:  # type: ignore[index]
            answer["answer_start"] = page["paragraphs"][0]["context"].index(answer["text"])  # type: ignore[index]
    train, test = chosen_rows(study(tmp_path, tasks={"qa": task}), "qa", quiet)
    assert len(train) == len(test) == 2
    assert train[0]["source"].startswith("question: When? context: It began in May")
    assert train[0]["target"] == ["in May", "May"]
    assert not {row["title"] for row in train} & {row["title"] for row in test}
    broken = study(tmp_path, tasks={"qa": {**task, "lists": {"target": "question.text"}}})
    refused("E-FIELD-TYPE", chosen_rows, broken, "qa", quiet)
    unworded = {**task, "lists": {}, "values": {"question": {"Where?": "w"}}}
    refused("E-LABEL-UNKNOWN", chosen_rows, study(tmp_path, tasks={"qa": unworded}), "qa", quiet)


def test_only_tables_whose_keys_go_with_their_kind_are_replaced_whole() -> None:
    """A norm of another kind has the same keys: its place and eps stay those of the study."""
    norm = {"kind": "layer", "place": "pre", "eps": 1e-6}
    low = {"objective": {"kind": "span", "sbo": False}, "norm": norm, "position": {"kind": "rotary", "base": 1e4}}
    high = {"objective": {"kind": "masked"}, "norm": {"kind": "rms"}, "position": {"kind": "learned"}}
    found = over([low, high, {"objective": {"rate": 0.3}}])
    assert found["objective"] == {"kind": "masked", "rate": 0.3}
    assert found["position"] == {"kind": "learned"}
    assert found["norm"] == {**norm, "kind": "rms"}
