"""Text in, text out: summaries, data to text, long answers, titles, programs.

XSum (Narayan et al. 2018, 1808.08745) and CNN/DailyMail (Hermann et al. 2015; See et al. 2017) as jsonl; E2E NLG
(Novikova et al. 2017, 1706.09254) as csv, where one meaning has several right sentences: rows with the same meaning
become one, because BLEU compares with all of them; ELI5 (Fan et al. 2019, 1907.09190); MBPP (Austin et al. 2021,
2108.07732), whose splits are ranges of task numbers inside one file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.layout import Convert, Drop, Layout, Row, Tally, below, each, files, need, strings
from modeledge.corpus.layouts.opened import objects, table
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError

ROUGE = ("rouge1", "rouge2", "rougeL")
MBPP_RANGES = {"prompt": (1, 10), "test": (11, 510), "dev": (511, 600), "train": (601, 974)}
_JSONL: Mapping[str, tuple[str, ...]] = {"train": ("train",), "dev": ("val", "validation", "dev"), "test": ("test",)}


def texts(source: str, target: str) -> Convert:
    """Rows of two texts; a row with an empty one is left out and counted."""

    def shape(row: Row, tally: Tally) -> Row | Drop:
        empty = [name for name in (source, target) if not need(row, name).strip()]
        return Drop(f"{' and '.join(empty)} empty") if empty else row

    return each(shape)


def grouped(records: Iterable[Record], tally: Tally) -> Iterator[Row]:
    """One row for each meaning `mr`, with all its `refs`, in the order in which meanings are met first."""
    rows: dict[str, Row] = {}
    count = 0
    for record in records:
        meaning, sentence = record.fields["mr"], record.fields["ref"]
        if not meaning.strip() or not sentence.strip():
            tally.drop(record, "mr or ref empty")
            continue
        tally.keep(record)
        count += 1
        row = rows.setdefault(meaning, {"mr": meaning, "ref": sentence, "refs": [], "__where__": record.where})
        row["refs"].append(sentence)
    if rows:
        kind = f"sentence, grouped to {len(rows):,} rows by what they say (column 'refs' has all, 'ref' the first)"
        tally.note(kind, next(iter(rows.values()))["__where__"], count)
    yield from rows.values()


def _eli5(row: Row, tally: Tally) -> Row | Drop:
    """The question in `question`, the answers best first in `answers`; two forms of the file are known."""
    if "input" in row:  # KILT's form
        row["question"] = need(row, "input")
        outs = [below(row, out, f"output[{i}]") for i, out in enumerate(need(row, "output", list))]
        row["answers"] = [out["answer"] for out in outs if isinstance(out.get("answer"), str)]
    else:
        row["question"] = "\n".join(part for part in (need(row, "title"), row.get("selftext") or "") if part)
        answers = below(row, need(row, "answers", dict), "answers")
        given, scores = strings(answers, "text"), need(answers, "score", list)
        if len(given) != len(scores):
            what = f"{len(given)} answers and {len(scores)} scores"
            raise ModeledgeError("E-LENGTH-MISMATCH", what, where=row["__where__"])
        order = sorted(range(len(given)), key=lambda i: -scores[i])
        row["answers"] = [given[i] for i in order]
    row["answers"] = [answer for answer in row["answers"] if answer.strip()]
    if not row["answers"]:
        return Drop("no answer")
    row["target"] = row["answers"][0]
    return row


def _title(row: Row, tally: Tally) -> Row | Drop:
    """A text and its title; the text is the first of these fields that is there."""
    name = next((name for name in ("text", "abstract", "body", "document", "article") if name in row), "text")
    row["text"] = need(row, name)
    return row if row["text"].strip() and need(row, "title").strip() else Drop("text or title empty")


def _mbpp(row: Row, tally: Tally) -> Row | Drop:
    """A task in `text`, its `code` and its tests; of a folder's one file, the split's range of tasks."""
    number = need(row, "task_id", int)
    if not tally.asked.whole:
        low, high = MBPP_RANGES[tally.asked.split]
        if not low <= number <= high:
            return Drop(f"of another split than {tally.asked.split!r}")
    row["text"] = need(row, "prompt" if "text" not in row else "text")
    need(row, "code")
    strings(row, "test_list")
    row["tests"] = "\n".join(row["test_list"])
    return row


def _layout(name: str, roles: dict[str, str], convert: Convert, request: str, **more: Any) -> Layout:
    return Layout(
        name=name,
        task="write",
        roles=roles,
        convert=convert,
        template=Template(request),
        **{
            "metrics": ROUGE,
            "open": objects(),
            "files": files(_JSONL, suffix=".jsonl"),
            "form": "jsonl",
            "words": (name,),
            "marks": frozenset(roles.values()),
            **more,
        },
    )


XSUM = _layout(
    "xsum",
    {"source": "document", "target": "summary"},
    texts("document", "summary"),
    "{source}\nIn one sentence:",
)
CNN_DM = _layout(
    "cnn_dm",
    {"source": "article", "target": "highlights"},
    texts("article", "highlights"),
    "{source}\nTL;DR:",
    words=("cnndm", "cnn", "dailymail"),
)
E2E = _layout(
    "e2e",
    {"source": "mr", "target": "ref", "targets": "refs"},
    grouped,
    "Data: {source}\nText:",
    open=table("csv", ("mr", "ref")),
    form="csv",
    files=files({"train": "trainset.csv", "dev": "devset.csv", "test": "testset_w_refs.csv"}),
    marks=frozenset({"mr", "ref"}),
    metrics=("bleu", "rougeL"),
)
ELI5 = _layout(
    "eli5",
    {"source": "question", "target": "target", "targets": "answers"},
    each(_eli5),
    "Question: {source}\nExplain it as to a five-year-old:",
    marks=frozenset({"title", "answers", "answers.text"}),
)
TITLES = _layout(
    "titles",
    {"source": "text", "target": "title"},
    each(_title),
    "{source}\nTitle:",
    marks=frozenset({"title"}),
    words=("title", "titles"),
)
MBPP = _layout(
    "mbpp",
    {"source": "text", "target": "code", "tests": "test_list", "id": "task_id"},
    each(_mbpp),
    '"""\n{source}\n{tests}\n"""\n',
    metrics=("pass@1",),
    files=files(dict.fromkeys(MBPP_RANGES, ("mbpp.jsonl", "sanitized-mbpp.json"))),
    marks=frozenset({"task_id", "code", "test_list"}),
)
WRITING = (XSUM, CNN_DM, E2E, ELI5, TITLES, MBPP)
