"""The gate as a whole: what it says, what it lets pass, and that the run behind it is the same, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import preflight_small as small
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config
from modeledge.corpus.stream import ListStream
from modeledge.errors import CATALOGUE, ModeledgeError
from modeledge.families import save_model
from modeledge.preflight import CHECKS, Finding, Reads, Room, Token, preflight, record, shown
from modeledge.preflight.leaks import NEAR, Told, jaccard, near_pairs, trigrams
from modeledge.preflight.trial import MOST, laid_out
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe
from modeledge.recipes.pretraining.curriculum import CurriculumRecipe
from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain, ModelRecipe, PretrainRecipe
from modeledge.recipes.tuning.finetune import finetune
from modeledge.records import Example, Piece, Prepared
from modeledge.train import TrainConfig


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    save_model(small.model("encoder"), folder)
    small.tokenizer().save(folder)
    return folder


def tuning(model: Path, **fields: Any) -> FinetuneRecipe:
    train = {"batch": 8, "length": 32, "threads": 1, "precision": "fp32", **fields.pop("train", {})}
    return FinetuneRecipe(
        model=str(model), data="rows from memory", train=FinetuneTrain(**train), **{"epochs": 1.0, **fields}
    )


def bare(data: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "__where__"} for row in data]


def shouted(count: int = 12) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Training rows, and test rows that are partly the same in capitals."""
    data = bare(small.rows(60))
    return data, [*bare(small.rows(30, 5000)), *({**row, "text": row["text"].upper()} for row in data[:count])]


def steps_of(folder: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if k not in ("seconds", "time")} for line in lines]


# ---- the run that follows


@pytest.mark.parametrize("strategies", [(), ({"kind": "probe"},)], ids=["full", "probe"])
def test_a_fine_tuning_is_the_same_bit_for_bit(model: Path, tmp_path: Path, strategies: Any) -> None:
    asked = tuning(model, dropout=0.2, train={"judge_every": 3}, strategies=strategies)
    for name, check in (("with", True), ("without", False)):
        lines: list[str] = []
        given = asked.model_copy(update={"check": check})
        finetune(given, tmp_path / name, rows=bare(small.rows(80)), say=lines.append)
        assert any(line.startswith(f"checked {len(CHECKS)} things on") for line in lines) == check
        assert any(line.startswith("WARNING: the pre-flight is off") for line in lines) == (not check)
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
    assert steps_of(tmp_path / "with") == steps_of(tmp_path / "without") != []


@pytest.mark.parametrize("objective", ["causal", "masked"])
def test_a_pre_training_is_the_same_bit_for_bit(tmp_path: Path, objective: str) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(small.text(n, 20) for n in range(120)))
    stack = {"layers": 1, "attention": {"heads": 2}, "feedforward": {"width": 16}, "dropout": {"hidden": 0.1}}
    shape = {"width": 8, "decoder" if objective == "causal" else "encoder": stack}
    asked = PretrainRecipe(
        corpus=CorpusRecipe(paths=(str(tmp_path / "a.txt"),), split="paragraph"),
        tokenizer=TokenizerRecipe(vocab_size=330),
        model=ModelRecipe(shape=shape),
        objective={"kind": objective},
        train=TrainConfig(steps=4, batch=4, length=32, precision="fp32", threads=1),
        held_out=0.1,
    )
    for name, check in (("with", True), ("without", False)):
        pretrain(asked.model_copy(update={"check": check}), tmp_path / name, say=lambda line: None)
    weights = [(tmp_path / name / "model" / "model.safetensors").read_bytes() for name in ("with", "without")]
    assert weights[0] == weights[1]
    assert steps_of(tmp_path / "with") == steps_of(tmp_path / "without") != []


def test_nothing_of_the_run_moves() -> None:
    run = small.labelled()
    before = {name: tensor.clone() for name, tensor in run.trainer.tensors().items()}
    state = json.dumps(run.trainer.state_dict())
    random = torch.get_rng_state()
    preflight(run)
    after = run.trainer.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert json.dumps(run.trainer.state_dict()) == state
    assert torch.equal(random, torch.get_rng_state())


def sized(lengths: list[int], idle: tuple[int, ...] = ()) -> list[Prepared]:
    return [
        Prepared(n, source=Piece(np.zeros(length, np.int64)), weights={"class": np.array([float(n not in idle)])})
        for n, length in enumerate(lengths)
    ]


