"""Questions with a short answer: closed-book answers, sums, choices, a passage's questions, its last word.

NQ-open (Lee, Chang and Toutanova 2019, 1906.00300) has several right answers a question; GSM8K (Cobbe et al. 2021,
2110.14168) ends its worked solution with `#### 72`; MMLU (Hendrycks et al. 2021, 2009.03300) is a csv without header,
a file a subject; ARC (Clark et al. 2018, 1803.05457) letters its choices by A–E or 1–5; RACE (Lai et al. 2017,
1704.04683) is a file a passage, in folders for middle and high schools, with several questions of four choices each;
LAMBADA (Paperno et al. 2016, 1606.06031) asks for the last word of a passage.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.layout import Drop, Layout, Row, Tally, below, each, files, need, strings
from modeledge.corpus.layouts.opened import objects, pieces, table
from modeledge.corpus.layouts.template import LETTERS, Template
from modeledge.errors import ModeledgeError, printable

_MMLU_COLUMNS = ("question", "A", "B", "C", "D", "answer")


def _nq_open(row: Row, tally: Tally) -> Row:
    need(row, "question")
    if tally.asked.labelled or "answer" in row:
        row["answers"] = strings(row, "answer")
        if not row["answers"]:
            raise ModeledgeError("E-ANSWER-MISSING", "the question has no answer", where=row["__where__"])
        row["target"] = row["answers"][0]
    return row


def _gsm8k(row: Row, tally: Tally) -> Row:
    """The worked solution in `solution`, the number behind `####` in `final`, its thousands separators removed."""
    need(row, "question")
    solution, mark, final = need(row, "answer").rpartition("####")
    if not mark or not final.strip():
        raise ModeledgeError(
            "E-ANSWER-MISSING", "nothing stands behind '####' in field 'answer'", where=row["__where__"]
        )
    row["solution"], row["final"] = solution.rstrip(), final.strip().replace(",", "")
    return row


def choice_number(answer: str, labels: list[str], where: str) -> int:
    """The place of the right choice. Raises `E-LABEL-MISSING`, `E-LABEL-RANGE`."""
    if not answer.strip():
        raise ModeledgeError("E-LABEL-MISSING", "the right choice is not named", where=where)
    if answer not in labels:
        what = f"the answer {printable(answer, 20)!r} is none of the choices {', '.join(labels)}"
        raise ModeledgeError("E-LABEL-RANGE", what, where=where)
    return labels.index(answer)


def _mmlu(row: Row, tally: Tally) -> Row | Drop:
    letters = list(_MMLU_COLUMNS[1:5])
    choices = [row.pop(letter) for letter in letters]
    if not any(choice.strip() for choice in choices):
        return Drop("all choices are empty")
    row["choices"], row["label"] = choices, choice_number(row.pop("answer"), letters, row["__where__"])
    return row


def _mmlu_subjects(shape: Callable[[Row, Tally], Row | Drop]) -> Callable[[Iterable[Record], Tally], Iterator[Row]]:
    """Rows with their subject, which only the file's name says: `anatomy_val.csv`."""

    def convert(records: Iterable[Record], tally: Tally) -> Iterator[Row]:
        for row in each(shape)(records, tally):
            name = row["__where__"].rpartition(":")[0].rpartition("/")[2].partition(".")[0]
            stem, _, split = name.rpartition("_")
            yield {**row, "subject": stem if split in ("dev", "val", "test") else name}

    return convert


def _arc(row: Row, tally: Tally) -> Row:
    """Both forms: the question an object with its stem and choices, or a string beside them."""
    holder = row
    if isinstance(row.get("question"), dict):
        holder = below(row, row["question"], "question")
        row["question"] = need(holder, "stem")
    choices = need(holder, "choices", (list, dict))
    if isinstance(choices, dict):
        inner = below(row, choices, "choices")
        labels, said = strings(inner, "label"), strings(inner, "text")
    else:
        parts = [below(row, choice, f"choices[{i}]") for i, choice in enumerate(choices)]
        labels, said = [need(p, "label") for p in parts], [need(p, "text") for p in parts]
    if len(labels) != len(said):
        what = f"{len(labels)} letters and {len(said)} choices"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, where=row["__where__"])
    row["choices"] = said
    if tally.asked.labelled or row.get("answerKey"):
        row["label"] = choice_number(need(row, "answerKey"), labels, row["__where__"])
    return row


