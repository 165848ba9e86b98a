"""Labelled files that are wrong, and the one error each gets: numbered cases 65 to 68, 71 and 78, and more."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from layouts_small import ARC, CONLLU, COQA, ELI5, MULTIRC, NLI, RACE, RECORD, SEMEVAL, TACRED, lines, qa, squad, tsv

from modeledge.corpus.layouts import guess_layout, read_layout
from modeledge.errors import CATALOGUE, ModeledgeError
from modeledge.records import Ledger

CONTEXT = "Zoë met 😀 Leo."
STORY: dict[str, Any] = COQA["data"][0]  # type: ignore[assignment]
COPA = {"premise": "a", "choice1": "b", "choice2": "c", "question": "cause", "label": 0}


def refusal(name: str, content: str, tmp_path: Path, split: str = "train") -> ModeledgeError:
    path = tmp_path / "data.txt"
    path.write_text(content, encoding="utf-8", newline="")
    with pytest.raises(ModeledgeError) as caught:
        read_layout(name, path, split)
    assert caught.value.code in CATALOGUE
    assert "data.txt" in caught.value.where
    return caught.value


def notes(name: str, content: str, tmp_path: Path) -> list[str]:
    path, ledger = tmp_path / "data.txt", Ledger()
    path.write_text(content, encoding="utf-8")
    read_layout(name, path, ledger=ledger)
    return ledger.notes


# ---- 65, 66: tokens and tags


def test_65_tokens_and_tags_differ_in_number(tmp_path: Path) -> None:
    error = refusal("tokens", lines({"tokens": ["a"], "tags": ["O"]}, {"tokens": ["a", "b"], "tags": ["O"]}), tmp_path)
    assert (error.code, error.where.rpartition(":")[2]) == ("E-LENGTH-MISMATCH", "2")
    assert "2 tokens and 1 tags" in error.what
    error = refusal("conll2003", "Eva NNP B-NP B-PER\nruns VBZ O\n", tmp_path)
    assert (error.code, error.where.rpartition(":")[2]) == ("E-LENGTH-MISMATCH", "2")
    assert refusal("columns", "alone\n", tmp_path).code == "E-LENGTH-MISMATCH"
    assert refusal("conllu", CONLLU.replace("\troot", " root", 1), tmp_path).code == "E-LENGTH-MISMATCH"


def test_66_tags_that_break_their_scheme_are_noted_and_unknown_ones_refused(tmp_path: Path) -> None:
    told = notes("conll2000", "a X B-NP\nb X I-NP\n\nc X O\nd X I-VP\n", tmp_path)
    assert any("2 × sentence whose 'chunk' are read as IOB2" in note for note in told)
    [warning] = [note for note in told if "W-TAG-SCHEME" in note]
    assert "1 × " in warning
    assert "(first: I-VP after O)" in warning
    assert ":4:" in warning  # the sentence's first line
    healthy = notes("conll2000", "a X B-NP\nb X I-NP\n\nc X O\nd X B-VP\n", tmp_path)
    assert not any("W-TAG-SCHEME" in note for note in healthy)
    error = refusal("conll2000", "a X B-NP\nb X Q-NP\n", tmp_path)
    assert (error.code, "'Q-NP' of token 2" in error.what) == ("E-TAG-SCHEME", True)
    assert refusal("conll2003", "Eva N B PER\n", tmp_path).code == "E-TAG-SCHEME"


def test_parts_of_speech_are_no_scheme(tmp_path: Path) -> None:
    assert notes("columns", "a DET\nb -LRB-\nc NOUN\n", tmp_path) == []


# ---- 67, 68, 71: answers


@pytest.mark.parametrize(
    ("start", "hint"),
    [
        (CONTEXT.index("Leo"), None),
        (CONTEXT.index("Leo") + 1, "the offset counts UTF-16 units"),  # the emoji is two units
        (len(CONTEXT.partition("Leo")[0].encode()), "the offset counts bytes of UTF-8"),
        (0, "the answer stands at character 10, 10 later"),
        (-1, "an offset counts from 0"),
        (900, "10, 890 earlier"),
    ],
)
def test_67_68_an_answer_that_is_not_at_its_offset(start: int, hint: str | None, tmp_path: Path) -> None:
    content = squad(qa("q7", "Leo", start), context=CONTEXT)
    if hint is None:
        path = tmp_path / "data.json"
        path.write_text(content)
        assert read_layout("squad", path)[0]["answers"] == [{"text": "Leo", "answer_start": 10}]
        return
    error = refusal("squad", content, tmp_path)
    assert error.code == "E-ANSWER-MISMATCH"
    assert "'Leo'" in error.what
    assert repr(CONTEXT[max(start, 0) :][:3]) in error.what, "both are shown"
    assert hint in error.why
    assert "id q7" in error.where


def test_67_an_answer_that_is_nowhere(tmp_path: Path) -> None:
    assert "does not occur" in refusal("squad", squad(qa("1", "Max", 3)), tmp_path).why
    assert "does not occur" in refusal("squad", squad(qa("1", "Max", None)), tmp_path).what
    wrong = {**RECORD, "qas": [{"query": "@placeholder", "answers": [{"start": 0, "end": 2, "text": "Bob"}]}]}
    assert refusal("record", lines(wrong), tmp_path).code == "E-ANSWER-MISMATCH"


def test_answers_without_offsets_are_searched_and_doubt_is_counted(tmp_path: Path) -> None:
    content = squad(qa("1", "Leo", None), qa("2", "Ulm", None), context="Leo and Leo saw Ulm.")
    path, ledger = tmp_path / "data.json", Ledger()
    path.write_text(content)
    rows = read_layout("squad", path, ledger=ledger)
    assert [row["answers"][0]["answer_start"] for row in rows] == [0, 16]
    assert ["1 × answer that occurs more than once" in note for note in ledger.notes] == [True]


def test_71_a_question_without_an_answer(tmp_path: Path) -> None:
    nothing = {**qa("1"), "answers": []}
    assert refusal("squad", squad(nothing), tmp_path).code == "E-ANSWER-MISSING"
    assert refusal("squad2", squad({**nothing, "is_impossible": False}), tmp_path).code == "E-ANSWER-MISSING"
    assert refusal("squad", squad(qa("1", "", 3)), tmp_path).code == "E-ANSWER-MISSING"
    assert refusal("squad2", squad(qa("1", is_impossible=True)), tmp_path).code == "E-ANSWER-MISMATCH"
    silent = {"data": [{**STORY, "answers": [{"input_text": " "}, {"input_text": "red"}]}]}
    assert refusal("coqa", json.dumps(silent), tmp_path).code == "E-ANSWER-MISSING"
    assert refusal("nq_open", lines({"question": "who", "answer": []}), tmp_path).code == "E-ANSWER-MISSING"
    assert refusal("gsm8k", lines({"question": "1+1?", "answer": "2"}), tmp_path).code == "E-ANSWER-MISSING"


# ---- 78: nothing is left


def test_78_a_split_that_is_empty_after_filtering(tmp_path: Path) -> None:
    error = refusal("snli", lines(NLI | {"gold_label": "-"}, NLI | {"gold_label": "-"}), tmp_path, "dev")
    assert error.code == "E-EMPTY-SPLIT"
    assert "no row is left of split 'dev': 2 no gold label" in error.what


# ---- other files that do not say what they should


def changed(whole: dict[str, Any], **parts: Any) -> str:
    return lines({**whole, **parts})


HEAD = tsv("sentence|label")
REFUSED = [
    ("sst2", HEAD + "fine\t2\n", "E-LABEL-UNKNOWN", "the labels are 0, 1"),
    ("sst2", HEAD + "fine\t\n", "E-LABEL-MISSING", "empty"),
    ("sst2", HEAD + "a\tb\t1\n", "E-CSV-COLUMNS", "3 columns"),
    ("sst2", tsv("text|label", "a|1"), "E-MISSING-FIELD", "'sentence'"),
    ("stsb", tsv("sentence1|sentence2|score", "a|b|high"), "E-LABEL-TYPE", "not a number"),
    ("stsb", tsv("sentence1|sentence2|score", "a|b|nan"), "E-NOT-FINITE", "nan"),
    ("snli", changed(NLI, gold_label=None), "E-LABEL-MISSING", "gold_label"),
    ("snli", changed(NLI, sentence2=3), "E-FIELD-TYPE", "'sentence2' should be str"),
    ("boolq", lines({"question": "a", "passage": "b", "label": "yes"}), "E-LABEL-UNKNOWN", "false, true"),
    ("copa", changed(COPA, question="why"), "E-LABEL-UNKNOWN", "neither"),
    ("multirc", changed(MULTIRC, passage={"text": "a"}), "E-MISSING-FIELD", "'questions'"),
    ("squad", squad(qa("1"), qa("1")), "E-DUP-ID", "qas[0]"),
    ("squad", json.dumps({"data": [{"paragraphs": [{"qas": []}]}]}), "E-MISSING-FIELD", "'context'"),
    ("squad", json.dumps({"data": []}), "E-NO-RECORDS", "no question"),
    ("squad", squad(qa("1", start=True)), "E-FIELD-TYPE", "answer_start"),  # type: ignore[arg-type]
    ("sst2", tsv("sen\0tence|label", "a|1"), "E-NUL", "header"),
    ("squad", "[1]", "E-JSON-TYPE", "one object"),
    ("squad", "{", "E-JSON", "column"),
    ("conllu", CONLLU.replace("\n2\t", "\n4\t"), "E-FORMAT", "word 2 of the sentence is numbered '4'"),
    ("conllu", CONLLU.replace("\t3\troot", "\t9\troot", 1), "E-FORMAT", "the head '9'"),
    ("eli5", changed(ELI5, answers={"text": ["a"], "score": []}), "E-LENGTH-MISMATCH", "1 answers and 0 scores"),
    ("mmlu", "Who?,a,b,c,d,E\n", "E-LABEL-RANGE", "'E' is none of the choices A, B, C, D"),
    ("arc", changed(ARC, answerKey="3"), "E-LABEL-RANGE", "'3'"),
    ("arc", changed(ARC, answerKey=""), "E-LABEL-MISSING", "not named"),
    ("race", changed(RACE, answers=["B"]), "E-LENGTH-MISMATCH", "2 questions, 2 lists of options and 1 answers"),
    ("race", changed(RACE, answers=["B", "E"]), "E-LABEL-RANGE", "'E' is none of the choices A, B, C, D"),
    ("race", changed(RACE, options=[["a", 3], ["b", "c"]]), "E-FIELD-TYPE", "options[1]"),
    ("race", changed(RACE, questions=[], options=[], answers=[]), "E-EMPTY-SPLIT", "1 a passage without questions"),
    ("dialogue", lines({"history": ["a"], "reply": " "}), "E-ANSWER-MISSING", "empty"),
    ("dialogue", lines({"history": "a", "reply": "b"}), "E-FIELD-TYPE", "'history' should be list"),
    ("convai2", "1 hi\tyou\n3 so\tyes\n", "E-FORMAT", "the number 2"),
    ("convai2", "hi\tyou\n", "E-FORMAT", "'hi"),
    ("coqa", json.dumps({"data": [{**STORY, "answers": []}]}), "E-LENGTH-MISMATCH", "2 questions and 0 answers"),
    ("tacred", changed(TACRED, obj_end=9), "E-ANSWER-MISMATCH", "tokens 0 to 9"),
    ("tacred", changed(TACRED, obj_end=2), "E-ANSWER-MISMATCH", "overlap"),
    ("semeval2010_8", SEMEVAL.replace("</e1>", "", 1), "E-ANSWER-MISMATCH", "<e1>"),
    ("semeval2010_8", SEMEVAL.replace("\n\n", "\n"), "E-FORMAT", "two lines"),
    ("semeval2010_8", SEMEVAL.replace("Other", "Others"), "E-LABEL-UNKNOWN", "Others"),
    ("toxicity", ",class,tweet\n0,3,a\n", "E-LABEL-UNKNOWN", "'3'"),
    ("vader", "1\tgood\ttext\n", "E-LABEL-TYPE", "'good'"),
    ("parallel_tsv", "a\tb\tc\n", "E-CSV-COLUMNS", "3 columns"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "content", "code", "words"), REFUSED, ids=[f"{r[0]}-{r[2]}" for r in REFUSED])
def test_what_is_refused(name: str, content: str, code: str, words: str, tmp_path: Path) -> None:
    error = refusal(name, content, tmp_path)
    assert error.code == code
    assert words in str(error)


# ---- two files that go together


def pair(tmp_path: Path, left: str, right: str) -> Path:
    (tmp_path / "t.en").write_text(left)
    (tmp_path / "t.de").write_text(right)
    return tmp_path / "t.en"


@pytest.mark.parametrize(
    ("left", "right"), [("a\nb\n", "c\n"), ("a\n", "c\nd\ne\n"), ("a\n", "c\n\n"), ("a\n\nb", "c\nd")]
)
def test_line_counts_must_be_equal(left: str, right: str, tmp_path: Path) -> None:
    path = pair(tmp_path, left, right)
    with pytest.raises(ModeledgeError, match="E-LENGTH-MISMATCH") as caught:
        read_layout("parallel", path)
    counts = sorted(len(side.removesuffix("\n").split("\n")) for side in (left, right))
    assert f"the file has {counts[0]} lines" in str(caught.value)
    assert f"has {counts[1]};" in str(caught.value)


def test_sides_are_the_ones_that_were_named(tmp_path: Path) -> None:
    path = pair(tmp_path, "a\n", "b\n")
    assert read_layout("parallel", path)[0]["source"] == "a"
    assert read_layout("parallel", tmp_path / "t.de")[0]["source"] == "b"
    assert read_layout("parallel", [tmp_path / "t.de", path])[0]["target"] == "a"
    ledger = Ledger()
    assert read_layout("parallel", tmp_path, ledger=ledger)[0]["source"] == "b"
    assert "taken as the source" in ledger.notes[0]
    (tmp_path / "t.fr").write_text("c\n")
    with pytest.raises(ModeledgeError, match=r"E-NO-FILE.*found t.de, t.fr"):
        read_layout("parallel", path)
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*not 3"):
        read_layout("parallel", tmp_path)


@pytest.mark.parametrize(
    ("name", "lines", "wrong"),
    [
        ("a.conll", ["EU B-ORG", "says O", "", "alone", "", "a O"], 4),
        ("a.conll", ["alone", "", "EU B-ORG", "says O"], 1),
        ("a.conll", ["EU B-ORG", "says O more"], 2),
        ("a.conllu", ["# text = The", "1\tThe\tthe\tDET", ""], 2),
        ("a.conllu.gz", ["hello", ""], 1),
    ],
)
def test_a_wrong_line_of_a_file_of_tags_is_named(name: str, lines: list[str], wrong: int, tmp_path: Path) -> None:
    """Nobody named the layout, and the line is what keeps it from being recognised: the ending says what it is."""
    path = tmp_path / name
    data = "\n".join(lines).encode() + b"\n"
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    guessed = guess_layout(path)
    assert guessed == ("conllu" if "conllu" in name else "columns")
    with pytest.raises(ModeledgeError) as caught:
        read_layout(str(guessed), path)
    assert caught.value.where == f"{path}:{wrong}"
