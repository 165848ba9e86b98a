"""Multitask prompt tuning from the command line: the source stage, what it leaves, and the target stage behind it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_multitask import batch, body, bytes_of, ground, part, quiet, rows, several, stopped_at
from typer.testing import CliRunner

from modeledge import files
from modeledge.adapt import MultitaskPromptTuning
from modeledge.adapt.mpt import TaskPrompt
from modeledge.cli import app
from modeledge.errors import ModeledgeError
from modeledge.objectives import Step
from modeledge.objectives.shared import Shared
from modeledge.recipes.asking.use import Model
from modeledge.recipes.resume import resume
from modeledge.recipes.store.open import open_model
from modeledge.recipes.tuning import multitask as tuning
from modeledge.recipes.tuning.multitask import multitask
from modeledge.seed import Noise

__all__ = ["ground"]  # the fixture: a tiny encoder and the rows of two tasks
FILE = "model/adapter_model.safetensors"
STILL = ["train.learning_rate=1e-12", "check=false"]
SMALL = ["train.batch=8", "train.length=16", "train.precision=fp32", "epochs=1"]


def verb(*words: str) -> str:
    """What a command says that goes well."""
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.output


def refused(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert isinstance(done.exception, ModeledgeError), done.output
    return str(done.exception)


@pytest.fixture(scope="module")
def source(ground: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished source stage of two tasks, each tested on rows of a file."""
    home = tmp_path_factory.mktemp("stage")
    path = home / "tasks.toml"
    tables = "\n".join(
        f'[tasks.{name}]\ndata = "{ground}/{name}.csv"\ntest = "{ground}/{name}.csv"\n' for name in ("two", "one")
    )
    strategies = 'strategies = [{kind = "mpt", options = {length = 3, ranks = 2}}]'
    path.write_text(f'model = "{ground}/start"\nallow_leak = true\ntrain.learning_rate = 0.05\n{strategies}\n{tables}')
    verb("finetune", str(path), *SMALL, "--out", str(home / "run"))
    return home / "run"


def prompt_of(folder: Path) -> TaskPrompt:
    lead = open_model(folder, quiet).leads["default"]  # type: ignore[union-attr,index]
    assert isinstance(lead, TaskPrompt)
    return lead


def begin(ground: Path, strategy: str, out: Path, *more: str) -> None:
    """A run of task one alone."""
    start, data = str(ground / "start"), str(ground / "one.csv")
    verb("finetune", start, data, "--strategy", strategy, *SMALL, *more, "--out", str(out))


def test_a_task_moves_its_own_factors_and_the_prompt_of_all() -> None:
    one, two = rows(0, 2), rows(6, 5)
    objective = Shared({"a": part(2), "b": part(5)}, (0, 6), (one[0], two[0]))
    step = Step(body(), objective, noise=Noise(3))
    MultitaskPromptTuning(length=2, tasks=2).attach(step.model, Noise(0))
    lead = step.model.leads["default"]  # type: ignore[union-attr,index]
    for examples, own in ((one, [0]), (two, [1]), ([*one[:3], *two[:3]], [0, 1])):
        step.zero_grad()
        here = batch(step, examples)
        step(here, Noise(1)).value(objective.weights(here)).backward()
        for factors in (lead.prefix_task_cols, lead.prefix_task_rows):
            assert [n for n, gradient in enumerate(factors.grad) if bool(gradient.any())] == own
        assert bool(lead.embedding.weight.grad.any())


def test_the_stage_holds_all_tasks_and_each_task_stands_by_itself(ground: Path, source: Path) -> None:
    held = load_file(source / FILE)
    assert {name: tuple(tensor.shape) for name, tensor in held.items()} == {
        "prompt_embeddings": (3, 16), "prefix_task_cols": (2, 3, 2), "prefix_task_rows": (2, 2, 16),
    }  # fmt: skip
    told = prompt_of(source / "model")
    assert told.names == ("two", "one"), "in the order of the recipe"
    results = files.read_json(source / "results.json")
    for number, name in enumerate(told.names):
        folder = source / "tasks" / name
        assert not (folder / "model.safetensors").exists(), "the base is not written again"
        assert torch.equal(prompt_of(folder).vectors()[0], told.vectors()[number])
        scores = Model.load(folder, say=quiet).evaluate(ground / f"{name}.csv", say=quiet)["scores"]
        assert scores == results["tasks"][name]["scores"], "it was marked with its own factors"
    assert not torch.equal(told.vectors()[0], told.vectors()[1])
    assert "name one's model: tasks/one" in refused(
        "predict", str(source), str(ground / "one.csv"), "--out", "nowhere.csv"
    )


@pytest.mark.parametrize("named", ["", FILE, "model"])
def test_a_target_stage_begins_with_the_mean_of_the_factors(
    ground: Path, source: Path, tmp_path: Path, named: str
) -> None:
    """Wang et al. 2023, section 3.3: without a step's movement the prompt is P* ∘ (mean of columns · mean of rows)."""
    word = f"mpt:source={source / named}"
    out = tmp_path / "run"
    begin(ground, word, out, *STILL)
    held = load_file(source / FILE)
    columns, rows_ = held["prefix_task_cols"].mean(0), held["prefix_task_rows"].mean(0)
    begun = prompt_of(out / "model").vectors()[0]
    assert float((begun - held["prompt_embeddings"] * (columns @ rows_)).detach().abs().max()) <= 1e-6
    assert len(Model.load(out, say=quiet).predict(["rise"], say=quiet)) == 1


