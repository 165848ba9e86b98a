"""Questions whose answers are pieces of a text: windows in, texts out, to the letter."""

from __future__ import annotations

import gzip
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import modeledge.tasks.extract as module
from modeledge.errors import ModeledgeError
from modeledge.evaluate import squad_files
from modeledge.families import save_model
from modeledge.model import Attention, FeedForward, Learned, Norm, Stack, Tokens, Transformer, TransformerConfig
from modeledge.objectives import NOT_HERE, UNKNOWN, Shape, Step, collate, prepared
from modeledge.recipes.asking.use import Model
from modeledge.recipes.recipe import FinetuneRecipe, FinetuneTrain
from modeledge.recipes.tuning.finetune import finetune
from modeledge.recipes.tuning.rows import split_rows
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tasks import Answer, Asked, ExtractTask, Generate, answers
from modeledge.tokens import Tokenizer, train_tokenizer

WORDS = "the quick brown fox jumps over lazy dogs while rain falls on green hills and old stone walls".split()  # noqa: SIM905
SIDES = ("encoder", "decoder")


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer([" ".join(WORDS), "Where? Who? 🙂 é"] * 4, vocab_size=330)


@pytest.fixture(scope="module")
def pieces() -> Tokenizer:
    return train_tokenizer([" ".join(WORDS), "Where is it? Who?"] * 4, kind="wordpiece", vocab_size=300)


def config(side: str, vocab: int, positions: int = 64, layers: int = 1, width: int = 8) -> TransformerConfig:
    stack = Stack(
        layers=layers,
        attention=Attention(heads=2),
        feedforward=FeedForward(width=4 * width),
        norm=Norm(place="post"),
        position=Learned(length=positions),
    )
    embed = Tokens(vocab=vocab, types=2 if side == "encoder" else 0, norm=True)
    return TransformerConfig(width=width, embed=embed, init=0.5, **{side: stack})


def made(
    tokenizer: Tokenizer, data: list[dict[str, Any]], side: str = "encoder", length: int = 32, **options: Any
) -> tuple[ExtractTask, Transformer, list[str]]:
    shape, said = config(side, tokenizer.vocab_size), list[str]()
    asked = Asked(length=length, options={"stride": 8, **options})
    task = ExtractTask.made(data, tokenizer, shape, asked, said.append)
    model = Transformer(shape, seed=1)
    model.add_heads(task.objective.heads, Noise(1))
    return task, model, said


def rows(count: int, seed: int = 0, none: float = 0.0) -> list[dict[str, Any]]:
    """Texts of lengths in no order, many longer than a row; answers of one to three words."""
    lots, out = random.Random(seed), []
    for number in range(count):
        words = lots.choices(WORDS, k=lots.randint(4, 40))
        first = lots.randrange(len(words) - 3)
        text = " ".join(words[first : first + lots.randint(1, 3)])
        start = len(" ".join(words[:first])) + (1 if first else 0)
        missing = lots.random() < none
        given = {"text": [] if missing else [text, text], "answer_start": [] if missing else [start, start]}
        question = " ".join(lots.choices(WORDS, k=lots.randint(1, 6))) + "?"
        row = {"id": f"q{number}", "question": question, "context": " ".join(words), "answers": given}
        out.append({**row, "is_impossible": missing})
    return out


# ---- the contract


@pytest.mark.parametrize("size", [1, 3, 256])
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("none", [0.0, 0.4])
def test_packed_answers_are_those_of_windows_one_by_one(
    side: str, none: float, size: int, tokenizer: Tokenizer
) -> None:
    """One answer a row, in the order asked; packing and the size of a batch change nothing beyond rounding."""
    task, model, _ = made(tokenizer, rows(20, none=none), side)
    examples = task.encode(rows(20, none=none))
    assert len(examples) > 30
    random.Random(5).shuffle(examples)
    told = answers(task, model, examples, size)
    model.eval()
    single = [collate([task.prepare(e, Noise(0))], Shape(32)) for e in examples]
    alone = task.settle([task.predict(model, batch)[0] for batch in single], examples)
    order = list(dict.fromkeys(e.row for e in examples))
    assert [a.index for a in told] == [a.index for a in alone] == order
    assert len({a.value for a in told}) > 8
    for answer, other in zip(told, alone, strict=True):
        assert answer.value == other.value
        ours, theirs = answer.details.best, other.details.best
        assert ours.place == theirs.place
        assert [ours.share, ours.null, ours.margin] == pytest.approx(
            [theirs.share, theirs.null, theirs.margin], abs=1e-4
        )


