"""The contract of tasks that label whole examples: made, described, restored, asked, marked, and learned."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.metrics import METRICS
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import Shape, collate
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe
from modeledge.recipes.tuning.finetune import finetune
from modeledge.recipes.tuning.task_file import described, restored
from modeledge.seed import Noise
from modeledge.tasks import TASKS, Asked, Task, answers
from modeledge.tokens import Tokenizer, train_tokenizer

WORDS = "fox dog cat owl red old sly big".split()  # noqa: SIM905
Rows = list[dict[str, Any]]
LENGTH = 16


@dataclass(frozen=True)
class Case:
    """A row of the table: its rows of data (some too long for a row of tokens), columns and options."""

    row: str
    rows: Callable[[random.Random, int], dict[str, Any]]
    columns: dict[str, str] = field(default_factory=dict)
    options: dict[str, Any] = field(default_factory=dict)
    sides: tuple[str, ...] = ("encoder", "decoder")
    least: float = 0.8


def text(lots: random.Random, first: str | None = None) -> str:
    return " ".join([first or lots.choice(WORDS), *lots.choices(WORDS, k=lots.randint(0, 5))])


def labelled(label: Callable[[int], Any]) -> Callable[[random.Random, int], dict[str, Any]]:
    """The first word says the label."""

    def row(lots: random.Random, n: int) -> dict[str, Any]:
        first = lots.randrange(len(WORDS))
        return {"text": text(lots, WORDS[first]), "label": label(first)}

    return row


def paired(lots: random.Random, n: int) -> dict[str, Any]:
    """Whether one of the two speaks of a fox: the order says nothing."""
    sides = [" ".join(lots.choices(WORDS[1:], k=lots.randint(1, 4))) for _ in range(2)]
    if n % 2:
        sides[lots.randrange(2)] = "fox"
    return {"a": sides[0], "b": sides[1], "label": "fox" if n % 2 else "none"}


def chosen(lots: random.Random, n: int) -> dict[str, Any]:
    """The right one is an animal."""
    count = lots.randint(2, 4)
    right, wrong = lots.randrange(count), lots.sample(WORDS[4:], count)
    return {
        "ctx": text(lots),
        "ends": [lots.choice(WORDS[:4]) if n == right else w for n, w in enumerate(wrong)],
        "label": right,
    }


def lettered(lots: random.Random, n: int) -> dict[str, Any]:
    right = lots.randrange(2)
    ends = [f"{lots.choice(WORDS[:4])} {text(lots)}", f"{lots.choice(WORDS[4:])} {text(lots)}"]
    return {"A": ends[right], "B": ends[1 - right], "label": "AB"[right]}


def either(first: int) -> list[str]:
    return [name for name, holds in (("even", first % 2 == 0), ("low", first < 4)) if holds]


def grade(first: int) -> str:
    return ("poor", "fair", "good")[first // 3]


CASES = {
    "classification": Case("classification", labelled(lambda n: "up" if n % 2 else "down")),
    "regression": Case("regression", labelled(lambda n: n / 2 + 0.25)),
    "classification-lm": Case("classification", labelled(lambda n: n % 2), options={"lm": 0.5}, sides=("decoder",)),
    "regression-lm": Case(
        "regression", labelled(lambda n: n + 0.5), options={"lm": 0.5}, sides=("decoder",), least=0.7
    ),
    "similarity": Case("similarity", paired, {"text": "a", "pair": "b"}, {"lm": 0.1}, sides=("decoder",)),
    "multilabel": Case("multilabel", labelled(either)),
    "multilabel-split": Case(
        "multilabel", labelled(lambda n: "|".join(either(n))), options={"split": "|", "threshold": 0.4}
    ),
    "ordinal": Case("ordinal", labelled(lambda n: n // 3)),
    "ordinal-named": Case("ordinal", labelled(grade), options={"order": ["poor", "fair", "good"]}),
    "choice": Case("choice", chosen, {"text": "ctx", "choices": "ends"}, least=0.7),
    "choice-lm": Case("choice", chosen, {"text": "ctx", "choices": "ends"}, {"lm": 0.2}, sides=("decoder",)),
    "choice-columns": Case("choice", lettered, {"choices": "A,B"}),
}
EACH = [(name, side) for name, case in CASES.items() for side in case.sides]
each = pytest.mark.parametrize(("name", "side"), EACH)


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([" ".join(WORDS)] * 4, vocab_size=300)


def config(side: str, vocab: int, width: int = 16) -> TransformerConfig:
    stack = Stack(
        layers=2,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=2 * width),
        position=Learned(length=LENGTH),
    )
    types = 2 if side == "encoder" else 0
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab, types=types), init=0.3, **{side: stack})


def data(name: str, count: int, seed: int = 0) -> Rows:
    lots = random.Random(seed)
    return [CASES[name].rows(lots, n) for n in range(count)]


def made(name: str, side: str, tokenizer: Tokenizer, count: int = 40) -> tuple[Task, Transformer, list[str]]:
    case, said = CASES[name], list[str]()
    shape = config(side, tokenizer.vocab_size)
    kind = TASKS[case.row]
    asked = Asked(case.columns, LENGTH, 0.0, case.options)
    task = kind.made(data(name, count), tokenizer, shape, asked, said.append)
    model = Transformer(shape, seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    return task, model.eval(), said


@each
def test_packed_equals_one_by_one(name: str, side: str, tokenizer: Tokenizer) -> None:
    """And the order asked is the order told; 1e-5 of sums in fp32."""
    task, model, _ = made(name, side, tokenizer)
    examples = task.encode(data(name, 30, seed=2))
    random.Random(1).shuffle(examples)
    told = answers(task, model, examples, 13)
    assert [a.index for a in told] == [e.index for e in examples]
    ready = [task.objective.prepare(e, Noise(0)) for e in examples]
    alone = [task.predict(model, collate([item], Shape(task.seq, packed=False)))[0] for item in ready]
    assert len({str(np.round(a.probabilities or a.value, 4)) for a in alone}) > 1
    for one, other in zip(told, alone, strict=True):
        if one.probabilities:
            assert one.value == other.value
            assert one.probabilities == pytest.approx(other.probabilities, abs=1e-5)
        else:
            assert one.value == pytest.approx(other.value, abs=1e-5)
    assert any(len(batch.side.ids) < len(batch.indices) for batch in task.batches(examples, 30))


@each
def test_a_task_is_restored_from_what_it_says(name: str, side: str, tokenizer: Tokenizer) -> None:
    task, model, _ = made(name, side, tokenizer)
    task.finish(model)
    said = json.loads(json.dumps(described(task)))
    again = restored(said, tokenizer, model)
    assert type(again) is type(task)
    assert described(again) == described(task)
    rows = data(name, 9, seed=3)
    blind = [{k: v for k, v in row.items() if k != "label"} for row in rows]
    before = answers(task, model, task.encode(rows))
    assert answers(again, model, again.encode(blind, labelled=False)) == before
    assert [task.shown(a) for a in before] == [again.shown(a) for a in before]
    for answer in before:
        assert tuple(task.shown(answer)) == task.answered
    read = task.reads({role: c for role, c in task.columns.items() if role != "label"})
    assert sorted(read) == sorted(c for c in rows[0] if c != "label")


@each
def test_right_answers_have_the_best_marks(name: str, side: str, tokenizer: Tokenizer) -> None:
    task, model, _ = made(name, side, tokenizer)
    examples = task.encode(data(name, 25, seed=4))
    told = answers(task, model, examples)
    right = [replace(a, value=e.label) for a, e in zip(told, examples, strict=True)]
    best, now = task.mark(right, examples), task.mark(told, examples)
    assert tuple(best) == task.metrics
    for metric, value in best.items():
        worst = {True: 1.0, False: 0.0}[METRICS[metric].greater_is_better]
        assert value == pytest.approx(worst)
        assert now[metric] != pytest.approx(worst)


@pytest.mark.parametrize(
    ("name", "side"),
    [(name, case.sides[-1]) for name, case in CASES.items() if name not in ("classification", "regression")],
)
def test_a_small_model_learns_it_from_a_file(name: str, side: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    """Through the recipe, with a judge and the predictions of the model that was saved."""
    case = CASES[name]
    torch.manual_seed(0)
    model = Transformer(config(side, tokenizer.vocab_size, 32), seed=3)
    save_model(model, tmp_path / "start")
    tokenizer.save(tmp_path / "start")
    rows = data(name, 160)
    (tmp_path / "rows.jsonl").write_text("\n".join(json.dumps(row) for row in rows))
    recipe = FinetuneRecipe.model_validate(
        {
            "model": str(tmp_path / "start"), "data": str(tmp_path / "rows.jsonl"), "task": case.row,
            "allow_leak": True, "columns": case.columns, "options": case.options, "epochs": 10, "dropout": 0.0,
            "train": {"length": LENGTH, "batch": 24, "learning_rate": 5e-3, "judge_every": 40},
        }
    )  # fmt: skip
    said: list[str] = []
    results = finetune(recipe, tmp_path / "run", say=said.append)
    assert any("training rows" in line for line in said)
    first = next(iter(results["scores"].values()))
    assert first["value"] >= case.least, results["scores"]
    told = Model.load(tmp_path / "run").predict(rows[:20], say=said.append)
    assert all("prediction" in row for row in told)
    kinds = {type(row["prediction"]) for row in told}
    if case.row not in ("regression", "classification", "ordinal", "similarity"):
        assert kinds == {type(rows[0]["label"])}
        assert sum(row["prediction"] == r["label"] for row, r in zip(told, rows, strict=False)) >= 12
    assert files.read_json(tmp_path / "run" / "model" / "task.json")["task"] == TASKS[case.row].kind
    assert ("lm" in model.heads) is False


def refused(code: str, *words: str, row: str, rows: Rows, tokenizer: Tokenizer, **asked: Any) -> None:
    side = asked.pop("side", "decoder")
    shape = config(side, tokenizer.vocab_size)

    def all_of_it() -> None:
        task = TASKS[row].made(rows, tokenizer, shape, Asked(length=LENGTH, **asked), lambda _: None)
        for example in task.encode(rows):
            task.objective.prepare(example, Noise(0))

    with pytest.raises(ModeledgeError) as caught:
        all_of_it()
    assert caught.value.code == code, caught.value
    for word in words:
        assert word in str(caught.value)


def one(label: Any, **more: Any) -> Rows:
    """A good row, and one with this label."""
    return [{"text": "fox", "label": ["a", "b"]}, {"text": "dog", "label": label, "__where__": "x.jsonl:2", **more}]


def ends(label: Any, choices: Any = ("x", "y"), first: Any = 0) -> Rows:
    return [
        {"choices": ["p", "q", "r"], "label": first},
        {"choices": choices if isinstance(choices, str) else list(choices), "label": label, "__where__": "x.jsonl:2"},
    ]


BAD: list[tuple[str, Rows, str, tuple[str, ...], dict[str, Any]]] = [
    ("multilabel", one("a|b"), "E-LABEL-TYPE", ("x.jsonl:2", "split"), {}),  # case 63
    ("multilabel", one(3), "E-LABEL-TYPE", ("x.jsonl:2",), {}),
    ("multilabel", one(["a", 1.5]), "E-LABEL-TYPE", ("1.5",), {}),
    ("multilabel", one(None), "E-LABEL-MISSING", ("x.jsonl:2", "empty list"), {}),
    ("multilabel", one(["a", "B"]), "E-LABEL-UNKNOWN", ("'B'", "spaces and case"), {}),
    ("multilabel", [{"text": "fox", "label": ["a"]}], "E-ONE-CLASS", ("one class",), {}),
    ("multilabel", [{"text": "fox", "label": []}], "E-ONE-CLASS", ("no class",), {}),
    ("multilabel", one(["a"]), "E-CONFIG-VALUE", ("options.threshold",), {"options": {"threshold": 2}}),
    ("ordinal", [{"text": "a", "label": x} for x in ("low", "high")], "E-CONFIG-VALUE", ("order", "high < low"), {}),
    (
        "ordinal",
        [{"text": "a", "label": x} for x in ("low", "hgh")],
        "E-LABEL-UNKNOWN",
        ("hgh", "high"),
        {"options": {"order": "low < mid < high"}},
    ),
    ("ordinal", [{"text": "a", "label": x} for x in (1, 2.5)], "E-LABEL-TYPE", ("2.5",), {}),
    ("choice", ends(""), "E-LABEL-MISSING", ("x.jsonl:2",), {}),  # case 56
    ("choice", ends(2), "E-LABEL-RANGE", ("x.jsonl:2", "0 to 1"), {"options": {"label_is": "index", "first": 0}}),  # 57
    ("choice", ends("C", first="A"), "E-LABEL-RANGE", ("A to B",), {"options": {"label_is": "letter"}}),
    ("choice", ends("z", first="p"), "E-LABEL-UNKNOWN", ("'z'", "known: x, y"), {}),  # 58
    ("choice", ends(0.5), "E-LABEL-TYPE", ("0.5",), {"options": {"label_is": "index"}}),  # 62
    ("choice", ends(1, choices="x,y"), "E-FIELD-TYPE", ("not a list",), {}),
    ("choice", ends(0, choices=["x"]), "E-MISSING-FIELD", ("1 choice",), {}),
    ("choice", ends(0, choices=["x", " "]), "E-MISSING-FIELD", ("choice 2 is empty",), {}),
    ("choice", ends(0, choices=["x", "fox " * 30]), "E-TOO-LONG", ("choice 2", "x.jsonl:2"), {}),  # 74
    ("choice", [{"choices": ["2", "0", "1"], "label": "1"}] * 2, "E-LABEL-TYPE", ("text or index", "label_is"), {}),
    ("choice", ends(0), "E-CONFIG-VALUE", ("next token",), {"options": {"lm": 0.5}, "side": "encoder"}),
    ("choice", ends(0), "E-CONFIG-KEY", ("smoothing",), {"options": {"smoothing": 0.5}}),
]


@pytest.mark.parametrize(("row", "rows", "code", "words", "asked"), BAD)
def test_bad_rows_are_named(
    row: str, rows: Rows, code: str, words: tuple[str, ...], asked: dict[str, Any], tokenizer: Tokenizer
) -> None:
    refused(code, *words, row=row, rows=rows, tokenizer=tokenizer, **asked)
