"""The prompted way: a task's own request, carried out by a causal model, marked by the task's own marks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.generate import score_choices
from modeledge.model import Attention, FeedForward, LMHead, Rotary, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import CausalLM, Shape, Step, collate
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks import TASKS, Asked, Generate, Score, Task, prompted_answers
from modeledge.tokens import Tokenizer, train_tokenizer

GOOD, BAD = ("fox", "owl", "cat"), ("rust", "mud", "ash")
ROWS = [{"text": word, "label": "good" if word in GOOD else "bad"} for word in (*GOOD, *BAD)]


def lines() -> list[str]:
    """A corpus in which the templates of the tasks below stand."""
    out = []
    for word in (*GOOD, *BAD):
        nice = word in GOOD
        out += [f"{word}\nlabel: {'good' if nice else 'bad'}", f"{word} is {'lovely' if nice else 'awful'}"]
        out += [f"{word}\nscore: {4 if nice else 1}.5\n", f"{word}\ntags: {'nice' if nice else 'dull'}: yes"]
        out += [f"{word}\ntags: {'dull' if nice else 'nice'}: no", f"{word}\nstars: {5 if nice else 1}"]
        out += [f"a {word} {'ran' if nice else 'lay'}"]
    return out


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(lines() * 4, vocab_size=320, specials={"bos": "<|endoftext|>", "eos": "<|endoftext|>"})


@pytest.fixture(scope="module")
def model(tokenizer: Tokenizer) -> Transformer:
    """A decoder that knows the corpus by heart."""
    stack = Stack(layers=2, attention=Attention(heads=2), feedforward=FeedForward(width=64), position=Rotary())
    made = Transformer(TransformerConfig(width=32, embed=Tokens(vocab=tokenizer.vocab_size), decoder=stack, init=0.1))
    step, eos = Step(made, CausalLM(head=LMHead())), tokenizer.specials.eos
    ids = [np.array([*tokenizer.encode(line), eos]) for line in lines()]
    ready = [step.objective.prepare(Example(n, i), Noise(0)) for n, i in enumerate(ids)]
    batch = collate(ready, Shape(64))
    optimizer = torch.optim.AdamW(made.parameters(), lr=5e-3)
    for _ in range(80):
        optimizer.zero_grad()
        step(batch, Noise(0)).value(step.objective.weights(batch)).backward()
        optimizer.step()
    return made.eval()


def made(row: str, rows: Any, tokenizer: Tokenizer, model: Transformer, columns: Any = None, **options: Any) -> Task:
    asked = Asked(columns or {}, 32, 0.0, options)
    return TASKS[row].made(rows, tokenizer, model.config, asked, lambda _: None)


CASES: dict[str, tuple[str, Any, Any, Any]] = {
    "classes": ("classification", ROWS, {}, {}),
    "words": (
        "classification",
        ROWS,
        {},
        {"template": "{text} is", "words": {"good": "lovely", "bad": "awful"}},
    ),
    "values": (
        "regression",
        [{"text": w, "score": 4.5 if w in GOOD else 1.5} for w in (*GOOD, *BAD)],
        {"label": "score"},
        {},
    ),
    "several": (
        "multilabel",
        [{"text": w, "tags": ["nice"] if w in GOOD else ["dull"]} for w in (*GOOD, *BAD)],
        {"label": "tags"},
        {},
    ),
    "ordered": (
        "ordinal",
        [{"text": w, "stars": 5 if w in GOOD else 1} for w in (*GOOD, *BAD)],
        {"label": "stars"},
        {},
    ),
    "choices": (
        "choice",
        [{"text": f"a {w}", "choices": ["ran", "lay"], "label": int(w in BAD)} for w in (*GOOD, *BAD)],
        {"text": "text"},
        {},
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_what_the_model_knows_is_answered(name: str, tokenizer: Tokenizer, model: Transformer) -> None:
    row, rows, columns, options = CASES[name]
    task, said = made(row, rows, tokenizer, model, columns, **options), list[str]()
    model.train()
    told = prompted_answers(task, model, tokenizer, rows, say=said.append)
    assert model.training
    model.eval()
    assert [a.index for a in told] == list(range(6))
    assert [a.value for a in told] == [e.label for e in task.encode(rows)]
    marks = task.mark(told, task.encode(rows))
    assert set(marks) == set(task.metrics)
    assert not said
    for answer in told:
        assert tuple(task.shown(answer)) == task.answered
        if answer.probabilities and name != "several":
            assert sum(answer.probabilities) == pytest.approx(1.0)


def test_a_request_is_the_template_with_the_row(tokenizer: Tokenizer, model: Transformer) -> None:
    row = {"text": "a {pair} fox", "pair": "an owl", "label": "good"}
    rows = [row, {**row, "label": "bad"}]
    task = made("classification", rows, tokenizer, model, {"pair": "pair"})
    assert task.request(row) == Score("a {pair} fox\nan owl\nlabel:", (" bad", " good"))
    task = made(
        "classification", rows, tokenizer, model, {"pair": "pair"}, template="{text}? {pair}", words=["no", "yes"]
    )
    assert task.request(row) == Score("a {pair} fox? an owl", (" no", " yes"))
    again = type(task).restored(task.described(), tokenizer, model.config)
    assert again.request(row) == task.request(row)
    choice = {"text": "a fox", "question": "what?", "choices": ["it", "ran"], "label": 1}
    task = made("choice", [choice], tokenizer, model, {"text": "text", "question": "question"})
    assert task.request(choice) == Score("a fox\nwhat?", (" it", " ran"))
    task = made("choice", [choice], tokenizer, model)
    assert task.request(choice) == Score("", ("it", "ran"))


def test_scores_become_shares(tokenizer: Tokenizer, model: Transformer) -> None:
    task = made("classification", ROWS, tokenizer, model)
    request = task.request(ROWS[0])
    assert isinstance(request, Score)
    (scores,) = score_choices(model, tokenizer, [request.prompt], [request.choices], say=str)
    (answer,) = prompted_answers(task, model, tokenizer, ROWS[:1], say=str)
    assert answer.probabilities == pytest.approx(np.exp(scores) / np.exp(scores).sum())
    assert task.answer(3, request, np.array([-1e4, -1e4 - 1])).value == 0


def test_a_text_without_a_number_is_said(tokenizer: Tokenizer, model: Transformer) -> None:
    rows = [{"text": "a fox", "label": v} for v in (1.0, 4.0)]
    task, said = made("regression", rows, tokenizer, model, template="a {text}"), list[str]()
    assert isinstance(task.request(rows[0]), Generate)
    told = prompted_answers(task, model, tokenizer, rows, say=said.append)
    assert [a.value for a in told] == [2.5, 2.5]
    assert said[0].startswith("2 of 2 continuations hold no number")
    assert task.answer(0, task.request(rows[0]), " about -3.25 or 4").value == -3.25


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"words": ["x"]}, "1 words for 2 classes"),
        ({"words": ["x", "x"]}, "same word"),
        ({"words": {"god": "x"}}, "did you mean 'good'"),
        ({"template": 3}, "no text"),
    ],
)
def test_a_wording_that_does_not_fit(options: Any, words: str, tokenizer: Tokenizer, model: Transformer) -> None:
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE") as caught:
        made("classification", ROWS, tokenizer, model, **options)
    assert words in str(caught.value)


def test_a_template_that_names_no_role(tokenizer: Tokenizer, model: Transformer) -> None:
    task = made("classification", ROWS, tokenizer, model, template="{txt}:")
    with pytest.raises(ModeledgeError, match="did you mean 'text'"):
        task.request(ROWS[0])