@pytest.mark.parametrize("side", SIDES)
def test_answers_are_pieces_of_their_text(side: str, tokenizer: Tokenizer) -> None:
    data = rows(15)
    task, model, _ = made(tokenizer, data, side)
    for row, answer in zip(data, answers(task, model, task.encode(data)), strict=True):
        shown = task.shown(answer)
        assert tuple(shown) == task.answered
        assert row["context"][shown["start"] : shown["end"]] == shown["prediction"] == answer.value
        assert answer.value.strip() == answer.value != ""
        assert 0 < shown["confidence"] <= 1


@pytest.mark.parametrize("side", SIDES)
def test_shapes_are_the_papers(side: str, tokenizer: Tokenizer) -> None:
    """[CLS] question [SEP] window [SEP] with types 0 and 1; a decoder begins with its own first token."""
    data = [{"question": "the fox?", "context": "rain falls on hills", "answers": ["falls"]}]
    task, _, _ = made(tokenizer, data, side)
    (example,) = task.encode(data)
    item = prepared(task.objective, example, Noise(0))
    piece = item.source if side == "encoder" else item.target
    assert piece is not None
    q, c, s = (
        tokenizer.encode("the fox?").tolist(),
        tokenizer.encode("rain falls on hills").tolist(),
        tokenizer.specials,
    )
    begin, last = (s.cls, s.sep) if side == "encoder" else (s.bos, s.cls)
    assert piece.ids.tolist() == [begin, *q, s.sep, *c, last]
    if side == "encoder":
        assert piece.types is not None
        assert piece.types.tolist() == [0] * (len(q) + 2) + [1] * (len(c) + 1)
    first, end = item.labels["span"][0]
    assert tokenizer.decode(piece.ids[first : end + 1]).strip() == "falls"


def test_every_window_is_labelled_with_the_answer_it_holds(tokenizer: Tokenizer) -> None:
    data = rows(40)
    task, _, _ = made(tokenizer, data)
    examples = task.encode(data)
    assert [e.index for e in examples] == list(range(len(examples)))
    for number, row in enumerate(data):
        mine, text = [e for e in examples if e.row == number], row["answers"]["text"][0]
        start = row["answers"]["answer_start"][0]
        assert any(e.label not in (NOT_HERE, UNKNOWN) for e in mine)
        for e in mine:
            ids, offsets = task.prepare.shape.piece(e).ids, e.channels["offsets"]
            assert len(ids) <= 32
            inside = bool(len(offsets)) and offsets[0, 0] <= start and start + len(text) <= offsets[-1, 1]
            assert (e.label != NOT_HERE) == inside
            if inside:
                assert tokenizer.decode(ids[e.label[0] : e.label[1] + 1]).strip() == text
    covered = np.concatenate([e.channels["offsets"] for e in examples if e.row == 3])
    assert sorted({tuple(o) for o in covered.tolist()})[-1][1] == len(data[3]["context"])


def test_a_described_task_is_restored(tokenizer: Tokenizer) -> None:
    data = rows(12, none=0.3)
    task, model, _ = made(tokenizer, data, null_threshold=0.25, max_answer=4)
    said = json.loads(json.dumps(task.described()))
    other = ExtractTask.restored(said, tokenizer, model.config)
    assert other.described() == task.described()
    told, again = (answers(t, model, t.encode(data)) for t in (task, other))
    assert [a.value for a in told] == [a.value for a in again]
    blind = [{k: v for k, v in row.items() if k in ("question", "context")} for row in data]
    assert [a.value for a in answers(other, model, other.encode(blind, labelled=False))] == [a.value for a in told]


