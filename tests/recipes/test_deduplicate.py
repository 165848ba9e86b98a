"""`corpus dedup`: what is left, what is not and why, in files that do not depend on order or processes."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config
from modeledge.recipes.corpora.texts import CorpusRecipe

CHANCE = random.Random(9)
WORDS = [f"w{i}" for i in range(5000)]
TEXTS = [" ".join(CHANCE.choices(WORDS, k=80)) for _ in range(6)]
NEAR = " ".join([*TEXTS[0].split()[:-1], "other"])
QUIZ = " ".join(TEXTS[5].split()[:15])


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def write(path: Path, texts: dict[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": id, "text": text, "lang": "en"}) + "\n" for id, text in texts.items()))
    return path


def dedup(*words: object) -> str:
    done = CliRunner().invoke(app, ["corpus", "dedup", *map(str, words), "--set", "id=id"])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def test_every_level_says_what_it_took(tmp_path: Path) -> None:
    first = {"a1": TEXTS[0], "a2": TEXTS[1] + "\nFollow us!", "a3": TEXTS[5]}
    second = {"b1": NEAR, "b2": TEXTS[2] + "\nfollow us", "b3": TEXTS[1] + "  Follow us!", "b4": TEXTS[3]}
    a, b = write(tmp_path / "a.jsonl", first), write(tmp_path / "b.jsonl", second)
    quiz = tmp_path / "quiz.jsonl"
    quiz.write_text(json.dumps({"question": QUIZ, "answer": 3}) + "\n")
    options = ("--near", "strict", "--lines", "--against", quiz, "--set", "against.how=drop")
    dedup(a, b, *options, "--out", tmp_path / "one")
    kept = {row["id"]: row["text"] for row in rows(tmp_path / "one" / "documents.jsonl")}
    assert kept == {"a1": TEXTS[0], "a2": first["a2"], "b2": TEXTS[2] + "\n", "b4": TEXTS[3]}
    assert rows(tmp_path / "one" / "documents.jsonl")[0]["lang"] == "en"
    told = [(row["id"], row["reason"], row["stays"]) for row in rows(tmp_path / "one" / "dropped.jsonl")]
    wanted = [("b1", "near duplicate", "a1"), ("b3", "duplicate", "a2"), ("a3", "contaminated", "quiz.jsonl")]
    assert sorted(told) == sorted(wanted)
    ledger = json.loads((tmp_path / "one" / "ledger.json").read_text())
    assert ledger["cut"]["duplicate line"] == {"records": 1, "bytes": 9, "tokens": 0}
    overlap = json.loads((tmp_path / "one" / "overlap.json").read_text())
    assert overlap["contained"][str(a)][str(a)] == 1
    assert 0 < overlap["contained"][str(a)][str(b)] < 1

    dedup(b, a, *options, "--out", tmp_path / "two", "--processes", 2, "--memory", 1)
    for name in ("documents.jsonl", "dropped.jsonl", "ledger.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_default_is_exact_copies_alone(tmp_path: Path) -> None:
    a = write(tmp_path / "a.jsonl", {"a2": NEAR, "a10": TEXTS[0], "a1": TEXTS[0] + "\n"})
    dedup(a, "--out", tmp_path / "out")
    assert [row["id"] for row in rows(tmp_path / "out" / "documents.jsonl")] == ["a1", "a2"]
    assert rows(tmp_path / "out" / "dropped.jsonl")[0]["stays"] == "a1"
    assert not (tmp_path / "out" / "overlap.json").exists()


@pytest.mark.parametrize("word", ["near.bands=0", "near.band=3", "keep=best", "repeats.unit=word"])
def test_what_is_refused(tmp_path: Path, word: str) -> None:
    a = write(tmp_path / "a.jsonl", {"a": "x"})
    done = CliRunner().invoke(app, ["corpus", "dedup", str(a), "--out", str(tmp_path / "out"), "--set", word])
    assert done.exit_code
    assert "E-CONFIG" in str(done.exception)
    assert not (tmp_path / "out").exists()


def test_a_recipe_says_it_in_its_corpus_table(tmp_path: Path) -> None:
    toml = '[near]\npreset = "strict"\nn = 3\n[repeats]\nunit = "sentence"\n[against]\npaths = ["q"]\nn = "none"\n'
    (tmp_path / "c.toml").write_text(toml)
    recipe = load_config(CorpusRecipe, tmp_path / "c.toml", ())
    assert recipe.near is not None
    assert recipe.near.n == 3
    assert recipe.against is not None
    assert recipe.against.n is None


@pytest.mark.parametrize(
    ("own", "told"),
    [({"id": 7}, {"own_id": 7}), ({"id": 7, "own_id": 8}, {"own_id": 8, "own_own_id": 7})],
)
def test_a_field_that_is_called_as_one_of_ours_is_kept(tmp_path: Path, own: Any, told: Any) -> None:
    """Nothing is lost in silence: a record's own `id` stands beside the place that the document was read from."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({**own, "source": "forum", "text": TEXTS[0], "lang": "en"}) + "\n")
    done = CliRunner().invoke(app, ["corpus", "dedup", str(path), "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, (done.output, done.exception)
    (row,) = rows(tmp_path / "out" / "documents.jsonl")
    assert row == {**told, "source": "forum", "lang": "en", "id": "a.jsonl:1", "text": TEXTS[0]}
