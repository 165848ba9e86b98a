"""A tag for each word on an encoder and a decoder: rows in, and one answer a word whatever the rows are like."""

from __future__ import annotations

import gzip
import random
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from modeledge.errors import ModeledgeError
from modeledge.evaluate import ensemble
from modeledge.families import load_model, save_model
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import Shape, Step, collate
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.seed import Noise
from modeledge.tasks import TASKS, Answer, Asked, Generate, TagTask, answers, judge_on
from modeledge.tasks.schemes import SCHEMES, breaks
from modeledge.tasks.tagged import Tagged, mean_tagged
from modeledge.tasks.words import Words
from modeledge.tokens import Tokenizer, train_tokenizer

LENGTH = 24
SIDES = ("encoder", "decoder")
VOCABULARY = ["the", "fox", "dog", "lazy", "over", "Paris", "jumps", "fox's", "12.5"]
SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=280)


def config(side: str, vocab: int, *, length: int = LENGTH, width: int = 8, layers: int = 1) -> TransformerConfig:
    position = Learned(length=length)
    heads, forward = Attention(heads=2), FeedForward(width=2 * width)
    stack = Stack(layers=layers, attention=heads, feedforward=forward, position=position)
    types = 2 if side == "encoder" else 0
    return TransformerConfig(width=width, embed=Tokens(vocab=vocab, types=types), init=0.5, **{side: stack})


def rows(count: int, longest: int = 20) -> list[dict[str, Any]]:
    """Words in no order with BIO tags that keep to the scheme; some rows are longer than a window."""
    lots = random.Random(0)
    out = []
    for _ in range(count):
        tags: list[str] = []
        for _ in range(lots.randint(1, longest)):
            last = tags[-1] if tags else "O"
            going_on = [] if last == "O" else [f"I-{last[2:]}"]
            tags.append(lots.choice(["O", "O", "B-X", "B-Y", *going_on]))
        out.append({"tokens": lots.choices(VOCABULARY, k=len(tags)), "tags": tags})
    return out