def test_a_small_model_learns_to_read(pieces: Tokenizer) -> None:
    """The answer is one word, wherever it stands; a quarter of the texts do not hold it."""
    lots = random.Random(1)

    def draw(count: int) -> list[dict[str, Any]]:
        out = []
        for _ in range(count):
            words = lots.sample(WORDS[1:], 8)
            missing, place = lots.random() < 0.25, lots.randrange(8)
            words[place] = "the" if not missing else words[place]
            given = [] if missing else ["the"]
            row = {"question": "Where?", "context": " ".join(words), "answers": given}
            out.append({**row, "is_impossible": missing})
        return out

    train, test = draw(200), draw(60)
    shape = config("encoder", pieces.vocab_size, layers=2, width=32)
    task = ExtractTask.made(train, pieces, shape, Asked(length=64), lambda line: None)
    step = Step(Transformer(shape, seed=1), task.objective, noise=Noise(1))
    examples = task.encode(train)
    optimizer = torch.optim.AdamW(step.parameters(), lr=3e-3)
    for update in range(45):
        chosen = [prepared(task.objective, e, Noise(0)) for e in lots.sample(examples, 32)]
        batch = collate(chosen, Shape(64))
        optimizer.zero_grad()
        step(batch, Noise(update)).value(task.objective.weights(batch)).backward()
        optimizer.step()
    held = task.encode(test)
    assert task.mark(answers(task, step.model, held), held)["exact_match"] > 0.95


# ---- characters


HARD = [
    ("the 🙂🙂 fox\r\njumps", "fox"),
    ("the 🙂 fox", "🙂"),
    ("cafe\u0301 the fox", "cafe\u0301"),
    ("  the\t\tquick fox  ", "quick fox"),
    ("the fox\r\n\r\njumps over", "jumps over"),
    ("Zoë and 👩‍👩‍👧 the fox", "👩‍👩‍👧 the"),
    ("the \u00a0fox \u2003 jumps", "jumps"),
]


@pytest.mark.parametrize(("context", "text"), HARD)
@pytest.mark.parametrize("kind", ["bytes", "pieces"])
def test_spans_go_back_to_the_letters(
    kind: str, context: str, text: str, tokenizer: Tokenizer, pieces: Tokenizer
) -> None:
    """The label's own tokens, scored best, give the answer back, whatever a character is to the tokenizer.

    A combining mark that the tokenizer drops, or a character that it cuts, may widen or narrow the piece; what is given
    is a piece of the text all the same.
    """
    data = [{"question": "Who?", "context": context, "answers": [text]}]
    task, _, _ = made({"bytes": tokenizer, "pieces": pieces}[kind], data, length=64)
    (example,) = task.encode(data)
    scores = np.zeros((64, 2), dtype=np.float32)
    scores[example.label[0], 0] = scores[example.label[1], 1] = 9
    (answer,) = task.settle([Answer(0, None, details=scores)], [example])
    shown = task.shown(answer)
    assert context[shown["start"] : shown["end"]] == answer.value
    if kind == "bytes" or text.isascii():
        assert answer.value == text
    else:
        assert answer.value in context
        assert set(answer.value) & set(text)


# ---- no answer


def scored(task: ExtractTask, examples: list[Example], null: float, best: float) -> list[Answer]:
    """Windows whose [CLS] and whose first token of the text have these scores, all others far less."""
    out = []
    for e in examples:
        scores = np.full((64, 2), -50.0, dtype=np.float32)
        scores[0], scores[task.prepare.before(len(e.ids))] = null / 2, best / 2
        out.append(Answer(e.index, None, details=scores))
    return out


def test_nothing_is_said_where_it_scores_above_the_threshold(tokenizer: Tokenizer) -> None:
    data = rows(6, none=0.5)
    task, _, said = made(tokenizer, data, null_threshold=1.0)
    assert "without an answer" in said[0]
    examples = task.rows_of(task.encode(data))
    for null, silent in ((0.5, False), (1.5, True)):
        for answer in task.settle(scored(task, examples, null, 0.0), examples):
            assert (answer.value == "") is silent
            shown = task.shown(answer)
            assert (shown["start"] is None) is silent
            chance = 1 / (1 + np.exp(-null))
            assert answer.details.best.null == pytest.approx(chance, abs=1e-4)
            assert shown["confidence"] == pytest.approx(chance if silent else 1 - chance, abs=1e-4)
    sure = made(tokenizer, rows(6))[0]
    told = sure.settle(scored(sure, examples, 99.0, 0.0), examples)
    assert all(answer.value for answer in told)  # version 1.1: every question has an answer
    assert all(answer.details.best.share == pytest.approx(1.0, abs=1e-4) for answer in told)


def test_one_window_that_is_sure_is_enough(tokenizer: Tokenizer) -> None:
    data = rows(40, none=0.5)
    task, _, _ = made(tokenizer, data)
    examples = [e for e in task.encode(data) if e.row == next(r for r in range(40) if len(data[r]["context"]) > 150)]
    assert len(examples) > 2
    sure, *others = examples
    told = [*scored(task, [sure], -5.0, 4.0), *scored(task, others, 9.0, 3.0)]
    (answer,) = task.settle(told, examples)
    assert answer.value == sure.channels["context"].item()[slice(*answer.details.best.place)] != ""
    assert answer.details.best.margin == pytest.approx(-9.0)


