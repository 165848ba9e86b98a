"""Healthy runs pass: every task, the shipped recipes and real data."""

from __future__ import annotations

import csv
import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import preflight_small as small
import pytest

from modeledge.config import load_config, read_toml
from modeledge.corpus.layouts import read_layout
from modeledge.families import load_model, save_model
from modeledge.model import Attention, FeedForward, Learned, Norm, Stack, Tokens, Transformer, TransformerConfig
from modeledge.preflight import Split, Verdict, leaks, preflight
from modeledge.recipes.gate import view_of_tuning
from modeledge.recipes.look import looked_at
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe
from modeledge.recipes.store.hub import find_model
from modeledge.recipes.tuning.finetune import make_ready, split_rows
from modeledge.tasks import TASKS
from modeledge.tokens import Tokenizer

DATA = Path(__file__).parents[3] / "shared" / "data"
RECIPES = Path(__file__).parents[2] / "recipes"


def body(side: str, vocab: int, *, width: int = 32) -> Transformer:
    norm, place = Norm(place="post" if side == "encoder" else "pre", eps=1e-12), Learned(length=512)
    stack = Stack(layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=64), norm=norm, position=place)
    return Transformer(TransformerConfig(width=width, embed=Tokens(vocab=vocab, types=2, norm=True), **{side: stack}))


def checked(model: Path, rows: Any, test: Any, **fields: Any) -> Verdict:
    """The findings for rows, as `finetune` would look at them."""
    train = {"batch": 16, "length": 128, "threads": 1, "precision": "fp32"}
    asked = FinetuneRecipe(model=str(model), data="rows from memory", train=train, **fields)
    parts = split_rows(asked, rows, test)
    ready = make_ready(asked, parts, find_model(asked.model), lambda line: None)
    return preflight(view_of_tuning(asked, ready, parts, model))


# ---- every task


def word(n: int) -> str:
    return small.WORDS[n % len(small.WORDS)]


ROWS: dict[str, tuple[dict[str, Any], Callable[[int], dict[str, Any]]]] = {
    "auto": ({}, lambda n: {"text": small.text(n), "label": ("no", "yes")[n * 7 % 3 % 2]}),
    "classification": (
        {"columns": {"pair": "b"}},
        lambda n: {"text": small.text(n), "b": small.text(n + 999), "label": str(n * 7 % 3)},
    ),
    "regression": ({}, lambda n: {"text": small.text(n), "label": (n * 7 % 10) / 4}),
    "similarity": ({}, lambda n: {"text": small.text(n), "pair": small.text(n + 999), "label": (n * 7 % 10) / 4}),
    "multilabel": (
        {},
        lambda n: {"text": small.text(n), "label": [("red", "blue", "green")[n % 3], "hot"][: 1 + n % 2]},
    ),
    "ordinal": ({}, lambda n: {"text": small.text(n), "label": n * 7 % 5 + 1}),
    "choice": (
        {},
        lambda n: {
            "text": small.text(n),
            "choices": [small.text(n + 50, 3), small.text(n + 90, 3)],
            "label": n * 7 % 3 % 2,
        },
    ),
    "tag": (
        {},
        lambda n: {
            "tokens": small.text(n).split(),
            "tags": ["VB" if len(w) > 4 else "NN" for w in small.text(n).split()],
        },
    ),
    "write": ({}, lambda n: {"source": small.text(n), "target": small.text(n + 400, 5)}),
    "rank": ({}, lambda n: {"text": small.text(n), "pair": small.text(n + 400)}),
    "extract": (
        {},
        lambda n: {
            "question": small.text(n + 500, 3),
            "context": small.text(n, 20),
            "answers": [small.text(n, 20).split()[n % 9]],
        },
    ),
}


@pytest.fixture(scope="module", params=["encoder", "decoder"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param)
    save_model(body(request.param, small.tokenizer().vocab_size), folder)
    small.tokenizer().save(folder)
    return folder


@pytest.mark.parametrize("task", ROWS)
def test_a_healthy_run_of_every_task(model: Path, task: str) -> None:
    fields, make = ROWS[task]
    if task == "write" and load_model(model).config.decoder is None:
        pytest.skip("an encoder does not write")
    verdict = checked(model, [make(n) for n in range(80)], None, task=task, **fields)
    assert [str(finding) for finding in verdict.findings] == []


def test_every_class_of_tasks_has_rows_here_or_is_named() -> None:
    """What is left writes like `write`, or has rows of an unusual form and tests of its own runs, with the gate."""
    others = {"entities", "relation", "dialogue", "code", "cloze", "summarise", "translate", "data-to-text"}
    assert set(TASKS) - set(ROWS) <= others | {"closed-book", "title"}


# ---- what is shipped


PRETRAINED = [
    p.name for p in RECIPES.glob("*.toml") if not {"cells", "kind"} & read_toml(p).keys()
]  # else: other kinds


@pytest.mark.parametrize("name", sorted(PRETRAINED))
def test_the_shipped_recipes(name: str, tmp_path: Path) -> None:
    (tmp_path / "texts").mkdir()
    for part in range(3):
        (tmp_path / "texts" / f"{part}.txt").write_text("\n\n".join(small.text(n + 1000 * part, 40) for n in range(60)))
    paths = json.dumps([str(tmp_path / "texts" / "*.txt")])
    small_run = (f"corpus.paths={paths}", "tokenizer.vocab_size=480", "train.precision=fp32", "train.threads=1")
    recipe = load_config(PretrainRecipe, RECIPES / name, small_run)
    with looked_at(recipe, lambda line: None) as view:
        assert [str(finding) for finding in preflight(view).findings] == []


# ---- real data


def table(name: str, columns: dict[int, str], *, header: bool = True, most: int = 3000) -> Iterator[dict[str, Any]]:
    path = DATA / name
    if not path.is_file():
        pytest.skip(f"{path} is missing")
    with path.open(encoding="utf-8-sig") as file:
        for line in itertools.islice(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE), int(header), most):
            yield {key: line[number] for number, key in columns.items()}