def made(side: str, tokenizer: Tokenizer, data: Any = None, **options: Any) -> tuple[TagTask, Transformer]:
    shape = config(side, tokenizer.vocab_size)
    asked = Asked(length=LENGTH, dropout=0.0, options=options)
    task = TagTask.made(data or rows(30), tokenizer, shape, asked, lambda line: None)
    model = Transformer(shape, seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    return task, model


def code_of(*args: Any, **options: Any) -> ModeledgeError:
    with pytest.raises(ModeledgeError) as caught:
        made(*args, **options)
    return caught.value


# ---- the contract


@pytest.mark.parametrize("size", [1, 3, 256])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("decode", ["argmax", "viterbi", "crf"])
def test_one_answer_a_word_in_the_order_of_the_rows(decode: str, side: str, size: int, tokenizer: Tokenizer) -> None:
    """Packing, sorting and the size of a batch change no tag, and no confidence beyond rounding."""
    task, model = made(side, tokenizer, decode=decode)
    data = rows(20)
    examples = task.encode(data)
    assert [e.index for e in examples] == list(range(len(examples)))
    assert len(examples) > 20  # some rows are cut into windows
    told = answers(task, model, examples, size)
    assert [answer.index for answer in told] == list(range(20))
    assert [len(answer.value) for answer in told] == [len(row["tokens"]) for row in data]
    assert len({tag for answer in told for tag in answer.value}) > 2
    for number, answer in enumerate(told):
        (alone,) = answers(task, model, task.encode([data[number]]))
        assert alone.value == answer.value
        assert alone.details.confidences == pytest.approx(answer.details.confidences, abs=1e-5)
        assert task.shown(answer).keys() == set(task.answered)


@pytest.mark.parametrize("side", SIDES)
def test_a_word_is_scored_at_its_first_piece_in_its_window(side: str, tokenizer: Tokenizer) -> None:
    """By hand: the state of that piece of that window, alone in a row, through the head."""
    task, model = made(side, tokenizer)
    (row,) = rows(1, 200)[:1]
    row = {"tokens": row["tokens"] * 4, "tags": row["tags"] * 4}
    examples = task.encode([row])
    (answer,) = answers(task, model, examples)
    before = [] if task.objective.prepare.first is None else [task.objective.prepare.first]
    behind = [] if task.objective.prepare.last is None else [task.objective.prepare.last]
    text = " ".join(row["tokens"])
    ids, offsets = tokenizer.encode_spans(text)
    start, seen = 0, {}
    stride, room = (LENGTH - 2) // 4 if side == "encoder" else (LENGTH - 1) // 4, LENGTH - len(before) - len(behind)
    for first in range(0, max(len(ids) - stride, 1), room - stride):
        piece = [*before, *ids[first : first + room].tolist(), *behind]
        with torch.no_grad():
            side_of = "source" if side == "encoder" else "target"
            types = np.zeros(len(piece), dtype=np.int64) if side == "encoder" else None
            item = replace(task.objective.prepare(examples[0], Noise(0)), reads={}, labels={}, weights={})
            item = replace(item, **{side_of: type(getattr(item, side_of))(np.array(piece), types)})
            states = model(collate([item], Shape(LENGTH))).last[0]
            scores = model.heads["tags"](states)
        for place in range(len(piece) - len(before) - len(behind)):
            seen.setdefault(first + place, []).append((first, scores[len(before) + place]))
    for word, tag in zip(row["tokens"], answer.value, strict=True):
        place = next(n for n, (s, e) in enumerate(offsets.tolist()) if e > start and text[s:e].strip())
        told = [
            (min(place - f, min(f + room, len(ids)) - 1 - place) if side == "encoder" else place - f, -f, s)
            for f, s in seen[place]
        ]
        best = max(told, key=lambda t: t[:2])[2]
        assert tag == task.labels.names[int(best.argmax())]
        start += len(word) + 1


@pytest.mark.parametrize("decode", ["argmax", "viterbi", "crf"])
def test_a_task_is_restored_beside_its_model(decode: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    task, model = made("encoder", tokenizer, decode=decode, stride=3)
    examples = task.encode(rows(8))
    told = answers(task, model, examples)
    save_model(model, tmp_path / "m")
    again = load_model(tmp_path / "m")
    other = TagTask.restored(task.described(), tokenizer, again.config)
    assert other.described() == task.described()
    assert answers(other, again, other.encode(rows(8))) == told
    if decode == "crf":
        assert torch.equal(again.heads["chain"].steps, model.heads["chain"].steps)


def test_rows_without_tags_can_be_asked(tokenizer: Tokenizer) -> None:
    task, model = made("encoder", tokenizer)
    known = task.encode(rows(6))
    blind = task.encode([{"tokens": row["tokens"]} for row in rows(6)], labelled=False)
    assert all(e.label is None and "gold" not in e.channels for e in blind)
    assert answers(task, model, blind) == answers(task, model, known)
    with pytest.raises(ModeledgeError, match=r"E-LABEL-MISSING: row 1: there are no tags"):
        task.encode([{"tokens": ["the"]}])


def test_marks(tokenizer: Tokenizer) -> None:
    """Over words, by counting; lists of tags for spans; answers in another order than the rows."""
    task, _ = made("encoder", tokenizer)
    data = [{"tokens": ["the", "fox"], "tags": ["B-X", "I-X"]}, {"tokens": ["dog"], "tags": ["O"]}]
    examples = task.encode(data)
    told = [Answer(1, ("O",)), Answer(0, ("B-X", "O"))]
    gold = task.rows_of(examples)
    assert task.mark(told, examples)["accuracy"] == pytest.approx(2 / 3)
    assert task.sides("entity_f1", told, gold) == ([["B-X", "O"], ["O"]], [["B-X", "I-X"], ["O"]])
    assert "entity_f1" in task.metrics
    model = made("encoder", tokenizer)[1]
    with torch.no_grad():
        model.heads["tags"].output.bias.copy_(torch.eye(5)[task.labels.names.index("O")] * 1e4)
    assert judge_on(task, examples)(model)["accuracy"] == pytest.approx(1 / 3)


def test_answers_go_back_to_characters(tokenizer: Tokenizer) -> None:
    task, model = made("encoder", tokenizer)
    examples = task.encode([{"tokens": ["the", "lazy", "fox", "dog"], "tags": ["O"] * 4}])
    (answer,) = answers(task, model, examples)
    sure = replace(answer.details, confidences=(0.9, 0.8, 0.7, 0.6))
    told = task.shown(replace(answer, value=("O", "B-X", "I-X", "B-Y"), details=sure))
    assert told["prediction"] == ["O", "B-X", "I-X", "B-Y"]
    assert told["spans"] == [
        {"text": "lazy fox", "start": 4, "end": 12, "label": "X", "confidence": 0.7},
        {"text": "dog", "start": 13, "end": 16, "label": "Y", "confidence": 0.6},
    ]
    assert told["unread"] == 0


# ---- words and windows


@pytest.mark.parametrize("side", SIDES)
def test_a_word_without_a_piece_shifts_no_other(side: str, tmp_path: Path) -> None:
    """BERT's normalizer removes control characters: such a word is "O", counted, and said."""
    core = train_tokenizer(["the fox and the dog"] * 4, kind="wordpiece", vocab_size=60)
    (core._core.normalizer, core._encoder.normalizer) = (cleaning(), cleaning())
    data = [{"tokens": ["the", "\x01", "fox", "dog"], "tags": ["O", "B-X", "B-Y", "O"]}, *rows(4)]
    said: list[str] = []
    shape = config(side, core.vocab_size)
    task = TagTask.made(data, core, shape, Asked(length=LENGTH), said.append)
    assert any("1 words in 1 rows have no piece (first: row 1)" in line for line in said)
    model = Transformer(shape, seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    (example,) = task.encode(data[:1])
    numbers = [task.labels.names.index(tag) for tag in ("O", "B-Y", "O")]
    assert list(example.label) == numbers
    with torch.no_grad():
        model.heads["tags"].output.bias.copy_(torch.eye(5)[task.labels.names.index("B-X")] * 1e4)
    (answer,) = answers(task, model, [example])
    assert answer.value == ("B-X", "O", "B-X", "B-X")
    assert answer.details.confidences[1] == 0.0
    assert task.shown(answer)["unread"] == 1
    (nothing,) = task.encode([{"tokens": ["\x01"], "tags": ["O"]}])  # a row of nothing to read is answered too
    assert answers(task, model, [nothing])[0].value == ("O",)
    Step(model, task.objective)(collate([task.objective.prepare(nothing, Noise(0))], Shape(LENGTH)), Noise(0))


def test_a_lost_word_is_outside_for_its_neighbours_too() -> None:
    """No span goes over an unread word; and where "O" is no tag, the answer is "O" all the same."""
    core = train_tokenizer(["the fox and the dog"] * 4, kind="wordpiece", vocab_size=60)
    (core._core.normalizer, core._encoder.normalizer) = (cleaning(), cleaning())
    words = ["the", "\x01", "fox"]
    for decode, tags in (("viterbi", ["B-X", "I-X", "O"]), ("argmax", ["DET", "X", "NOUN"])):
        data = [{"tokens": ["the", "fox", "dog"], "tags": tags}]
        task, model = made("encoder", core, data, decode=decode)
        with torch.no_grad():
            model.heads["tags"].output.bias.copy_(torch.tensor([1e3, 2e3, 0.0]))  # B-X < I-X; DET < NOUN
        (answer,) = answers(task, model, task.encode([{"tokens": words}], labelled=False))
        told = ("B-X", "O", "B-X") if decode == "viterbi" else ("NOUN", "O", "NOUN")
        assert answer.value == told


def test_windows_know_where_their_sentence_begins_and_ends(tokenizer: Tokenizer) -> None:
    task, _ = made("encoder", tokenizer, decode="crf")
    examples = task.encode([{"tokens": ["fox", "dog"] * 20, "tags": ["O"] * 40}, {"tokens": ["fox"], "tags": ["O"]}])
    ends = [int(e.channels["ends"][0]) for e in examples]
    assert len(ends) > 4
    assert ends == [1, *[0] * (len(ends) - 3), 2, 3]


def cleaning() -> Any:
    import tokenizers

    return tokenizers.normalizers.BertNormalizer(lowercase=False)


def test_without_an_o_a_lost_word_is_marked_wrong(tokenizer: Tokenizer) -> None:
    data = [{"tokens": ["the", "fox"], "tags": ["DET", "NOUN"]}]
    task, _ = made("encoder", tokenizer, data)
    assert task.scheme is None
    (example,) = task.encode(data)
    assert task.mark([Answer(0, ("O", "NOUN"))], [example]) == {"accuracy": 0.5}


def test_viterbi_is_decoded_over_the_joined_windows(tokenizer: Tokenizer) -> None:
    """A span may go on from one window to the next, and no step between windows is illegal."""
    from modeledge.tasks.schemes import SCHEMES, breaks

    task, model = made("encoder", tokenizer, decode="viterbi")
    plain, _ = made("encoder", tokenizer)
    examples = task.encode(rows(40, 60))
    told, other = answers(task, model, examples), answers(plain, model, examples)
    assert all(breaks(SCHEMES["bio"], answer.value) == [] for answer in told)
    assert sum(breaks(SCHEMES["bio"], answer.value) != [] for answer in other) > 10


def test_special_tokens_in_words_are_plain_text(tokenizer: Tokenizer) -> None:
    task, _ = made("encoder", tokenizer)
    marks = [tokenizer.names[role] for role in ("mask", "sep", "cls")]
    (example,) = task.encode([{"tokens": marks, "tags": ["O"] * 3}])
    assert not set(example.ids.tolist()) & set(tokenizer.specials.ids())
    assert len(example.label) == 3


@pytest.mark.parametrize("side", SIDES)
def test_the_shape_of_a_row(side: str, tokenizer: Tokenizer) -> None:
    task, _ = made(side, tokenizer)
    (example,) = task.encode([{"tokens": ["the", "fox"], "tags": ["O", "B-X"]}])
    item = task.objective.prepare(example, Noise(0))
    piece = item.source if side == "encoder" else item.target
    s = tokenizer.specials
    ends = ([s.cls], [s.sep]) if side == "encoder" else ([s.bos], [])
    assert piece.ids.tolist() == [*ends[0], *tokenizer.encode("the fox").tolist(), *ends[1]]
    first, second = item.reads["tags"].tolist()
    assert (first, tokenizer.decode(piece.ids[second : second + 1]).strip()[:1]) == (1, "f")


def test_a_decoder_says_that_it_reads_left_to_right(tokenizer: Tokenizer) -> None:
    said: list[str] = []
    for side in SIDES:
        TagTask.made(rows(5), tokenizer, config(side, tokenizer.vocab_size), Asked(length=LENGTH), said.append)
    assert sum("left to right" in line for line in said) == 1


def test_an_encoder_decoder_is_refused(tokenizer: Tokenizer) -> None:
    shape = config("encoder", tokenizer.vocab_size)
    both = replace(shape, decoder=config("decoder", 9).decoder)
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*an encoder or a decoder alone"):
        TagTask.made(rows(5), tokenizer, both, Asked(length=LENGTH), lambda line: None)


# ---- bad input


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        ({"tokens": ["a", "b"], "tags": ["O"]}, "E-LENGTH-MISMATCH", "2 words stand against 1 tags"),
        ({"tokens": ["a", " "], "tags": ["O", "O"]}, "E-MISSING-FIELD", "word 2 is empty"),
        ({"tokens": [], "tags": []}, "E-MISSING-FIELD", "no word"),
        ({"tokens": "a b", "tags": ["O", "O"]}, "E-FIELD-TYPE", "not a list"),
        ({"tokens": ["a", 3], "tags": ["O", "O"]}, "E-FIELD-TYPE", "item 2"),
        ({"tokens": ["a"], "tags": [3]}, "E-FIELD-TYPE", "int"),
        ({"tokens": ["a"], "tags": [None]}, "E-LABEL-MISSING", "word 1 has no tag"),
        ({"tokens": ["a"]}, "E-LABEL-MISSING", "no tags"),
        ({"words": ["a"], "tags": ["O"]}, "E-MISSING-FIELD", "'tokens'"),
        ({"tokens": ["a"], "tags": ["b-x"]}, "E-LABEL-UNKNOWN", "'B-X'"),
        ({"tokens": ["a"], "tags": ["B-X "]}, "E-LABEL-UNKNOWN", "'B-X'"),
    ],
)
def test_a_bad_row_is_named(row: dict[str, Any], code: str, words: str, tokenizer: Tokenizer) -> None:
    task, _ = made("encoder", tokenizer)
    with pytest.raises(ModeledgeError) as caught:
        task.encode([*rows(1), {**row, "__where__": "x.jsonl:3"}])
    assert caught.value.code == code
    assert caught.value.where.startswith("x.jsonl:3")
    assert words in str(caught.value)


def test_a_tag_that_training_never_shows_is_refused(tokenizer: Tokenizer) -> None:
    task, _ = made("encoder", tokenizer)
    data = rows(10)
    task.check(data, data, apart=True)
    task.check(data, [{"tokens": ["a"], "tags": ["b-x"]}], apart=True)  # a slip: `encode` names its row
    with pytest.raises(ModeledgeError, match=r"E-CLASS-UNSEEN: 1 classes .* I-Z"):
        task.check(data, [{"tokens": ["a"], "tags": ["I-Z"]}], apart=False)
    assert code_of("encoder", tokenizer, [{"tokens": ["a"], "tags": ["O"]}]).code == "E-ONE-CLASS"


def test_tags_that_break_their_scheme_are_said_or_refused(tokenizer: Tokenizer) -> None:
    """Case 66: an I behind an O. Said where nothing depends on it, refused where the scheme is asked for or used."""
    data = [*rows(3), {"tokens": ["a", "b", "c"], "tags": ["O", "I-X", "B-Y"]}]
    said: list[str] = []
    shape = config("encoder", tokenizer.vocab_size)
    task = TagTask.made(data, tokenizer, shape, Asked(length=LENGTH), said.append)
    assert task.scheme is not None
    assert any(line.startswith("row 4, word 2: 1 tags may not") and "first: O I-X" in line for line in said)
    assert not any("may not" in line for line in said_by(rows(3), tokenizer))
    for options in ({"scheme": "bio"}, {"decode": "viterbi"}, {"decode": "crf"}):
        error = code_of("encoder", tokenizer, data, **options)
        assert (error.code, error.where) == ("E-TAG-SCHEME", "row 4, word 2")
    free, _ = made("encoder", tokenizer, data, scheme="none", decode="crf")
    assert free.scheme is free.legal is None
    mixed = [{"tokens": ["a", "b"], "tags": ["B-X", "MISC"]}]
    assert code_of("encoder", tokenizer, mixed).code == "E-TAG-SCHEME"
    assert code_of("encoder", tokenizer, scheme="bioes").code == "E-CONFIG-VALUE"


def said_by(data: Any, tokenizer: Tokenizer) -> list[str]:
    said: list[str] = []
    TagTask.made(data, tokenizer, config("encoder", tokenizer.vocab_size), Asked(length=LENGTH), said.append)
    return said


def test_options_are_checked(tokenizer: Tokenizer) -> None:
    words = [{"tokens": ["a", "b"], "tags": ["DET", "NOUN"]}]
    assert "'viterbi'" in str(code_of("encoder", tokenizer, decode="viterby"))
    assert code_of("encoder", tokenizer, words, decode="viterbi").code == "E-CONFIG-VALUE"
    assert code_of("encoder", tokenizer, stride=LENGTH).where == "options.stride"
    assert code_of("encoder", tokenizer, pool="first").code == "E-CONFIG-KEY"
    assert code_of("encoder", tokenizer, decode="crf", smoothing=0.1).code == "E-CONFIG"


# ---- the prompted way


def test_entities_are_asked_for_in_words(tokenizer: Tokenizer) -> None:
    task, _ = made("encoder", tokenizer)
    row = {"tokens": ["Anna", "saw", "New", "York", "and", "Anna"], "tags": ["O"] * 6}
    request = task.request(row)
    assert isinstance(request, Generate)
    assert "Anna saw New York and Anna" in request.prompt
    assert "Types: X, Y" in request.prompt

    def told(text: str) -> tuple[str, ...]:
        return task.answer(7, request, text).value

    assert told("X: Anna\nY: New York") == ("B-X", "O", "B-Y", "I-Y", "O", "O")
    assert told("X: Anna\nX: Anna") == ("B-X", "O", "O", "O", "O", "B-X")
    answer = task.answer(7, request, "X: Ann\nZ: saw\nsaw\nX: york\nX: Anna\nX: Anna\nX: Anna\nx: saw\nY:and\n X: \n")
    assert answer.value == ("B-X", "O", "O", "O", "O", "B-X")
    assert (answer.index, answer.details.unparsed) == (7, 8)
    assert told("none") == told("") == ("O",) * 6
    assert task.answer(0, request, "none").details.unparsed == 0
    assert task.shown(answer)["spans"][1] == {"text": "Anna", "start": 22, "end": 26, "label": "X", "confidence": None}


def test_parts_of_speech_are_asked_for_word_by_word(tokenizer: Tokenizer) -> None:
    data = [{"tokens": ["the", "dog", "the"], "tags": ["DET", "NOUN", "DET"]}]
    task, _ = made("encoder", tokenizer, data)
    request = task.request(data[0])
    answer = task.answer(0, request, "DET: the\nNOUN: dog\nDET: the")
    assert answer.value == ("DET", "NOUN", "DET")
    assert task.mark([answer], task.encode(data)) == {"accuracy": 1.0}
    assert task.answer(0, request, "NOUN: dog\nVERB: the").value == ("O", "NOUN", "O")


# ---- learning


def toy(count: int, seed: int) -> list[dict[str, Any]]:
    """A word is "X" where its neighbour on the left is "the", a run of "lazy" is a span."""
    lots = random.Random(seed)
    out = []
    for _ in range(count):
        words = lots.choices(["the", "fox", "dog", "lazy"], k=lots.randint(2, 9))
        tags = []
        for n, word in enumerate(words):
            last = words[n - 1] if n else ""
            place = ("I-L" if last == "lazy" else "B-L") if word == "lazy" else "O"
            tags.append("B-X" if word == "dog" and last == "the" else place)
        out.append({"tokens": words, "tags": tags})
    return out


@pytest.mark.parametrize(("side", "decode"), [("encoder", "argmax"), ("decoder", "viterbi"), ("encoder", "crf")])
def test_a_small_model_learns_tags_and_keeps_them(side: str, decode: str, tmp_path: Path) -> None:
    """Two layers of width 32, the whole recipe: rows in, marks, a saved model that answers the same."""
    tokenizer = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, vocab_size=330)
    shape = replace(config(side, tokenizer.vocab_size, length=32, width=32, layers=2), init=0.1)
    save_model(Transformer(shape, seed=3), tmp_path / "base")
    tokenizer.save(tmp_path / "base")
    numbers = FinetuneTrain(batch=16, length=32, threads=1, precision="fp32", learning_rate=5e-3, warmup=0.1)
    options = {"decode": decode}
    recipe = FinetuneRecipe(
        model=str(tmp_path / "base"),
        data="rows",
        task="tag",
        options=options,
        epochs=6.0,
        dropout=0.0,
        train=numbers,
        allow_leak=True,
    )
    held = toy(40, 9)
    quiet: dict[str, Any] = {"rows": toy(250, 1), "test_rows": held, "say": lambda line: None}
    results = finetune(recipe, tmp_path / "run", **quiet)
    assert results["scores"]["accuracy"]["value"] > 0.97
    model = Model.load(tmp_path / "run")
    told = model.predict(held, keep=True)
    assert [row["tags"] for row in told] == [row["tags"] for row in held]
    right = sum(a == b for row in told for a, b in zip(row["prediction"], row["tags"], strict=True))
    count = results["scores"]["accuracy"]["n"]
    assert right / count == pytest.approx(results["scores"]["accuracy"]["value"])
    assert count == sum(len(row["tokens"]) for row in held)


