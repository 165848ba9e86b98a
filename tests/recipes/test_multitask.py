"""Several tasks on one body, and several stages: the stream, the objective, whole runs, and runs that were stopped."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

import modeledge as me
from modeledge import files
from modeledge.cli import app
from modeledge.config import load_config, to_toml
from modeledge.corpus.sampled import SampledStream, exponents
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.evaluate.conflict import gradient_cosines
from modeledge.model import Attention, ClassHead, FeedForward, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import Classify, LabelPrepare, Shape, Step, collate, prepared
from modeledge.objectives.shared import Shared, seen
from modeledge.recipes.asking.use import Model
from modeledge.recipes.look import check_recipe
from modeledge.recipes.resume import resume
from modeledge.recipes.tuning.multitask import MultitaskRecipe, multitask
from modeledge.recipes.tuning.stages import StagesRecipe, run_stages
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train import StepRecord, TrainConfig, Trainer

WORDS = {"up": "rise gain high climb".split(), "down": "fall loss low sink".split()}  # noqa: SIM905
TRAIN = {"batch": 8, "length": 16, "precision": "fp32", "save_every": 2}


def quiet(line: str) -> None:
    """Says nothing."""


# ---- which task comes next


def streams(*sizes: int) -> list[ListStream]:
    return [
        ListStream([Example(n, np.array([2 + k, n % 7 + 2]), label=0) for n in range(size)], 0)
        for k, size in enumerate(sizes)
    ]


@pytest.mark.parametrize(
    ("sampling", "temperature", "alphas"),
    [
        ("proportional", 1.0, [1.0] * 3),
        ("temperature", 2.0, [0.5] * 3),
        ("annealed", 1.0, [1.0, 0.6, 0.2]),
    ],
)
def test_every_stretch_has_its_shares(sampling: Any, temperature: float, alphas: list[float]) -> None:
    """Stickland and Murray 2019, section 3.1, with E = 3: blocks of one task, whose shares are Nᵢ^α to within one."""
    sizes, batch = (160, 40), 4
    assert exponents(sampling, 3.0, temperature) == pytest.approx(alphas)
    stream = SampledStream(streams(*sizes), exponents(sampling, 3.0, temperature), batch)
    assert len(stream) == 200
    order = [stream.place(position) for position in range(600)]
    for epoch, alpha in enumerate(alphas):
        part = order[epoch * 200 : (epoch + 1) * 200]
        assert all(len({task for task, _ in part[i : i + batch]}) == 1 for i in range(0, 200, batch))
        blocks = Counter(task for task, _ in part[::batch])
        expected = 50 * sizes[1] ** alpha / (sizes[0] ** alpha + sizes[1] ** alpha)
        assert abs(blocks[1] - expected) <= 1
    for task in (0, 1):
        own = [place for number, place in order if number == task]
        assert own == list(range(len(own))), "each stream is read in its own order, nothing twice and nothing left out"


def test_a_sampled_stream_goes_on_where_it_was() -> None:
    def fresh() -> SampledStream:
        return SampledStream(streams(30, 12, 7), exponents("annealed", 2.0), 4)

    whole = [(e.index, e.place) for e, _ in zip(fresh(), range(120), strict=False)]
    assert len({index for index, _ in whole}) == 49
    resumed = fresh()
    resumed.load_state_dict({"position": 41, "fingerprint": resumed.fingerprint})
    assert [(e.index, e.place) for e, _ in zip(resumed, range(79), strict=False)] == whole[41:]
    other = SampledStream(streams(30, 12, 7), exponents("proportional", 2.0), 4)
    assert other.fingerprint != resumed.fingerprint


def test_temperatures_that_nothing_reads() -> None:
    for sampling, temperature in (("proportional", 2.0), ("temperature", 0.5)):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            exponents(sampling, 3.0, temperature)  # type: ignore[arg-type]


# ---- one body, a head each


def body() -> Transformer:
    stack = Stack(layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Rotary())
    return Transformer(TransformerConfig(width=8, embed=Tokens(vocab=20), encoder=stack, init=0.3), seed=0)


def part(outputs: int) -> Classify:
    return Classify(LabelPrepare("source", 12, "class"), ClassHead(outputs=outputs, pool="first"))


def rows(first: int, classes: int, count: int = 6) -> list[Example]:
    random = np.random.default_rng(first)
    return [Example(first + n, random.integers(2, 20, random.integers(2, 9)), label=n % classes) for n in range(count)]


def shared() -> tuple[Step, list[Example], list[Example]]:
    one, two = rows(0, 2), rows(6, 5)
    objective = Shared({"a": part(2), "b": part(5)}, (0, 6), (one[0], two[0]))
    return Step(body(), objective, noise=Noise(3)), one, two


def batch(step: Step, examples: list[Example]) -> Any:
    return collate([prepared(step.objective, e, Noise(0)) for e in examples], Shape(24))


def test_a_batch_of_one_task_is_that_tasks_own_loss() -> None:
    step, one, two = shared()
    assert set(step.model.heads) == {"a-class", "b-class"}
    for name, examples, outputs in (("a", one, 2), ("b", two, 5)):
        here = batch(step, examples)
        loss = step(here, Noise(1))
        assert set(loss.terms) == {f"{name}.class"}
        alone = Step(body(), part(outputs), noise=Noise(3))
        alone.model.load_state_dict({
            n.replace("heads.", "heads.") if not n.startswith("heads.") else n.replace(f"heads.{name}-", "heads."): v
            for n, v in step.model.state_dict().items()
            if not n.startswith("heads.") or n.startswith(f"heads.{name}-")
        })  # fmt: skip
        oracle = alone(batch(alone, examples), Noise(1))
        value = loss.value(step.objective.weights(here))
        assert torch.equal(value, oracle.value({n: t.weight for n, t in oracle.terms.items()}))
        step.zero_grad()
        value.backward()
        reached = {n for n, p in step.model.named_parameters() if p.grad is not None and n.startswith("heads.")}
        assert reached == {n for n, _ in step.model.named_parameters() if n.startswith(f"heads.{name}-")}


def test_a_mixed_batch_is_the_sum() -> None:
    step, one, two = shared()
    step.eval()
    mixed, parts = batch(step, [*one[:3], *two[:4]]), [batch(step, one[:3]), batch(step, two[:4])]
    value = step(mixed, Noise(1)).value(step.objective.weights(mixed))
    each = [step(here, Noise(1)).value(step.objective.weights(here)) for here in parts]
    assert float(value.detach()) == pytest.approx(sum(float(v.detach()) for v in each), rel=1e-5)


def test_micro_batches_may_have_different_tasks() -> None:
    """The same losses and weights as in one piece, though no micro-batch has both tasks' terms."""
    records, weights = [], []
    for micro in (None, 1):
        step, one, two = shared()
        config = TrainConfig(steps=2, batch=6, micro_batch=micro, length=24, precision="fp32", packed=False)
        run = Trainer(step, ListStream([*one, *two], 0), config=config, seed=0)
        records.append([run.step() for _ in range(2)])
        weights.append(torch.cat([p.detach().flatten() for p in run.model.parameters()]))
    assert any(len(record.terms) == 2 for record in records[0])
    for whole, split in zip(*records, strict=True):
        assert dict(split.terms) == pytest.approx(dict(whole.terms), rel=1e-5)
        assert dict(split.logs) == pytest.approx(dict(whole.logs), rel=1e-5)
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


