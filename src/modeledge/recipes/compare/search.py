"""A few trials to choose the numbers of a cell by, so that a method is not judged by another one's learning rate.

Each trial is an ordinary fine-tuning on a part of the first seed's training rows, marked on the rest of them; the test
rows are never seen. What a trial tries is a function of the study and the trials before it, so that a search goes on
where it was stopped. The draws are optuna's (Akiba et al. 2019, arXiv 1907.10902).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from modeledge import files
from modeledge.errors import CATALOGUE, CONFIG, DATA, ModeledgeError
from modeledge.metrics import METRICS
from modeledge.recipes.compare.grid import BEST, Unit, finetune_recipe, rows_named, search_of
from modeledge.recipes.compare.pruning import PrunedError, Rungs, import_optuna, rungs_of
from modeledge.recipes.compare.study import Range, SearchRecipe, StudyRecipe
from modeledge.recipes.compare.unfold import as_tables
from modeledge.recipes.folder import RECIPE, finished
from modeledge.recipes.recipe import absolute
from modeledge.recipes.tuning.finetune import finetune
from modeledge.seed import Noise

if TYPE_CHECKING:
    import optuna

Say = Callable[[str], None]


def run_search(study: StudyRecipe, unit: Unit, folder: Path, say: Say) -> None:
    """Run the trials that are not finished and write `best.json`: the values taken, and what each trial brought.

    A trial that fails has no mark and the others go on; where all fail this is `E-STUDY`.
    """
    asked, here = search_of(study, unit.cell), unit.folder(folder)
    assert asked is not None
    metric = study.rows_of(rows_named(study, unit)).metrics[0]
    tried = list[dict[str, Any]]()
    greater = METRICS[metric].greater_is_better
    for number in range(asked.trials):
        values = drawn_values(asked, unit.name, tried, greater)
        trial = here / f"trial-{number}"
        rungs = None if asked.pruner == "none" else Rungs(trial, metric, greater, rungs_of(tried))
        row = {"values": values, "mark": mark_of(study, unit, folder, trial, values, metric, rungs)}
        tried.append(row if rungs is None else {**row, "rungs": rungs.marks, "pruned": rungs.behind})
    found = [row for row in tried if row["mark"] is not None]
    if not found:
        raise ModeledgeError("E-STUDY", "no trial came to its end", where=unit.name, remedy="narrow the search")
    choose = max if greater else min
    best = choose(found, key=lambda row: row["mark"])
    told = ", ".join(
        f"{key} = {value:.3g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in best["values"].items()
    )
    ended = sum(row.get("pruned", False) for row in tried)
    say(
        f"{unit.name}: {metric} {best['mark']:.4f} with {told or 'the values of the cell'}"
        + (f" ({ended} of {len(tried)} trials were behind, and stopped)" if ended else "")
    )
    for number in range(asked.trials):
        shutil.rmtree(here / f"trial-{number}")
    files.write_json(here / BEST, {"metric": metric, "values": as_tables(best["values"]), "trials": tried})


def mark_of(
    study: StudyRecipe, unit: Unit, folder: Path, trial: Path, values: Mapping[str, Any], metric: str,
    rungs: Rungs | None = None,
) -> float | None:  # fmt: skip
    """What one trial brings; nothing where its values fail, or where it is behind at one of its `rungs`.

    A model that is not there, a full disk, a missing extra are no fault of the values: that error is raised, and the
    trial is tried again at the next resume.
    """
    failure = trial / "failed.json"
    if failure.exists() or (rungs is not None and rungs.behind):
        return None
    looks = () if rungs is None else (rungs.look,)
    recipe = finetune_recipe(study, unit, folder, as_tables(values))
    try:
        if not finished(trial):
            going_on = (trial / RECIPE).exists()
            finetune(absolute(recipe), trial, looks=looks, say=lambda line: None, resume=going_on)
    except PrunedError:
        shutil.rmtree(trial / "checkpoints", ignore_errors=True)
        return None
    except ModeledgeError as error:
        if CATALOGUE[error.code].exit_status not in (CONFIG, DATA):
            raise
        trial.mkdir(parents=True, exist_ok=True)
        files.write_json(failure, {"code": error.code, "error": str(error)})
        return None
    shutil.rmtree(trial / "checkpoints", ignore_errors=True)
    shutil.rmtree(trial / "model", ignore_errors=True)
    return float(files.read_json(trial / "results.json")["scores"][metric]["value"])


def drawn_values(asked: SearchRecipe, name: str, tried: Sequence[Mapping[str, Any]], greater: bool) -> dict[str, Any]:
    """What the next trial tries; the first tries what the cell has."""
    if not tried:
        return {}
    optuna: Any = import_optuna()
    seed = Noise(0).at("search", name, str(len(tried))).integer() % 2**31
    sampler: Any = optuna.samplers.RandomSampler(seed) if asked.sampler == "random" else _tpe(seed)
    study = optuna.create_study(sampler=sampler, direction="maximize" if greater else "minimize")
    space = {key: distribution(how) for key, how in asked.keys.items()}
    for row in tried:
        if row["mark"] is not None and row["values"]:
            study.add_trial(optuna.trial.create_trial(params=row["values"], distributions=space, value=row["mark"]))
    return dict(study.ask(space).params)


def _tpe(seed: int) -> Any:
    import optuna

    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=2)


def distribution(how: Range | tuple[Any, ...]) -> optuna.distributions.BaseDistribution:
    """What is drawn from, as optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    if isinstance(how, Range):
        return FloatDistribution(how.low, how.high, log=how.log)
    return CategoricalDistribution(how)
