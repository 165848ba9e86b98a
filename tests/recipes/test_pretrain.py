"""The pre-training recipe: whose tokenizer, which text, what is held out, and where its files are."""

from __future__ import annotations

import json
import random
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeledge.config import load_config, to_toml
from modeledge.corpus.read import ReadConfig
from modeledge.corpus.shard import Shards
from modeledge.corpus.stream import TokenStream
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.build import build_shards, build_tokenizer
from modeledge.recipes.corpora.source import READ_FIELDS, read
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe
from modeledge.recipes.corpora.vocabulary import given_tokenizer, make_tokenizer
from modeledge.recipes.folder import run_folder
from modeledge.recipes.pretraining.held import split_stream
from modeledge.recipes.pretraining.pretrain import pretrain
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe, absolute
from modeledge.recipes.resume import resume
from modeledge.records import Document, Ledger
from modeledge.tokens import Tokenizer

WORDS = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains".split()  # noqa: SIM905
STACK = {
    "layers": 1,
    "attention": {"heads": 2, "qk_norm": "head"},
    "feedforward": {"width": 32},
    "position": {"kind": "rotary"},
}
TRAIN = {"steps": 4, "batch": 4, "length": 32, "save_every": 2}


def recipe(paths: list[str], **changes: Any) -> PretrainRecipe:
    values = {
        "corpus": {"paths": paths},
        "tokenizer": {"vocab_size": 320},
        "model": {"shape": {"width": 16, "decoder": STACK}},
        "train": TRAIN,
    }
    return load_config(PretrainRecipe, None, values={**values, **changes})


def quiet(line: str) -> None:
    """Says nothing."""