@pytest.mark.parametrize(
    ("lengths", "idle", "chosen"),
    [
        ([9] * 16, (), [0, 1, 2, 3, 4, 5]),  # no other length to be had
        ([9, 9, 9, 30, 9, 20, 12, 9], (), [0, 1, 3, 5, 6]),  # each length once, then the shortest again
        ([500, 400, 300, 200, 100], (), [1, 2, 3, 4]),  # two ranks of two micro-batches, however long
        ([5, 6, 7, 8, 9, 10], (0, 2), [0, 1, 2, 3, 4, 5]),  # what teaches nothing comes last
        ([5, 300, 7, 300, 300, 300], (0, 2), [1, 3, 4, 5]),
        ([5, 6], (), [0, 1]),
    ],
)
def test_few_short_examples_of_unequal_length_are_laid_out(
    lengths: list[int], idle: tuple[int, ...], chosen: list[int]
) -> None:
    found = [one.index for one in laid_out(sized(lengths, idle))]
    assert set(chosen) <= set(found)
    assert len(found) <= MOST
    assert found == sorted(found)


def test_the_two_steps_are_made_of_examples_that_teach() -> None:
    run = small.labelled()
    assert len(run.first) == 16
    assert run.stepped == run.first[:8]
    ready = run.objective.prepare
    silent = {example.index for example in run.first[:6]}

    class Some:
        noisy, channels = False, frozenset[str]()

        def __call__(self, example: Example, noise: Any) -> Any:
            made = ready(example, noise)
            weight = np.zeros(1, np.float32) if example.index in silent else made.weights["class"]
            return replace(made, weights={"class": weight})

    run = small.labelled()
    run.objective.prepare = Some()
    assert not silent & {example.index for example in run.stepped}
    assert run.trial is not None
    assert run.trial.error is None


# ---- what is said, and what passes


def test_all_findings_come_at_once_worst_first(model: Path, tmp_path: Path) -> None:
    data, test = shouted()
    lines: list[str] = []
    with pytest.raises(ModeledgeError) as caught:
        finetune(
            tuning(model, train={"batch": 64, "learning_rate": 1.0}),
            tmp_path / "run",
            rows=data,
            test_rows=test,
            say=lines.append,
        )
    told = [line for line in lines if line.startswith(("E-", "W-"))]
    assert [line.split()[0] for line in told] == ["E-LEAK", "E-SCHEDULE", "W-BATCH"]
    assert "«" not in caught.value.what
    assert (caught.value.code, caught.value.exit_status) == ("E-LEAK", 65)
    assert "read, «trained on», ‹ignored›" in told[0]
    assert not (tmp_path / "run" / "run.toml").exists(), "a refused run leaves its name free"


def test_one_finding_is_let_pass_aloud_and_is_recorded(model: Path, tmp_path: Path) -> None:
    data, test = shouted()
    lines: list[str] = []
    finetune(tuning(model, allow=("shared-rows",)), tmp_path / "run", rows=data, test_rows=test, say=lines.append)
    assert any(line.startswith("ALLOWED: E-LEAK [shared-rows]") for line in lines)
    assert 'allow = ["shared-rows"]' in (tmp_path / "run" / "run.toml").read_text()


def test_a_name_that_is_no_check_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match="shared-rows"):
        finetune(
            tuning(model, allow=("shared-row",)), tmp_path / "run", rows=bare(small.rows(40)), say=lambda line: None
        )


def test_strictness_refuses_warnings(model: Path, tmp_path: Path) -> None:
    asked = tuning(model, train={"batch": 64})
    finetune(asked, tmp_path / "kind", rows=bare(small.rows(40)), say=lambda line: None)
    with pytest.raises(ModeledgeError, match=r"E-WARNING.*batch"):
        finetune(
            asked.model_copy(update={"strict": True}),
            tmp_path / "strict",
            rows=bare(small.rows(40)),
            say=lambda line: None,
        )


