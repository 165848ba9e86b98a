"""CoNLL-U: the ten columns of Universal Dependencies (Nivre et al. 2020, 2004.10643), by words.

A sentence has comments (`# text = …`), word lines numbered from 1, *multiword tokens* (`1-2 don't`, a piece of text
that is several words) and *empty nodes* (`5.1`, words that are understood but not there). Tags and heads belong to
words, so rows are made of words; multiword tokens are kept beside them, as (first, last, form), and empty nodes are
counted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.columns import numbered
from modeledge.corpus.layouts.layout import Layout, Row, Tally, files
from modeledge.corpus.layouts.opened import pieces
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError, printable

_COLUMNS = ("id", "tokens", "lemmas", "upos", "xpos", "feats", "heads", "deprels", "deps", "misc")
_KEPT = ("tokens", "lemmas", "upos", "xpos", "feats", "deprels")
_COMMENT = re.compile(r"#\s*([\w ]+?)\s*=\s*(.*)")
_RANGE, _EMPTY = re.compile(r"(\d+)-(\d+)"), re.compile(r"\d+\.\d+")


def conllu_rows(records: Iterable[Record], tally: Tally) -> Iterator[Row]:
    """Rows of `tokens`, `lemmas`, `upos`, `xpos`, `feats`, `deprels` (strings), `heads` (0 is the root), `multiword`.

    Raises `E-LENGTH-MISMATCH` for a line without ten columns, `E-FORMAT` for numbers out of order or a head that is not
    there.
    """
    for record in records:
        row: Row = {"__where__": record.where, "multiword": []}
        words: list[list[str]] = []
        wheres: list[str] = []
        for line, where in numbered(record):
            if line.startswith("#"):
                if (comment := _COMMENT.fullmatch(line)) and comment[1] in ("sent_id", "text"):
                    row[comment[1]] = comment[2]
                continue
            fields = line.split("\t")
            if len(fields) != len(_COLUMNS):
                what = f"the line has {len(fields)} columns, CoNLL-U has 10: {printable(line, 60)!r}"
                remedy = "part the columns by tabs" if len(fields) == 1 else ""
                raise ModeledgeError("E-LENGTH-MISMATCH", what, where=where, remedy=remedy)
            if match := _RANGE.fullmatch(fields[0]):
                row["multiword"].append((int(match[1]), int(match[2]), fields[1]))
            elif _EMPTY.fullmatch(fields[0]):
                tally.note("empty node, no word of the sentence", where)
            else:
                _check_number(fields[0], len(words) + 1, where)
                words.append(fields)
                wheres.append(where)
        if not words:
            tally.drop(record, "comments alone, no sentence")
            continue
        columns: dict[str, list[str]] = dict(zip(_COLUMNS, map(list, zip(*words, strict=True)), strict=True))
        row.update({name: columns[name] for name in _KEPT})
        row["heads"] = [_head(h, len(words), where) for h, where in zip(columns["heads"], wheres, strict=True)]
        tally.keep(record)
        yield row


def _check_number(found: str, wanted: int, where: str) -> None:
    if found != str(wanted):
        what = f"word {wanted} of the sentence is numbered {printable(found, 20)!r}"
        raise ModeledgeError(
            "E-FORMAT", what, where=where, remedy="number words from 1, and end a sentence by a blank line"
        )


def _head(text: str, words: int, where: str) -> int | None:
    """The number of a word's head; None where the treebank has none (`_`)."""
    if text == "_":
        return None
    if not (text.isascii() and text.isdecimal() and int(text) <= words):
        what = f"the head {printable(text, 20)!r} is no word of a sentence of {words}"
        raise ModeledgeError("E-FORMAT", what, where=where, remedy="correct the head; 0 is the root")
    return int(text)


def _layout(name: str, tags: str, what: str, **more: Any) -> Layout:
    return Layout(
        name=name,
        task="tag",
        roles={"tokens": "tokens", "tags": tags, "heads": "heads", "relations": "deprels"},
        metrics=("accuracy",),
        template=Template(f"{{tokens}}\nQuestion: What is the {what} of each word?\nAnswer:"),
        open=pieces("paragraph"),
        convert=conllu_rows,
        files=files({s: (f"{s}.conllu", f"*-ud-{s}.conllu") for s in ("train", "dev", "test")}),
        form="columns",
        **more,
    )


def _suits(start: str) -> bool:
    first = next((line for line in start.split("\n") if line and not line.startswith("#")), "")
    return first.count("\t") == 9 and first.startswith("1")


CONLLU = _layout("conllu", "upos", "part of speech", words=("conllu", "ud"), suits=_suits)
CONLLU_XPOS = _layout("conllu_xpos", "xpos", "part of speech (of the treebank's own set)")
TREEBANKS = (CONLLU, CONLLU_XPOS)
