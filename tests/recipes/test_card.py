"""Model cards: what is known is said, what is not is called unknown, and no text of others does anything."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hub_small import llama
from test_use import TOKENIZER, made

import modeledge as me
from modeledge.recipes.store.card import MARK, Card, front_matter, plain, text_of

MODEL = llama(TOKENIZER).transformer
NASTY = (
    '"]}\n---\n!!python/object/apply:os.system ["true"]\n<script>alert(1)</script> [x](javascript:1) `a` | b \x1b[31m'
)
SCORE = {"accuracy": {"value": 0.91, "low": 0.9, "high": 0.92, "n": 1000}}


def test_what_nobody_said_is_unknown() -> None:
    card = text_of(Card(), MODEL)
    assert 'license: "unknown"' in card
    assert "Unknown: nobody stated one" in card
    assert "base_model" not in card
    assert "None were measured" in card


def test_what_is_known_is_said() -> None:
    base = {"name": "org/tiny", "revision": "c0ffee", "endpoint": "https://hub.example"}
    recipe = {"data": "/home/someone/rows.csv", "seed": 3}
    known = Card(verb="finetune", license="mit", base=base, data=["rows.csv"], recipe=recipe, scores=SCORE, task="x")
    card = text_of(known, MODEL)
    for words in ('license: "mit"', 'base_model: "org/tiny"', "c0ffee", "rows.csv", "0.9100", "0.9000 … 0.9200"):
        assert words in card
    assert "/home" not in card
    assert '"seed": 3' in card
    assert text_of(known, MODEL) == card
    index = json.loads(card.split("model-index: ")[1].splitlines()[0])
    assert index[0]["results"][0]["metrics"] == [{"type": "accuracy", "value": 0.91}]


@pytest.mark.parametrize("place", ["license", "data", "scores", "recipe", "base", "task"])
def test_text_of_others_does_nothing(place: str) -> None:
    known = {
        "license": {"license": NASTY},
        "data": {"data": [NASTY], "scores": SCORE},
        "scores": {"scores": {NASTY: SCORE["accuracy"]}},
        "recipe": {"recipe": {NASTY: [NASTY, "```\n</pre>"]}},
        "base": {"base": {"name": NASTY, "revision": NASTY, "endpoint": NASTY}},
        "task": {"task": NASTY},
    }[place]
    card = text_of(Card(**known), MODEL)  # type: ignore[arg-type]
    assert card.count("\n---\n") == 1
    assert "\x1b" not in card
    head, _, body = card.removeprefix("---\n").partition("\n---\n")
    for line in head.splitlines():
        key, _, value = line.partition(": ")
        assert key.replace("_", "").replace("-", "").isalpha()
        json.loads(value)
    outside = body.split("\n```")  # a fence counts at the beginning of a line alone
    assert len(outside) == (3 if place == "recipe" else 1)
    assert "<script" not in outside[0] + outside[-1]
    assert "](javascript" not in outside[0]


def test_the_front_matter_is_the_same_in_yaml() -> None:
    yaml = pytest.importorskip("yaml")
    said = yaml.safe_load(front_matter(Card(license=NASTY, scores=SCORE, data=[NASTY])).strip("-"))
    assert said["license"] == NASTY
    assert said["model-index"][0]["results"][0]["dataset"]["name"] == NASTY


def test_plain_text_keeps_its_line() -> None:
    assert plain("a*b\n<c>") == r"a\*b\\x0a&lt;c&gt;"


def test_a_card_of_ones_own_is_kept(tmp_path: Path) -> None:
    model = made("decoder")
    me.save(model, tmp_path, to="modeledge")
    assert MARK in (tmp_path / "README.md").read_text()
    me.save(model, tmp_path, to="modeledge", license="mit")
    assert 'license: "mit"' in (tmp_path / "README.md").read_text()
    (tmp_path / "README.md").write_text("mine")
    me.save(model, tmp_path, to="modeledge")
    assert (tmp_path / "README.md").read_text() == "mine"