def test_static_masks_that_never_come_again_are_told() -> None:
    view = small.masked()
    objective = view.objective
    for masks, epochs, told in [(None, 0.5, 0), (10, 9.5, 1), (10, 10.5, 0), (1, 1.0, 1), (1, 1.5, 0)]:
        objective.repeats, view.reads = masks, (Reads("corpus", epochs),)
        found = [finding.code for finding in CHECKS["epochs"](view)]
        assert found == ["W-EPOCHS"] * told, (masks, epochs)


def test_a_course_that_the_run_does_not_reach_the_end_of_is_told() -> None:
    """A line may end with the run; what jumps must have a step to be learned from."""
    view = small.masked()
    steps = view.config.steps
    for line, told in [(steps - 1, 0), (steps, 0), (steps + 1, 1), (5000, 1)]:
        numbers = {"rate": {"values": [0.3, 0.1], "steps": [0, line]}}
        for course in ({"numbers": numbers}, {"chances": numbers}, {"length": numbers["rate"]}):
            view.courses = load_config(CurriculumRecipe, None, values=course).ends()
            found = list(CHECKS["courses"](view))
            assert [(f.code, f.where) for f in found] == [("W-SCHEDULE", next(iter(view.courses)))] * told
    for jump, told in [(steps - 1, 0), (steps, 1)]:
        course = {"numbers": {"a.rate": {"values": [0.3, 0.1], "steps": [0, jump], "jumps": True}}}
        view.courses = load_config(CurriculumRecipe, None, values=course).ends()
        assert [f.where for f in CHECKS["courses"](view)] == ["curriculum.numbers.a.rate"] * told


def test_every_error_of_a_check_is_in_the_catalogue() -> None:
    from incidents import INCIDENTS

    assert {incident.code for incident in INCIDENTS} <= CATALOGUE.keys()


# ---- the checks that no incident trips


def codes(run: Any) -> dict[str, str]:
    return {finding.check: finding.code for finding in preflight(run).findings}


def test_an_example_that_cannot_be_prepared() -> None:
    run = small.written([Example(0, np.array([5])), *(Example(n, np.arange(5, 15)) for n in range(1, 20))])
    assert codes(run)["examples"] == "E-NO-TARGET"


def test_examples_longer_than_the_positions() -> None:
    run = small.labelled(small.rows(60, text=lambda n: small.text(n, 90)), body=small.model("encoder", positions=True))
    assert "positions" not in codes(run), "the task cuts them"
    run = small.labelled(small.rows(60, text=lambda n: small.text(n, 90)), body=small.model("encoder", positions=True))
    run.objective.prepare = replace(run.objective.prepare, length=90)
    assert codes(run) == {"positions": "E-POSITION", "cut-examples": "W-TRUNCATED"}


def test_parts_of_an_example_count_their_positions_for_themselves() -> None:
    run = small.labelled(body=small.model("encoder", positions=True))
    ids, breaks = np.full(90, 7), (45,)
    ready = replace(run.prepared[0], source=Piece(ids, breaks=breaks))
    assert run.longest(ready) == 45
    assert run.longest(replace(ready, source=Piece(ids))) == 90


def test_most_examples_cut() -> None:
    data = small.rows(60, text=lambda n: small.text(n, 90))
    assert codes(small.labelled(data))["cut-examples"] == "W-TRUNCATED"


def test_an_end_that_was_cut_away() -> None:
    run = small.labelled()
    ready = run.objective.prepare
    frame = run.tokenizer.frame
    run.tokenizer.frame = replace(
        frame, single=(*frame.single[:1], type(frame.single[0])(id=run.tokenizer.specials.sep))
    )

    class Short:
        noisy, channels = False, frozenset[str]()

        def __call__(self, example: Example, noise: Any) -> Any:
            made = ready(example, noise)
            return replace(made, source=Piece(made.source.ids[:-1]))

    try:
        assert "missing-last" not in codes(run)
        run = small.labelled()
        run.objective.prepare = Short()
        assert codes(run)["missing-last"] == "E-FRAME"
    finally:
        run.tokenizer.frame = frame


def test_ranks_and_micro_batches_do_not_bind_examples_that_are_coupled() -> None:
    from incidents import Neighbours

    run = small.labelled(objective=Neighbours)
    run.objective.couples = True
    assert not {"micro-batches", "ranks"} & codes(run).keys()


