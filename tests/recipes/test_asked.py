"""A finished model reads a benchmark's own files as a run does, by every verb that asks it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.asked import Laid
from modeledge.recipes.asking.mistakes import run_ensemble, write_errors, write_submission
from modeledge.recipes.asking.tables import write_answers
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.seed import Noise
from modeledge.tasks import Asked, ExtractTask, LabelTask, TagTask, Task
from modeledge.tokens import train_tokenizer

TEXTS = ["a good film", "a bad film", "Mia met Leo in Ulm. Who?", "Eva runs in Oslo"]
TOKENIZER = train_tokenizer(TEXTS * 4, kind="wordpiece", vocab_size=120)
SST2 = 'sentence\tlabel\na good film\t1\nhe said " no\t0\na bad film\t0\n'
COLA = "gj04\t1\t\tThe book was written.\nks08\t0\t*\tHe talk.\nks08\t1\t\tWe sang.\n"
COLA_TEST = 'index\tsentence\n0\tBill left.\n1\tHe "sat.\n'
CONLL = "-DOCSTART- -X- -X- O\n\nEva NNP B-NP B-PER\nruns VBZ B-VP O\n\nOslo NNP B-NP B-LOC\n\n"
SQUAD = {
    "version": "1.1",
    "data": [{"title": "T", "paragraphs": [{"context": "Mia met Leo in Ulm.", "qas": [
        {"id": "q1", "question": "Who?", "answers": [{"text": "Leo", "answer_start": 8}]}
    ]}]}],
}  # fmt: skip


def asking(kind: type[Task], rows: list[dict[str, Any]], **columns: str) -> Model:
    stack = Stack(
        layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Learned(length=48)
    )
    shape = TransformerConfig(width=8, embed=Tokens(vocab=TOKENIZER.vocab_size, types=2), encoder=stack)
    task = kind.made(rows, TOKENIZER, shape, Asked(columns, length=32), lambda line: None)
    transformer = Transformer(shape)
    transformer.add_heads(task.objective.heads, Noise(0))
    return Model(transformer, TOKENIZER, task)


def labels(text: str = "sentence", label: str = "label") -> Model:
    return asking(LabelTask, [{text: "a", label: "0"}, {text: "b", label: "1"}], text=text, label=label)


def sst2(here: Path) -> Path:
    folder = here / "SST-2"
    folder.mkdir()
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").write_text(SST2)
    (folder / "test.tsv").write_text('index\tsentence\n0\ta film\n1\ta "bad film\n')
    return folder


@pytest.mark.parametrize("model", [labels(), labels("text", "y")], ids=["its columns", "other columns"])
def test_a_folder_is_read_as_it_is_given_out(model: Model, tmp_path: Path) -> None:
    """A double quote is a character there, and the split is the one to be marked on."""
    said: list[str] = []
    scores = model.evaluate(sst2(tmp_path), say=said.append)["scores"]
    assert scores["accuracy"]["n"] == 3
    assert (
        said[0]
        == "data: read as sst2 (guessed; --layout plain says \"a plain table\"): text = 'sentence', label = 'label'"
    )
    assert said[1] == "data: 3 rows of split 'dev'"
    told = model.predict(tmp_path / "SST-2", keep=True, say=said.append)
    assert told[1]["sentence"] == 'he said " no'
    assert len(model.predict(tmp_path / "SST-2", laid=Laid(split="test"), say=said.append)) == 2


def test_a_file_without_header_or_labels(tmp_path: Path) -> None:
    """CoLA's labelled files have no header, its test file has one and no labels."""
    model, folder = labels(), tmp_path / "CoLA"
    folder.mkdir()
    for name, text in (("dev.tsv", COLA), ("test.tsv", COLA_TEST), ("rest.tsv", COLA_TEST)):
        (folder / name).write_text(text)
    said: list[str] = []
    assert model.evaluate(folder / "dev.tsv", say=said.append)["scores"]["accuracy"]["n"] == 3
    assert [len(model.predict(folder / n, say=said.append)) for n in ("dev.tsv", "test.tsv", "rest.tsv")] == [3, 2, 2]
    with pytest.raises(ModeledgeError, match="E-CSV-COLUMNS"):
        model.evaluate(folder / "test.tsv", say=said.append)


