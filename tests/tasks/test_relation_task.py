"""What relates two marked entities: markers, the places that are read, and what is refused."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.corpus.layouts import read_layout
from modeledge.errors import ModeledgeError
from modeledge.families import load_model, save_model
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import Shape, collate
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.seed import Noise
from modeledge.tasks import Answer, Asked, RelationTask, Score, answers
from modeledge.tasks.relate import UNUSED
from modeledge.tokens import Tokenizer, train_tokenizer

LENGTH = 40


@pytest.fixture(scope="module")
def plain() -> Tokenizer:
    return train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=330)


@pytest.fixture(scope="module")
def spare() -> Tokenizer:
    """A vocabulary with pieces that no text holds, as BERT's."""
    core = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, kind="wordpiece", vocab_size=80)
    tree = core._json().replace(
        '"vocab": {', '"vocab": {' + "".join(f'"{u}": {80 + n}, ' for n, u in enumerate(UNUSED))
    )
    import tokenizers

    return Tokenizer(tokenizers.Tokenizer.from_str(tree), core.names)


def config(vocab: int, side: str = "encoder", width: int = 8) -> TransformerConfig:
    heads, forward, position = Attention(heads=2), FeedForward(width=2 * width), Learned(length=LENGTH)
    stack = Stack(layers=2, attention=heads, feedforward=forward, position=position)
    types = 2 if side == "encoder" else 0
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab, types=types), init=0.2, **{side: stack})


def row(text: Any, head: Any, tail: Any, label: str = "a") -> dict[str, Any]:
    return {"text": text, "head": head, "tail": tail, "label": label}


FOX = row("the fox over the dog", [4, 7], [17, 20])
DOG = row("the fox over the dog", [17, 20], [4, 7], "b")


def made(tokenizer: Tokenizer, side: str = "encoder", data: Any = (FOX, DOG), **options: Any) -> RelationTask:
    asked = Asked(length=LENGTH, dropout=0.0, options=options)
    return RelationTask.made(data, tokenizer, config(tokenizer.vocab_size, side), asked, lambda line: None)


def spelled(task: RelationTask, example: Any) -> list[str]:
    return [task.tokenizer.token(int(id)).removeprefix("Ġ") for id in example.ids]


def test_entities_stand_between_markers(plain: Tokenizer, spare: Tokenizer) -> None:
    task = made(spare)
    assert task.markers == "unused"
    fox, dog = task.encode([FOX, DOG])
    told = ["the", "[unused1]", "fox", "[unused2]", "over", "the", "[unused3]", "dog", "[unused4]"]
    assert spelled(task, fox) == told
    assert spelled(task, dog) == [
        "the",
        "[unused3]",
        "fox",
        "[unused4]",
        "over",
        "the",
        "[unused1]",
        "dog",
        "[unused2]",
    ]
    assert fox.channels["marks"].tolist() == [1, 6]
    assert dog.channels["marks"].tolist() == [6, 1]  # of head and tail, whichever comes first
    signs = made(plain)
    assert signs.markers == "plain"
    (fox,) = signs.encode([FOX])
    assert plain.decode(fox.ids) == "the @ fox @ over the # dog #"  # the space before a word stays with it
    assert signs.tokenizer.vocab_size == plain.vocab_size  # nothing is added


def test_words_with_spans_of_words_are_the_same(plain: Tokenizer) -> None:
    task = made(plain)
    worded = row(["the", "fox", "over", "the", "dog"], [1, 2], {"start": 4, "end": 5})
    (one,), (other,) = task.encode([FOX]), task.encode([worded])
    assert one.ids.tolist() == other.ids.tolist()
    assert one.channels["marks"].tolist() == other.channels["marks"].tolist()


