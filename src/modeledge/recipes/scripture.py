"""A corpus that `pip` can install, with labels that nobody had to write: two English Bibles, verse by verse.

The King James Version and the World English Bible tell the same 31,102 verses in two Englishes, and the books
themselves say what a verse is. That gives both sides of the paradigm from one source: 8 MB of running text to
pre-train on, and two tasks to fine-tune on.

`section_task`: which of eight sections of the canon is this verse from? Topic and style decide. Classes are drawn
equally often, so chance is 1/8 and accuracy is also the mean recall of the classes.

`pair_task`: do these two sentences, one from each translation, say the same, or is the second a neighbour of the right
one? Neighbours share names and topic. Rows are cut from runs of three verses: one verse is paired with its translation
(1), of the other two one is paired with the other's (0). Every text stands at most once on its side, as often in a
right pair as in a wrong one, so that neither side alone tells the label.

What may leak, and what is done about it:

- Both tasks share one split, **by chapter and for both translations at once**. It depends on no seed, so all runs are
  marked on the same rows. `assert_disjoint` guards it on the way out.
- Formulas ("And the LORD spake unto Moses, saying,") would carry a test text into the training rows. A verse whose
  words, in either translation, are those of another verse too is used by no task.
- The lectures' paradigm lets pre-training read *all* text, because it reads no label: transductive on text, never on
  labels. But a figure won that way says nothing about new text. **Recommended, and the default of `write_documents`:
  the test chapters (`held_out_chapters`) are held out of pre-training and of tokenizer training as well.** They go to
  a file of their own, on which a language model can be marked.
- Not guarded: the canon quotes itself in nearly the same words (Kings and Chronicles, Kings and Isaiah, the Gospels),
  so some test verses have a cousin in a training chapter, for every method alike.

A regression task was left out: what the books offer (the place of a verse in its book, a disputed date) is either
hardly in the text or the section task again.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.recipes.canon import NOT_PARALLEL, SECTIONS, TRANSLATIONS, canon, folded, section
from modeledge.seed import Noise

__all__ = [
    "SECTIONS",
    "TRANSLATIONS",
    "Row",
    "Split",
    "assert_disjoint",
    "canon",
    "held_out_chapters",
    "pair_task",
    "section_task",
    "unlabelled_verses",
    "write_documents",
]

T = TypeVar("T")
Row: TypeAlias = dict[str, Any]

TEST_ROWS = 2000
HELD_OUT_SHARE = 1 / 8  # of each section's verses, in whole chapters ...
HELD_OUT_LEAST = 300  # ... and at least so many: 250 of each section are test rows
_FIXED = Noise(0).at("scripture", "test")  # the split and the test rows are the same whatever the seed


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be marked on; they share no chapter and no text."""

    train: tuple[Row, ...]
    test: tuple[Row, ...]


@cache
def held_out_chapters() -> frozenset[str]:
    """The chapters that test rows come from (`"genesis/1"`): an eighth of each section, in verses, or `HELD_OUT_LEAST`."""
    chosen = set[str]()
    for name in SECTIONS:
        sizes = Counter(canon().chapter(verse) for verse in _usable() if section(verse) == name)
        needed = max(HELD_OUT_LEAST, HELD_OUT_SHARE * sizes.total())
        for chapter in _shuffled(list(sizes), _FIXED.at("chapters", name)):
            if needed > 0:
                chosen.add(chapter)
                needed -= sizes[chapter]
    return frozenset(chosen)


