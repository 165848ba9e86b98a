"""Dialogue, cloze and programs: what they read, choose and run beside what every text-to-text task does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, Metric
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.seed import Noise
from modeledge.tasks import Asked, Cloze, Code, Dialogue, Generate, Score, WriteTask, answers, reference_lengths
from modeledge.tasks.task import Answer
from modeledge.tokens import Tokenizer, train_tokenizer


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=280)


def made(
    kind: type[WriteTask], rows: list[dict[str, Any]], tokenizer: Tokenizer, columns: dict[str, str], **options: Any
) -> tuple[Any, Transformer]:
    stack = Stack(
        layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Learned(length=200)
    )
    facts = TransformerConfig(width=16, embed=Tokens(vocab=tokenizer.vocab_size), init=0.5, decoder=stack)
    asked = Asked(columns, 160, options={"max_target": 12, **options})
    task = kind.made(rows, tokenizer, facts, asked, lambda line: None)
    model = Transformer(facts, seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    return task, model.eval()


TALK = [
    {"source": ["hello", "hi, you"], "target": "the dog", "options": ["a fox", "the dog", "over"]},
    {"source": "alone", "target": "lazy", "options": ["lazy", "quick brown"]},
]


def test_turns_are_lines_and_the_oldest_are_cut(tokenizer: Tokenizer) -> None:
    task, _ = made(Dialogue, TALK, tokenizer, {})
    first, second = task.encode(TALK)
    assert tokenizer.decode(first.ids) == "hello\nhi, you"
    assert tokenizer.decode(second.ids) == "alone"
    (long,) = task.encode([{"source": ["a" * 300, "the end"], "target": "b"}])
    assert tokenizer.decode(task.prepare.prompt(long)).rstrip().endswith("the end")
    assert reference_lengths([first, second], tokenizer) == [len(first.pair) + 1, len(second.pair) + 1]


def test_candidates_are_ranked_by_the_mean_likelihood(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scores of a batch are those of each candidate learned as the target by itself."""
    monkeypatch.setitem(METRICS, "recall@1", Metric("recall@1", lambda p, t: 0.0, True, "ranking"))  # type: ignore[arg-type]
    task, model = made(Dialogue, TALK, tokenizer, {"candidates": "options"})
    examples = task.encode(TALK)
    told = answers(task, model, examples)
    for row, answer in zip(TALK, told, strict=True):
        for text, score in zip(row["options"], answer.probabilities, strict=True):
            ((nats, tokens),) = task.surprise(model, task.encode([{**row, "target": text}]))
            assert score == pytest.approx(-nats / tokens, rel=1e-5)
            assert tokens == len(tokenizer.encode(text)) + 1
    assert "recall@1" in task.metrics
    scores, right = task.sides("recall@1", told, examples)
    assert right == [[0.0, 1.0, 0.0], [1.0, 0.0]]
    assert [tuple(s) for s in scores] == [a.probabilities for a in told]
    for wrong in ([], ["one"], ["one", ""]):
        with pytest.raises(ModeledgeError, match="E-MISSING-FIELD"):
            task.encode([{**TALK[0], "options": wrong}])


GAPS = [
    {"source": "the @placeholder jumps", "target": "fox", "text": "the fox and the dog", "spans": ["dog", "fox"]},
    {"source": "the lazy @placeholder.", "target": "dog", "text": "the fox and the dog", "spans": ["dog", "fox"]},
]


def test_a_gap_is_filled_by_the_likeliest_candidate(tokenizer: Tokenizer) -> None:
    task, model = made(Cloze, GAPS, tokenizer, {"context": "text", "candidates": "spans"})
    examples = task.encode(GAPS)
    assert tokenizer.decode(examples[0].ids) == "the fox and the dog\nthe @placeholder jumps"
    for answer in answers(task, model, examples):
        assert answer.value == ["dog", "fox"][int(np.argmax(answer.probabilities))]
        assert answer.details is not None
    asked = task.request(GAPS[0])
    assert asked == Score("the fox and the dog\nthe ", ("dog jumps", "fox jumps"), ("dog", "fox"))
    assert task.answer(0, asked, [-3.0, -2.0]).value == "fox"


def test_the_last_word_is_written(tokenizer: Tokenizer) -> None:
    data = [{"source": "the quick brown", "target": "fox"}, {"source": "the lazy ____.", "target": "dog"}]
    task, model = made(Cloze, data, tokenizer, {})
    assert [task.request(row) for row in data] == [
        Generate("the quick brown", ("\n",), 12),
        Generate("the lazy", ("\n",), 12),
    ]
    assert len(answers(task, model, task.encode(data))) == 2
    with pytest.raises(ModeledgeError, match="behind the gap"):
        task.request({"source": "a ____ b"})
    with pytest.raises(ModeledgeError, match="2 times"):
        task.encode([{"source": "a ____ b ____", "target": "c"}])


PROGRAMS = [
    {"text": "Add two.", "code": "def add(a, b):\n    return a + b", "test_list": ["assert add(1, 2) == 3"]},
    {"text": "Say one.", "code": "def one():\n    return 1", "test_list": ["assert one() == 1"]},
]


def test_programs_are_run_only_when_asked(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    for k in (1, 5):
        monkeypatch.setitem(METRICS, f"pass@{k}", Metric(f"pass@{k}", lambda p, t: 0.0, True, "outcomes"))  # type: ignore[arg-type]
    task, _ = made(Code, PROGRAMS, tokenizer, {})
    examples = task.encode(PROGRAMS)
    told = [Answer(0, (PROGRAMS[0]["code"], "def add(a, b): return a")), Answer(1, ("boom(", PROGRAMS[1]["code"]))]
    assert not any(name.startswith("pass@") for name in task.metrics)
    with pytest.raises(ModeledgeError, match="unasked"):
        task.sides("pass@1", told, examples)
    runs, _ = made(Code, PROGRAMS, tokenizer, {}, run_code=True, samples=2, temperature=1.0)
    assert runs.metrics[0] == "pass@1"
    assert "pass@5" not in runs.metrics
    outcomes, _ = runs.sides("pass@1", told, examples)
    assert outcomes == [[1, 0], [0, 1]]
    said = runs.described()
    assert "run_code" not in said["options"]
    facts = TransformerConfig(
        width=16,
        embed=Tokens(vocab=tokenizer.vocab_size),
        decoder=Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16)),
    )
    assert not Code.restored(said, tokenizer, facts).writing.run_code  # no file asks for it


def test_samples_are_drawn_apart(tokenizer: Tokenizer) -> None:
    task, model = made(Code, PROGRAMS, tokenizer, {}, samples=3, temperature=1.0)
    examples = task.encode(PROGRAMS)
    told = answers(task, model, examples)
    assert all(len(set(a.value)) == 3 for a in told)
    assert answers(task, model, examples[1:])[0].value == told[1].value
    twins = answers(task, model, task.encode([PROGRAMS[0]] * 2))
    assert twins[0].value == told[0].value != twins[1].value  # each row draws its own lots
    assert task.shown(told[0]) == {"prediction": told[0].value[0]}
    assert task.mark(told, examples)["nats_per_token"] > 0
    greedy, _ = made(Code, PROGRAMS, tokenizer, {}, samples=3)
    with pytest.raises(ModeledgeError, match="one sample"):
        answers(greedy, model, examples)
    asked = task.request(PROGRAMS[1])
    assert asked.prompt.endswith("Say one. Your code should pass these tests:\n\nassert one() == 1\n[BEGIN]\n")
    assert task.answer(3, asked, "\n    x = 1\n\n").value == ("    x = 1",)
