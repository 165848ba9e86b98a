"""Who does the work changes nothing: one process, several, or Ray write the same bytes."""

from __future__ import annotations

import os
import random
import signal
from pathlib import Path

import pytest

from modeledge.corpus import restart, workers
from modeledge.corpus.asked import Build
from modeledge.corpus.clean import Cleaning
from modeledge.corpus.dedup import Dedup
from modeledge.corpus.minhash import make_near
from modeledge.corpus.pipeline import build_corpus, kept_documents, reading
from modeledge.corpus.repeats import Repeats
from modeledge.corpus.workers import Processes, engine, in_this_process
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger
from modeledge.tokens import train_tokenizer

TEXT = "the a quick brown fox dog jumps over lazy and then sleeps near old red house while it rains joe@mail.org"
WORDS = TEXT.split()


def documents(count: int = 60) -> list[Document]:
    lots = random.Random(0)
    texts = ["\n".join(" ".join(lots.choices(WORDS, k=9)) for _ in range(6)) + f" e\u0301{n}" for n in range(count)]
    texts[5], texts[9], texts[11] = "", texts[4], "too short"
    texts[13] = texts[12] + " and more"
    texts[20] += "\n" + texts[21].splitlines()[0]
    return [Document(text, f"f:{n}", f"f:{n}") for n, text in enumerate(texts)]


TOKENIZER = train_tokenizer([d.text for d in documents()], vocab_size=300)


def config(**who: object) -> Build:
    cleaning = Cleaning(dedup=Dedup(near=make_near("strict")), repeats=Repeats(), **who)  # type: ignore[arg-type]
    stages = {"nfc": True, "redact": True}
    return Build(filters={"empty": True, "shorter_than": 4}, cleaning=cleaning, stages=stages, channels=["words"])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def build(folder: Path, monkeypatch: pytest.MonkeyPatch, **who: object) -> dict[str, bytes]:
    monkeypatch.setattr(workers, "MOST", 7)
    monkeypatch.setattr(workers, "BATCH", 900)
    ledger = Ledger()
    build_corpus(reading(documents(), ledger=ledger), TOKENIZER, folder, config=config(**who), ledger=ledger)
    assert set(ledger.filtered) >= {"empty", "duplicate", "shorter than 4 words"}
    assert ledger.rewritten
    assert ledger.cut
    return contents(folder)


@pytest.mark.parametrize(
    "who",
    [
        {"processes": 1, "engine": "processes"},
        {"processes": 2},
        {"processes": 3},
        {"engine": "ray", "processes": 2},
    ],
    ids=["1", "2", "3", "ray"],
)
def test_engines_write_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, who: dict[str, object]) -> None:
    if who.get("engine") == "ray":
        pytest.importorskip("ray", reason="ray is not installed: the cluster extra")
    assert build(tmp_path / "them", monkeypatch, **who) == build(tmp_path / "us", monkeypatch)


def test_a_tokenizer_learns_from_the_same_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "MOST", 7)
    found = []
    for who in ({}, {"processes": 2}):
        ledger = Ledger()
        kept = kept_documents(reading(documents(), ledger=ledger), config(**who), ledger=ledger)
        found.append(([(d.id, d.text) for d in kept], ledger.as_dict()))
    assert found[0] == found[1]


def doubled(piece: int) -> int:
    if piece == 40:
        raise ModeledgeError("E-CONFIG", "forty")
    return 2 * piece


@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_results_come_in_order_and_errors_come_back(kind: str) -> None:
    if kind == "ray":
        pytest.importorskip("ray", reason="ray is not installed: the cluster extra")
    ordered = engine(kind, 2)  # type: ignore[arg-type]
    assert list(ordered(doubled, range(30))) == [2 * n for n in range(30)]
    with pytest.raises(ModeledgeError, match="forty"):
        list(ordered(doubled, range(60)))


@pytest.mark.parametrize("kind", ["processes", "ray"])
def test_a_step_that_feeds_on_another_does_not_wait_for_its_cores(kind: str) -> None:
    """The outer step has its workers before the inner one asks for its own, and as many as there are cores."""
    if kind == "ray":
        pytest.importorskip("ray", reason="ray is not installed: the cluster extra")
    ordered, late = engine(kind, os.cpu_count() or 1), signal.signal(signal.SIGALRM, _too_long)  # type: ignore[arg-type]
    signal.alarm(120)
    try:
        assert list(ordered(doubled, ordered(doubled, range(100, 130)))) == [4 * n for n in range(100, 130)]
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, late)


def _too_long(number: int, frame: object) -> None:
    raise TimeoutError("the inner step waits for cores that the outer one holds")


def test_the_engine_of_a_recipe() -> None:
    assert engine(None, 1) is in_this_process
    assert engine("none", 1) is in_this_process
    assert isinstance(engine(None, 2), Processes)
    with pytest.raises(ModeledgeError, match='engine = "none"'):
        engine("none", 2)


def test_ray_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with pytest.raises(ModeledgeError, match=r"modeledge\[cluster\]"):
        engine("ray", 2)


def test_a_process_that_is_killed_is_told_and_costs_no_stage_that_is_done() -> None:
    with pytest.raises(ModeledgeError, match="E-WORKER"):
        list(Processes(1)(os._exit, [1]))
    assert "E-WORKER" in restart.PASSING