def sentences(count: int, seed: int = 0) -> str:
    lots = random.Random(seed)
    return "\n".join(" ".join(lots.choices(WORDS, k=12)) for _ in range(count)) + "\n"


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text and a model pre-trained on it."""
    folder = tmp_path_factory.mktemp("pretrain")
    (folder / "a.txt").write_text(sentences(150))
    (folder / "other.txt").write_text(sentences(100, 1).upper())
    pretrain(recipe([str(folder / "a.txt")]), folder / "run", say=quiet)
    return folder


def raised(code: str, call: Any, *args: Any, **named: Any) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        call(*args, **named)
    assert caught.value.code == code, str(caught.value)
    return caught.value


# ---- whose tokenizer


def test_a_run_from_a_model_reads_with_its_tokenizer(ground: Path, tmp_path: Path) -> None:
    for wanted, note in (({}, 0), ({"vocab_size": 300}, 1)):
        told: list[str] = []
        more = recipe([str(ground / "other.txt")], model={"start": str(ground / "run")}, tokenizer=wanted)
        folder = pretrain(more, tmp_path / f"more{note}", say=told.append)
        assert sum("model.start brings one" in line for line in told) == note
    assert Tokenizer.load(folder).fingerprint == Tokenizer.load(ground / "run" / "model").fingerprint


def test_another_tokenizer_than_the_models_is_refused(ground: Path, tmp_path: Path) -> None:
    corpus = CorpusRecipe(paths=(str(ground / "other.txt"),))
    build_tokenizer(corpus, TokenizerRecipe(vocab_size=300), tmp_path / "t", quiet)
    build_shards(corpus, tmp_path / "t", tmp_path / "c", quiet)
    start = {"start": str(ground / "run")}
    paths = [str(ground / "other.txt")]
    named = recipe(paths, model=start, tokenizer={"path": str(tmp_path / "t")})
    raised("E-TOKENIZER-MISMATCH", pretrain, named, tmp_path / "x", say=quiet)
    shards = recipe([], corpus={"shards": str(tmp_path / "c")}, model=start, tokenizer={})
    raised("E-TOKENIZER-MISMATCH", pretrain, shards, tmp_path / "x", say=quiet)


def test_a_model_without_tokenizer_needs_a_path(ground: Path, tmp_path: Path) -> None:
    bare = tmp_path / "bare"
    shutil.copytree(ground / "run" / "model", bare)
    (bare / "tokenizer.json").unlink()
    paths = [str(ground / "a.txt")]
    without = recipe(paths, model={"start": str(bare)}, tokenizer={})
    assert "tokenizer.path" in raised("E-CONFIG", pretrain, without, tmp_path / "x", say=quiet).remedy
    named = recipe(paths, model={"start": str(bare)}, tokenizer={"path": str(ground / "run" / "tokenizer")})
    assert given_tokenizer(named) is not None


# ---- which text


def test_the_tokenizer_learns_from_what_the_corpus_keeps(tmp_path: Path) -> None:
    kept = [Document(sentences(20, n), f"{n}") for n in range(3)]
    dropped = [
        Document("zyzzyva " * 9, "8"),
        Document("zyzzyva " * 9, "9"),
        *(Document(kept[0].text, f"x{n}") for n in range(9)),
    ]
    asked = recipe([], corpus={"filters": {"empty": True, "shorter_than": 10}})
    clean = make_tokenizer(asked, kept)
    assert make_tokenizer(asked, [*dropped, *reversed(kept)]).fingerprint == clean.fingerprint
    rows = [{"text": d.text, "id": d.id} for d in [*dropped, *kept]]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    filed = recipe([], corpus={"paths": [str(tmp_path / "a.jsonl")], "filters": {"empty": True, "shorter_than": 10}})
    assert make_tokenizer(filed, None).fingerprint == clean.fingerprint


def test_the_corpus_recipe_reaches_every_setting_of_the_reader(tmp_path: Path) -> None:
    ours = set(ReadConfig.__dataclass_fields__) - {"columns", "source"}  # a source is named by `sources`
    assert ours == set(READ_FIELDS) <= set(CorpusRecipe.model_fields)
    (tmp_path / "a.txt").write_text("one\ntwo\n\nthree\n")

    def texts(**fields: Any) -> list[str]:
        values = {"paths": [str(tmp_path / "a.txt")], "on_bad_record": "error", **fields}
        return [d.text.strip() for d in read(load_config(CorpusRecipe, None, values=values), Ledger())]

    assert texts() == ["one\ntwo\n\nthree"]
    assert texts(split="line") == ["one", "two", "three"]
    assert texts(split="paragraph") == ["one\ntwo", "three"]
    raised("E-DOC-TOO-LARGE", texts, max_record_bytes=5)
    assert texts(max_record_bytes=5, split="line") == ["one", "two", "three"]
    (tmp_path / "b.jsonl").write_text('{"text": "x", "name": "n1"}\n')
    named = CorpusRecipe(paths=(str(tmp_path / "b.jsonl"),), id="name")
    assert [d.id for d in read(named, Ledger())] == ["n1"]


# ---- held out


def test_held_out_examples_are_never_trained_on(ground: Path) -> None:
    stream = TokenStream(Shards.open(ground / "run" / "corpus"), 33, 0, shortest=2)
    kept, held = split_stream(stream, 0.25, 7)
    assert len(held) == round(0.25 * len(stream))
    spans = sorted(e.where for e in [kept.example(i) for i in range(len(kept))] + held)
    assert spans == sorted(stream.example(i).where for i in range(len(stream)))
    assert [e.where for e in split_stream(stream, 0.25, 7)[1]] == [e.where for e in held]
    assert kept.fingerprint not in (stream.fingerprint, split_stream(stream, 0.3, 7)[0].fingerprint)
    raised("E-EMPTY-SPLIT", split_stream, stream, 0.999, 0)


@pytest.mark.parametrize("kind", ["causal", "masked"])
def test_the_judge_marks_the_held_out_loss(ground: Path, tmp_path: Path, kind: str) -> None:
    side = {"causal": "decoder", "masked": "encoder"}[kind]
    changes = {
        "held_out": 0.2,
        "objective": {"kind": kind},
        "model": {"shape": {"width": 16, side: STACK}},
        "train": {**TRAIN, "judge_every": 2},
    }
    asked = recipe([str(ground / "a.txt")], **changes)
    pretrain(asked, tmp_path / "run", say=quiet)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    name = {"causal": "loss", "masked": "pseudo_loss"}[kind]
    marks = {row["step"]: row["eval"][name] for row in rows if "eval" in row}
    assert list(marks) == [2, 4]
    assert all(3 < loss < 8 for loss in marks.values())
    assert marks[4] < marks[2]


def test_patience_stops_and_the_best_step_is_kept(ground: Path, tmp_path: Path) -> None:
    """A rate far too high makes the held-out loss grow; the first verdicts are the best."""
    train = {**TRAIN, "steps": 12, "judge_every": 1, "patience": 2, "learning_rate": 50.0, "schedule": "constant"}
    said: list[str] = []
    asked = recipe([str(ground / "a.txt")], held_out=0.2, train=train, allow=("rate",))
    pretrain(asked, tmp_path / "run", say=said.append)
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["eval"]["loss"] for row in rows]
    assert len(rows) == int(np.argmin(losses)) + 3 < 12
    assert any(line.startswith("the model of step") for line in said)


@pytest.mark.parametrize("train", [{"judge_every": 2}, {"judge_every": 2, "patience": 1}])
def test_a_judge_without_held_out_examples_is_refused(ground: Path, tmp_path: Path, train: dict[str, int]) -> None:
    asked = recipe([str(ground / "a.txt")], train={**TRAIN, **train})
    assert "held_out" in raised("E-CONFIG", pretrain, asked, tmp_path / "x", say=quiet).remedy
    assert not (tmp_path / "x").exists()


# ---- the run folder


def test_a_run_goes_on_from_any_folder(ground: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ground)
    pretrain(recipe(["a.txt"]), tmp_path / "run", say=quiet)
    assert f'"{ground / "a.txt"}"' in (tmp_path / "run" / "run.toml").read_text()
    assert (tmp_path / "run" / "run.toml").read_bytes() == (ground / "run" / "run.toml").read_bytes()
    for name in ("model", "corpus", "checkpoints/step-4"):
        shutil.rmtree(tmp_path / "run" / name)
    monkeypatch.chdir(tmp_path)
    resume(tmp_path / "run", say=quiet)
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (tmp_path / "run" / name).read_bytes() == (ground / "run" / name).read_bytes(), name


def test_every_path_of_a_recipe_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    plain = recipe([], corpus={"paths": ["a/*.txt"], "shards": "s"}, tokenizer={"path": "t"}, model={"start": "m"})
    tuning = FinetuneRecipe(model="m", data="d.csv", test="t.csv")
    for one in (plain, tuning):
        there = absolute(one)  # type: ignore[type-var]
        monkeypatch.chdir(tmp_path.parent)
        assert to_toml(absolute(there)) == to_toml(there)  # type: ignore[type-var]
        monkeypatch.chdir(tmp_path)
    told = to_toml(absolute(plain)) + to_toml(absolute(tuning))
    for path in ("a/*.txt", "s", "t", "m", "d.csv", "t.csv"):
        assert f'"{tmp_path / path}"' in told
    assert absolute(FinetuneRecipe(model="m", data="rows from memory")).data == "rows from memory"


def test_a_run_that_fails_before_its_first_step_leaves_nothing(tmp_path: Path) -> None:
    def fail(*written: str) -> list[str]:
        with suppress(RuntimeError), run_folder(tmp_path / "x", 'kind = "pretrain"\n') as folder:
            (folder / "checkpoints").mkdir()
            for name in ("metrics.jsonl", "speed.jsonl"):
                (folder / name).write_text("".join(written))
            raise RuntimeError
        return sorted(p.name for p in (tmp_path / "x").iterdir() if p.name != ".lock")

    assert fail() == []
    assert "metrics.jsonl" in fail('{"step": 1}\n')


@pytest.mark.parametrize(("kind", "advised"), [("pretrain", True), ("finetune", True), ("quickstart", False)])
def test_resume_is_advised_only_where_it_works(tmp_path: Path, kind: str, advised: bool) -> None:
    (tmp_path / "run.toml").write_text(f'kind = "{kind}"\n')
    with pytest.raises(ModeledgeError) as caught, run_folder(tmp_path, "new"):
        pass
    assert caught.value.code == "E-OUTPUT"
    assert ("modeledge resume" in caught.value.remedy) is advised
    if not advised:
        assert raised("E-USAGE", resume, tmp_path, say=quiet).remedy
