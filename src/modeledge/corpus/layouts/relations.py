"""Which relation holds between two marked things: TACRED-like JSON and SemEval-2010 task 8.

The model must know which two things are meant. The text says it itself: *entity markers* stand around them, and the
relation is read there (Baldini Soares et al. 2019, 1906.03158). TACRED (Zhang et al. 2017) counts tokens, the last one
counted in; SemEval (Hendrickx et al. 2010) writes `<e1>…</e1>` into the sentence. Both become `[E1] … [/E1]` and `[E2]
… [/E2]`.
The benchmarks' own F1 leaves the class of no relation out: TACRED's is `relation_f1`; SemEval's, a mean over its nine
relations without `Other`, is none of the marks here (`f1_macro` counts `Other`, and each direction for itself).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.columns import numbered
from modeledge.corpus.layouts.layout import Asked, Layout, Row, Tally, each, files, named_label, need, strings
from modeledge.corpus.layouts.opened import objects, pieces
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError, printable

MARKERS = (("[E1]", "[/E1]"), ("[E2]", "[/E2]"))
_SEMEVAL = re.compile(r'(\d+)\t"(.*)"', re.S)
_NINE = (
    "Cause-Effect",
    "Component-Whole",
    "Content-Container",
    "Entity-Destination",
    "Entity-Origin",
    "Instrument-Agency",
    "Member-Collection",
    "Message-Topic",
    "Product-Producer",
)
SEMEVAL_LABELS = (*(f"{name}({way})" for name in _NINE for way in ("e1,e2", "e2,e1")), "Other")


def marked(tokens: Sequence[str], spans: Sequence[tuple[int, int]], where: str) -> list[str]:
    """Tokens with markers around two spans (first and last token, both counted in).

    Raises `E-ANSWER-MISMATCH` for a span outside the tokens, or spans that overlap: markers could not be told apart.

    >>> marked(["a", "b", "c"], [(2, 2), (0, 0)], "")
    ['[E2]', 'a', '[/E2]', 'b', '[E1]', 'c', '[/E1]']
    """
    for first, last in spans:
        if not 0 <= first <= last < len(tokens):
            what = f"tokens {first} to {last} are marked, and there are {len(tokens)}"
            raise ModeledgeError("E-ANSWER-MISMATCH", what, where=where, remedy="count tokens from 0, the last one in")
    (a, b), (c, d) = spans
    if a <= d and c <= b:
        what = f"the two things overlap: tokens {a} to {b} and {c} to {d}"
        raise ModeledgeError("E-ANSWER-MISMATCH", what, where=where)
    made = list(tokens)
    for (first, last), (start, end) in sorted(zip(spans, MARKERS, strict=True), reverse=True):
        made[first : last + 1] = [start, *made[first : last + 1], end]
    return made


def _tacred(row: Row, tally: Tally) -> Row:
    tokens = strings(row, "token")
    spans = [(need(row, f"{who}_start", int), need(row, f"{who}_end", int)) for who in ("subj", "obj")]
    row["text"] = " ".join(marked(tokens, spans, row["__where__"]))
    row["subject"], row["object"] = (" ".join(tokens[first : last + 1]) for first, last in spans)
    row["head"], row["tail"] = ([first, last + 1] for first, last in spans)
    if tally.asked.labelled or "relation" in row:
        row["relation"] = named_label(row, "relation", ())
    return row


def open_semeval(asked: Asked) -> Iterator[Record]:
    """A record a sentence: three lines and a blank one, or, without labels, a line each."""
    yield from pieces("paragraph" if asked.labelled else "line")(asked)


def semeval_rows(records: Iterable[Record], tally: Tally) -> Iterator[Row]:
    """Rows of `text` with markers, `id`, `relation` and `comment`. Raises `E-FORMAT`, `E-LABEL-MISSING`."""
    for record in records:
        lines = [(line.strip(), where) for line, where in numbered(record) if line.strip()]
        match = _SEMEVAL.fullmatch(lines[0][0])
        if match is None or len(lines) > 3:
            found, where = lines[0] if match is None else lines[3]
            what = f"a number, a tab, a sentence in quotes, and two lines were expected: {printable(found, 60)!r}"
            raise ModeledgeError("E-FORMAT", what, where=where, remedy="part sentences by a blank line")
        row = _sentence(match, [line for line, _ in lines[1:]], lines[0][1], tally)
        tally.keep(record)
        yield row


def _sentence(match: re.Match[str], rest: Sequence[str], where: str, tally: Tally) -> Row:
    text = match[2]
    for i, (start, end) in enumerate(MARKERS, start=1):
        if text.count(f"<e{i}>") != 1 or text.count(f"</e{i}>") != 1:
            what = f"<e{i}>…</e{i}> should stand once in the sentence"
            raise ModeledgeError("E-ANSWER-MISMATCH", what, where=where)
        text = text.replace(f"<e{i}>", f"{start} ").replace(f"</e{i}>", f" {end}")
    row: Row = {"id": match[1], "text": text, "__where__": where}
    if tally.asked.labelled:
        row["relation"] = rest[0] if rest else ""
        row["relation"] = named_label(row, "relation", SEMEVAL_LABELS)
        row["comment"] = rest[1].removeprefix("Comment:").strip() if len(rest) > 1 else ""
    return row


_TEMPLATE = Template("{text}\nQuestion: How is [E1] related to [E2]?\nAnswer:")
_ROLES = {"text": "text", "label": "relation", "id": "id"}
TACRED = Layout(
    name="tacred",
    task="classification",
    roles={**_ROLES, "head": "head", "tail": "tail"},
    metrics=("relation_f1", "accuracy"),
    template=_TEMPLATE,
    open=objects(["token"]),
    convert=each(_tacred),
    files=files({"train": "train.json", "dev": "dev.json", "test": "test.json"}),
    form="jsonl",
    marks=frozenset({"token", "subj_start", "obj_start"}),
    words=("tacred",),
)
SEMEVAL = Layout(
    name="semeval2010_8",
    task="classification",
    roles=_ROLES,
    labels=SEMEVAL_LABELS,
    metrics=("f1_macro", "accuracy"),
    template=_TEMPLATE,
    open=open_semeval,
    convert=semeval_rows,
    files=files({"train": "TRAIN_FILE.TXT", "test_full": "TEST_FILE_FULL.TXT", "test": "TEST_FILE.txt"}),
    unlabelled=frozenset({"test"}),
    form="lines",
    words=("semeval", "semeval2010"),
    suits=lambda start: bool(re.match(r'\d+\t"', start)) and "<e1>" in start,
)
RELATIONS = (TACRED, SEMEVAL)
