"""A corpus that `pip` can install, with labels that nobody had to write: two English Bibles, verse by verse.

The King James Version and the World English Bible tell the same 31,102 verses in two Englishes, and the books
themselves say what a verse is. That gives both sides of the paradigm from one source: 8 MB of running text to
pre-train on, and two tasks to fine-tune on.

`section_task`: which of eight sections of the canon is this verse from? Topic and style decide. Classes are drawn
equally often, so chance is 1/8 and accuracy is also the mean recall of the classes.

`pair_task`: do these two sentences, one from each translation, say the same, or is the second a neighbour of the right
one? Neighbours share names and topic. Rows are cut from runs of three to five verses: one verse is paired with its
translation (1), another with the translation of a third (0). Every text stands at most once on its side, and neither
side alone tells the label. Nor does the length: drawn freely, wrong pairs would be told by the ratio of their lengths
alone (83 % right, measured); so the wrong pair of a run is chosen to have the ratio of the right one, within
`SAME_RATIO` (53 %).

What may leak, and what is done about it:

- Both tasks share one split, **by chapter and for both translations at once**. It depends on no seed, so all runs are
  marked on the same rows. `assert_disjoint` guards it on the way out.
- Formulas ("And the LORD spake unto Moses, saying,") would carry a test text into the training rows. A verse whose
  words, in either translation, are those of another verse too is used by no task.
- The lectures' paradigm lets pre-training read *all* text, because it reads no label: transductive on text, never on
  labels. But a figure won that way says nothing about new text. **Recommended, and the default of `write_documents`:
  the test chapters (`held_out_chapters`) are held out of pre-training and of tokenizer training as well.** They go to
  a file of their own, on which a language model can be marked.
- Not guarded: the canon quotes itself in nearly the same words (Kings and Chronicles, Kings and Isaiah). Of the 2,000
  test rows of the section task 45 share half of their word triples with some verse of the other chapters.

A regression task was left out: what the books offer (the place of a verse in its book, a disputed date) is either
hardly in the text or the section task again.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from modeledge import files
from modeledge.errors import ModeledgeError
from modeledge.recipes.quickstart.canon import NOT_PARALLEL, SECTIONS, TRANSLATIONS, canon, folded, section
from modeledge.records import Document
from modeledge.seed import Noise

__all__ = [
    "SECTIONS",
    "TRANSLATIONS",
    "Row",
    "Split",
    "assert_disjoint",
    "canon",
    "documents",
    "held_out_chapters",
    "pair_task",
    "section_task",
    "unlabelled_texts",
    "write_documents",
]

T = TypeVar("T")
Row: TypeAlias = dict[str, Any]
Draw: TypeAlias = Callable[[Sequence[int], int, Noise], tuple[Row, ...]]

TEST_ROWS = 2000
HELD_OUT_SHARE = 1 / 8  # of each section's verses, in whole chapters ...
HELD_OUT_LEAST = 300  # ... and at least so many: 250 of each section are test rows
SAME_RATIO = 0.05  # 1,000 wrong pairs can be had of the test chapters at this, not at 0.03
_FIXED = Noise(0).at("scripture", "test")  # the split and the test rows are the same whatever the seed


@dataclass(frozen=True)
class Split:
    """Rows to learn from and rows to be marked on; they share no chapter and no text."""

    train: tuple[Row, ...]
    test: tuple[Row, ...]


@cache
def held_out_chapters() -> frozenset[str]:
    """The chapters that test rows come from (`"genesis/1"`): of each section an eighth, or `HELD_OUT_LEAST` verses."""
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


def documents(*, leave_out: Collection[str] | None = None) -> Iterator[Document]:
    """What `write_documents` writes, as documents from memory: a chapter each, both translations."""
    left_out = _left_out(leave_out)
    for record in (record for name in TRANSLATIONS for record in _records(name)):
        if f"{record['book']}/{record['chapter']}" not in left_out:
            text, name = record.pop("text"), record.pop("id")
            yield Document(text, name, name, record)


def unlabelled_texts(unit: Literal["chapter", "verse"], *, leave_out: Collection[str] | None = None) -> list[str]:
    """What `write_documents` writes, a chapter or a verse a string: for classical methods that learn without labels."""
    left_out = _left_out(leave_out)
    records = [record for name in TRANSLATIONS for record in _records(name)]
    chapters = [r["text"] for r in records if f"{r['book']}/{r['chapter']}" not in left_out]
    return chapters if unit == "chapter" else [verse for text in chapters for verse in text.split("\n")]


def section_task(seed: int, *, train: int = 1000, test: int = TEST_ROWS) -> Split:
    """Rows `{"text", "label", "chapter"}`: a verse in one translation, drawn by lot, and its section.

    Classes come in turn, so that every prefix of either side is stratified, and the rows for 300 labels are the first
    300 of those for 1,000. `seed` draws the training rows only. Raises `E-CLASS-TOO-SMALL` for more than there are.
    """
    split = Split(*_both_sides(_section_rows, seed, train, test))
    assert_disjoint(split.train, split.test)
    return split


def pair_task(seed: int, *, train: int = 1000, test: int = TEST_ROWS) -> Split:
    """Rows `{"text", "pair", "label", "chapter"}`: King James, World English; 1 for the same verse, 0 for a neighbour.

    The neighbour stands at most four verses away. Right and wrong pairs come two by two, so that every prefix is
    balanced to one row; the rows for 300 labels are the first 300 of those for 1,000. `seed` draws the training rows
    only. Raises `E-CLASS-TOO-SMALL` for more than there are.
    """
    split = Split(*_both_sides(_pair_rows, seed, train, test))
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


def _both_sides(draw: Draw, seed: int, train: int, test: int) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    return draw(_side(False), train, Noise(seed).at("scripture", "train")), draw(_side(True), test, _FIXED)


def _section_rows(verses: Sequence[int], count: int, noise: Noise) -> tuple[Row, ...]:
    """`count` rows: a verse of each section in turn, each turn in an order by lot."""
    noise = noise.at("section")
    pools: dict[str, list[int]] = {name: [] for name in SECTIONS}
    for verse in verses:
        pools[section(verse)].append(verse)
    _enough(count, len(SECTIONS) * min(map(len, pools.values())))
    drawn = {name: _shuffled(pool, noise.at(name)) for name, pool in pools.items()}
    turns = range(-(-count // len(SECTIONS)))
    order = [drawn[name][turn] for turn in turns for name in _shuffled(list(SECTIONS), noise.at("turn", turn))]
    return tuple(_section_row(verse, noise) for verse in order[:count])


def _section_row(verse: int, noise: Noise) -> Row:
    name = TRANSLATIONS[noise.at("translation", verse).integer() % len(TRANSLATIONS)]
    return {"text": canon().texts[name][verse], "label": section(verse), "chapter": canon().chapter(verse)}


def _pair_rows(verses: Sequence[int], count: int, noise: Noise) -> tuple[Row, ...]:
    """`count` rows: two of each run of three verses, the runs in an order by lot."""
    noise = noise.at("pair")
    chapters = defaultdict[int, list[int]](list)
    for verse in verses:
        chapters[verse // 1000].append(verse)
    runs = [run for chapter in chapters.values() for run in _runs(chapter, noise)]
    _enough(count, 2 * len(runs))
    drawn = _shuffled(runs, noise.at("runs"))[: -(-count // 2)]
    return tuple(row for run in drawn for row in _pairs_of(run, noise))[:count]


def _runs(verses: Sequence[int], noise: Noise) -> Iterator[tuple[int, int, int]]:
    """Three verses of each run of a chapter: the right pair's, and the wrong pair's left and right."""
    at = 0
    while at + 3 <= len(verses):
        for end in range(at + 3, min(at + 5, len(verses)) + 1):
            fitting = [roles for roles in permutations(verses[at:end], 3) if _alike(*roles)]
            if fitting:
                yield fitting[noise.at("roles", verses[at]).integer() % len(fitting)]
                at = end
                break
        else:
            at += 1


def _alike(same: int, left: int, right: int) -> bool:
    """Do the right and the wrong pair have lengths in the same ratio, and is the wrong one's right side near enough?"""
    kjv, web = (canon().texts[name] for name in TRANSLATIONS)
    ratio = len(web[right]) * len(kjv[same]) / (len(kjv[left]) * len(web[same]))
    return 1 / (1 + SAME_RATIO) <= ratio <= 1 + SAME_RATIO and abs(left - right) <= 4


def _pairs_of(run: tuple[int, int, int], noise: Noise) -> list[Row]:
    same, left, right = run
    kjv, web = (canon().texts[name] for name in TRANSLATIONS)
    rows = [
        {"text": kjv[a], "pair": web[b], "label": int(a == b), "chapter": canon().chapter(a)}
        for a, b in ((same, same), (left, right))
    ]
    return _shuffled(rows, noise.at("order", same))


def _enough(count: int, most: int) -> None:
    if not 0 < count <= most:
        raise ModeledgeError("E-CLASS-TOO-SMALL", f"{count:,} rows are asked for; there are 1 to {most:,}")


def _shuffled(things: Sequence[T], noise: Noise) -> list[T]:
    return [things[i] for i in noise.generator().permutation(len(things))]