def test_cosines_against_gradients_taken_one_by_one() -> None:
    step, one, two = shared()
    probes = {"a": batch(step, one), "b": batch(step, two), "again": batch(step, one)}
    step.train()
    found = gradient_cosines(step, probes)
    assert step.training
    assert all(p.grad is None for p in step.parameters())
    flat = []
    step.eval()
    for here in (probes["a"], probes["b"]):
        step.zero_grad()
        step(here, Noise(0)).value(step.objective.weights(here)).backward()
        of_body = [p.grad.flatten() for n, p in step.model.named_parameters() if not n.startswith("heads.")]
        flat.append(torch.cat(of_body).double())
    oracle = float(torch.nn.functional.cosine_similarity(*flat, dim=0))
    assert found["a|b"] == pytest.approx(oracle, abs=1e-9)
    assert found["a|again"] == pytest.approx(1.0)
    for name, parameter in step.model.named_parameters():
        parameter.requires_grad_(name.startswith("heads."))
    assert gradient_cosines(step, probes) == {}


def test_names_that_cannot_be() -> None:
    for name in ("a.b", "a-b", "part", ""):
        with pytest.raises(ModeledgeError, match="cannot name a task"):
            Shared({name: part(2)}, (0,), rows(0, 2)[:1])


# ---- whole runs


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model, and two files of labelled rows."""
    home = tmp_path_factory.mktemp("tasks")
    stack = {"layers": 1, "attention": {"heads": 2}, "feedforward": {"width": 16}, "position": {"kind": "rotary"}}
    texts = [f"{a} number {n} {b}" for n in range(24) for a in WORDS["up"] for b in WORDS["down"]]
    recipe = {
        "corpus": {}, "tokenizer": {"vocab_size": 300}, "model": {"shape": {"width": 16, "encoder": stack}},
        "objective": {"kind": "masked"}, "train": {"steps": 2, "batch": 4, "length": 16, "precision": "fp32"},
    }  # fmt: skip
    me.pretrain(recipe, home / "start", texts=texts[:60], say=quiet)
    for name, labels in (("one", ("up", "down")), ("two", ("early", "middle", "late"))):
        with (home / f"{name}.csv").open("w", newline="") as file:
            table = csv.writer(file)
            table.writerow(["text", "label"])
            for n, text in enumerate(texts[: 90 if name == "one" else 60]):
                table.writerow([f"{text} {n}", labels[n % len(labels)]])
    return home


def several(ground: Path, **fields: Any) -> MultitaskRecipe:
    values = {
        "model": str(ground / "start"),
        "tasks": {"one": {"data": str(ground / "one.csv")}, "two": {"data": str(ground / "two.csv")}},
        "sampling": "annealed", "epochs": 2, "conflict_every": 3,
        "train": {**TRAIN, "judge_every": 3}, **fields,
    }  # fmt: skip
    return load_config(MultitaskRecipe, None, values=values)


def bytes_of(folder: Path) -> dict[str, bytes]:
    """What a run leaves, but for times and machines."""
    quiet_files = ("speed.jsonl", "environment.json", "cost.json")
    found = (path for path in sorted(folder.rglob("*")) if path.is_file() and ".lock" not in path.name)
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if path.name not in quiet_files and "checkpoints" not in path.parts
    }


def stopped_at(step: int, folder: str) -> Any:
    """A listener that ends the run behind a step, as a second interrupt would."""

    def listen(record: StepRecord) -> None:
        if record.step == step:
            raise KeyboardInterrupt(folder)

    return listen


def test_a_run_of_two_tasks_and_one_that_was_stopped(ground: Path, tmp_path: Path) -> None:
    results = multitask(several(ground), tmp_path / "whole", say=quiet)
    assert set(results["tasks"]) == {"one", "two"}
    assert "one.accuracy" in results["scores"]
    assert results["conflicts"]["one|two"]["n"] >= 4
    for name in ("one", "two"):
        model = Model.load(tmp_path / "whole" / "tasks" / name, say=quiet)
        assert set(model.transformer.heads) == {"class"}
        assert len(model.predict(["rise number 3 fall"], say=quiet)) == 1
    both = Model.load(tmp_path / "whole", say=quiet).transformer
    assert set(both.heads) == {"one-class", "two-class"}
    alone = Model.load(tmp_path / "whole" / "tasks" / "two", say=quiet).transformer
    for name, value in alone.state_dict().items():
        assert torch.equal(value, both.state_dict()[name.replace("heads.", "heads.two-")]), name
    with pytest.raises(KeyboardInterrupt):
        multitask(several(ground), tmp_path / "cut", listeners=[stopped_at(11, "")], say=quiet)
    resume(tmp_path / "cut", say=quiet)
    assert bytes_of(tmp_path / "cut") == bytes_of(tmp_path / "whole")


def test_the_view_of_a_task_has_its_own_heads(ground: Path) -> None:
    step, _, _ = shared()
    view = seen(step.model, "b")
    assert isinstance(view, Transformer)
    assert list(view.heads) == ["class"]
    assert view.heads["class"] is step.model.heads["b-class"]


STAGES = """
model = "{start}"
[[stages]]
name = "first"
data = "{one}"
epochs = 1
[stages.train]
batch = 8
length = 16
precision = "fp32"
save_every = 2
[[stages]]
name = "second"
data = "{two}"
epochs = 1
seed = 5
strategies = [{{kind = "lp-ft"}}]
[stages.train]
batch = 8
length = 16
precision = "fp32"
save_every = 2
restarts = [0.3]
"""


def test_stages_go_on_from_each_other_and_from_a_stop(ground: Path, tmp_path: Path) -> None:
    path = tmp_path / "stages.toml"
    places = {"start": ground / "start", "one": ground / "one.csv", "two": ground / "two.csv"}
    path.write_text(STAGES.format(**places))
    recipe = load_config(StagesRecipe, path)
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    results = run_stages(recipe, whole, say=quiet)
    assert set(results["stages"]) == {"first", "second"}
    second = files.read_json(whole / "stages" / "second" / "model" / "config.json")
    assert second == files.read_json(whole / "model" / "config.json")
    assert "first/model" in (whole / "stages" / "second" / "run.toml").read_text()
    assert "seed = 5" in (whole / "stages" / "second" / "run.toml").read_text()
    assert len(Model.load(whole, say=quiet).predict(["rise"], say=quiet)) == 1
    steps = []

    def in_the_second(record: StepRecord) -> None:
        steps.append(record.step)
        if steps.count(3) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stages(recipe, cut, listeners=[in_the_second], say=quiet)
    assert (cut / "stages" / "first" / "model" / "config.json").exists(), "what was trained stays"
    resume(cut, say=quiet)
    weights = [Model.load(folder, say=quiet).transformer.state_dict() for folder in (whole, cut)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    with pytest.raises(ModeledgeError, match="E-OUTPUT"):
        run_stages(recipe, whole, say=quiet)


SEVERAL = """
[[stages]]
name = "{name}"
epochs = 1
sampling = "annealed"
allow = ["fresh-heads"]
train = {{ batch = 8, length = 16, precision = "fp32", save_every = 2 }}
[stages.tasks.one]
data = "{one}"
[stages.tasks.two]
data = "{two}"
"""


@pytest.mark.parametrize("last", ["both", "second"])
def test_a_stage_may_hold_several_tasks(ground: Path, tmp_path: Path, last: str, monkeypatch: Any) -> None:
    """First or last; paths may be relative, a stop within it is gone on from, and what follows begins with its body."""
    monkeypatch.chdir(ground)
    head, first, second = STAGES.format(start="start", one="one.csv", two="two.csv").split("[[stages]]")
    several = SEVERAL.format(name="both", one="one.csv", two="two.csv")
    path = tmp_path / "stages.toml"
    path.write_text(f"{head}[[stages]]{first}{several}" if last == "both" else f"{head}{several}[[stages]]{second}")
    recipe = load_config(StagesRecipe, path)
    whole, cut, steps = tmp_path / "whole", tmp_path / "cut", list[int]()
    results = run_stages(recipe, whole, say=quiet)
    assert set(results["stages"]["both"]) >= {"one.accuracy", "two.accuracy"}
    names = {head.name for head in [*(whole / "model").iterdir()]}
    assert ("tasks.json" in names) == (last == "both")
    if last == "second":
        assert "both/tasks/one" in (whole / "stages" / "second" / "run.toml").read_text()
        assert len(Model.load(whole, say=quiet).predict(["rise"], say=quiet)) == 1

    def within(record: StepRecord) -> None:
        steps.append(record.step)
        if steps.count(3) == (2 if last == "both" else 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_stages(recipe, cut, listeners=[within], say=quiet)
    monkeypatch.chdir(tmp_path)
    resume(cut, say=quiet)
    assert (cut / "model" / "model.safetensors").read_bytes() == (whole / "model" / "model.safetensors").read_bytes()


def test_a_wrong_key_of_a_stage_has_its_place(ground: Path, tmp_path: Path) -> None:
    path = tmp_path / "stages.toml"
    for text in (STAGES.replace("epochs = 1\n", "epoch = 1\n", 1), 'model = "m"\n' + SEVERAL + "labels = 1\n"):
        path.write_text(text.format(start="a", one="b", two="c", name="both"))
        with pytest.raises(ModeledgeError, match=r"epochs|label") as caught:
            load_config(StagesRecipe, path)
        assert caught.value.code == "E-CONFIG-KEY"
        assert "stages" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (("second", "first"), "names of their own"),
        (('name = "second"', 'name = "a/b"'), "cannot name a stage"),
        (('name = "second"', 'name = "second"\nmodel = "other"'), "where the stage before ended"),
    ],
)
def test_stages_that_contradict(ground: Path, tmp_path: Path, change: tuple[str, str], says: str) -> None:
    path = tmp_path / "stages.toml"
    path.write_text(STAGES.format(start="a", one="b", two="c").replace(*change))
    with pytest.raises(ModeledgeError, match=says):
        load_config(StagesRecipe, path)


def test_the_verb_reads_a_recipe(ground: Path, tmp_path: Path) -> None:
    path = tmp_path / "tasks.toml"
    path.write_text(
        f'model = "{ground}/start"\nepochs = 1.0\nconflict_every = 4\n'
        f'[tasks.one]\ndata = "{ground}/one.csv"\n[tasks.two]\ndata = "{ground}/two.csv"\n'
    )
    out = tmp_path / "run"
    words = ["finetune", str(path), "train.batch=8", "train.length=16", "train.precision=fp32", "--out", str(out)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "two.accuracy" in done.output
    assert "gradients' cosine" in done.output
    for asked in (Model.load(out).predict, Model.load(out).evaluate):
        with pytest.raises(ModeledgeError, match=r"several tasks, one, two.*tasks/one in the folder of the run"):
            asked(ground / "one.csv", say=quiet)
    assert Model.load(out / "tasks" / "one").predict(["rise"], say=quiet)
    assert (out / "report.html").exists()
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        CliRunner().invoke(app, ["finetune", "model"], catch_exceptions=False)


@pytest.mark.parametrize("kind", ["prompt", "prefix", "adapter"])
def test_what_cannot_be_folded_in_is_refused_before_the_first_step(ground: Path, tmp_path: Path, kind: str) -> None:
    """Whole models are written of several tasks: the run would be lost when it is over."""
    with pytest.raises(ModeledgeError, match=f"E-MERGE: strategies: {kind} cannot be folded"):
        multitask(several(ground, strategies=[{"kind": kind}]), tmp_path / "run", say=quiet)
    assert not (tmp_path / "run" / "run.toml").exists()


@pytest.mark.parametrize("kind", ["new-head", "replaced-head"])
def test_a_strategy_of_one_head_is_refused_with_its_reason(ground: Path, kind: str) -> None:
    """There is no one head: each task has its own, and a name of one task's is unknown to the others."""
    with pytest.raises(ModeledgeError, match=f"E-CONFIG-VALUE.*{kind} is of a model with one head.*leave it out"):
        several(ground, strategies=[{"kind": kind, "options": {"outputs": 2} if kind == "replaced-head" else {}}])