def test_squad_s_json(tmp_path: Path) -> None:
    rows = [{"question": "Who?", "context": "Mia met Leo", "answers": ["Leo"]}]
    model = asking(ExtractTask, rows)
    (tmp_path / "dev-v1.1.json").write_text(json.dumps(SQUAD))
    said: list[str] = []
    assert model.evaluate(tmp_path / "dev-v1.1.json", say=said.append)["scores"]["exact_match"]["n"] == 1
    assert said[0].startswith("data: read as squad (guessed")
    [told] = model.predict(tmp_path / "dev-v1.1.json", keep=True, say=said.append)
    assert told["id"] == "q1"
    assert told["prediction"] in told["context"]


def test_names_in_sentences(tmp_path: Path) -> None:
    model = asking(TagTask, [{"tokens": ["Eva", "in", "Oslo"], "ner": ["B-PER", "O", "B-LOC"]}], tags="ner")
    (tmp_path / "eng.testa").write_text(CONLL)
    said: list[str] = []
    assert model.evaluate(tmp_path / "eng.testa", say=said.append)["scores"]["accuracy"]["n"] == 3
    assert said[0].startswith("data: read as conll2003 (guessed")
    assert "1 left out (-DOCSTART-" in said[1]
    assert len(model.predict(tmp_path / "eng.testa", laid=Laid("conll2003"), say=said.append)) == 2


def test_a_plain_table_stays_one(tmp_path: Path) -> None:
    model, said = labels("text", "label"), list[str]()
    (tmp_path / "rows.csv").write_text("text,label\na,0\nb,1\n")
    assert model.evaluate(tmp_path / "rows.csv", say=said.append)["scores"]["accuracy"]["n"] == 2
    assert said == []
    (tmp_path / "sst2.tsv").write_text(SST2)
    assert len(labels().predict(tmp_path / "sst2.tsv", laid=Laid("plain"), say=said.append)) == 3
    assert said == []


def test_what_a_task_cannot_read_of_a_layout(tmp_path: Path) -> None:
    """A pair is read, and the layout has none: a file is read as a table, which is said; a folder cannot be."""
    pairs = asking(LabelTask, [{"sentence": c, "b": "x", "label": c} for c in "01"], text="sentence", pair="b")
    folder, said = sst2(tmp_path), list[str]()
    (folder / "sst2.tsv").write_text("sentence\tlabel\tb\na\t1\tc\n")
    assert len(pairs.predict(folder / "sst2.tsv", say=said.append)) == 1
    assert said == ["data: the layout 'sst2' has no 'pair', which the task 'label' reads: read as a plain table"]
    for place, laid in ((folder, Laid()), (folder / "sst2.tsv", Laid("sst2"))):
        with pytest.raises(ModeledgeError, match=r"E-USAGE.*has no 'pair'"):
            pairs.predict(place, laid=laid, say=said.append)


@pytest.mark.parametrize(
    ("laid", "code"),
    [
        (Laid("sst3"), "E-CONFIG-VALUE.*sst3"),
        (Laid(split="devv"), "E-CONFIG-VALUE.*dev"),
        (Laid("plain", "dev"), "E-USAGE.*no splits"),
        (Laid(split="test"), "E-LABEL-MISSING"),
    ],
)
def test_layouts_and_splits_that_are_not_there(laid: Laid, code: str, tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match=code):
        labels().evaluate(sst2(tmp_path), laid=laid, say=lambda line: None)


def test_rows_in_memory_have_no_layout() -> None:
    with pytest.raises(ModeledgeError, match="E-USAGE"):
        labels().predict([{"sentence": "a"}], laid=Laid("sst2"))


def test_a_folder_without_labels_is_not_marked(tmp_path: Path) -> None:
    folder = sst2(tmp_path)
    for name in ("train", "dev"):
        (folder / f"{name}.tsv").unlink()
    assert len(labels().predict(folder, say=lambda line: None)) == 2
    with pytest.raises(ModeledgeError, match=r"E-NO-FILE.*splits here: test"):
        labels().evaluate(folder, say=lambda line: None)


