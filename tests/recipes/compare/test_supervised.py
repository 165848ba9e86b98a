"""A labelled task as an objective of pre-training: none, supervised, self-supervised and both in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies_small import NUMBERS, STACK, generated, quiet, sentences, study, tree

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.families import load_model
from modeledge.recipes.compare import Results, StudyRecipe, compare
from modeledge.recipes.compare.engine import recipe_of
from modeledge.recipes.compare.grid import selected, units
from modeledge.recipes.compare.table import write_results

ENCODER = {"model": {"shape": {"encoder": STACK}}, "objective": {"kind": "masked"}}
FRESH = {"fresh": True}
CELLS: dict[str, Any] = {
    "scratch": {"of": "self", "finetune": FRESH},
    "labels": {"of": "self", "supervised": {"source": "fox", "finetune": FRESH}},
    "self": {"pretrain": ENCODER},
    "both": {"of": "self", "supervised": {"source": "fox"}},
    "probe": {"of": "both", "finetune": {"strategies": [{"kind": "probe"}]}},
    "apart": {"pretrain": {**ENCODER, "train": {"steps": 2}}, "supervised": {"source": "tone"}},
}
FOX = {
    "data": "{data}/fox.csv",
    "metrics": ["accuracy"],
    "finetune": {"text": "text", "label": "label", "task": "classification", "epochs": 2.0},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = generated(tmp_path_factory.mktemp("data"))
    rows = [f"{text},{'fox' if 'fox' in text else 'none'}" for text in dict.fromkeys(sentences(60, 8, 7))]
    (folder / "fox.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    return folder


def asked(data: Path, **changes: Any) -> StudyRecipe:
    numbers = {"epochs": 0.5, "check": False, "train": {**NUMBERS, "batch": 8, "learning_rate": 3e-3, "save_every": 1}}
    values = {"cells": CELLS, "sources": {"fox": FOX}, "seeds": [0], "against": "scratch", "finetune": numbers}
    return study(data, **{**values, **changes})


@pytest.fixture(scope="module")
def ran(data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Results]:
    folder = tmp_path_factory.mktemp("supervised") / "study"
    assert compare(asked(data), folder, say=print) == []
    return folder, write_results(asked(data), folder)


def weights(folder: Path, unit: str) -> dict[str, Any]:
    """The body of a finished run, without heads."""
    return dict(load_model(folder / "cells" / unit / "model").state_dict())


def test_every_run_stands_behind_those_whose_weights_it_takes(data: Path, tmp_path: Path) -> None:
    assert [unit.name.replace("/seed-0", "") for unit in units(asked(data))] == [
        "self/pretrain",
        "scratch/tone",
        "labels/supervised",
        "labels/tone",
        "self/tone",
        "both/supervised",
        "both/tone",
        "probe/tone",
        "apart/pretrain",
        "apart/supervised",
        "apart/tone",
    ]
    models = {u.name: getattr(recipe_of(asked(data), u, tmp_path), "model", None) for u in units(asked(data))}
    base = f"{tmp_path}/cells"
    assert models["scratch/seed-0/tone"] == models["both/seed-0/supervised"] == f"{base}/self/seed-0/pretrain"
    assert models["both/seed-0/tone"] == models["probe/seed-0/tone"] == f"{base}/both/seed-0/supervised"
    assert models["apart/seed-0/supervised"] == f"{base}/apart/seed-0/pretrain"
    needed = [unit.name for unit in selected(asked(data), ["probe"])]
    assert needed == ["self/seed-0/pretrain", "both/seed-0/supervised", "probe/seed-0/tone"]


def test_the_tables_of_a_source_lie_over_those_of_the_study(data: Path, tmp_path: Path) -> None:
    recipes = {u.name: recipe_of(asked(data), u, tmp_path) for u in units(asked(data)) if u.task is not None}
    assert recipes["both/seed-0/supervised"].epochs == 2.0
    assert recipes["both/seed-0/supervised"].train.batch == 8
    assert recipes["both/seed-0/supervised"].data == f"{tmp_path}/data/fox/train.jsonl"
    assert recipes["both/seed-0/tone"].epochs == 0.5
    assert [recipes[f"{cell}/seed-0/supervised"].fresh for cell in ("labels", "both")] == [True, False]
    assert not recipes["labels/seed-0/tone"].fresh, "what its source taught is kept"


def test_none_supervised_self_supervised_and_both_in_one_table(ran: tuple[Path, Results]) -> None:
    folder, results = ran
    assert {(o.cell, o.task) for o in results.outcomes} == {(cell, "tone") for cell in CELLS}
    assert {o.items for o in results.outcomes} == {results.outcomes[0].items}, "one target"
    one = {files.sha256(path) for path in folder.glob("cells/*/*/*/model/tokenizer.json")}
    assert len(one) == 1, "one tokenizer"
    assert (folder / "data" / "fox" / "train.jsonl").exists()


def test_a_body_costs_what_is_in_its_weights(ran: tuple[Path, Results]) -> None:
    folder, results = ran
    facts = results.facts
    paths = {"self": "self/seed-0/pretrain", "labels": "labels/seed-0/supervised", "both": "both/seed-0/supervised"}
    alone = {name: files.read_json(folder / "cells" / path / "facts.json") for name, path in paths.items()}
    assert facts["scratch"]["tokens"] == facts["scratch"]["seconds"] == 0
    assert "flops_per_token" not in facts["scratch"]
    assert facts["labels"]["tokens"] == alone["labels"]["tokens"] > 0
    assert facts["self"]["tokens"] == alone["self"]["tokens"]
    assert facts["both"]["tokens"] == facts["probe"]["tokens"] == alone["self"]["tokens"] + alone["both"]["tokens"]
    assert facts["apart"]["tokens"] < facts["self"]["tokens"] + alone["labels"]["tokens"]
    operations = sum(alone[name]["flops_per_token"] * alone[name]["tokens"] for name in ("self", "both"))
    assert facts["both"]["flops_per_token"] == pytest.approx(operations / facts["both"]["tokens"])
    assert len({row["parameters"] for row in facts.values()}) == 1, "one shape"


def test_a_finished_study_of_sources_runs_nothing_again(ran: tuple[Path, Results], data: Path) -> None:
    told: list[str] = []
    assert compare(asked(data), ran[0], resume=True, say=told.append) == []
    assert "0 of 11 runs to do" in told


def test_a_body_that_failed_is_told_where_it_is_missed(data: Path, tmp_path: Path) -> None:
    broken = {**FOX, "finetune": {**FOX["finetune"], "text": "txt"}}  # type: ignore[dict-item]
    failed = compare(asked(data, sources={"fox": broken}), tmp_path / "study", only=["probe"], say=quiet)
    assert [unit.name for unit in failed] == ["both/seed-0/supervised", "probe/seed-0/tone"]
    told = files.read_json(tmp_path / "study" / "cells" / "probe" / "seed-0" / "tone.error.json")
    assert "both/seed-0/supervised" in told["error"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"cells": {"a": {"supervised": {"source": "fix"}}}}, "did you mean 'fox'"),
        ({"cells": {"a": {"of": "b"}, "b": {"of": "c"}, "c": {}}}, "is no cell with a body of its own"),
        ({"cells": {"a": {"of": "a", "supervised": {"source": "fox"}}}}, "is no cell with a body of its own"),
        ({"cells": {n: {"of": o, "supervised": {"source": "fox"}} for n, o in ("ab", "ba")}}, "a body of its own"),
        ({"sources": {"tone": FOX}, "cells": {"a": {}}}, "has this name"),
        ({"tasks": {"supervised": FOX}, "cells": {"a": {}}}, "has this name"),
    ],
)
def test_a_source_that_is_not_there_is_refused(changes: dict[str, Any], words: str, data: Path) -> None:
    with pytest.raises(ModeledgeError, match=words):
        asked(data, **{"against": None, **changes})


def test_fresh_weights_of_a_preset_may_learn_a_source(data: Path, tmp_path: Path) -> None:
    """A study without any corpus: the tokenizer is the source's."""
    cells = {"a": {"model": "preset:encoder-small", "supervised": {"source": "fox"}}}
    alone = asked(data, cells=cells, against=None, corpus=None, tokenizer=tree(data)["tokenizer"])
    first, second = (recipe_of(alone, unit, tmp_path) for unit in units(alone))
    assert first.model == "preset:encoder-small"
    assert second.model == f"{tmp_path}/cells/a/seed-0/supervised"


def test_a_row_that_no_key_could_name_is_refused(data: Path) -> None:
    """`against = "none"` compares with nothing: so a study once lost all its comparisons in silence."""
    with pytest.raises(ModeledgeError, match="call it otherwise"):
        asked(data, cells={**CELLS, "none": CELLS["scratch"]}, against="none")
