"""One token a line, its tags in columns, a blank line after each sentence: CoNLL-2000, CoNLL-2003 and their like.

CoNLL-2000 (chunks): word, part of speech, chunk. CoNLL-2003 (names; Tjong Kim Sang and De Meulder 2003, cs/0306050):
word, part of speech, chunk, name; `-DOCSTART-` lines part its documents and are no sentences. The original files write
names as IOB1, most copies as IOB2; which one it is decides an F1, so it is found out and said (`schemes`). Tokens and
tags as lists in jsonl are read too.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from modeledge.corpus.intake import Record
from modeledge.corpus.layouts.layout import Convert, Layout, Row, Tally, files, need, strings
from modeledge.corpus.layouts.opened import objects, pieces
from modeledge.corpus.layouts.schemes import find_scheme
from modeledge.corpus.layouts.template import Template
from modeledge.errors import ModeledgeError, nearest, printable

DOCUMENT = "-DOCSTART-"
_SPACES = re.compile(" +")  # a no-break space is part of a token


def numbered(record: Record) -> Iterator[tuple[str, str]]:
    """The lines of a sentence, each with its `file:line`."""
    name, _, first = record.where.rpartition(":")
    for number, line in enumerate(record.fields["text"].split("\n"), start=int(first)):
        yield line.removesuffix("\r"), f"{name}:{number}"


def fields_of(line: str) -> list[str]:
    """The columns of a line: by tabs where there are any, else by spaces."""
    return line.split("\t") if "\t" in line else _SPACES.split(line.strip(" "))


def column_rows(
    records: Iterable[Record], tally: Tally, *, names: tuple[str, ...] = (), tags: str = "tags", chunked: bool = False
) -> Iterator[Row]:
    """Rows of `tokens` and a list for each column. Without `names`, the first column is the token and the last the tag.

    Raises `E-LENGTH-MISMATCH` for a line of another number of columns, and what `check_tags` raises.
    """
    rows = []
    width = len(names)
    for record in records:
        found = [(fields_of(line), where) for line, where in numbered(record)]
        lines = [(fields, where) for fields, where in found if fields[0] != DOCUMENT]
        if not lines:
            tally.drop(record, f"{DOCUMENT}: a mark between documents, no sentence")
            continue
        width = width or len(lines[0][0])
        for fields, where in lines:
            if len(fields) != width or width < 2:
                what = f"the line has {len(fields)} columns, not {max(width, 2)}: {printable(' '.join(fields), 60)!r}"
                raise ModeledgeError("E-LENGTH-MISMATCH", what, where=where, why="a token would lose its tag")
        columns = [list(column) for column in zip(*(fields for fields, _ in lines), strict=True)]
        here = names or ("tokens", *(f"column{i}" for i in range(2, width)), "tags")
        tally.keep(record)
        rows.append({**dict(zip(here, columns, strict=True)), "__where__": lines[0][1]})
    check_tags(rows, tags, tally, chunked=chunked)
    yield from rows


def list_rows(records: Iterable[Record], tally: Tally, *, tags: Sequence[str] = ("tags", "ner_tags")) -> Iterator[Row]:
    """Rows of `tokens` and `tags` that are lists already. Raises `E-LENGTH-MISMATCH`, `E-MISSING-FIELD`."""
    rows = []
    for record in records:
        row: Row = {**record.fields, "__where__": record.where}
        tokens = strings(row, "tokens")
        name = next((name for name in tags if name in row), tags[0])
        row["tags"] = _names(need(row, name, list))
        if len(tokens) != len(row["tags"]):
            what = f"{len(tokens)} tokens and {len(row['tags'])} tags"
            raise ModeledgeError("E-LENGTH-MISMATCH", what, where=record.where, why="each token needs one tag")
        if not tokens:
            tally.drop(record, "a sentence without tokens")
            continue
        tally.keep(record)
        rows.append(row)
    check_tags(rows, "tags", tally)
    yield from rows


def _names(values: Sequence[Any]) -> list[str]:
    return [str(value) for value in values]


def check_tags(rows: Sequence[Row], column: str, tally: Tally, *, chunked: bool = False) -> None:
    """Note the scheme of the tags, and how many break it (`W-TAG-SCHEME`).

    Raises `E-TAG-SCHEME` for a tag of no scheme among others that have one, or, where `chunked` says that there must
    be chunks, for tags that are none.
    """
    if not rows:
        return
    found = find_scheme([row[column] for row in rows])
    if found.scheme == "plain" and chunked and any(tag != "O" for row in rows for tag in row[column]):
        row = next(row for row in rows if any(tag != "O" for tag in row[column]))
        tag = next(tag for tag in row[column] if tag != "O")
        what = f"the tag {printable(tag, 40)!r} of column {column!r} has no letter of a scheme (B-, I-, E-, S-, L-, U-)"
        raise ModeledgeError("E-TAG-SCHEME", what, where=row["__where__"])
    if found.unknown is not None:
        sentence, place = found.unknown
        tag = rows[sentence][column][place]
        what = f"the tag {printable(tag, 40)!r} of token {place + 1} is not of scheme {found.scheme}, as others are"
        others = {t for row in rows for t in row[column]} - {tag}
        raise ModeledgeError("E-TAG-SCHEME", what, where=rows[sentence]["__where__"], remedy=nearest(tag, others))
    if found.scheme != "plain":
        tally.note(f"sentence whose {column!r} are read as {found.scheme}", rows[0]["__where__"], len(rows))
    if found.first is not None:
        sentence, place = found.first
        before = rows[sentence][column][place - 1] if place else "the start"
        tag = rows[sentence][column][place]
        kind = f"W-TAG-SCHEME: tag that {found.scheme} does not allow where it stands (first: {tag} after {before})"
        tally.note(kind, rows[sentence]["__where__"], found.malformed)


def looks(columns: Sequence[int]) -> Callable[[str], bool]:
    """Does the beginning of a file look like sentences of one token a line, in so many columns?"""

    def suits(start: str) -> bool:
        lines = start[: start.rfind("\n") + 1].split("\n")[:-1][:200]
        counts = {len(fields_of(line.rstrip("\r"))) for line in lines if line.strip()}
        return len(counts) == 1 and counts <= set(columns) and (not lines[-1].strip() or "" in map(str.strip, lines))

    return suits


def _splits(stem: str) -> dict[str, tuple[str, ...]]:
    """The official names of CoNLL-2003, then the usual ones."""
    official = {"train": "eng.train", "dev": "eng.testa", "test": "eng.testb"}
    usual = {"train": ("train",), "dev": ("valid", "dev"), "test": ("test",)}
    return {
        split: (
            *((official[split],) if stem == "2003" else ()),
            *(f"{n}.txt" for n in names),
            *(f"{n}.conll" for n in names),
        )
        for split, names in usual.items()
    }


def _layout(name: str, stem: str, convert: Convert, tags: str, what: str, **more: Any) -> Layout:
    return Layout(
        name=name,
        task="tag",
        roles={"tokens": "tokens", "tags": tags},
        template=Template(f"{{tokens}}\nQuestion: What is the {what} of each word?\nAnswer:"),
        convert=convert,
        files=files(_splits(stem)),
        **{"metrics": ("entity_f1",), "open": pieces("paragraph"), "form": "columns", **more},
    )


_2003, _2000 = ("tokens", "pos", "chunk", "ner"), ("tokens", "pos", "chunk")
CONLL2003 = _layout(
    "conll2003",
    "2003",
    partial(column_rows, names=_2003, tags="ner", chunked=True),
    "ner",
    "kind of name",
    words=("conll2003", "conll03", "ner", "eng"),
    suits=looks([4]),
)
CONLL2000 = _layout(
    "conll2000",
    "2000",
    partial(column_rows, names=_2000, tags="chunk", chunked=True),
    "chunk",
    "chunk",
    words=("conll2000", "chunking"),
    suits=looks([3]),
)
COLUMNS_ANY = _layout("columns", "", column_rows, "tags", "tag", words=("conll", "columns"), suits=looks(range(2, 9)))
TOKENS = _layout(
    "tokens",
    "",
    list_rows,
    "tags",
    "tag",
    open=objects(["tokens"]),
    form="jsonl",
    marks=frozenset({"tokens"}),
)
COLUMNS = (CONLL2003, CONLL2000, COLUMNS_ANY, TOKENS)