def test_the_loss_is_the_reference_librarys(tmp_path: Path) -> None:
    """BertForTokenClassification in training mode without dropout, −100 on all but first pieces: loss and gradients.

    float64, so 1e-10; its own tokenizer splits the words (`is_split_into_words`)."""
    transformers = pytest.importorskip("transformers")
    core = train_tokenizer(["the quick brown fox jumps over the lazy dog"] * 4, kind="wordpiece", vocab_size=80)
    theirs_config = transformers.BertConfig(
        vocab_size=core.vocab_size, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=LENGTH, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, num_labels=5,
        initializer_range=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    theirs = transformers.BertForTokenClassification(theirs_config).double().train()
    theirs.save_pretrained(tmp_path)
    model = load_model(tmp_path)
    data = rows(12, 5)
    task = TagTask.made(rows(40), core, model.config, Asked(length=LENGTH, dropout=0.0), lambda line: None)
    step = Step(model, task.objective).double().train()
    model.compute = torch.float64
    examples = task.encode(data)
    batch = collate([task.objective.prepare(e, Noise(0)) for e in examples], Shape(LENGTH))
    value = step(batch, Noise(0)).value(step.objective.weights(batch))
    value.backward()
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=core._core)
    cls, sep = core.need("cls"), core.need("sep")
    ids = torch.zeros(len(data), LENGTH, dtype=torch.long)
    labels, mask = torch.full_like(ids, -100), torch.zeros_like(ids)
    for n, row in enumerate(data):
        coded = fast(row["tokens"], is_split_into_words=True, add_special_tokens=False)
        words = [None, *coded.word_ids(), None]
        ids[n, : len(words)] = torch.tensor([cls, *coded["input_ids"], sep])
        mask[n, : len(words)] = 1
        for place, word in enumerate(words):
            if word is not None and word not in words[:place]:
                labels[n, place] = task.labels.names.index(row["tags"][word])
    assert int((labels >= 0).sum()) == len(batch.labels["tags"]) < int(mask.sum()) - 2 * len(data)
    told = theirs(input_ids=ids, attention_mask=mask, labels=labels).loss
    told.backward()
    assert float(value.detach()) == pytest.approx(float(told.detach()), rel=1e-10)
    ours = model.heads["tags"].output.weight.grad
    assert torch.allclose(ours, theirs.classifier.weight.grad, rtol=1e-8, atol=1e-12)
    table = theirs.bert.embeddings.word_embeddings.weight.grad
    table[0] = model.table.grad[0]  # their padding row has no gradient by rule; ours has no padding
    assert torch.allclose(model.table.grad, table, rtol=1e-8, atol=1e-12)


