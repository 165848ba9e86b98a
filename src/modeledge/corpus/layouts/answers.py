"""Answers that stand in a text: SQuAD 1.1 and 2.0 (Rajpurkar et al. 2016, 1606.05250; 2018, 1806.03822).

A file is one JSON object: articles hold paragraphs, paragraphs hold questions. They are laid flat, a row a question.
An answer is a piece of its context with the number of its first *character*. Every offset is checked, because a wrong
one teaches the model a wrong span in silence, and two mistakes are common enough to be recognised: counting UTF-16
units (JavaScript, Java) and counting bytes. A file without offsets is read too: the first occurrence is taken, and how
often there was another one is said.

Version 2.0 adds questions without an answer, marked `is_impossible`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.layout import Asked, Layout, Row, Tally, below, files, need
from modeledge.corpus.layouts.opened import document
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError, printable

AMBIGUOUS = "answer that occurs more than once in its context, and has no offset of its own: the first place is taken"


def open_squad(asked: Asked) -> Iterator[Record]:
    """A record a question; its bytes are those of its JSON. Raises `E-MISSING-FIELD`, `E-FIELD-TYPE`, `E-DUP-ID`."""
    seen: dict[str, str] = {}
    for path in asked.paths:
        whole, name = document(path, asked.ledger)
        for question in _questions({**whole, "__where__": name}):
            size = len(json.dumps({k: v for k, v in question.items() if k not in ("context", "__where__")}))
            asked.ledger.read.add(1, size)
            id = str(need(question, "id", (str, int)))
            where = f"{question.pop('__where__')} (id {printable(id, 40)})"
            if id in seen:
                raise ModeledgeError("E-DUP-ID", f"the id stands also at {seen[id]}", where=where)
            seen[id] = where
            yield Record({**question, "id": id}, where, size)
    if not seen:
        raise ModeledgeError("E-NO-RECORDS", "the files hold no question", where=str(asked.paths[0]))


def _questions(whole: Row) -> Iterator[Row]:
    for a, raw_article in enumerate(need(whole, "data", list)):
        article = below(whole, raw_article, f"data[{a}]")
        for p, raw_paragraph in enumerate(need(article, "paragraphs", list)):
            paragraph = below(article, raw_paragraph, f"paragraphs[{p}]")
            shared = {"title": article.get("title", ""), "context": need(paragraph, "context")}
            for q, raw in enumerate(need(paragraph, "qas", list)):
                yield {**below(paragraph, raw, f"qas[{q}]"), **shared}


def squad_rows(records: Iterable[Record], tally: Tally) -> Iterator[Row]:
    """Rows of question, context and answers, each answer `{"text", "answer_start"}` with a checked offset.

    Raises `E-ANSWER-MISSING`, `E-ANSWER-MISMATCH`.
    """
    for record in records:
        row: Row = {**record.fields, "__where__": record.where}
        need(row, "question")
        impossible = row.get("is_impossible", False)
        if not isinstance(impossible, bool):
            raise ModeledgeError("E-FIELD-TYPE", "field 'is_impossible' should be true or false", where=record.where)
        if tally.asked.labelled or "answers" in row:
            given = need(row, "answers", list)
            if not given and not impossible:
                what = "the question has no answer, and is not marked is_impossible"
                raise ModeledgeError("E-ANSWER-MISSING", what, where=record.where)
            if given and impossible:
                what = f"the question is marked is_impossible, and has {len(given)} answers"
                raise ModeledgeError("E-ANSWER-MISMATCH", what, where=record.where, remedy="keep one of the two")
            row["answers"] = [_placed(row, below(row, a, f"answers[{i}]"), tally) for i, a in enumerate(given)]
        row["is_impossible"] = impossible
        tally.keep(record)
        yield row


def _placed(row: Row, answer: Row, tally: Tally) -> dict[str, Any]:
    """An answer with its checked or found offset."""
    context, text, where = row["context"], need(answer, "text"), answer["__where__"]
    if not text:
        raise ModeledgeError("E-ANSWER-MISSING", "the answer's text is empty", where=where)
    if answer.get("answer_start") is None:
        start = context.find(text)
        if start < 0:
            raise _mismatch(text, "which does not occur in the context", where, "")
        if context.find(text, start + 1) >= 0:
            tally.note(AMBIGUOUS, where)
    else:
        start = need(answer, "answer_start", int)
        check_answer(context, text, start, where)
        if isinstance(answer.get("occurrences"), int) and answer["occurrences"] > 1:
            tally.note(AMBIGUOUS, where)
    return {"text": text, "answer_start": start}


def check_answer(context: str, text: str, start: int, where: str) -> None:
    """Raise `E-ANSWER-MISMATCH`, showing both and saying what the offset seems to count, unless the answer is there."""
    if start >= 0 and context.startswith(text, start):
        return
    found = context[max(start, 0) : max(start, 0) + len(text)]
    what = f"but at character {start} of the context stands {printable(found, 60)!r}"
    raise _mismatch(text, what, where, _offset_hint(context, text, start))


def _mismatch(text: str, what: str, where: str, hint: str) -> ModeledgeError:
    why = hint or "the model would learn a wrong span"
    return ModeledgeError("E-ANSWER-MISMATCH", f"the answer is {printable(text, 60)!r}, {what}", where=where, why=why)


def _offset_hint(context: str, text: str, start: int) -> str:
    """What the offset seems to count, where it is not characters."""
    if start < 0:
        return "an offset counts from 0"
    for code, width, words in (("utf-16-le", 2, "UTF-16 units"), ("utf-8", 1, "bytes of UTF-8")):
        coded, sought = (part.encode(code, "surrogatepass") for part in (context, text))
        if coded.startswith(sought, start * width):
            at = len(coded[: start * width].decode(code, "surrogatepass"))
            return f"the offset counts {words}; count characters (code points): {at}"
    if context.replace("\r\n", "\n").startswith(text.replace("\r\n", "\n"), start):
        return "the offset counts a line end of two characters as one"
    places = [at for at in range(len(context)) if context.startswith(text, at)] if text in context else []
    if not places:
        return "the answer does not occur in the context"
    near = min(places, key=lambda at: abs(at - start))
    return f"the answer stands at character {near}, {abs(near - start)} {'later' if near > start else 'earlier'}"


def second_version(start: str) -> bool:
    """Does the beginning of a file look like version 2.0: by its version, else by questions marked `is_impossible`?"""
    version = re.search(r'"version"\s*:\s*"v?(\d)', start)
    return version[1] == "2" if version else '"is_impossible"' in start


def _layout(name: str, stem: str, request: str, words: tuple[str, ...]) -> Layout:
    return Layout(
        name=name,
        task="extract",
        roles={"question": "question", "context": "context", "answers": "answers", "id": "id"},
        metrics=("exact_match", "f1_answer"),
        template=Template(request),
        open=open_squad,
        convert=squad_rows,
        files=files(
            {s: (f"{s}-{stem}.json", f"{s}-{stem}.rebuilt.json", f"{s}.json") for s in ("train", "dev", "test")}
        ),
        form="json",
        unlabelled=frozenset({"test"}),
        marks=frozenset({"data", "paragraphs", "qas"}),
        words=words,
        suits=lambda start: second_version(start) == (name == "squad2"),
    )


SQUAD = _layout("squad", "v1.1", "{context}\nQuestion: {question}\nAnswer:", ("v1", "v11", "squad"))
SQUAD2 = _layout(
    "squad2",
    "v2.0",
    "{context}\nQuestion: {question} (Say unanswerable if the text does not tell.)\nAnswer:",
    ("v2", "v20", "squad2"),
)


ANSWERS = (SQUAD, SQUAD2)