def test_the_answer_is_read_where_both_entities_open(spare: Tokenizer) -> None:
    """By hand: the states of both markers, behind each other, through the head; packing changes nothing."""
    task = made(spare)
    model = Transformer(config(spare.vocab_size), seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    data = [FOX, DOG, row("dog fox", [0, 3], [4, 7]), row("a fox the lazy lazy dog over", [2, 5], [20, 23], "b")] * 3
    examples = task.encode(data)
    told = answers(task, model, examples)
    assert [a.index for a in told] == list(range(12))
    for example, answer in zip(examples, told, strict=True):
        item = task.objective.prepare(example, Noise(0))
        ids = [spare.specials.cls, *example.ids.tolist(), spare.specials.sep]
        assert item.source.ids.tolist() == ids
        head, tail = ids.index(spare.id("[unused1]")), ids.index(spare.id("[unused3]"))
        with torch.no_grad():
            states = model(collate([item], Shape(LENGTH))).last[0]
            scores = model.heads["class"].output(torch.cat([states[head], states[tail]]))
        assert answer.probabilities == pytest.approx(torch.softmax(scores, -1).tolist(), abs=1e-5)
    assert len({answer.probabilities for answer in told[:4]}) == 4


@pytest.mark.parametrize(("side", "read"), [("encoder", "entities"), ("encoder", "pool"), ("decoder", None)])
def test_a_task_is_restored_beside_its_model(side: str, read: str | None, plain: Tokenizer, tmp_path: Path) -> None:
    task = made(plain, side, read=read)
    assert task.read == (read or "pool")
    model = Transformer(config(plain.vocab_size, side), seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    told = answers(task, model, task.encode([FOX, DOG]))
    assert task.shown(told[0]).keys() == set(task.answered)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    other = RelationTask.restored(task.described(), plain, again.config)
    assert other.described() == task.described()
    assert answers(other, again, other.encode([FOX, DOG], labelled=False)) == told
    assert task.mark(told, task.encode([FOX, DOG])).keys() == set(task.metrics)


def test_a_long_text_keeps_both_entities(plain: Tokenizer) -> None:
    task = made(plain)
    text = "lazy " * 60 + "the fox over the dog" + " lazy" * 60
    examples = task.encode([row(text, [304, 307], [317, 320]), row("fox " + "lazy " * 9 + "dog", [0, 3], [49, 52])])
    assert task.truncated(examples) == 1
    long = spelled(task, examples[0])
    assert len(long) == LENGTH - 2
    places = examples[0].channels["marks"].tolist()
    assert [long[p : p + 2] for p in places] == [["@", "fox"], ["#", "dog"]]
    before, behind = places[0], LENGTH - 2 - places[1] - 3
    assert abs(before - behind) <= 2  # as much before as behind
    with pytest.raises(ModeledgeError, match=r"E-TOO-LONG: row 1: both entities .* room for 38"):
        task.encode([row("fox " + "lazy " * 60 + "dog", [0, 3], [304, 307])])


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        ({"head": [4, 99]}, "E-SPAN", "20 characters"),
        ({"head": [7, 4]}, "E-SPAN", "[start, end]"),
        ({"tail": "dog"}, "E-SPAN", "[start, end]"),
        ({"tail": [5, 12]}, "E-SPAN", "overlap at character 5"),
        ({"head": [17, 20]}, "E-SPAN", "overlap"),
        ({"text": ["the", "fox"]}, "E-SPAN", "2 words"),
        ({"text": 3}, "E-FIELD-TYPE", "int"),
        ({"label": "c"}, "E-LABEL-UNKNOWN", "'c'"),
    ],
)
def test_a_bad_row_is_named(change: dict[str, Any], code: str, words: str, plain: Tokenizer) -> None:
    task = made(plain)
    with pytest.raises(ModeledgeError) as caught:
        task.encode([{**FOX, **change, "__where__": "x.jsonl:3"}])
    assert (caught.value.code, caught.value.where) == (code, "x.jsonl:3")
    assert words in str(caught.value)
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD.*'head'"):
        task.encode([{k: v for k, v in FOX.items() if k != "head"}])


def test_what_cannot_be_read_is_refused(plain: Tokenizer) -> None:
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE.*has not read"):
        made(plain, "decoder", read="entities")
    with pytest.raises(ModeledgeError, match=r"E-SPECIAL-TOKEN.*unused"):
        made(plain, markers="unused")
    for options in ({"markers": "typed"}, {"read": "entity"}):
        with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE"):
            made(plain, **options)