def test_validation_rows_choose_the_threshold(tokenizer: Tokenizer) -> None:
    """Questions with an answer score "none" at −1 … 1, those without at 2 … 4: between 1 and 2 all are right."""
    data = rows(30, none=0.4)
    task, _, _ = made(tokenizer, data)
    examples = [e for e in task.encode(data) if e.label != NOT_HERE or data[e.row or 0]["is_impossible"]]
    told = []
    for e in task.rows_of(examples):
        missing, number = data[e.row or 0]["is_impossible"], e.row or 0
        scores = np.full((64, 2), -50.0, dtype=np.float32)
        scores[0] = ((2 + number % 3) if missing else (number % 3 - 1)) / 2
        first, last = (task.prepare.before(len(e.ids)),) * 2 if missing else e.label
        scores[first, 0] = scores[last, 1] = 0.0
        told.append(Answer(e.index, None, details=scores))
    chosen = task.rows_of(examples)
    assert task.mark(task.settle(told, chosen), chosen)["exact_match"] < 1.0
    (line,) = task.tune(task.settle(told, chosen), chosen)
    assert 1.0 <= task.search.null_threshold < 2.0
    assert "null_threshold 1.5" in line
    assert task.mark(task.settle(told, chosen), chosen)["exact_match"] == 1.0
    plain_task = made(tokenizer, rows(5))[0]
    assert plain_task.tune([Answer(0, "x")], []) == []


def test_questions_without_an_answer_only_in_the_test_are_refused(tokenizer: Tokenizer) -> None:
    task, _, _ = made(tokenizer, rows(6))
    task.check(rows(6), rows(6), apart=True)
    with pytest.raises(ModeledgeError, match=r"E-CLASS-UNSEEN.*rows have no answer"):
        task.check(rows(6), rows(6, none=0.9), apart=True)


def test_empty_answers_may_be_declared_to_be_none(tokenizer: Tokenizer) -> None:
    """The datasets library's layout of version 2.0 has no is_impossible."""
    data = [{k: v for k, v in row.items() if k != "is_impossible"} for row in rows(12, none=0.5)]
    with pytest.raises(ModeledgeError, match=r"E-ANSWER-MISSING.*empty_is_impossible"):
        made(tokenizer, data)[0].encode(data)
    task, _, said = made(tokenizer, data, empty_is_impossible=True)
    none = sum(not row["answers"]["text"] for row in data)
    assert f"12 questions, {none} without" in said[0]
    assert sum(not len(e.channels["gold"]) for e in task.rows_of(task.encode(data))) == none


# ---- what is refused, and what is counted


def test_what_cannot_be_learned_is_counted_and_weighs_nothing(tokenizer: Tokenizer) -> None:
    text = " ".join(WORDS * 3)
    data = [
        {"question": "Who?", "context": text, "answers": [text[:140]]},  # longer than any window
        {"question": "Who?", "context": text, "answers": ["stone walls the quick"]},  # two places, no offset
        {"question": "fox " * 12 + "?", "context": text, "answers": ["quick"]},  # a question that is cut
        {"question": "Who?", "context": "the quick brown fox jumps", "answers": ["quick brown fox"]},  # > max_answer
    ]
    task, _, _ = made(tokenizer, data, max_question=8, max_answer=2)
    examples = task.encode(data)
    lost = [e for e in examples if e.row == 0]
    assert {e.label for e in lost} == {UNKNOWN}
    assert all(prepared(task.objective, e, Noise(0)).weights["span"].tolist() == [0.0] for e in lost)
    assert UNKNOWN not in {e.label for e in examples if e.row}
    remarks = task.remarks(examples)
    assert "1 questions were cut to 8 tokens" in remarks
    assert any(r.startswith("3 answers without an offset stand in several places") for r in remarks)
    assert f"1 answers fit no window whole: their {len(lost)} windows teach nothing" in remarks
    assert any(r.startswith("3 answers are longer than max_answer = 2") for r in remarks), remarks
    null = sum(e.label == NOT_HERE for e in examples)
    assert null > 5
    assert any(r.startswith(f"{null} windows lack the answer") for r in remarks)
    assert {len(e.ids) for e in examples if e.row == 2} == {8}
    assert made(tokenizer, data)[0].remarks(task.encode(data[3:], labelled=False)) == []