def _race(row: Row, tally: Tally) -> list[Row] | Drop:
    """A row a question, with its passage in `article` and the school in `level`. Copies in jsonl hold one a line."""
    article, where = need(row, "article"), row["__where__"]
    id, schools = str(row.get("id", row.get("example_id", ""))), ("middle", "high")
    level = next((name for name in schools if f"/{name}/" in where or id.startswith(name)), "")
    if "question" in row:
        asked, told, choices = [need(row, "question")], [need(row, "answer")], [strings(row, "options")]
    else:
        asked, choices = strings(row, "questions"), need(row, "options", list)
        told = strings(row, "answers")
    if not len(asked) == len(told) == len(choices):
        what = f"{len(asked)} questions, {len(choices)} lists of options and {len(told)} answers"
        raise ModeledgeError("E-LENGTH-MISMATCH", what, where=where)
    rows: list[Row] = []
    for n, (question, options, answer) in enumerate(zip(asked, choices, told, strict=True), start=1):
        here = f"{where}: question {n}" if "questions" in row else where
        texts = strings({"options": options, "__where__": here}, "options")
        number = choice_number(answer, list(LETTERS[: len(texts)]), here)
        made = {"article": article, "question": question, "choices": texts, "label": number, "level": level}
        rows.append({"id": id, **made, "__where__": here})
    return rows or Drop("a passage without questions")


def _lambada(row: Row, tally: Tally) -> Row | Drop:
    context, _, word = need(row, "text").rstrip().rpartition(" ")
    return {**row, "context": context, "word": word} if context.strip() else Drop("a passage of one word")


def _layout(name: str, task: Any, roles: dict[str, str], shape: Any, template: Template, **more: Any) -> Layout:
    return Layout(
        name=name,
        task=task,
        roles=roles,
        template=template,
        **{
            "convert": each(shape),
            "open": objects(),
            "files": files({"train": "train", "dev": ("dev", "val"), "test": "test"}, suffix=".jsonl"),
            "form": "jsonl",
            "words": (name.replace("_", ""),),
            **more,
        },
    )


def _lettered(count: int) -> dict[str, str]:
    return {str(i): f" {LETTERS[i]}" for i in range(count)}


_QUESTION = Template("Q: {question}\nA:")
NQ_OPEN = _layout(
    "nq_open",
    "write",
    {"question": "question", "target": "target", "answers": "answers"},
    _nq_open,
    _QUESTION,
    metrics=("exact_match", "f1_answer"),
    files=files({"train": "NQ-open.train.jsonl", "dev": ("NQ-open.dev.jsonl", "NQ-open.efficientqa.dev.1.1.jsonl")}),
    marks=frozenset({"question", "answer", "answer[]"}),
)
GSM8K = _layout(
    "gsm8k",
    "write",
    {"source": "question", "question": "question", "target": "answer", "final": "final"},
    _gsm8k,
    _QUESTION,
    metrics=("exact_match",),
    files=files({"train": "train.jsonl", "test": "test.jsonl"}),
    marks=frozenset({"question", "answer"}),
)
MMLU = _layout(
    "mmlu",
    "choice",
    {"text": "question", "choices": "choices", "label": "label"},
    _mmlu,
    Template("{text}\n{choices}\nAnswer:", _lettered(4)),
    convert=_mmlu_subjects(_mmlu),
    open=table("csv", columns=_MMLU_COLUMNS),
    form="csv",
    metrics=("accuracy",),
    suits=lambda start: bool(re.search(r",[A-D]\r?\n", start)),
    files=files({"train": "auxiliary_train/*.csv", "dev": "dev/*.csv", "val": "val/*.csv", "test": "test/*.csv"}),
)
ARC = _layout(
    "arc",
    "choice",
    {"text": "question", "choices": "choices", "label": "label", "id": "id"},
    _arc,
    Template("Question: {text}\nAnswer:"),
    metrics=("accuracy",),
    files=files(
        {
            split.lower(): tuple(f"ARC-{level}-{split}.jsonl" for level in ("Challenge", "Easy"))
            for split in ("Train", "Dev", "Test")
        }
    ),
    marks=frozenset({"question", "answerKey"}),
)
RACE = _layout(
    "race",
    "choice",
    {"text": "article", "question": "question", "choices": "choices", "label": "label", "id": "id"},
    _race,
    Template("{text}\nQuestion: {question}\n{choices}\nAnswer:", _lettered(4)),
    metrics=("accuracy",),
    files={
        split: (
            (f"{split}/middle/*.txt", f"{split}/high/*.txt"),
            (f"{split}/*.txt",),
            (f"{split}.jsonl",),
        )
        for split in ("train", "dev", "test")
    },
    marks=frozenset({"article", "options"}),
)
_LAST = {"source": "context", "context": "context", "target": "word"}
LAMBADA = _layout(
    "lambada",
    "write",
    _LAST,
    _lambada,
    Template("{context}"),
    metrics=("exact_match",),
    open=pieces("line"),
    form="lines",
    files=files({"dev": "lambada_development_plain_text.txt", "test": "lambada_test_plain_text.txt"}),
)
LAMBADA_JSONL = _layout(
    "lambada_jsonl",
    "write",
    _LAST,
    _lambada,
    Template("{context}"),
    metrics=("exact_match",),
    files=files({"dev": "lambada_development.jsonl", "test": "lambada_test.jsonl"}),
    words=("lambada",),
    marks=frozenset({"text"}),
)
QUESTIONS = (NQ_OPEN, GSM8K, MMLU, ARC, RACE, LAMBADA, LAMBADA_JSONL)