def test_warnings_of_ones_own_kind() -> None:
    from incidents import leaky_rows, pad_is_end, thrown_away

    assert codes(thrown_away(("a", "b")))["fresh-heads"] == "W-FRESH-HEAD"
    few = small.rows(200, 5000)
    assert (
        codes(small.labelled(small.rows(200), [*few, {**small.rows(1)[0], "text": small.text(0).upper()}]))[
            "shared-rows"
        ]
        == "W-LEAK"
    )
    assert codes(small.labelled(room=Room(disk=4 * 10**6))) == {}
    assert "end-token" in codes(pad_is_end())
    assert codes(leaky_rows(1, lambda t: t + " indeed"))["near-rows"] == "W-LEAK"
    words = small.tokenizer()
    both = small.Tokenizer(words._core, {**words.names, "pad": words.names["eos"]})
    assert codes(replace(small.written(), tokenizer=both)) == {"pad-token": "W-PAD-IS-END"}
    rare = small.rows(120, text=lambda n: small.text(n) + "<|eos|>" * (n == 3))
    assert codes(small.labelled(rare)) == {"specials-in-text": "W-SPECIAL-IN-TEXT"}


# ---- near copies


def test_near_pairs_are_all_pairs_that_are_near() -> None:
    """Against every pair, by definition."""
    random = np.random.default_rng(0)
    learned = [Told((small.text(n, 12),), None, f"t{n}") for n in range(80)]
    asked = []
    for n in range(60):
        words = small.text(n % 80 if n % 2 else n + 900, 12).split()
        for _ in range(int(random.integers(0, 3))):
            words[int(random.integers(len(words)))] = "other"
        asked.append(Told((" ".join(words),), None, f"e{n}"))
    found = {(row, where): likeness for row, where, likeness in near_pairs(asked, learned)}
    every = {
        (row, b.where): jaccard(trigrams(a.texts[0]), trigrams(b.texts[0]))
        for row, a in enumerate(asked)
        for b in learned
        if jaccard(trigrams(a.texts[0]), trigrams(b.texts[0])) >= NEAR
    }
    assert found == every
    assert len(found) > 5


def test_a_shared_premise_is_no_near_pair() -> None:
    premise = small.text(1, 40)
    asked = [Told((premise, small.text(n, 9)), None, f"e{n}") for n in range(5)]
    assert near_pairs(asked, [Told((premise, small.text(n + 50, 9)), None, f"t{n}") for n in range(5)]) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("yes", "yes", True),
        ("yes", "no", False),
        ("It is red.", "it is red", True),
        (small.text(1, 20), small.text(1, 20) + " indeed", True),
        (small.text(1, 20), small.text(2, 20), False),
        (3.0, 3.2, True),
        (None, None, True),
    ],
)
def test_answers_that_part_two_near_rows(one: Any, other: Any, same: bool) -> None:
    text = small.text(5, 30)
    asked, learned = Told((text,), one, "e"), Told((text + " indeed",), other, "t")
    assert bool(near_pairs([asked], [learned])) is same


# ---- the record


def test_a_record_tells_what_is_trained_without_colours() -> None:
    run = small.said([small.conversation(n) for n in range(10)])
    text = record(run.shown(run.prepared[0])).plain
    words = small.tokenizer()
    example = run.sample[0]
    marks = np.asarray(example.channels["assistant"]).astype(bool)
    assert text.count("«") == text.count("»") == 2
    inside = "".join(part.split("»")[0] for part in text.split("«")[1:])
    assert inside.replace("<|eos|>", "") == words.decode(example.ids[marks & (example.ids != words.specials.eos)])
    assert text.startswith("<|bos|>")


def test_text_from_data_is_escaped() -> None:
    finding = Finding(
        "E-LEAK", "[red]x[/red] \x1b[31m", "a:1", "", (Token("[bold]\x1b]0;x\x07"), Token("\u202e", "trained"))
    )
    for colour in (True, False):
        told = shown(finding, colour=colour)
        assert "[red]x[/red]" in told
        assert "[bold]" in told
        assert "\x1b]0" not in told
        assert "\x07" not in told
        assert "\u202e" not in told
    assert "\x1b" in shown(finding, colour=True)
    assert "\x1b" not in shown(finding, colour=False)
    Console(record=True)


# ---- the verbs