@pytest.mark.parametrize(
    ("row", "code", "words"),
    [
        ({"question": "fox " * 40}, "E-QUESTION-TOO-LONG", ("tokens", "32")),
        ({"question": " "}, "E-MISSING-FIELD", ("'question'",)),
        ({"context": ""}, "E-MISSING-FIELD", ("'context'",)),
        ({"context": None}, "E-FIELD-TYPE", ("'context'",)),
        ({"answers": [{"text": "fox", "answer_start": 3}]}, "E-ANSWER-MISMATCH", ("'fox'",)),
        ({"answers": []}, "E-ANSWER-MISSING", ("is_impossible",)),
        ({"is_impossible": True}, "E-ANSWER-MISMATCH", ("is_impossible",)),
        ({"is_impossible": "perhaps"}, "E-FIELD-TYPE", ("'perhaps'",)),
    ],
)
def test_a_bad_row_is_named(row: dict[str, Any], code: str, words: tuple[str, ...], tokenizer: Tokenizer) -> None:
    good = {"question": "Who?", "context": "the quick fox", "answers": ["fox"]}
    task, _, _ = made(tokenizer, [good])
    with pytest.raises(ModeledgeError) as caught:
        task.encode([good, {**good, **row, "__where__": "x.jsonl:3"}])
    assert (caught.value.code, caught.value.where) == (code, "x.jsonl:3")
    assert all(word in str(caught.value) for word in words)


def test_models_and_options_that_do_not_fit_are_refused(tokenizer: Tokenizer) -> None:
    data = rows(3)
    both = config("encoder", tokenizer.vocab_size)
    both = TransformerConfig(width=8, embed=both.embed, encoder=both.encoder, decoder=both.encoder)
    with pytest.raises(ModeledgeError, match="E-CONFIG: an encoder–decoder"):
        ExtractTask.made(data, tokenizer, both, Asked(), print)
    with pytest.raises(ModeledgeError, match="E-VOCAB-SIZE"):
        ExtractTask.made(data, tokenizer, config("encoder", 9), Asked(length=32), print)
    with pytest.raises(ModeledgeError, match="E-POSITION"):
        made(tokenizer, data, length=65)
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-KEY.*'stride'"):
        made(tokenizer, data, strde=9)


# ---- prompted, and submitted


def test_the_prompted_way(tokenizer: Tokenizer) -> None:
    row = {"question": "Who?", "context": "the fox", "answers": ["fox"], "is_impossible": False}
    sure, _, _ = made(tokenizer, [row])
    assert sure.request(row) == Generate("the fox\nQuestion: Who?\nAnswer:")
    assert sure.answer(4, sure.request(row), " The fox \n") == Answer(4, "The fox")
    assert sure.answer(0, sure.request(row), "unanswerable").value == "unanswerable"
    unsure, _, _ = made(tokenizer, [row, {**row, "answers": [], "is_impossible": True}])
    request = unsure.request(row)
    assert isinstance(request, Generate)
    assert "unanswerable" in request.prompt
    assert unsure.answer(0, request, " Unanswerable.").value == ""
    data = [row, {**row, "answers": [], "is_impossible": True}]
    told = [unsure.answer(n, request, text) for n, text in enumerate(("fox", "unanswerable"))]
    assert unsure.mark(told, unsure.encode(data))["exact_match"] == 1.0
    assert unsure.shown(told[0]) == {"prediction": "fox", "start": None, "end": None, "confidence": None}


def test_submissions_are_the_official_files(tokenizer: Tokenizer) -> None:
    data = rows(8, none=0.4)
    task, model, _ = made(tokenizer, data)
    told = answers(task, model, task.encode(data))
    both = squad_files(task, told, data)
    assert list(both) == ["predictions.json", "na_probs.json"]
    assert both["predictions.json"] == {f"q{n}": a.value for n, a in enumerate(told)}
    assert all(0 <= p <= 1 for p in both["na_probs.json"].values())
    assert len(both["na_probs.json"]) == 8
    sure, model, _ = made(tokenizer, rows(8))
    told = answers(sure, model, sure.encode(rows(8)))
    assert list(squad_files(sure, told, data)) == ["predictions.json"]
    with pytest.raises(ModeledgeError, match="E-DUP-ID"):
        squad_files(sure, told, [{**row, "id": 7} for row in data])
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD.*'id'"):
        squad_files(sure, told, [{k: v for k, v in row.items() if k != "id"} for row in data])