# ---- the verbs


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Path]]:
    here = tmp_path_factory.mktemp("runs")
    made = labels()
    save_model(made.transformer, here / "model")
    TOKENIZER.save(here / "model")
    folder = here / "WNLI"
    folder.mkdir()
    head, out = "index\tsentence1\tsentence2", []
    for name, start, count in (("train", 0, 24), ("dev", 100, 8), ("other", 200, 8)):
        lines = [f'{n}\ta film {n}\tit is {n} "\t{n % 2}' for n in range(start, start + count)]
        (folder / f"{name}.tsv").write_text("\n".join([f"{head}\tlabel", *lines]) + "\n")
    rows = [f'{n}\ta film {n}\tit is {n} "' for n in range(146)]
    (folder / "test.tsv").write_text("\n".join([head, *rows]) + "\n")
    train = FinetuneTrain(batch=8, length=16, threads=1, precision="fp32", judge_every=2)
    for seed in range(2):
        asked = FinetuneRecipe(
            model=str(here / "model"),
            data=str(folder),
            validation=str(folder / "other.tsv"),
            seed=seed,
            train=train,
            check=False,
            epochs=1.0,
        )
        said: list[str] = []
        results = finetune(asked, here / f"run-{seed}", say=said.append)
        assert results["rows"] == {"train": 24, "validation": 8, "test": 8, "cut": 0}
        assert "validation: 8 rows of split 'train'" in said
        out.append(here / f"run-{seed}")
    return folder, out


def test_every_verb_reads_the_folder(runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    folder, models = runs
    model, said = Model.load(models[0]), list[str]()
    assert write_answers(model, str(folder), tmp_path / "a.csv", said.append) == 8
    with (tmp_path / "a.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["sentence2"] == 'it is 100 "'
    write_errors(model, str(folder), tmp_path / "e.html", say=said.append)
    scores = run_ensemble(models, str(folder), tmp_path / "both", say=said.append)
    assert scores["ensemble"]["accuracy"]["n"] == 8
    write_submission(model, str(folder / "test.tsv"), tmp_path / "WNLI.tsv", "wnli", say=said.append)
    assert len((tmp_path / "WNLI.tsv").read_text().splitlines()) == 147
    assert sum(line.startswith("data: read as wnli (guessed") for line in said) == 4


@pytest.mark.parametrize("verb", ["predict", "evaluate", "errors", "ensemble", "submit"])
def test_the_commands_hand_on_layout_and_split(verb: str, runs: tuple[Path, list[Path]], tmp_path: Path) -> None:
    from typer.testing import CliRunner

    from modeledge.cli import app

    folder, models = runs
    run, data = str(models[0]), str(folder)
    words = {
        "predict": ["predict", run, data, "--out", str(tmp_path / "o.csv")],
        "evaluate": ["evaluate", run, data],
        "errors": ["errors", run, data, "--out", str(tmp_path / "o.html")],
        "ensemble": ["ensemble", run, "--data", data, "--out", str(tmp_path / "o")],
        "submit": ["submit", run, data, "--task", "wnli", "--out", str(tmp_path / "o.tsv")],
    }[verb]
    split = "test" if verb == "submit" else "train"
    done = CliRunner().invoke(app, [*words, "--layout", "wnli", "--split", split])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "read as wnli (as asked)" in done.output
    assert f"rows of split '{split}'" in done.output


def test_a_file_of_test_rows_has_labels(tmp_path: Path) -> None:
    """`finetune train.tsv --layout cola --test dev.tsv`: the benchmark's own test split has none, this file has."""
    model = labels()
    save_model(model.transformer, tmp_path / "model")
    TOKENIZER.save(tmp_path / "model")
    for name, start in (("train", 0), ("dev", 100)):
        rows = [f"gj04\t{n % 2}\t\tThe book {n} was written." for n in range(start, start + 16)]
        (tmp_path / f"{name}.tsv").write_text("\n".join(rows) + "\n")
    asked = FinetuneRecipe(
        model=str(tmp_path / "model"),
        data=str(tmp_path / "train.tsv"),
        test=str(tmp_path / "dev.tsv"),
        layout="cola",
        train=FinetuneTrain(batch=8, length=16, threads=1, precision="fp32"),
        check=False,
        epochs=1.0,
    )
    results = finetune(asked, tmp_path / "run", say=lambda line: None)
    assert results["scores"]["accuracy"]["n"] == 16