def write_documents(folder: Path, *, leave_out: Collection[str] | None = None) -> list[Path]:
    """The corpus as files for the ordinary readers: `kjv.jsonl.gz` and `web.jsonl.gz` in `folder`, a chapter a line.

    A record has `id` ("kjv/genesis/1"), `text` (a verse a line), `translation`, `book` and `chapter`. The chapters to
    `leave_out` (None: those of the test rows; `()`: none) are written to `held-out.jsonl.gz`, which is not among the
    paths returned. Equal arguments give equal text; the bytes are those of this Python's zlib.
    """
    left_out = _left_out(leave_out)
    records = [record for name in TRANSLATIONS for record in _records(name)]
    paths = []
    for name in TRANSLATIONS:
        paths.append(folder / f"{name}.jsonl.gz")
        kept = [r for r in records if r["translation"] == name and f"{r['book']}/{r['chapter']}" not in left_out]
        _write(paths[-1], kept)
    if left_out:
        _write(folder / "held-out.jsonl.gz", [r for r in records if f"{r['book']}/{r['chapter']}" in left_out])
    return paths


def unlabelled_verses(*, leave_out: Collection[str] | None = None) -> list[str]:
    """The verses that `write_documents` writes, one a string: for classical methods that learn from unlabelled text."""
    left_out = _left_out(leave_out)
    texts = [canon().texts[name] for name in TRANSLATIONS]
    return [text for verses in texts for verse, text in verses.items() if canon().chapter(verse) not in left_out]


def section_task(seed: int, *, train: int = 1000, test: int = TEST_ROWS) -> Split:
    """Rows `{"text", "label", "chapter"}`: a verse in one translation, drawn by lot, and its section.

    Classes come in turn, so that every prefix of either side is stratified, and the rows for 300 labels are the first
    300 of those for 1,000. `seed` draws the training rows only. Raises `E-CLASS-TOO-SMALL` for more than there are.
    """
    split = Split(_section_rows(train, Noise(seed).at("scripture", "train")), _section_rows(test, _FIXED))
    assert_disjoint(split.train, split.test)
    return split


def pair_task(seed: int, *, train: int = 1000, test: int = TEST_ROWS) -> Split:
    """Rows `{"text", "pair", "label", "chapter"}`: King James, World English; 1 for the same verse, 0 for a neighbour.

    The neighbour stands one or two verses away. Right and wrong pairs come in turn, so that every prefix is balanced to
    one row; the rows for 300 labels are the first 300 of those for 1,000. `seed` draws the training rows only. Raises
    `E-CLASS-TOO-SMALL` for more than there are.
    """
    split = Split(_pair_rows(train, Noise(seed).at("scripture", "train")), _pair_rows(test, _FIXED))
    assert_disjoint(split.train, split.test)
    return split


def assert_disjoint(train: Iterable[Mapping[str, Any]], test: Iterable[Mapping[str, Any]]) -> None:
    """Refuse (`E-LEAK`) rows that share a chapter, or a text on whichever side, letter case and signs aside."""

    def contents(row: Mapping[str, Any]) -> set[tuple[str, str]]:
        texts = {("text", folded(row[side])) for side in ("text", "pair") if side in row}
        return texts | {("chapter", row["chapter"])}

    seen = set[tuple[str, str]]().union(*map(contents, train))
    for number, row in enumerate(test, 1):
        for kind, value in sorted(contents(row) & seen):
            what = f"the {kind} {value!r} is among the training rows too"
            raise ModeledgeError("E-LEAK", what, where=f"test row {number}", why="the score would measure memory")


def _left_out(leave_out: Collection[str] | None) -> frozenset[str]:
    if leave_out is None:
        return held_out_chapters()
    known = {canon().chapter(verse) for verse in canon().texts["kjv"]}
    if unknown := sorted(set(leave_out) - known):
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no chapter {unknown[0]!r}", remedy='name it like "genesis/1"')
    return frozenset(leave_out)


def _records(name: str) -> Iterator[dict[str, Any]]:
    chapters = defaultdict[str, list[str]](list)
    for verse, text in canon().texts[name].items():
        chapters[canon().chapter(verse)].append(text)
    for chapter, verses in chapters.items():
        book, _, number = chapter.rpartition("/")
        place = {"translation": name, "book": book, "chapter": int(number)}
        yield {"id": f"{name}/{chapter}", "text": "\n".join(verses), **place}


