"""Spans of characters to tags of words, and back."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.tasks import Asked, EntityTask, TagTask
from modeledge.tasks.tagged import Tagged
from modeledge.tasks.task import Answer
from modeledge.tasks.words import Words
from modeledge.tokens import Tokenizer, train_tokenizer

COLUMNS = {"text": "text", "spans": "spans"}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=330)


def config(vocab: int, width: int = 8) -> TransformerConfig:
    stack = Stack(
        layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=2 * width), position=Learned(length=48)
    )
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab), init=0.1, encoder=stack)


def made(tokenizer: Tokenizer, data: Any, said: list[str] | None = None, **options: Any) -> TagTask:
    asked = Asked(length=48, options=options)
    told = [] if said is None else said
    return EntityTask.made(data, tokenizer, config(tokenizer.vocab_size), asked, told.append)


def row(text: str, *spans: Any) -> dict[str, Any]:
    return {"text": text, "spans": list(spans)}


PARIS = row("Anna went to New York.", [0, 4, "PER"], {"start": 13, "end": 21, "label": "LOC", "text": "New York"})


@pytest.mark.parametrize("scheme", [None, "bio", "iobes", "bilou", "bmes"])
def test_characters_become_tags_and_come_back(scheme: str | None, tokenizer: Tokenizer) -> None:
    task = made(tokenizer, [PARIS], scheme=scheme)
    assert task.scheme is not None
    assert task.scheme.name == (scheme or "bio")
    (example,) = task.encode([PARIS])
    tags = tuple(task.labels.names[n] for n in example.label)
    letters = task.scheme
    told = [f"{letters.single}-PER", "O", "O", f"{letters.begin}-LOC", f"{letters.end}-LOC", "O"]
    assert list(tags) == told
    words = EntityTask.words(PARIS, COLUMNS, 0)
    spans = task.shown(Answer(0, tags, (), Tagged(words, (0.5,) * 6)))["spans"]
    found = [(s["start"], s["end"], s["label"], s["text"]) for s in spans]
    assert found == [(0, 4, "PER", "Anna"), (13, 21, "LOC", "New York")]
    assert task.types == ("LOC", "PER")
    assert set(told) <= set(task.labels.names)
    assert len(task.labels.names) == 1 + 2 * len(letters.letters)


@given(text=st.text("ab .,é北\u0301\n", min_size=1).filter(str.strip), seed=st.integers(0, 99))
def test_any_spans_of_words_come_back(tokenizer: Tokenizer, text: str, seed: int) -> None:
    lots, words = random.Random(seed), Words.found(text)
    at, spans = 0, []
    while at < len(words):
        first = at + lots.randint(0, 2)
        last = first + lots.randint(1, 3)
        if last <= len(words):
            spans.append([words.places[first][0], words.places[last - 1][1], lots.choice("XY")])
        at = last
    data = [row(text, *spans), PARIS]
    task = made(tokenizer, [row("a b", [0, 1, "X"], [2, 3, "Y"])])
    (example, *_) = task.encode([{**data[0], "spans": spans}])
    tags = tuple(task.labels.names[n] for n in example.channels["gold"])
    told = task.shown(Answer(0, tags, (), Tagged(words, (1.0,) * len(words))))["spans"]
    assert [[s["start"], s["end"], s["label"]] for s in told] == spans


@pytest.mark.parametrize(
    ("spans", "code", "words"),
    [
        ([[0, 3, "PER"]], "E-SPAN", "cuts 'Anna'"),
        ([[0, 99, "PER"]], "E-SPAN", "22 characters"),
        ([[4, 4, "PER"]], "E-SPAN", "4 … 4"),
        ([[-1, 4, "PER"]], "E-SPAN", "-1"),
        ([[4, 5, "PER"]], "E-SPAN", "holds no word"),
        ([[0, 4, "PER"], [0, 9, "ORG"]], "E-SPAN", "overlap"),
        ([[0, 4]], "E-SPAN", "not a start, an end and a label"),
        ([["0", "4", "PER"]], "E-SPAN", "not a start, an end and a label"),
        ([[0, 4, ""]], "E-SPAN", "not a start, an end and a label"),
        ([{"start": 0, "end": 4, "label": "PER", "text": "Ann"}], "E-SPAN", "stands 'Anna', not 'Ann'"),
        ("0-4", "E-FIELD-TYPE", "not a list"),
        (None, "E-LABEL-MISSING", "no spans"),
        ([[0, 4, "per"]], "E-LABEL-UNKNOWN", "'B-PER'"),
    ],
)
def test_a_bad_span_is_named(spans: Any, code: str, words: str, tokenizer: Tokenizer) -> None:
    task = made(tokenizer, [PARIS])
    with pytest.raises(ModeledgeError) as caught:
        task.encode([{**PARIS, "spans": spans, "__where__": "x.jsonl:3"}])
    assert caught.value.code == code
    assert caught.value.where.startswith("x.jsonl:3")
    assert words in str(caught.value)


def test_a_span_that_cuts_a_word_is_widened_where_that_is_asked(tokenizer: Tokenizer) -> None:
    data = [row("the foxes", [4, 7, "X"]), row("the fox", [3, 7, "X"])]  # a space around a span cuts nothing
    said: list[str] = []
    task = made(tokenizer, data, said, widen=True)
    assert [task.labels.names[n] for n in task.encode(data)[0].label] == ["O", "B-X"]
    assert "1 spans cut a word: they are learned as whole words" in said
    again = EntityTask.restored(task.described(), tokenizer, config(tokenizer.vocab_size))
    assert again.encode(data)[0].label == task.encode(data)[0].label
    with pytest.raises(ModeledgeError, match=r"E-SPAN: row 1: .*widen"):
        made(tokenizer, data)


def test_types_that_training_never_shows_are_refused(tokenizer: Tokenizer) -> None:
    task = made(tokenizer, [PARIS])
    task.check([PARIS], [row("to New York", [3, 6, "LOC"], [7, 11, "LOC"])], apart=True)
    with pytest.raises(ModeledgeError, match=r"E-CLASS-UNSEEN.*B-ORG"):
        task.check([PARIS], [row("to New York", [3, 6, "ORG"])], apart=True)
    with pytest.raises(ModeledgeError, match="E-ONE-CLASS"):
        made(tokenizer, [row("nothing here")])
    for scheme in ("none", "bioes"):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            made(tokenizer, [PARIS], scheme=scheme)


def test_texts_in_spans_out(tokenizer: Tokenizer, tmp_path: Path) -> None:
    """The whole recipe on a toy: every `lazy`, alone or in a run, is an entity; asked with bare texts."""
    lots = random.Random(1)

    def drawn() -> dict[str, Any]:
        words = lots.choices(["the", "fox", "dog", "lazy", "over"], k=lots.randint(2, 9))
        text, spans = "", []
        for n, word in enumerate(words):
            text += (" " if n else "") + word
            if word == "lazy" and n and words[n - 1] == "lazy":
                spans[-1][1] = len(text)
            elif word == "lazy":
                spans.append([len(text) - 4, len(text), "L"])
        return row(text + ".", *spans)

    data, held = [drawn() for _ in range(200)], [drawn() for _ in range(40)]
    save_model(Transformer(config(tokenizer.vocab_size, 32), seed=3), tmp_path / "base")
    tokenizer.save(tmp_path / "base")
    train = FinetuneTrain(batch=16, length=48, threads=1, precision="fp32", learning_rate=5e-3, warmup=0.1)
    recipe = FinetuneRecipe(
        model=str(tmp_path / "base"), data="rows", task="entities", epochs=5.0, dropout=0.0, train=train,
        allow_leak=True, options={"decode": "viterbi"},
    )  # fmt: skip
    results = finetune(recipe, tmp_path / "run", rows=data, test_rows=held, say=lambda line: None)
    assert results["scores"]["accuracy"]["value"] > 0.97
    told = Model.load(tmp_path / "run").predict([r["text"] for r in held])
    right = sum(
        [[s["start"], s["end"], s["label"]] for s in t["spans"]] == r["spans"] for t, r in zip(told, held, strict=True)
    )
    assert right >= 36
