"""Checks of the rows: what gives a label away, which classes there are, what stands in the texts."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from modeledge.errors import printable
from modeledge.preflight.finding import Finding, Token
from modeledge.preflight.view import Split, View, spread

LEAST = 50  # rows below which a rule about shares says nothing
ALWAYS = 0.99  # a word, a column or a token tells the label if it is right in this share of the rows
TOKENS_LEAST = 200  # rows that it takes to say that one token tells the label
SYSTEMATIC = 0.01  # special tokens written out in more texts than that come from a template, not from people


def empty_splits(view: View) -> Iterator[Finding]:
    """Each split holds something."""
    for name, split in {"training": Split(view.sample), **view.others}.items():
        if not (split.examples or split.rows):
            yield Finding("E-EMPTY-SPLIT", f"the {name} split is empty", remedy="check the filters and the split")


def label_in_text(view: View) -> Iterator[Finding]:
    """No text spells its own label out: not as the whole text, not as the one class name in it."""
    rows = labelled(view)
    if len(rows) < LEAST or not view.names:
        return  # answers that are texts may well be taken from what is read
    names = [name.casefold() for name in view.names if name.strip()]
    patterns = (
        {name: re.compile(rf"(?<!\w){re.escape(name)}(?!\w)") for name in names if name} if len(names) < 200 else {}
    )
    for place, column in enumerate(view.inputs):
        texts = [row[0][place].casefold() for row in rows]
        same = sum(text.strip() == row[1] for text, row in zip(texts, rows, strict=True))
        alone = sum(
            [n for n, p in patterns.items() if p.search(text)] == [row[1]]
            for text, row in zip(texts, rows, strict=True)
        )
        count, how = max((same, "is the label"), (alone, "names its own label and no other"))
        if count > ALWAYS * len(rows):
            what = f"column {column!r} {how} in {count} of {len(rows)} rows"
            yield Finding(
                "E-LABEL-LEAK", what, rows[0][2], "take the label out of the text", said(rows[0][0], rows[0][1])
            )


def telling_column(view: View) -> Iterator[Finding]:
    """No column of few values fixes the label: such a column was made from it."""
    rows = labelled(view)
    classes = {label for _, label, _ in rows}
    if len(rows) < LEAST or not view.names or not 2 <= len(classes) <= len(rows) / 10:
        return
    for place, column in enumerate(view.inputs):
        told = defaultdict[str, Counter[str]](Counter)
        for texts, label, _ in rows:
            told[texts[place]][label] += 1
        right = sum(count.most_common(1)[0][1] for count in told.values())
        usual = Counter(label for _, label, _ in rows).most_common(1)[0][1]
        few = len(told) <= max(2 * len(classes), len(rows) // 20)
        if few and right > ALWAYS * len(rows) and right > usual + 0.05 * len(rows):
            what = f"column {column!r} has {len(told)} values, and they fix the label of {right} of {len(rows)} rows"
            yield Finding("E-LABEL-LEAK", what, rows[0][2], "leave the column out", said(rows[0][0], rows[0][1]))


def telling_token(view: View) -> Iterator[Finding]:
    """No token stands in all texts of a class and in no other: a source, a marker or a template gives the class away.

    Measured for each class but one; a class tells if a token is right about it in more than 99.5 % of the examples.
    """
    examples = [e for e in (view.train.examples[i] for i in spread(len(view.train.examples), 2000)) if _class(e)]
    counts = Counter(int(e.label) for e in examples)
    if len(examples) < TOKENS_LEAST or not 2 <= len(counts) <= 50 or min(counts.values()) < 20:
        return
    seen = defaultdict[int, Counter[int]](Counter)
    for example in examples:
        pair = () if example.pair is None else example.pair
        for token in np.unique(np.concatenate([example.ids, pair]).astype(np.int64)).tolist():
            seen[token][int(example.label)] += 1
    told: dict[int, tuple[float, int]] = {}
    for token, by in seen.items():
        for label, count in by.items():
            wrong = counts[label] - count + by.total() - count
            told[label] = max(told.get(label, (0.0, 0)), (1 - wrong / len(examples), token))
    sure = {label: (share, token) for label, (share, token) in told.items() if share > 1 - (1 - ALWAYS) / 2}
    if len(sure) >= len(counts) - 1:
        label, (share, token) = next(iter(sure.items()))
        name = view.names[label] if label < len(view.names) else label
        what = (
            f"the token {printable(view.tokenizer.token(token))!r} alone is right about class {name!r} in {share:.1%}"
        )
        where = next(view.where(e) for e in examples if int(e.label) == label)
        yield Finding("E-LABEL-LEAK", f"{what} of {len(examples)} examples", where, "look where the token comes from")


def classes(view: View) -> Iterator[Finding]:
    """There are two classes or more, each is learned, and those that are asked for are among them."""
    if not view.names:
        return
    learned = Counter(int(e.label) for e in view.train.examples if _class(e))
    if not learned:
        return
    if len(learned) == 1:
        yield Finding("E-ONE-CLASS", f"all {learned.total()} training examples are {_name(view, *learned)!r}")
    elif missing := [name for number, name in enumerate(view.names) if not learned[number]]:
        what = f"{len(missing)} classes have no training example: {', '.join(missing[:8])}"
        yield Finding("E-CLASS-TOO-SMALL", what, remedy="leave them out or add rows")
    for name, split in view.others.items():
        asked = Counter(int(e.label) for e in split.examples if _class(e))
        if unseen := [_name(view, n) for n in asked if not learned[n]]:
            what = f"{len(unseen)} classes are only in the {name} rows: {', '.join(unseen[:8])}"
            yield Finding("E-CLASS-UNSEEN", what, remedy="split again")
        if len(asked) == 1 and asked.total() >= 10:
            what = f"all {asked.total()} {name} examples are {_name(view, *asked)!r}: no score can tell models apart"
            yield Finding("W-ONE-CLASS", what, remedy="split again")


def label_text(view: View) -> Iterator[Finding]:
    """Class names have no stray spaces, and differ by more than spaces and case."""
    usual: dict[str, str] = {}
    for name in view.names:
        if name != name.strip() or not name.isprintable():
            yield Finding(
                "E-LABEL-UNKNOWN", f"the class {printable(name)!r} has stray spaces", remedy="strip the labels"
            )
        other = usual.setdefault(" ".join(name.casefold().split()), name)
        if other != name:
            what = f"the classes {printable(name)!r} and {printable(other)!r} differ by case or spaces alone"
            yield Finding("E-LABEL-UNKNOWN", what, remedy="write them alike")


def specials_in_text(view: View) -> Iterator[Finding]:
    """Texts, answers and names of classes do not spell special tokens out. They would be plain text: where many do, a
    template was rendered into them, and the special tokens would stand there twice; a name or an answer that ends with
    the end token teaches to write its letters."""
    count = view.tokenizer.count_specials_in
    if named := [name for name in view.names if count(name)]:
        what = f"the class {printable(named[0])!r} spells a special token out"
        yield Finding("E-SPECIAL-IN-TEXT", what, remedy="take it out of the labels")
        return
    split = Split(view.train.examples, [view.train.rows[i] for i in spread(len(view.train.rows), 2000)])
    rows = list(texts_of(view, split))
    answers = [_text(row.get(view.target)) if view.target else "" for row in split.rows] or [""] * len(rows)
    hits = [(n, any(map(count, texts))) for n, (texts, _) in enumerate(rows) if any(map(count, (*texts, answers[n])))]
    if hits:
        number, read = hits[0]
        kind = "texts; they are read" if read else "answers; they are learned"
        what = f"special tokens are written out in {len(hits)} of {len(rows)} {kind} as plain text"
        many = len(hits) > SYSTEMATIC * len(rows) and len(hits) > 1
        remedy = "give the texts without them: the task adds its own"
        record = said(rows[number][0], None if read else answers[number])
        yield Finding("E-SPECIAL-IN-TEXT" if many else "W-SPECIAL-IN-TEXT", what, rows[number][1], remedy, record)


# ---- rows as texts


def texts_of(view: View, split: Split) -> Iterator[tuple[tuple[str, ...], str]]:
    """(the texts that are read, where) of each row; of examples without rows their decoded tokens."""
    if split.rows:
        for number, row in enumerate(split.rows):
            yield tuple(_text(row.get(c)) for c in view.inputs), str(row.get("__where__", f"row {number + 1}"))
    elif not view.inputs:
        for example in (split.examples[i] for i in spread(len(split.examples), 2000)):
            if np.ndim(example.ids) == 1:
                yield (view.tokenizer.decode(example.ids),), view.where(example)


def labelled(view: View) -> list[tuple[tuple[str, ...], str, str]]:
    """(texts, label, where) of at most 2000 training rows that have a label that is one word or number."""
    if view.target is None:
        return []
    rows = [view.train.rows[i] for i in spread(len(view.train.rows), 2000)]
    texts = texts_of(view, Split(rows=rows))
    pairs = [(t, row.get(view.target), where) for (t, where), row in zip(texts, rows, strict=True)]
    return [
        (t, str(label).strip().casefold(), where) for t, label, where in pairs if isinstance(label, str | int | float)
    ]


def said(texts: Sequence[str], label: str | None = None) -> tuple[Token, ...]:
    """Texts, and the label that is learned, as a record to be shown."""
    told = [Token(text[:300] + "  ") for text in texts]
    return (*told, *([] if label is None else [Token("→ "), Token(label, "trained")]))


def _text(value: Any) -> str:
    if isinstance(value, Mapping | str):
        return str(value)
    return " ".join(map(str, value)) if isinstance(value, Sequence) else str(value)


def _class(example: Any) -> bool:
    """Has the example one class number?"""
    return isinstance(example.label, int | np.integer) and not isinstance(example.label, bool)


def _name(view: View, number: int) -> str:
    return view.names[number] if 0 <= number < len(view.names) else str(number)