def _write(path: Path, records: Sequence[Mapping[str, Any]]) -> None:
    lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
    files.write_bytes(path, gzip.compress(lines.encode(), mtime=0))


@cache
def _usable() -> tuple[int, ...]:
    """The verses that tasks draw from: in both translations, parallel, and nowhere else in the same words."""
    texts = canon().texts
    where = defaultdict[str, set[int]](set)
    for verses in texts.values():
        for verse, text in verses.items():
            where[folded(text)].add(verse)
    formulas = set[int]().union(*(verses for verses in where.values() if len(verses) > 1))
    return tuple(v for v in texts["kjv"] if v in texts["web"] and v not in formulas and v not in NOT_PARALLEL)


@cache
def _side(held_out: bool) -> tuple[int, ...]:
    return tuple(verse for verse in _usable() if (canon().chapter(verse) in held_out_chapters()) == held_out)


def _section_rows(count: int, noise: Noise) -> tuple[Row, ...]:
    """`count` rows of one side of the split: a verse of each section in turn, the turns in an order of their own."""
    noise = noise.at("section")
    drawn = {name: [v for v in _side(_is_test(noise)) if section(v) == name] for name in SECTIONS}
    turns = -(-count // len(SECTIONS))
    smallest = min(drawn, key=lambda name: len(drawn[name]))
    if turns > len(drawn[smallest]):
        _too_many(count, len(SECTIONS) * len(drawn[smallest]))
    drawn = {name: _shuffled(verses, noise.at(name)) for name, verses in drawn.items()}
    order = [drawn[name][turn] for turn in range(turns) for name in _shuffled(list(SECTIONS), noise.at("turn", turn))]
    return tuple(_section_row(verse, noise) for verse in order[:count])


def _section_row(verse: int, noise: Noise) -> Row:
    name = TRANSLATIONS[noise.at("translation", verse).integer() % len(TRANSLATIONS)]
    return {"text": canon().texts[name][verse], "label": section(verse), "chapter": canon().chapter(verse)}


def _pair_rows(count: int, noise: Noise) -> tuple[Row, ...]:
    """`count` rows of one side of the split: two of each run of three verses, the runs in an order by lot."""
    noise = noise.at("pair")
    runs = [run for verses in _by_chapter(_side(_is_test(noise))) for run in _runs(verses, noise)]
    if count > 2 * len(runs):
        _too_many(count, 2 * len(runs))
    return tuple(row for run in _shuffled(runs, noise.at("runs")) for row in _pairs_of(run, noise))[:count]


def _by_chapter(verses: Sequence[int]) -> Iterable[list[int]]:
    chapters = defaultdict[int, list[int]](list)
    for verse in verses:
        chapters[verse // 1000].append(verse)
    return chapters.values()


def _runs(verses: Sequence[int], noise: Noise) -> Iterator[list[int]]:
    """Runs of three verses in a row, from a place by lot."""
    at = noise.at("start", verses[0]).integer() % 3
    while at + 3 <= len(verses):
        run = list(verses[at : at + 3])
        whole = run[2] - run[0] == 2  # no gap
        if whole:
            yield run
        at += 3 if whole else 1


def _pairs_of(run: Sequence[int], noise: Noise) -> list[Row]:
    same, left, right = _shuffled(run, noise.at("roles", run[0]))
    rows = [(same, same, 1), (left, right, 0)]
    kjv, web = (canon().texts[name] for name in TRANSLATIONS)
    made = [{"text": kjv[a], "pair": web[b], "label": same, "chapter": canon().chapter(a)} for a, b, same in rows]
    return _shuffled(made, noise.at("order", run[0]))


def _is_test(noise: Noise) -> bool:
    return noise.path[:2] == _FIXED.path


def _too_many(count: int, most: int) -> None:
    raise ModeledgeError("E-CLASS-TOO-SMALL", f"{count:,} rows are asked for", why=f"there are {most:,} at most")


def _shuffled(things: Sequence[T], noise: Noise) -> list[T]:
    return [things[i] for i in noise.generator().permutation(len(things))]
