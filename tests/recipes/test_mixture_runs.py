"""Several corpora in one recipe: the plan that is said, the order that is read, the run that goes on, the report."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config, to_toml
from modeledge.corpus.mix import PhasedStream
from modeledge.errors import ModeledgeError
from modeledge.preflight import CHECKS
from modeledge.recipes.corpora.mixed import mixed, prepare_sources
from modeledge.recipes.corpora.mixture import MixtureRecipe
from modeledge.recipes.corpora.packing import fill_share
from modeledge.recipes.gate import view_of_training
from modeledge.recipes.look import plan_recipe
from modeledge.recipes.pretraining.pretrain import prepare_texts, pretrain, ready
from modeledge.recipes.recipe import PretrainRecipe, absolute
from modeledge.recipes.resume import resume
from modeledge.report import run_report
from modeledge.tokens import Tokenizer

STACK = {"layers": 1, "attention": {"heads": 2}, "feedforward": {"width": 32}, "position": {"kind": "rotary"}}
WORDS = {
    "books": "a long and winding tale of whales",
    "code": "def return import for while lambda",
    "talk": "yes no oh",
}
TRAIN = {"steps": 10, "batch": 4, "length": 16, "save_every": 2, "precision": "fp32", "threads": 1}


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, lots = tmp_path_factory.mktemp("sources"), random.Random(0)
    for name, lines in (("books", 60), ("code", 30), ("talk", 8)):
        made = [" ".join(lots.choices(WORDS[name].split(), k=lots.randint(6, 30))) for _ in range(lines)]
        (folder / f"{name}.txt").write_text("\n".join(made) + "\n")
    return folder


def values(folder: Path, **changes: Any) -> dict[str, Any]:
    sources = {name: {"paths": [str(folder / f"{name}.txt")]} for name in WORDS}
    for name, weight in (("books", 0.6), ("code", 0.3), ("talk", 0.1)):
        sources[name]["weight"] = weight
    return {
        "corpus": {"split": "line"},
        "mixture": {"sources": sources, "phases": [{"start": 0.8, "weights": {"talk": 1.0}}], "max_epochs": 30.0},
        "tokenizer": {"vocab_size": 300},
        "model": {"shape": {"width": 16, "decoder": STACK}},
        "train": TRAIN,
        **changes,
    }


def recipe(folder: Path, **changes: Any) -> PretrainRecipe:
    return load_config(PretrainRecipe, None, values=values(folder, **changes))


def read_by(stream: PhasedStream, positions: int) -> list[int]:
    """How many of the first positions each source has, one by one."""
    counts = [0] * len(stream.streams)
    for position in range(positions):
        counts[stream.place(position)[0]] += 1
    return counts


def test_what_is_planned_is_what_is_read(texts: Path, tmp_path: Path) -> None:
    asked = absolute(recipe(texts))
    tokenizer, shards = prepare_texts(asked, tmp_path, None, quiet)
    trainer, wholes = ready(asked, tokenizer, shards)
    stream = trainer.stream
    assert isinstance(stream, PhasedStream)
    assert asked.mixture is not None
    assert all(source.split == "line" for source in asked.mixture.sources.values()), "[corpus] holds for all"
    counts = read_by(stream, 40)
    assert read_by(stream, 32) == stream.counts(32)
    assert counts == stream.counts(40)
    assert counts[0] == pytest.approx(0.6 * 32, abs=1)
    assert counts[1] == pytest.approx(0.3 * 32, abs=1)
    assert sum(counts) == 40
    assert counts[2] - stream.counts(32)[2] == 8, "the anneal reads talk alone"
    view = view_of_training(asked, trainer, tokenizer, wholes, tmp_path)
    assert [(r.name, r.epochs) for r in view.reads] == [
        (name, count / len(part)) for name, count, part in zip(WORDS, counts, wholes, strict=True)
    ]
    assert not list(CHECKS["epochs"](view))
    view.reads = [replace(read, most=read.epochs / 2) for read in view.reads]
    assert [finding.code for finding in CHECKS["epochs"](view)] == ["W-EPOCHS"] * len(WORDS)
    for read in trainer.pull(), trainer.pull():
        for example in (int(i) for batch in read for i in batch.indices):
            number = max(n for n, offset in enumerate(stream.offsets) if offset <= example)
            text = tokenizer.decode(stream.example(example).ids).split()
            own = WORDS[list(WORDS)[number]].split()
            assert sum(word in own for word in text) >= len(text) / 2, "it is of the source that its number says"


def test_a_run_says_its_epochs_and_goes_on(texts: Path, tmp_path: Path) -> None:
    """Stopped in the anneal and resumed: the same bytes; planned and read are the same at its end."""

    class Enough(Exception):
        """The machine was switched off."""

    def die(record: Any) -> None:
        if record.step == 9:
            raise Enough

    asked, said = recipe(texts, held_out=0.1, samples={"every": 5, "tokens": 4}), list[str]()
    pretrain(asked, tmp_path / "whole", say=said.append)
    assert any(line.startswith("packing: split, rows are ") for line in said)
    with pytest.raises(Enough):
        pretrain(asked, tmp_path / "parts", listeners=[die], say=quiet)
    rows = json.loads((tmp_path / "parts" / "mixture.json").read_text())["sources"]
    assert sum(row["read_examples"] for row in rows) == 36, "what was read when it stopped"
    resume(tmp_path / "parts", say=quiet)
    for name in ("metrics.jsonl", "mixture.json", "ledger.json", "samples.jsonl", "model/model.safetensors"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "parts" / name).read_bytes(), name
    told = json.loads((tmp_path / "whole" / "mixture.json").read_text())
    row = next(line.split() for line in said if line.startswith("talk "))
    assert float(row[-1]) == pytest.approx(told["sources"][2]["epochs"], abs=0.1)
    assert [row["read"] for row in told["sources"]] == [row["planned"] for row in told["sources"]]
    assert [phase["start"] for phase in told["phases"]] == [0, 8]
    marks = json.loads((tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()[-1])["eval"]
    assert {"loss", "books.loss", "code.bits_per_byte", "talk.loss"} <= set(marks)
    assert set(json.loads((tmp_path / "whole" / "ledger.json").read_text())) == set(WORDS)
    page = run_report(tmp_path / "whole").read_text()
    assert "What was read" in page
    assert "Epochs planned" in page
    assert load_config(PretrainRecipe, tmp_path / "whole" / "run.toml") == absolute(asked)


def sizes_of(texts: Path, folder: Path, **mixture: Any) -> tuple[MixtureRecipe, dict[str, Any]]:
    asked = absolute(recipe(texts, mixture={"sources": values(texts)["mixture"]["sources"], **mixture}))
    tokenizer, shards = prepare_sources(asked, folder, quiet)
    _, wholes = ready(asked.model_copy(update={"mixture": asked.mixture}), tokenizer, shards)
    assert asked.mixture is not None
    return asked.mixture, dict(zip(WORDS, wholes, strict=True))


def test_epochs_are_limited(texts: Path, tmp_path: Path) -> None:
    asked, streams = sizes_of(texts, tmp_path, max_epochs=1.0)
    told = mixed(asked, streams, 100, 4)
    share = told.plan.sources[2]
    assert share.epochs > 1
    assert any(f"talk is read {share.epochs:.2f} times" in note for note in told.plan.notes)
    with pytest.raises(ModeledgeError, match=rf"E-EPOCHS: .*talk is read {share.epochs:.2f} times"):
        mixed(asked.model_copy(update={"beyond": "refuse"}), streams, 100, 4)
    heavy = {**asked.sources, "talk": asked.sources["talk"].model_copy(update={"weight": 5.0})}
    shared = asked.model_copy(update={"beyond": "share", "max_epochs": 1.5, "sources": heavy})
    within = mixed(shared, streams, 20, 4)
    assert within.plan.sources[2].epochs == pytest.approx(1.5)
    assert any("talk is limited to 1.5 epochs" in note for note in within.plan.notes)
    with pytest.raises(ModeledgeError, match="E-CONFIG: the sources give"):
        mixed(asked.model_copy(update={"beyond": "share"}), streams, 1000, 4)


def test_budgets_and_temperature(texts: Path, tmp_path: Path) -> None:
    sources = {name: {"paths": [str(texts / f"{name}.txt")]} for name in WORDS}
    sources["code"]["budget"] = 100.0
    asked, streams = sizes_of(texts, tmp_path, sources=sources, temperature=2.0)
    told = mixed(asked, streams, 10, 4)
    books, code, talk = told.plan.sources
    assert code.tokens == pytest.approx(100)
    assert books.tokens / talk.tokens == pytest.approx((books.size / talk.size) ** 0.5)
    counts = told.stream(streams).counts(40)
    assert counts[1] * told.means["code"] == pytest.approx(100, abs=2 * told.means["code"])


def test_shares_are_of_tokens_where_examples_differ(texts: Path, tmp_path: Path) -> None:
    """Documents cut each for itself are of different lengths; a half of the tokens is no half of the examples."""
    sources = values(texts)["mixture"]["sources"]
    (tmp_path / "short.txt").write_text("\n".join(f"oh {'no ' * (n % 3)}{n}" for n in range(80)))
    sources = {
        "books": {**sources["books"], "weight": 1.0},
        "talk": {"paths": [str(tmp_path / "short.txt")], "weight": 1.0},
    }
    asked = absolute(recipe(texts, mixture={"sources": sources}, packing="fit", train={**TRAIN, "length": 64}))
    tokenizer, shards = prepare_sources(asked, tmp_path, quiet)
    trainer, wholes = ready(asked, tokenizer, shards)
    stream = trainer.stream
    assert isinstance(stream, PhasedStream)
    counts = stream.counts(1000)
    means = [float((w.ranges[:, 1] - w.ranges[:, 0]).mean()) for w in wholes]
    assert means[0] > 2 * means[1]
    assert counts[0] * means[0] == pytest.approx(counts[1] * means[1], rel=0.01)


@pytest.mark.parametrize(
    ("packing", "low", "high"), [("auto", 0.95, 1), ("split", 0.95, 1), ("fit", 0.8, 1), ("alone", 0, 0.75)]
)
def test_packings_and_how_full_they_are(texts: Path, tmp_path: Path, packing: str, low: float, high: float) -> None:
    asked = absolute(recipe(texts, packing=packing, train={**TRAIN, "length": 64, "batch": 16}))
    trainer = ready(asked, *prepare_sources(asked, tmp_path, quiet))[0]
    full = fill_share(trainer)
    assert full is not None
    assert low <= full <= high
    batches = trainer.pull()
    rows = sum(len(b.target.ids) for b in batches if b.target is not None)
    assert (rows == 16) == (packing != "fit")
    if packing == "fit":
        whole = trainer.stream.streams[0]  # type: ignore[attr-defined]
        ends = whole.shards.documents
        assert all(((ends[:-1] <= a) & (b <= ends[1:])).any() for a, b in whole.ranges), "no piece crosses a document"


def test_a_plan_names_epochs(texts: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.toml"
    path.write_text(to_toml(recipe(texts)))
    told = plan_recipe(path, (), quiet)
    assert list(told.epochs) == list(WORDS)
    assert told.epochs["talk"] > told.epochs["books"]
    assert f"epochs of talk            {told.epochs['talk']:.2f}"[:14] in told.table()
    done = CliRunner().invoke(app, ["check", str(path), "mixture.max_epochs=0.1", "--strict"])
    assert done.exit_code != 0
    assert "E-WARNING" in str(done.exception) or "W-EPOCHS" in done.output + str(done.exception)


WRONG = {
    "both": ({"corpus": {"paths": ["a.txt"]}}, "corpus names files, and so do the sources"),
    "replay": ({"replay": {"paths": ["a.txt"]}}, "make its text a source"),
    "phase": ({"mixture.phases": [{"start": 0.5, "weights": {"bocks": 1.0}}]}, "did you mean 'books'"),
    "order": ({"mixture.phases": [{"start": 0.5}, {"start": 0.2}]}, "one after the other"),
    "half": ({"mixture.sources.more": {"paths": ["a"]}}, "more has no weight"),
    "temperature": ({"mixture.temperature": 2.0}, "the sources have weights"),
    "key": ({"mixture.sources.talk.wieght": 1.0}, "did you mean 'mixture.sources.talk.weight'"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_mixtures(texts: Path, name: str) -> None:
    changes, told = WRONG[name]
    tree: dict[str, Any] = json.loads(json.dumps(values(texts)))
    for path, value in changes.items():
        node = tree
        *above, last = path.split(".")
        for key in above:
            node = node[key]
        node[last] = value
    with pytest.raises(ModeledgeError, match="E-CONFIG") as caught:
        load_config(PretrainRecipe, None, values=tree)
    assert told in str(caught.value)


def test_no_corpus_at_all() -> None:
    with pytest.raises(ModeledgeError, match="corpus is needed and missing"):
        load_config(PretrainRecipe, None, values={})


def test_shards_without_their_tokenizer(texts: Path, tmp_path: Path) -> None:
    asked = absolute(recipe(texts))
    prepare_sources(asked, tmp_path / "a", quiet)
    sources = {name: {"shards": str(tmp_path / "a" / "sources" / name)} for name in WORDS}
    again = absolute(recipe(texts, mixture={"sources": sources}))
    with pytest.raises(ModeledgeError, match="shards: shards need the tokenizer"):
        prepare_sources(again, tmp_path / "b", quiet)
    path = {"path": str(tmp_path / "a" / "tokenizer")}
    tokenizer, found = prepare_sources(
        absolute(recipe(texts, mixture={"sources": sources}, tokenizer=path)), tmp_path / "c", quiet
    )
    assert tokenizer.fingerprint == Tokenizer.load(tmp_path / "a" / "tokenizer").fingerprint
    assert set(found) == set(WORDS)