@pytest.mark.parametrize("task", ["one", "1"])
def test_a_target_stage_may_begin_with_one_tasks_factors(ground: Path, source: Path, tmp_path: Path, task: str) -> None:
    word, out = f"mpt:source={source},transfer=exact,task={task}", tmp_path / "run"
    begin(ground, word, out, *STILL)
    begun, told = prompt_of(out / "model").vectors()[0], prompt_of(source / "model").vectors()[1]
    assert float((begun - told).detach().abs().max()) <= 1e-6


def test_a_run_of_one_task_is_a_source_too(ground: Path, source: Path, tmp_path: Path) -> None:
    """Its heads lie beside the three tensors in the file."""
    begin(ground, "mpt:length=2", tmp_path / "alone")
    assert len(load_file(tmp_path / "alone" / FILE)) > 3
    begin(ground, f"mpt:source={tmp_path / 'alone'}", tmp_path / "next")
    assert prompt_of(tmp_path / "next" / "model").tokens == 2


def test_what_is_no_source_is_refused(ground: Path, source: Path, tmp_path: Path) -> None:
    start, data = str(ground / "start"), str(ground / "one.csv")
    save_file({"prompt_embeddings": torch.zeros(3, 16)}, tmp_path / "prompt.safetensors")
    for word, says in (
        (f"mpt:source={source},transfer=exact,task=three", "none of its tasks; known: one, two"),
        (f"mpt:source={source},transfer=exact,task=2", "none of the 2"),
        (f"mpt:source={source},task=1", "transfer"),
        (f"mpt:source={source},length=4", "leave length and ranks out"),
        (f"mpt:source={tmp_path / 'prompt.safetensors'}", "E-KEYS"),
        (f"mpt:source={tmp_path}", "E-NO-FILE"),
        ("mpt:tasks=2", "one recipe of several tasks"),
    ):
        told = refused("finetune", start, data, "--strategy", word, *SMALL, "--out", str(tmp_path / "x"))
        assert says in told, word


def test_a_source_stage_of_another_base_is_refused_with_both_digests(
    ground: Path, source: Path, tmp_path: Path
) -> None:
    """The prompt fits, and would be noise."""
    other = shutil.copytree(ground / "start", tmp_path / "other")
    weights = next(other.rglob("model.safetensors"))
    save_file({name: tensor + 0.01 for name, tensor in load_file(weights).items()}, weights)
    weights.with_name("MANIFEST.json").unlink()
    words = ("--strategy", f"mpt:source={source}", *SMALL, "--out", str(tmp_path / "x"))
    told = refused("finetune", str(other), str(ground / "one.csv"), *words)
    assert "E-BASE" in told
    assert len(re.findall(r"\b[0-9a-f]{64}\b", told)) == 2
    assert "begin with the model that" in told


def test_each_task_is_marked_with_its_own_factors(
    ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the judge, before the last marks, and in them; task 0 has two classes, task 1 three."""
    asked, real = list[tuple[int, int | None]](), tuning.answers

    def recorded(task: Any, model: Any, examples: Any) -> Any:
        asked.append((len(task.labels.names) - 2, model.leads["default"].task))
        return real(task, model, examples)

    monkeypatch.setattr(tuning, "answers", recorded)
    multitask(several(ground, strategies=[{"kind": "mpt", "options": {"length": 2}}]), tmp_path / "run", say=quiet)
    assert len(asked) > 8
    assert all(number == task for number, task in asked)
    assert {number for number, _ in asked} == {0, 1}


def test_a_stopped_source_stage_goes_on_to_the_same_bits(ground: Path, tmp_path: Path) -> None:
    asked = several(ground, strategies=[{"kind": "mpt", "options": {"length": 2}}])
    multitask(asked, tmp_path / "whole", say=quiet)
    with pytest.raises(KeyboardInterrupt):
        multitask(asked, tmp_path / "cut", listeners=[stopped_at(11, "")], say=quiet)
    resume(tmp_path / "cut", say=quiet)
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize(
    ("strategies", "code", "says"),
    [
        ([{"kind": "mpt"}, {"kind": "lora"}], "E-MERGE", "two adapters"),
        ([{"kind": "prompt"}], "E-MERGE", "cannot be folded"),
        ([{"kind": "mpt", "options": {"tasks": 3}}], "E-CONFIG-VALUE", "the recipe has 2"),
        ([{"kind": "mpt", "options": {"task": 0}}], "E-CONFIG-VALUE", "its own task"),
        ([{"kind": "reinit"}, {"kind": "mpt"}], "E-FROZEN", "never move"),
    ],
)
def test_what_a_source_stage_cannot_be(ground: Path, tmp_path: Path, strategies: Any, code: str, says: str) -> None:
    with pytest.raises(ModeledgeError, match=says) as caught:
        multitask(several(ground, strategies=strategies), tmp_path / "run", say=quiet)
    assert caught.value.code == code
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
