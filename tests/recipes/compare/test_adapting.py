"""Studies of ways to adapt one model: budgets of labels, searches, sweeps, what moved, and the study of a few words."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from studies_small import STACK, generated, quiet, tree
from typer.testing import CliRunner

from modeledge import files
from modeledge.cli import app
from modeledge.cli.study import of_words
from modeledge.cli.terminal import strategy_of, write_report
from modeledge.config import load_config
from modeledge.errors import ModeledgeError
from modeledge.recipes.compare import StudyRecipe
from modeledge.recipes.compare.grid import BEST, Unit, finetune_recipe, needed, units
from modeledge.recipes.compare.quick import label_of, parse_strategies
from modeledge.recipes.compare.rows import chosen_rows, table_of, write_rows
from modeledge.recipes.compare.search import drawn_values
from modeledge.recipes.compare.study import Range, SearchRecipe
from modeledge.recipes.compare.table import finish_study
from modeledge.recipes.compare.unfold import unfolded

SEARCH = {"trials": 2, "keys": {"train.learning_rate": {"low": 1e-3, "high": 1e-2, "log": True}, "epochs": [0.5, 1.0]}}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return generated(tmp_path_factory.mktemp("data"))


def adapting(data: Path, **changes: Any) -> StudyRecipe:
    """One pre-trained decoder, adapted whole and by its head alone, at two budgets."""
    base = tree(data)
    tone = {**base["tasks"]["tone"], "budgets": [20, 40], "draw": "seed"}
    cells = {
        "full": {"pretrain": {"model": {"shape": {"decoder": STACK}}}},
        "probe": {"of": "full", "finetune": {"strategies": [{"kind": "probe"}]}},
    }
    values = {**base, "cells": cells, "tasks": {"tone": tone}, "against": "full", **changes}
    values["finetune"] = {**base["finetune"], "mark_train": 10}
    return load_config(StudyRecipe, None, values=unfolded(values))


@pytest.fixture(scope="module")
def whole(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study with everything, run in one go."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    pytest.importorskip("optuna")
    sweep = {"values": [1e-3, 1e-2], "cells": ["probe"]}
    finish_study(adapting(data, search=SEARCH, sweep=sweep), folder, say=quiet)
    return folder


def test_budgets_are_tasks_that_share_their_lots(data: Path) -> None:
    study = adapting(data)
    assert list(study.tasks) == ["tone-20", "tone-40"]
    assert study.tasks["tone-20"].label == "tone, 20 labels"
    small, test = chosen_rows(study, "tone-20", quiet, 0)
    large, same = chosen_rows(study, "tone-40", quiet, 0)
    other, still = chosen_rows(study, "tone-40", quiet, 1)
    assert (len(small), len(large)) == (20, 40)
    assert all(row in large for row in small), "a smaller budget is part of a larger one"
    assert test == same == still, "all are marked on the same rows"
    assert large != other, "each seed draws its own labels"


def test_a_cell_names_what_has_budgets() -> None:
    out = unfolded({"tasks": {"a": {"budgets": [1, 2]}, "b": {}}, "cells": {"x": {"tasks": ["a", "b"]}}})
    assert out["cells"]["x"]["tasks"] == ["a-1", "a-2", "b"]
    assert unfolded(out) == out, "what a folder keeps is unfolded already"


def test_cells_begin_with_the_model_of_the_study() -> None:
    cells = {"a": {}, "b": {"of": "a"}, "c": {"model": "other"}, "d": {"pretrain": {"seed": 1}}}
    out = unfolded({"model": "mini", "cells": cells})["cells"]
    assert [cell.get("model") for cell in out.values()] == ["mini", None, "other", None]


def test_a_budget_above_the_rows_is_no_row_of_the_table(data: Path) -> None:
    """It would stand there as so many labels, and be fewer."""
    tone = {**tree(data)["tasks"]["tone"], "budgets": [20, 5000], "draw": "seed"}
    study = adapting(data, tasks={"tone": tone})
    assert len(chosen_rows(study, "tone-20", quiet, 0)[0]) == 20
    with pytest.raises(
        ModeledgeError, match=r"E-CONFIG-VALUE: tasks.tone.budgets: 5,000 labels are asked for; there are"
    ):
        chosen_rows(study, "tone-5000", quiet, 0)


@pytest.mark.parametrize("budgets", [[0], [-1], ["a"], [1.5], "100"])
def test_a_budget_is_a_number_of_rows(data: Path, budgets: Any) -> None:
    tone = {**tree(data)["tasks"]["tone"], "budgets": budgets}
    with pytest.raises(ModeledgeError) as caught:
        load_config(StudyRecipe, None, values=unfolded(tree(data, tasks={"tone": tone})))
    assert "budgets" in str(caught.value)


def test_each_seed_learns_from_its_own_table(data: Path, tmp_path: Path) -> None:
    study = adapting(data)
    write_rows(study, tmp_path, "tone-20", quiet)
    paths = [finetune_recipe(study, Unit("probe", seed, "tone-20"), tmp_path).data for seed in (0, 1)]
    assert paths == [str(table_of(tmp_path, "tone-20", f"train-seed-{seed}")) for seed in (0, 1)]
    assert Path(paths[0]).read_text() != Path(paths[1]).read_text()


def test_a_search_comes_before_the_seeds_of_its_cell(data: Path) -> None:
    study = adapting(data, search=SEARCH)
    found = [u.name for u in units(study)]
    for cell in ("full", "probe"):
        for task in ("tone-20", "tone-40"):
            assert found.index(f"{cell}/search/{task}") < found.index(f"{cell}/seed-0/{task}")
    assert [u.name for u in needed(study, Unit("probe", 1, "tone-20"))] == [
        "full/seed-1/pretrain",
        "probe/search/tone-20",
    ]
    assert needed(study, Unit("full", 1)) == ()


def test_the_best_trial_gives_the_numbers_of_all_seeds(whole: Path) -> None:
    for cell in ("full", "probe"):
        best = files.read_json(whole / "cells" / cell / "search" / "tone-20" / BEST)
        assert len(best["trials"]) == 2
        assert best["trials"][0]["values"] == {}, "the first tries what the cell has"
        assert max(row["mark"] for row in best["trials"]) == next(
            row["mark"] for row in best["trials"] if _tables(row["values"]) == best["values"]
        )
        for seed in (0, 1):
            recipe = (whole / "cells" / cell / f"seed-{seed}" / "tone-20" / "run.toml").read_text()
            for key, value in best["values"].get("train", {}).items():
                assert f"{key} = {value!r}" in recipe


def test_trials_never_see_a_test_row(whole: Path) -> None:
    rows = {part: _rows(table_of(whole, "tone-40", part)) for part in ("search-train", "search-test", "test")}
    train = _rows(table_of(whole, "tone-40", "train-seed-0"))
    assert sorted(rows["search-train"] + rows["search-test"]) == sorted(train)
    assert not set(rows["search-train"]) & set(rows["search-test"])
    assert not set(train) & set(rows["test"])


def test_draws_are_a_function_of_the_study_and_the_trials_before() -> None:
    pytest.importorskip("optuna")
    asked = SearchRecipe(trials=3, keys={"a": Range(low=1e-5, high=1e-2, log=True), "b": ("x", "y")})
    tried: list[dict[str, Any]] = []
    for _ in range(3):
        one, two = (drawn_values(asked, "cell", tried, True) for _ in range(2))
        assert one == two
        tried.append({"values": one, "mark": 0.5})
    assert tried[0]["values"] == {}
    assert tried[1]["values"] != tried[2]["values"]
    assert 1e-5 <= tried[1]["values"]["a"] <= 1e-2
    assert drawn_values(asked, "another cell", tried[:1], True) != tried[1]["values"]


def test_a_sweep_repeats_a_cell_along_its_axis(whole: Path) -> None:
    results = files.read_json(whole / "results.json")
    assert list(results["cells"]) == ["full", "probe", "probe-0.001", "probe-0.01"]
    recipe = (whole / "cells" / "probe-0.01" / "seed-0" / "tone-20" / "run.toml").read_text()
    assert "learning_rate = 0.01" in recipe
    assert 'kind = "probe"' in recipe
    assert not (whole / "cells" / "probe-0.01" / "search").exists(), "what is swept is given"


def test_what_moved_is_counted(whole: Path) -> None:
    found = {
        o["cell"]: o["spent"] for o in files.read_json(whole / "results.json")["outcomes"] if o["task"] == "tone-20"
    }
    assert found["full"]["moved"] > found["probe"]["moved"] > 0
    assert found["full"]["moved"] <= found["full"]["parameters"] == found["probe"]["parameters"]
    assert found["probe"]["kept_bytes"] == 4 * found["probe"]["moved"]
    assert found["full"]["peak_bytes"] > 4 * found["full"]["parameters"]
    assert 0 <= found["full"]["train"] <= 1


def test_the_report_draws_budgets_weights_and_the_sweep(whole: Path) -> None:
    page = (whole / "report.html").read_text()
    for words in ("Marks by number of labels", "What moved, and what it cost", "How sensitive", "kept for N tasks"):
        assert words in page, words
    tables = page[: page.index("The study</summary>")]  # the recipe itself, which names all cells, stands behind it
    assert "probe, 0.01" not in tables, "a repetition along the sweep is no row of the tables"
    sweep = tables[tables.index("How sensitive") :]
    assert "by train.learning_rate" in sweep
    assert all(f">{value}<" in sweep for value in ("0.001", "0.01"))


def test_a_study_keeps_its_own_page(whole: Path) -> None:
    before = (whole / "report.html").read_text()
    assert write_report(whole) == whole / "report.html"
    assert "How sensitive" in (whole / "report.html").read_text()
    assert len((whole / "report.html").read_text()) == pytest.approx(len(before), rel=0.05)


def test_a_task_may_ask_what_another_one_has_learned(data: Path, tmp_path: Path) -> None:
    """Rows of another file, their label a number; what was learned from is left out, nothing is trained."""
    lines = (data / "tone.csv").read_text().splitlines()[1:]
    rows = [f"1\t{2.5 if line.endswith('1') else -2.5}\t{line.rpartition(',')[0].upper()}!" for line in lines[:5]]
    rows += [
        f"2\t{score}\tthe {colour} dog {n}" for n, (score, colour) in enumerate([(3, "red"), (-3, "old"), (0.1, "red")])
    ]
    (tmp_path / "far.txt").write_text("\n".join(rows) + "\n")
    base = adapting(data)
    far = {
        "data": str(tmp_path / "far.txt"), "layout": "vader", "learns": "tone", "apart": "text",
        "cuts": {"rating": {"at": [0.0], "words": ["grey", "red"], "gap": 1.0}},
        "texts": {"label": "{rating}"}, "metrics": ["accuracy"],
    }  # fmt: skip
    tone = {**tree(data)["tasks"]["tone"], "budgets": [20], "metrics": ["accuracy"]}
    study = load_config(StudyRecipe, None, values=unfolded({
        **tree(data), "seeds": [0], "against": "full",
        "cells": {"full": base.cells["full"].model_dump(exclude_defaults=True)},
        "tasks": {"tone": tone, "far": far},
    }))  # fmt: skip
    assert study.tasks["far-20"].learns == "tone-20"
    assert needed(study, Unit("full", 0, "far-20")) == (Unit("full", 0, "tone-20"),)
    said: list[str] = []
    finish_study(study, tmp_path / "study", say=said.append)
    assert any("5 rows left out" in line for line in said)
    asked = tmp_path / "study" / "cells" / "full" / "seed-0" / "far-20"
    assert files.read_json(asked / "asked.json")["model"].endswith("full/seed-0/tone-20")
    found = [
        (row["text"], row["label"]) for row in map(json.loads, table_of(tmp_path / "study", "far-20", "test").open())
    ]
    assert found == [("the red dog 0", "red"), ("the old dog 1", "grey")], "what is near a cut is left out"
    assert files.read_json(tmp_path / "study" / "results.json")["outcomes"][-1]["items"] == 2
    before = (asked / "results.json").stat().st_mtime_ns
    finish_study(study, tmp_path / "study", resume=True, say=quiet)
    assert (asked / "results.json").stat().st_mtime_ns == before, "it is not asked again"


def test_strategies_in_words() -> None:
    made = parse_strategies("full,freeze:first=2,embeddings=true,rates:decay=0.9+probe", strategy_of)
    assert list(made) == ["full", "freeze:first=2,embeddings=true", "rates:decay=0.9+probe"]
    assert made["rates:decay=0.9+probe"] == [strategy_of("rates:decay=0.9"), strategy_of("probe")]
    assert [label_of(word) for word in made] == ["full", "freeze-first-2-embeddings-true", "rates-decay-0.9-probe"]
    for wrong in ("", "full,,probe", "full,full"):
        with pytest.raises(ModeledgeError):
            parse_strategies(wrong, strategy_of)


def test_a_study_of_a_few_words(data: Path) -> None:
    keys = {"task": "auto", "epochs": 1.0, "text": "text", "label": "label"}
    study = of_words(
        "preset:bert-tiny", [str(data / "tone.csv"), "train.batch=4"], keys, "full,probe", "20,40", 2, None
    )
    assert list(study.cells) == ["full", "probe"]
    assert list(study.tasks) == ["task-20", "task-40"]
    assert study.tasks["task-20"].metrics == ("accuracy",)
    assert study.finetune["train"]["batch"] == 4
    assert (study.seeds, study.against) == ((0, 1), "full")
    for words, strategies, labels in (
        ([], "full", ""),
        (["a=1"], "full", ""),
        (["x.csv"], "", ""),
        (["x.csv"], "full", "ten"),
    ):
        with pytest.raises(ModeledgeError) as caught:
            of_words("m", words, keys, strategies, labels, 1, None)
        assert caught.value.code == "E-USAGE"


def test_a_study_of_a_few_words_names_the_columns_as_finetune_does(data: Path, tmp_path: Path) -> None:
    """A table whose columns have the names of the roles, and a benchmark's folder, need no words."""
    plain = of_words("preset:bert-tiny", [str(data / "tone.csv")], {"task": "auto"}, "full", "", 1, None)
    assert plain.finetune["columns"] == {"text": "text", "label": "label"}
    assert finetune_recipe(plain, units(plain)[-1], tmp_path).columns == {"text": "text", "label": "label"}
    (tmp_path / "RTE").mkdir()
    head, row = "index\tsentence1\tsentence2\tlabel\n", "{}\tA dog {} ran.\tIt ran.\t{}\n"
    for name in ("train", "dev"):
        lines = [row.format(n, n, ("entailment", "not_entailment")[n % 2]) for n in range(6)]
        (tmp_path / "RTE" / f"{name}.tsv").write_text(head + "".join(lines))
    rte = of_words("preset:bert-tiny", [str(tmp_path / "RTE")], {"task": "auto"}, "full,probe", "", 1, None)
    (task,) = rte.tasks.values()
    assert (task.layout, rte.finetune["task"]) == ("rte", "classification")
    assert {"text", "pair", "label"} <= rte.finetune["columns"].keys()


def _tables(values: dict[str, Any]) -> dict[str, Any]:
    from modeledge.recipes.compare.unfold import as_tables

    return as_tables(values)


def _rows(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.open()]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["study.toml", "--strategies", "full,probe"], "--strategies is not read beside a study"),
        (["study.toml", "--seeds", "3"], "--seeds is not read beside a study"),
        (["mini", "rows.csv", "--strategies", "full", "--scale", "smoke"], "--scale is not read beside a model"),
        (["mini", "rows.csv", "--strategies", "full", "--model", "other"], "--model is not read beside a model"),
    ],
)
def test_an_option_that_would_not_be_read_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(ModeledgeError, match=f"E-USAGE.*{says}"):
        CliRunner().invoke(app, ["compare", *words], catch_exceptions=False)