# ---- whole runs


def asked(**fields: Any) -> FinetuneRecipe:
    return FinetuneRecipe(model="nowhere", data="rows from memory", task="extract", test_share=0.3, **fields)


def test_questions_on_one_text_stay_on_one_side() -> None:
    """By context; by article where a title is named; never by the question alone."""
    data = [
        {**row, "question": f"{row['question']} {n}", "title": f"article {place // 2}"}
        for place, row in enumerate(rows(12))
        for n in range(5)
    ]
    for column, recipe in (("context", asked()), ("title", asked(columns={"title": "title"}))):
        parts = split_rows(recipe, data)
        assert len(parts.test) >= 10
        assert not {row[column] for row in parts.train} & {row[column] for row in parts.test}
    assert {row["title"] for row in split_rows(asked(), data).train} & {
        row["title"] for row in split_rows(asked(), data).test
    }
    none = [{**row, "answers": []} if n % 5 else row for n, row in enumerate(data)]
    parts = split_rows(asked(), none)  # most rows have the same answer, none: that makes no classes
    assert 0 < sum(len(row["answers"]) > 0 for row in parts.test) < len(parts.test)
    twice = [{**row, "context": row["context"].upper()} for row in data[:5]]  # capitals make no other text
    parts = split_rows(asked(), [*data, *twice])
    assert not {row["context"].lower() for row in parts.train} & {row["context"].lower() for row in parts.test}


def test_a_run_from_rows_to_predictions(tmp_path: Path, tokenizer: Tokenizer) -> None:
    save_model(Transformer(config("encoder", tokenizer.vocab_size)), tmp_path / "model")
    tokenizer.save(tmp_path / "model")
    train = FinetuneTrain(
        batch=8, length=32, threads=1, precision="fp32", learning_rate=1e-3, judge_every=4, warmup=0.0
    )
    recipe = asked(epochs=1.0, train=train, options={"stride": 8}, columns={"id": "id"})
    recipe = recipe.model_copy(update={"model": str(tmp_path / "model")})
    said = list[str]()
    results = finetune(recipe, tmp_path / "run", rows=rows(40, none=0.3), say=said.append)
    assert set(results["scores"]) == {"exact_match", "f1_answer"}
    assert any("windows lack the answer" in line for line in said)
    assert any(line.startswith("null_threshold") for line in said)
    model = Model.load(tmp_path / "run")
    told = model.predict([{k: r[k] for k in ("question", "context")} for r in rows(5, seed=9)], say=said.append)
    assert [list(row) for row in told] == [["prediction", "start", "end", "confidence"]] * 5
    assert isinstance(model.task, ExtractTask)
    assert model.task.search.null_threshold != 0.0


@pytest.mark.shared_data
def test_squad_is_encoded_and_its_answers_come_back(pieces: Tokenizer) -> None:
    """Every gold answer of 400 real questions, pointed at, is given back to the letter."""
    path = Path(__file__).parents[3] / "shared" / "data" / "squad" / "dev-v2.0.rebuilt.json.gz"
    if not path.exists():
        pytest.skip(f"{path} is not there")
    articles = json.loads(gzip.decompress(path.read_bytes()))["data"]
    data = [{"context": p["context"], **q} for article in articles for p in article["paragraphs"] for q in p["qas"]][
        ::30
    ]
    tokenizer = train_tokenizer([row["context"] for row in data], vocab_size=2000)
    task = ExtractTask.made(
        data, tokenizer, config("encoder", tokenizer.vocab_size, 384), Asked(length=384), lambda line: None
    )
    task.search = module.Search(max_answer=120)
    examples = [e for e in task.encode(data) if e.label not in (NOT_HERE, UNKNOWN)]
    told = []
    for e in examples:
        scores = np.zeros((384, 2), dtype=np.float32)
        scores[e.label[0], 0] = scores[e.label[1], 1] = 9
        told.append(Answer(e.index, None, details=scores))
    found = task.settle(told, examples)
    wrong = [a for a, e in zip(found, task.rows_of(examples), strict=True) if a.value != e.channels["gold"][0]]
    assert len(found) > 150
    assert len(wrong) <= 0.03 * len(found)  # answers that end within a token