@pytest.fixture
def recipe(model: Path, tmp_path: Path) -> Path:
    lines = ["text,label", *(f"{row['text']},{row['label']}" for row in small.rows(90))]
    (tmp_path / "rows.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "tune.toml").write_text(
        f'kind = "finetune"\nmodel = "{model}"\ndata = "{tmp_path}/rows.csv"\nepochs = 2.0\n'
        '[train]\nbatch = 8\nlength = 32\nprecision = "fp32"\nthreads = 1\n'
    )
    return tmp_path / "tune.toml"


def invoke(*words: object) -> Any:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_check_says_one_line_where_all_is_well(recipe: Path) -> None:
    done = invoke("check", recipe)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"checked {len(CHECKS)} things on ")
    assert len(done.stdout.splitlines()) == 1


def test_check_refuses_by_its_exit_status(recipe: Path) -> None:
    done = invoke("check", recipe, "train.learning_rate=2.0")
    assert isinstance(done.exception, ModeledgeError)
    assert done.exception.code == "E-SCHEDULE"
    allowed = invoke("check", recipe, "train.learning_rate=2.0", "--allow", "rate")
    assert allowed.exit_code == 0, allowed.output
    assert isinstance(invoke("check", recipe, "train.batch=80", "--strict").exception, ModeledgeError)


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (("learing_rate=1",), "E-CONFIG-KEY"),
        (("train.warmup=2.0",), "E-CONFIG-VALUE"),
        (("train.learning_rate=-1.0",), "E-CONFIG-VALUE"),
        (("model=/nowhere",), "E-NO-FILE"),
        (("label=stars",), "E-MISSING-FIELD"),
        (("kind=study",), "E-USAGE"),
        (("task=regression",), "E-LABEL-TYPE"),
    ],
)
def test_what_no_run_survives_is_refused_before(recipe: Path, words: tuple[str, ...], code: str) -> None:
    error = invoke("check", recipe, *words).exception
    assert isinstance(error, ModeledgeError)
    assert error.code == code


def test_plan_counts_and_measures(recipe: Path) -> None:
    done = invoke("plan", recipe, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    body = small.model("encoder")
    head = 16 * 16 + 16 + 16 * 2 + 2
    assert told["parameters"] == told["moving"] == sum(p.numel() for p in body.parameters()) + head
    assert told["weights"] == 4 * told["parameters"]
    assert told["optimizer"] == 8 * told["parameters"]
    assert told["steps"] == 18
    assert told["peak"] > told["weights"]
    assert "tokens a second" in invoke("plan", recipe).stdout
    frozen = json.loads(invoke("plan", recipe, "--json", 'strategies=[{kind = "probe"}]').stdout)
    assert frozen["moving"] == head < frozen["parameters"]


def test_plan_of_disk_is_what_the_run_takes(recipe: Path, tmp_path: Path) -> None:
    told = json.loads(invoke("plan", recipe, "--json").stdout)
    finetune(
        FinetuneRecipe.model_validate({**json.loads(json.dumps(_values(recipe)))}),
        tmp_path / "run",
        say=lambda line: None,
    )
    (one,) = (tmp_path / "run" / "checkpoints").glob("step-*")
    assert sum(p.stat().st_size for p in one.iterdir()) == pytest.approx(told["checkpoint"], rel=0.5)


def _values(path: Path) -> dict[str, Any]:
    from modeledge.config.read import read_toml

    return read_toml(path)


def test_pre_training_is_looked_at_on_its_first_texts(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("\n\n".join(small.text(n, 20) for n in range(120)))
    (tmp_path / "r.toml").write_text(
        f'[corpus]\npaths = ["{tmp_path}/a.txt"]\nsplit = "paragraph"\n[tokenizer]\nvocab_size = 330\n'
        "[model.shape]\nwidth = 8\n"
        "[model.shape.decoder]\nlayers = 1\nattention = { heads = 2 }\nfeedforward = { width = 16 }\n"
        "[train]\nsteps = 3\nbatch = 4\nlength = 16\n"
    )
    done = invoke("check", tmp_path / "r.toml")
    assert done.exit_code == 0, (done.output, done.exception)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "r.toml"]


def test_a_stream_that_is_looked_at_stays_where_it_was() -> None:
    run = small.labelled()
    assert isinstance(run.trainer.stream, ListStream)
    preflight(run)
    assert run.trainer.stream.state_dict()["position"] == 0