def test_two_adapters_are_folded_in_on_several_tasks(ground: Path, tmp_path: Path) -> None:
    """Those that were added last come first, as in a run of one task."""
    two = [{"kind": "lora", "options": {"rank": 2}}, {"kind": "lora", "options": {"rank": 2, "name": "second"}}]
    multitask(several(ground, epochs=0.5, strategies=two), tmp_path / "run", say=quiet)
    assert (tmp_path / "run" / "tasks" / "one" / "model.safetensors").exists()
    two[1]["kind"] = "dora"
    with pytest.raises(ModeledgeError, match=r"E-MERGE.*default, second act on one map"):
        multitask(several(ground, strategies=two), tmp_path / "other", say=quiet)
    assert not (tmp_path / "other" / "run.toml").exists()


# ---- the pre-flight


def test_each_task_is_looked_at_and_the_run_does_not_feel_it(ground: Path, tmp_path: Path) -> None:
    said: list[str] = []
    multitask(several(ground, epochs=1), tmp_path / "checked", say=said.append)
    for name in ("one", "two"):
        assert sum(line.startswith(f"{name}: checked ") for line in said) == 1
    multitask(several(ground, epochs=1, check=False), tmp_path / "plain", say=quiet)
    files_of = [bytes_of(tmp_path / name) for name in ("checked", "plain")]
    assert {name for name in files_of[0] if files_of[0][name] != files_of[1].get(name)} <= {
        "run.toml", "model/README.md", "tasks/one/README.md", "tasks/two/README.md",
        "model/MANIFEST.json", "tasks/one/MANIFEST.json", "tasks/two/MANIFEST.json",
    }  # fmt: skip