REAL: dict[str, tuple[str, str, dict[int, str], bool, dict[str, Any]]] = {
    "sst2": ("sst2/train_full.tsv", "sst2/dev.tsv", {0: "text", 1: "label"}, True, {}),
    "cola": ("cola/train.tsv", "cola/dev.tsv", {3: "text", 1: "label"}, False, {}),
    "rte": ("rte/train.tsv", "rte/dev.tsv", {1: "text", 2: "pair", 3: "label"}, True, {"pair": "pair"}),
    "mrpc": (
        "mrpc/msr_paraphrase_train.txt",
        "mrpc/msr_paraphrase_test.txt",
        {3: "text", 4: "pair", 0: "label"},
        True,
        {"pair": "pair"},
    ),
    "stsb": ("stsb/train.tsv", "stsb/dev.tsv", {7: "text", 8: "pair", 9: "label"}, True, {"pair": "pair"}),
}


@pytest.fixture(scope="module")
def uncased(tmp_path_factory: pytest.TempPathFactory) -> Path:
    vocabulary = DATA / "tokenizers" / "bert-base-uncased-vocab.txt"
    if not vocabulary.is_file():
        pytest.skip("the data folder beside the checkout is missing")
    folder = tmp_path_factory.mktemp("uncased")
    words = Tokenizer.load(vocabulary)
    save_model(body("encoder", words.vocab_size, width=16), folder)
    words.save(folder)
    return folder


@pytest.mark.shared_data
@pytest.mark.parametrize("name", REAL)
def test_real_data(uncased: Path, name: str) -> None:
    train, dev, columns, header, fields = REAL[name]
    asked = {"task": "regression"} if name == "stsb" else {}
    rows, test = (list(table(file, columns, header=header, most=9000)) for file in (train, dev))
    verdict = checked(uncased, rows, test, **fields, **asked)
    refused = [str(finding) for finding in verdict.findings if finding.refuses]
    print(*map(str, verdict.findings), verdict, sep="\n")
    assert refused == []


def of_layout(name: str, train: str, test: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of two files as their benchmark writes them."""
    if not (DATA / train).is_file():
        pytest.skip(f"{DATA / train} is missing")
    return read_layout(name, DATA / train, "train"), read_layout(name, DATA / test, "train")


def by_lot(name: str, path: str, split: str, **fields: Any) -> tuple[Any, Any]:
    """The rows of one file, set aside as a run does."""
    if not (DATA / path).is_file():
        pytest.skip(f"{DATA / path} is missing")
    asked = FinetuneRecipe(model="nowhere", data="rows from memory", **fields)
    parts = split_rows(asked, read_layout(name, DATA / path, split))
    return parts.train, parts.test


SPLITS: dict[str, tuple[Callable[[], tuple[Any, Any]], list[str], str]] = {
    "SST-2, all phrases": (
        lambda: of_layout("sst2", "sst2/train_full.tsv", "sst2/dev.tsv"), ["sentence"], "label"
    ),
    "CoLA": (lambda: of_layout("cola", "cola/train.tsv", "cola/dev.tsv"), ["sentence"], "label"),
    "CoLA, its other part": (lambda: of_layout("cola", "cola/train.tsv", "cola/val.tsv"), ["sentence"], "label"),
    "UD English": (
        lambda: of_layout("conllu", "ud_ewt/train.conllu.gz", "ud_ewt/dev.conllu.gz"), ["tokens"], "upos"
    ),
    "tweets": (
        lambda: by_lot("vader", "sentiment/tweets_GroundTruth.txt", "tweets", task="regression", label="rating"),
        ["text"],
        "rating",
    ),
    "toxicity": (
        lambda: by_lot("toxicity", "toxicity/labeled_data.csv.gz", "train", text="tweet", label="class"),
        ["tweet"],
        "class",
    ),
    "E2E": (
        lambda: by_lot("e2e", "e2e/devset.csv", "train", task="write", columns={"source": "mr", "target": "ref"}),
        ["mr"],
        "ref",
    ),
}  # fmt: skip


@pytest.mark.shared_data
@pytest.mark.parametrize("name", SPLITS)
def test_real_splits_do_not_leak(name: str) -> None:
    read, inputs, target = SPLITS[name]
    train, test = read()
    run = small.labelled()
    seen = replace(run, train=Split(rows=train), others={"test": Split(rows=test)}, inputs=inputs, target=target)
    found = [*leaks.shared_rows(seen), *leaks.near_rows(seen)]
    print(*found, sep="\n")
    assert not any(finding.refuses for finding in found)


def test_a_gate_that_is_shut_is_shut(model: Path) -> None:
    """The rows of this file can be refused."""
    _, make = ROWS["auto"]
    rows = [make(n) for n in range(60)]
    verdict = checked(model, rows, [{**row, "text": row["text"].upper()} for row in rows[:30]], task="auto")
    assert {finding.check for finding in verdict.refused()} == {"shared-rows"}