def test_a_plain_head_is_saved_in_the_reference_form(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    core = train_tokenizer(["the quick brown fox"] * 4, kind="wordpiece", vocab_size=60)
    theirs = transformers.BertModel(
        transformers.BertConfig(
            vocab_size=core.vocab_size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
            intermediate_size=32, max_position_embeddings=LENGTH,
        )
    )  # fmt: skip
    for decode, named in (("argmax", "bert"), ("crf", "modeledge")):
        theirs.save_pretrained(tmp_path / "base")
        model = load_model(tmp_path / "base")
        asked = Asked(length=LENGTH, options={"decode": decode})
        task = TagTask.made(rows(30), core, model.config, asked, lambda line: None)
        for name in list(model.heads):
            del model.heads[name]
        model.add_heads(task.objective.heads, Noise(0))
        save_model(model, tmp_path / decode)
        again = load_model(tmp_path / decode)
        assert set(again.heads) == set(task.objective.heads)
        assert all(torch.equal(p, dict(again.named_parameters())[n]) for n, p in model.heads.named_parameters("heads"))
        said = (tmp_path / decode / "config.json").read_text()
        assert f'"{named}"' in said
    loaded = transformers.AutoModelForTokenClassification.from_pretrained(tmp_path / "argmax")
    assert loaded.classifier.weight.shape[0] == 5


# ---- real data


def sentences(path: Path) -> list[dict[str, Any]]:
    """The words and universal tags of a CoNLL-U file; ranges (2-3) and empty words (8.1) are no words."""
    out: list[dict[str, Any]] = []
    words: list[tuple[str, str]] = []
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        fields = line.rstrip("\n").split("\t")
        if fields[0].isdecimal():
            words.append((fields[1], fields[3]))
        elif not line.strip() and words:
            out.append({"tokens": [w for w, _ in words], "tags": [t for _, t in words]})
            words = []
    return out


@pytest.mark.shared_data
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama2"])
def test_no_word_of_a_treebank_is_lost(name: str) -> None:
    if not SHARED.is_dir():
        pytest.skip("the data folder beside the checkout is missing")
    files = {"bert": "bert-base-uncased-vocab.txt", "gpt2": "gpt2_tokenizer.json", "llama2": "llama2-tokenizer.model"}
    core = Tokenizer.load(SHARED / "tokenizers" / files[name])
    data = sentences(SHARED / "ud_ewt" / "dev.conllu.gz")
    side = "encoder" if name == "bert" else "decoder"
    task = TagTask.made(data, core, config(side, core.vocab_size, length=64), Asked(length=64), lambda line: None)
    examples = task.encode(data)
    assert sum(len(e.label) for e in examples) == sum(len(row["tags"]) for row in data) == 25147
    for example in examples:
        words = [data[example.row]["tokens"][n] for n in example.channels["words"]]
        for word, place in zip(words, example.channels["reads"], strict=True):
            piece = bare(core.decode(example.ids[place : place + 1]).removeprefix("##"))
            assert "\ufffd" in piece or piece == "[unk]" or bare(word).startswith(piece) or piece.startswith(bare(word))


def bare(text: str) -> str:
    """Small letters without accents."""
    marked = unicodedata.normalize("NFD", text.strip().lower())
    return "".join(char for char in marked if unicodedata.category(char) != "Mn")


def test_the_row_of_the_table() -> None:
    assert TASKS["tag"] is TagTask
    assert TagTask.card == "token-classification"


# ---- several models made one


def tagged_by(
    models: list[Any], tokenizer: Tokenizer, data: list[dict[str, Any]], decode: str
) -> tuple[Any, list[Any]]:
    task, _ = made("encoder", tokenizer, data, decode=decode)
    examples = task.encode(data)
    told = []
    for seed in models:
        model = Transformer(config("encoder", tokenizer.vocab_size), seed=seed)
        model.add_heads(task.objective.heads, Noise(seed))
        told.append(answers(task, model, examples))
    return task, told


@pytest.mark.parametrize("decode", ["argmax", "viterbi", "crf"])
def test_an_ensemble_of_taggers_is_the_mean_of_each_word_s_shares(decode: str, tokenizer: Tokenizer) -> None:
    data = rows(30)
    task, told = tagged_by([1, 2, 3], tokenizer, data, decode)
    joined = ensemble(task, told)
    assert [a.index for a in joined] == list(range(30))
    moved = 0
    for row, one in enumerate(joined):
        mean = np.mean([t[row].details.shares for t in told], axis=0)
        assert one.details.shares == pytest.approx(mean)
        assert len(one.value) == len(data[row]["tokens"])
        if decode == "argmax":
            assert one.value == tuple(task.labels.names[n] for n in mean.argmax(-1))
        else:
            assert not breaks(SCHEMES["bio"], one.value)
        moved += one.value != told[0][row].value
        assert task.shown(one).keys() == set(task.answered)
    assert moved > 0
    assert ensemble(task, told[:1]) == told[0]


def test_a_word_is_averaged_over_the_models_that_could_read_it(tokenizer: Tokenizer) -> None:
    words = Words.joined(["a", "b"])
    one = Tagged(words, shares=np.array([[0.2, 0.8], [0.0, 0.0]]))
    two = Tagged(words, shares=np.array([[0.6, 0.4], [0.0, 0.0]]))
    three = Tagged(words, shares=np.array([[0.0, 0.0], [0.5, 0.5]]))
    read, shares = mean_tagged([one, two, three])
    assert read == words
    assert shares == pytest.approx(np.array([[0.4, 0.6], [0.5, 0.5]]))
    task, _ = made("encoder", tokenizer)
    size = len(task.labels.names)
    (silent,) = ensemble(task, [[Answer(0, ("O",), (), Tagged(Words.joined(["a"]), shares=np.zeros((1, size))))]] * 2)
    assert silent.value == ("O",)
    assert silent.details.unread == 1


def test_taggers_of_other_words_or_of_none_make_no_ensemble(tokenizer: Tokenizer) -> None:
    task, told = tagged_by([1, 2], tokenizer, rows(1), "argmax")
    other = replace(told[1][0].details, words=Words.joined(["strange"] * len(told[1][0].value)))
    with pytest.raises(ModeledgeError, match=r"E-LENGTH-MISMATCH.*strange"):
        ensemble(task, [told[0], [replace(told[1][0], details=other)]])
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*wrote their tags"):
        ensemble(task, [told[0], [replace(told[1][0], details=replace(other, shares=None))]])