def test_a_leak_in_one_task_stops_the_run_and_is_that_task_s(ground: Path, tmp_path: Path) -> None:
    """The test file of the second task repeats rows that it learns from; so says `modeledge check`, and so does the
    run, unless the leak is allowed."""
    lines = (ground / "two.csv").read_text().splitlines()
    (tmp_path / "again.csv").write_text("\n".join([lines[0], *lines[-12:]]) + "\n")
    tasks = {
        "one": {"data": str(ground / "one.csv")},
        "two": {"data": str(ground / "two.csv"), "test": str(tmp_path / "again.csv")},
    }
    with pytest.raises(ModeledgeError, match=r"E-LEAK.*task two: the pre-flight refuses.*shared-rows"):
        multitask(several(ground, tasks=tasks, epochs=1), tmp_path / "run", say=quiet)
    assert not (tmp_path / "run" / "checkpoints").exists()
    recipe = several(ground, tasks=tasks, epochs=1)
    path = tmp_path / "tasks.toml"
    path.write_text(to_toml(recipe))
    with pytest.raises(ModeledgeError, match="task two"):
        check_recipe(path, (), {}, quiet)
    told = check_recipe(path, ("allow_leak=true",), {}, quiet)
    assert [line.split(":")[0] for line in told.splitlines()] == ["one", "two"]
