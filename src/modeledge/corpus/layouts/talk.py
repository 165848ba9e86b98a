"""Conversations: what was said before, and what is said next.

CoQA (Reddy, Chen and Manning 2019, 1808.07042) asks about a story, each question leaning on those before it;
evaluation files have several answers to each. ConvAI2 (Dinan et al. 2019, 1902.00098) gives speakers a few lines about
themselves; its ParlAI text numbers the lines of a dialogue from 1 and parts what is said, what is answered and the
other candidates by tabs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any

from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.layout import Asked, Layout, Row, Tally, below, each, files, need, strings
from modeledge.corpus.layouts.opened import document, objects, pieces
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError, printable

_NUMBERED = re.compile(r"(\d+) (.*)", re.S)
_PERSONA = re.compile(r"(your|partner's) persona: ?(.*)", re.S)


def open_coqa(asked: Asked) -> Iterator[Record]:
    """A record a story; its bytes are those of its JSON."""
    for path in asked.paths:
        whole, name = document(path, asked.ledger)
        for i, story in enumerate(need({**whole, "__where__": name}, "data", list)):
            fields = below({"__where__": name}, story, f"data[{i}]")
            size = len(json.dumps(story))
            asked.ledger.read.add(1, size)
            yield Record({k: v for k, v in fields.items() if k != "__where__"}, fields["__where__"], size)


def _coqa(row: Row, tally: Tally) -> list[Row]:
    """A row a turn: the story, what was said before, the question, and every answer that counts as right."""
    questions, answers = _turns(row, "questions"), _turns(row, "answers")
    if len(questions) != len(answers):
        what = f"{len(questions)} questions and {len(answers)} answers"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, where=row["__where__"])
    more = below(row, row.get("additional_answers", {}), "additional_answers")
    others = [_turns(more, key) for key in sorted(more) if key != "__where__"]
    rows, history = list[Row](), list[str]()
    for i, (question, answer) in enumerate(zip(questions, answers, strict=True)):
        asked, said = need(question, "input_text"), need(answer, "input_text")
        if not said.strip():
            raise ModeledgeError("E-ANSWER-MISSING", "the answer's text is empty", where=answer["__where__"])
        made = {
            "story": need(row, "story"),
            "history": list(history),
            "question": asked,
            "answer": said,
            "answers": [said, *(need(other[i], "input_text") for other in others if i < len(other))],
            "id": f"{row.get('id', '')} {question.get('turn_id', i + 1)}",
            "__where__": question["__where__"],
        }
        rows.append(made)
        history += [f"Q: {asked}", f"A: {said}"]
    return rows


def _turns(row: Row, key: str) -> list[Row]:
    return [below(row, turn, f"{key}[{i}]") for i, turn in enumerate(need(row, key, list))]


def _dialogue(row: Row, tally: Tally) -> Row:
    """`history`, a list of turns, and `reply`."""
    strings(row, "history")
    if not need(row, "reply").strip():
        raise ModeledgeError("E-ANSWER-MISSING", "the reply is empty", where=row["__where__"])
    return row


def parlai_rows(records: Iterable[Record], tally: Tally) -> Iterator[Row]:
    """A row for each answered line, with all that was said before in `history`, `persona`, and the `candidates`.

    Raises `E-FORMAT` for a line without its number, or a number that is neither 1 nor the next.
    """
    number, history, persona = 0, list[str](), dict[str, list[str]]()
    for record in records:
        match = _NUMBERED.fullmatch(record.fields["text"])
        if match is None or int(match[1]) not in (1, number + 1):
            found = f"begins with {printable(record.fields['text'], 30)!r}"
            what = f"the line {found}, where the number {number + 1} (or 1, a new dialogue) was expected"
            raise ModeledgeError(
                "E-FORMAT", what, where=record.where, remedy="number the lines of each dialogue from 1"
            )
        number, said = int(match[1]), match[2]
        if number == 1:
            history, persona = [], {"your": [], "partner's": []}
        if about := _PERSONA.fullmatch(said):
            persona[about[1]].append(about[2])
            tally.drop(record, "a line about a speaker, part of the rows that follow")
            continue
        heard, *rest = said.split("\t")
        if not rest or not rest[0].strip():
            tally.drop(record, "nothing is answered")
            history = [*history, heard]
            continue
        tally.keep(record)
        history = [*history, heard]
        yield {
            "persona": list(persona["your"]),
            "partner": list(persona["partner's"]),
            "history": list(history),
            "reply": rest[0],
            "candidates": rest[2].split("|") if len(rest) > 2 and rest[2] else [],
            "__where__": record.where,
        }
        history = [*history, rest[0]]


def _layout(name: str, roles: dict[str, str], request: str, **more: Any) -> Layout:
    return Layout(name=name, task="write", roles=roles, template=Template(request), **more)


COQA = _layout(
    "coqa",
    {
        "context": "story",
        "history": "history",
        "question": "question",
        "target": "answer",
        "answers": "answers",
        "id": "id",
    },
    "{context}\n{history}\nQ: {question}\nA:",
    metrics=("coqa_f1",),
    open=open_coqa,
    convert=each(_coqa),
    files=files({"train": "coqa-train-v1.0.json", "dev": "coqa-dev-v1.0.json"}),
    form="json",
    marks=frozenset({"data", "story", "questions", "input_text"}),
    words=("coqa",),
)
_REPLY = {"history": "history", "target": "reply"}
DIALOGUE = _layout(
    "dialogue",
    _REPLY,
    "{history}\n",
    metrics=("word_f1",),
    open=objects(["history", "reply"]),
    convert=each(_dialogue),
    files=files({"train": "train", "dev": ("dev", "valid"), "test": "test"}, suffix=".jsonl"),
    form="jsonl",
    marks=frozenset({"history", "reply"}),
)
CONVAI2 = _layout(
    "convai2",
    {**_REPLY, "persona": "persona", "candidates": "candidates"},
    "{persona}\n{history}\n",
    metrics=("word_f1",),
    open=pieces("line"),
    convert=parlai_rows,
    files=files(
        {
            "train": ("train_self_original.txt", "train_none_original.txt"),
            "dev": ("valid_self_original.txt", "valid_none_original.txt"),
        }
    ),
    form="lines",
    words=("convai2", "personachat", "parlai"),
    suits=lambda start: bool(re.match(r"1 [^\n]*\n(2 |1 )", start)) and "\t" in start,
)
TALK = (COQA, DIALOGUE, CONVAI2)
