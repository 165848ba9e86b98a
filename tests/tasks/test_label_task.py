"""One task on an encoder and a decoder: rows in, and an answer for each in the order asked."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.model import (
    Attention,
    FeedForward,
    Learned,
    Stack,
    Tokens,
    Transformer,
    TransformerConfig,
    ValueHead,
)
from modeledge.objectives import Shape, collate
from modeledge.seed import Noise
from modeledge.tasks import Answer, Labels, LabelTask, answers, judge_on, shape_for
from modeledge.tokens import Tokenizer, train_tokenizer

NAMES = ("down", "level", "up")
SIDES = ("encoder", "decoder")
KINDS = {"class": Labels("class", NAMES), "value": Labels("value")}


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=280)


def config(side: str, vocab: int) -> TransformerConfig:
    stack = Stack(
        layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=16), position=Learned(length=24)
    )
    types = 2 if side == "encoder" else 0
    return TransformerConfig(width=8, embed=Tokens(vocab=vocab, types=types), init=0.5, **{side: stack})


def made(side: str, tokenizer: Tokenizer, kind: str = "class", **more: Any) -> tuple[LabelTask, Transformer]:
    shape = config(side, tokenizer.vocab_size)
    task = LabelTask(KINDS[kind], tokenizer, shape, **{"length": 24, **more})
    model = Transformer(shape, seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    return task, model


def rows(count: int, pair: bool = False) -> list[dict[str, Any]]:
    """Texts of lengths in no order, some longer than a row."""
    lots = random.Random(0)
    words = [" ".join(lots.choices(["fox", "dog", "lazy", "over"], k=lots.randint(1, 14))) for _ in range(2 * count)]
    out = [{"text": words[n], "label": NAMES[n % 3]} for n in range(count)]
    return [{**row, "other": words[count + n]} for n, row in enumerate(out)] if pair else out


def label(row: dict[str, Any], kind: str) -> Any:
    return row["label"] if kind == "class" else len(row["text"]) / 8


def one_by_one(task: LabelTask, model: Transformer, examples: Any) -> list[Answer]:
    """The oracle: each example in a batch of its own."""
    model.eval()
    return [task.predict(model, collate([task.prepare(e, Noise(0))], Shape(task.prepare.length)))[0] for e in examples]


@pytest.mark.parametrize("size", [1, 3, 7, 256])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_for_each_example_in_the_order_asked(side: str, kind: str, size: int, tokenizer: Tokenizer) -> None:
    """Packing, sorting by length and the size of a batch change no answer beyond rounding (1e-5 of sums in fp32)."""
    task, model = made(side, tokenizer, kind)
    data = [{**row, "label": label(row, kind)} for row in rows(20)]
    examples = task.encode(data)
    random.Random(5).shuffle(examples)
    told = answers(task, model, examples, size)
    assert [a.index for a in told] == [e.index for e in examples]
    alone = one_by_one(task, model, examples)
    assert len({round(a.value if kind == "value" else a.probabilities[0], 4) for a in alone}) > 10  # not all alike
    for answer, other in zip(told, alone, strict=True):
        if kind == "value":
            assert answer.value == pytest.approx(other.value, abs=1e-5)
        else:
            assert answer.probabilities == pytest.approx(other.probabilities, abs=1e-5)
            assert answer.value == int(np.argmax(answer.probabilities))
            assert sum(answer.probabilities) == pytest.approx(1.0, abs=1e-5)


def test_asking_leaves_the_mode_of_the_model(tokenizer: Tokenizer) -> None:
    task, model = made("encoder", tokenizer, dropout=0.5)
    examples = task.encode(rows(6))
    model.train()
    first, second = answers(task, model, examples), answers(task, model, examples)
    assert first == second  # no dropout while asked
    assert model.training
    model.eval()
    answers(task, model, examples)
    assert not model.training


def test_rows_without_labels_can_be_asked(tokenizer: Tokenizer) -> None:
    task, model = made("decoder", tokenizer)
    known = task.encode(rows(5))
    blind = task.encode([{"text": row["text"]} for row in rows(5)], labelled=False)
    assert all(e.label is None for e in blind)
    assert answers(task, model, blind) == answers(task, model, known)
    assert sum(len(b.indices) for b in task.batches(blind, 2)) == 5
    with pytest.raises(ModeledgeError, match="E-LABEL-MISSING"):
        task.encode([{"text": "the fox"}])


@pytest.mark.parametrize("share", [2, 1.0, -0.1, "much", True, float("nan")])
def test_a_smoothing_that_is_no_share_is_refused(share: Any, tokenizer: Tokenizer) -> None:
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE: options.smoothing: .* is no share"):
        made("encoder", tokenizer, smoothing=share)


@pytest.mark.parametrize("side", SIDES)
def test_encoding_is_the_tokenizers(side: str, tokenizer: Tokenizer) -> None:
    task, _ = made(side, tokenizer, pair="other")
    data = rows(9, pair=True)
    for number, (row, example) in enumerate(zip(data, task.encode(data), strict=True)):
        assert (example.index, example.where) == (number, f"row {number + 1}")
        assert example.ids.tolist() == tokenizer.encode(row["text"]).tolist()
        assert example.pair is not None
        assert example.pair.tolist() == tokenizer.encode(row["other"]).tolist()
        assert example.label == NAMES.index(row["label"])
    assert task.encode([{**data[0], "__where__": "x.csv:7"}])[0].where == "x.csv:7"


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        ({"txt": "a", "label": "up"}, "E-MISSING-FIELD", "'text'"),
        ({"text": " ", "label": "up"}, "E-MISSING-FIELD", "empty"),
        ({"text": None, "label": "up"}, "E-FIELD-TYPE", "NoneType"),
        ({"text": 3, "label": "up"}, "E-FIELD-TYPE", "int"),
        ({"text": "a", "label": "Up"}, "E-LABEL-UNKNOWN", "'up'"),
        ({"text": "a", "label": True}, "E-LABEL-UNKNOWN", "True"),
    ],
)
def test_a_bad_row_is_named(row: dict[str, Any], code: str, words: str, tokenizer: Tokenizer) -> None:
    task, _ = made("encoder", tokenizer)
    with pytest.raises(ModeledgeError) as caught:
        task.encode([{"text": "fine", "label": "up"}, {**row, "__where__": "x.csv:3"}])
    assert (caught.value.code, caught.value.where) == (code, "x.csv:3")
    assert words in str(caught.value)


@pytest.mark.parametrize("pair", [None, "other"])
@pytest.mark.parametrize("side", SIDES)
def test_truncation_is_counted_in_examples(side: str, pair: str | None, tokenizer: Tokenizer) -> None:
    task, _ = made(side, tokenizer, pair=pair)
    data = rows(30, pair=True)
    specials = {("encoder", None): 2, ("encoder", "other"): 3, ("decoder", None): 2, ("decoder", "other"): 3}
    room = 24 - specials[side, pair]
    sizes = [len(tokenizer.encode(r["text"])) + (len(tokenizer.encode(r[pair])) if pair else 0) for r in data]
    examples = task.encode(data)
    assert task.truncated(examples) == sum(size > room for size in sizes)
    assert 0 < task.truncated(examples) < 30
    for size, example in zip(sizes, examples, strict=True):
        assert len(task.prepare.piece(example).ids) == 24 - room + min(size, room)


def test_the_longer_text_of_a_pair_is_cut(tokenizer: Tokenizer) -> None:
    task, _ = made("encoder", tokenizer, pair="other")
    (example,) = task.encode([{"text": "the fox " * 20, "other": "lazy dog", "label": "up"}])
    a, b = task.prepare.cut(example)
    assert b is not None
    assert tokenizer.decode(b) == "lazy dog"
    assert len(a) + len(b) == 24 - 3
    assert a.tolist() == example.ids[: len(a)].tolist()


def test_shapes_are_the_papers(tokenizer: Tokenizer) -> None:
    s, vocab = tokenizer.specials, tokenizer.vocab_size
    for pair, told in ((None, [s.cls, "a", s.sep]), ("other", [s.cls, "a", s.sep, "b", s.sep])):
        task, _ = made("encoder", tokenizer, pair=pair)
        assert spelled(task, tokenizer) == told
    for pair, told in ((None, [s.bos, "a", s.cls]), ("other", [s.bos, "a", s.sep, "b", s.cls])):
        task, _ = made("decoder", tokenizer, pair=pair)
        assert spelled(task, tokenizer) == told
    with pytest.raises(ModeledgeError, match=r"E-POSITION.*25.*24"):
        shape_for(tokenizer, config("encoder", vocab), "class", 25)
    with pytest.raises(ModeledgeError, match=rf"E-VOCAB-SIZE.*{vocab} ids.*{vocab - 1} rows"):
        LabelTask(KINDS["class"], tokenizer, config("encoder", vocab - 1), length=24)


def spelled(task: LabelTask, tokenizer: Tokenizer) -> list[Any]:
    """The piece of texts `a` and `b`, its special tokens as ids, its texts as letters."""
    (example,) = task.encode([{"text": "a", "other": "b", "label": "up"}])
    known = {tokenizer.encode(letter).item(): letter for letter in "ab"}
    return [known.get(int(i), int(i)) for i in task.prepare.piece(example).ids]


def test_a_decoder_without_special_tokens_reads_its_end_of_text() -> None:
    ends = {"bos": "<|endoftext|>", "eos": "<|endoftext|>"}
    tokenizer = train_tokenizer(["the fox and the dog"] * 4, vocab_size=270, specials=ends)
    task, _ = made("decoder", tokenizer, pair="other")
    end = tokenizer.specials.eos
    assert spelled(task, tokenizer) == [end, "a", end, "b", end]
    shape = shape_for(tokenizer, config("encoder", tokenizer.vocab_size), "class", 24)  # GPT's vocabulary, made to read
    assert (shape.first, shape.between, shape.last) == (end, end, end)
    bare = train_tokenizer(["the fox and the dog"] * 4, vocab_size=270, specials={"eos": "<|endoftext|>"})
    with pytest.raises(ModeledgeError, match="E-SPECIAL-TOKEN"):
        shape_for(bare, config("encoder", bare.vocab_size), "class", 24)


def test_marks_of_classes_and_values(tokenizer: Tokenizer) -> None:
    """By counting; the answers come in another order than the examples."""
    task, _ = made("encoder", tokenizer)
    examples = task.encode(rows(6))  # 0 1 2 0 1 2
    told = [Answer(i, v) for i, v in zip(reversed(range(6)), [2, 1, 1, 2, 0, 0], strict=True)]  # 0 0 2 1 1 2
    marks = task.mark(told, examples)
    assert set(marks) == {"accuracy", "f1_macro", "matthews"}
    assert marks["accuracy"] == pytest.approx(4 / 6)
    two = LabelTask(Labels("class", ("0", "1")), tokenizer, config("encoder", tokenizer.vocab_size), length=24)
    data = [{"text": "a fox", "label": name} for name in "0011"]
    marks = two.mark([Answer(i, v) for i, v in enumerate((1, 0, 1, 0))], two.encode(data))
    assert (marks["f1"], marks["accuracy"]) == (0.5, 0.5)  # GLUE's MRPC and QQP: F1 of class 1
    value, _ = made("encoder", tokenizer, "value")
    data = [{"text": "a fox", "label": v} for v in (1.5, 2.5, 4.5)]
    marks = value.mark([Answer(2, 5.0), Answer(0, 1.0), Answer(1, 3.0)], value.encode(data))
    assert set(marks) == {"pearson", "spearman", "mean_squared_error"}
    assert marks["mean_squared_error"] == pytest.approx(0.25)
    assert marks["spearman"] == pytest.approx(1.0)
    assert marks["pearson"] == pytest.approx(np.corrcoef([1.0, 3.0, 5.0], [1.5, 2.5, 4.5])[0, 1])


def test_the_judge_marks_the_model_as_it_is_now(tokenizer: Tokenizer) -> None:
    task, model = made("decoder", tokenizer)
    examples = task.encode(rows(30))
    judge = judge_on(task, examples)
    right = {e.index: e.label for e in examples}
    for number in range(3):
        bias = model.heads["class"].get_parameter("output.bias")
        with torch.no_grad():
            bias.copy_(torch.eye(3)[number] * 1e4)  # the model answers this class alone
        assert judge(model)["accuracy"] == pytest.approx(np.mean([v == number for v in right.values()]))


def test_a_value_without_a_bias_is_measured_from_zero(tokenizer: Tokenizer) -> None:
    """Nothing in such a head could hold a mean: its unit is the root mean square of the labels."""
    shape, labels = config("decoder", tokenizer.vocab_size), Labels("value", center=3.0, scale=4.0)
    for bias, wanted in ((True, (3.0, 4.0)), (False, (0.0, 5.0))):
        task = LabelTask(labels, tokenizer, shape, length=24, own=ValueHead(pool="last", bias=bias))
        assert (task.objective.center, task.objective.scale) == wanted  # type: ignore[union-attr]
        model = Transformer(shape, seed=1)
        model.add_heads(task.objective.heads, Noise(1))
        examples = task.encode([{"text": row["text"]} for row in rows(4)], labelled=False)
        before = answers(task, model, examples)
        task.finish(model)
        assert [a.value for a in answers(task, model, examples)] == pytest.approx([a.value for a in before], abs=1e-5)
        assert (task.objective.center, task.objective.scale) == (0.0, 1.0)  # type: ignore[union-attr]