def test_a_relation_is_asked_for_by_name(plain: Tokenizer) -> None:
    task = made(plain)
    request = task.request(FOX)
    assert isinstance(request, Score)
    assert request.prompt.startswith("the fox over the dog\n")
    assert '"fox" to "dog"' in request.prompt
    assert request.choices == (" a", " b")
    answer = task.answer(3, request, np.log([0.2, 0.8]))
    assert (answer.index, answer.value) == (3, 1)
    assert answer.probabilities == pytest.approx((0.2, 0.8))


def test_no_relation_is_left_out_of_tacreds_mark(plain: Tokenizer) -> None:
    """Right about one of the two relations that are there, wrong about one that is not: F1 1/2, accuracy 3/5."""
    names = ("no_relation", "per:title", "org:top")
    task = made(plain, data=[{**FOX, "label": name} for name in names])
    assert task.labels.names == ("no_relation", "org:top", "per:title")
    assert task.metrics[0] == "relation_f1"
    gold = task.encode([{**FOX, "label": names[n]} for n in (0, 0, 0, 1, 2)])
    told = [Answer(n, task.labels.number(names[g], "")) for n, g in enumerate((0, 0, 2, 1, 0))]
    scores = task.mark(told, gold)
    assert (scores["relation_f1"], scores["accuracy"]) == (0.5, 0.6)
    late = made(plain, data=[{**FOX, "label": name} for name in ("no_relation", "a", "b")])  # not the first class
    assert late.labels.names.index("no_relation") == 2
    gold = late.encode([{**FOX, "label": name} for name in ("no_relation", "no_relation", "a", "b", "b")])
    told = [Answer(n, late.labels.number(name, "")) for n, name in enumerate(("no_relation", "b", "a", "b", "a"))]
    assert late.mark(told, gold)["relation_f1"] == pytest.approx(2 * 2 / (4 + 3))
    assert "relation_f1" not in made(plain).metrics


def test_a_file_as_tacred_writes_it(plain: Tokenizer, tmp_path: Path) -> None:
    """By spans of tokens, beside the text with markers that a plain classifier reads."""
    one = {"id": "1", "token": ["the", "fox", "over", "the", "dog"], "relation": "no_relation"}
    spans = {"subj_start": 1, "subj_end": 1, "obj_start": 3, "obj_end": 4}
    (tmp_path / "train.json").write_text(json.dumps([{**one, **spans}, {**one, **spans, "relation": "per:title"}]))
    rows = read_layout("tacred", tmp_path / "train.json")
    assert (rows[0]["head"], rows[0]["tail"]) == ([1, 2], [3, 5])
    asked = Asked({"text": "token", "label": "relation"}, length=LENGTH)
    task = RelationTask.made(rows, plain, config(plain.vocab_size, "encoder"), asked, lambda line: None)
    assert plain.decode(task.encode(rows)[0].ids) == "the @ fox @ over # the dog #"


def test_a_small_model_learns_a_relation(plain: Tokenizer, tmp_path: Path) -> None:
    """The same text has another label for other entities: only the markers tell which comes first."""
    lots = random.Random(2)

    def drawn() -> dict[str, Any]:
        words = lots.choices(["the", "fox", "dog", "lazy", "over"], k=8)
        head, tail = lots.sample(range(8), 2)
        return row(words, [head, head + 1], [tail, tail + 1], "before" if head < tail else "behind")

    data, held = [drawn() for _ in range(160)], [drawn() for _ in range(60)]
    shape = replace(config(plain.vocab_size, width=32), init=0.1)
    save_model(Transformer(shape, seed=3), tmp_path / "base")
    plain.save(tmp_path / "base")
    train = FinetuneTrain(batch=16, length=LENGTH, threads=1, precision="fp32", learning_rate=4e-3, warmup=0.1)
    recipe = FinetuneRecipe(
        model=str(tmp_path / "base"), data="rows", task="relation", epochs=4.0, dropout=0.0, train=train,
        allow_leak=True,
    )  # fmt: skip
    results = finetune(recipe, tmp_path / "run", rows=data, test_rows=held, say=lambda line: None)
    assert results["scores"]["accuracy"]["value"] > 0.95
    told = Model.load(tmp_path / "run").predict([{k: v for k, v in r.items() if k != "label"} for r in held])
    assert sum(t["prediction"] == r["label"] for t, r in zip(told, held, strict=True)) > 56
