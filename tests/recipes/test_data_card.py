"""Named sources through a build: ledger by source and in tokens, data card, inspect, search, the commands."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from modeledge.cli import app
from modeledge.config import load_config
from modeledge.corpus.search import DEMONSTRATIONS, search
from modeledge.corpus.survey import Frequent
from modeledge.errors import ModeledgeError
from modeledge.files import read_json, verify_folder
from modeledge.recipes.corpora.build import build_tokenizer
from modeledge.recipes.corpora.corpus_build import build
from modeledge.recipes.corpora.corpus_file import CorpusFile
from modeledge.recipes.corpora.data_card import write_data_card
from modeledge.recipes.corpora.fallen import inspect_corpus, search_corpus
from modeledge.recipes.corpora.texts import CorpusRecipe, TokenizerRecipe, placed
from modeledge.records import Document, Ledger

NASTY = "<script>alert(1)</script>"
WORDS = ["the", "cat", "sat", "on", "the", "mat", "and", "wrote", "to", "ann@acme-mail.com", "about", "it"]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of two sources, one with a bad byte, a short text, a duplicate, and an id and a site that are markup."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [
        {"text": " ".join(WORDS) + f" {n}", "id": f"{NASTY}{n}", "url": f"http://www.{NASTY}.org/{n}"} for n in range(5)
    ]
    rows += [{"text": "short", "id": NASTY, "url": ""}, {**rows[0], "id": "twin"}]
    lines = [json.dumps(row).encode() for row in rows] + [b'{"text": "\xff"}']
    (folder / "web.jsonl").write_bytes(b"\n".join(lines))
    (folder / "code").mkdir()
    (folder / "code" / "a.py").write_text("x = 1\n")
    (folder / "code" / "b.png").write_bytes(b"\0")
    (folder / "recipe.toml").write_text(
        f"""
        kind = "corpus"
        [corpus]
        stages = {{ redact = true }}
        [corpus.filters]
        shorter_than = 3
        [[corpus.sources]]
        name = "crawl"
        kind = "web pages"
        paths = ["{folder}/web.jsonl"]
        id = "id"
        [[corpus.sources]]
        name = "tree"
        kind = "code"
        format = "code"
        paths = ["{folder}/code"]
        filters = {{ empty = true }}
        """
    )
    corpus = CorpusRecipe(paths=(str(folder / "web.jsonl"),))
    build_tokenizer(corpus, TokenizerRecipe(vocab_size=300), folder / "tokenizer", lambda line: None)
    said: list[str] = []
    tokenizer = {"tokenizer": {"path": str(folder / "tokenizer")}}
    build(load_config(CorpusFile, folder / "recipe.toml", values=tokenizer), folder / "out", said.append)
    (folder / "said.txt").write_text("\n".join(said))
    return folder


def test_sources_have_ledgers_that_add_up_in_tokens_too(built: Path) -> None:
    ledger = read_json(built / "out" / "ledger.json")
    crawl, tree = ledger["sources"]["crawl"], ledger["sources"]["tree"]
    assert (crawl["kind"], tree["kind"]) == ("web pages", "code")
    assert crawl["kept"]["records"] == 5
    assert set(crawl["filtered"]) == {"shorter than 3 words", "duplicate"}
    assert tree["kept"]["records"] == 1  # two words, but the source has its own filters
    assert (set(crawl["quarantined"]), set(tree["quarantined"])) == ({"E-UTF8"}, {"E-BINARY"})
    for unit in ("records", "bytes", "tokens"):
        for line in ("read", "kept"):
            assert ledger[line][unit] == crawl[line][unit] + tree[line][unit]
        for one in (ledger, crawl, tree):
            out = sum(count[unit] for group in ("filtered", "quarantined") for count in one[group].values())
            assert one["read"][unit] == one["kept"][unit] + out
    assert all(count["tokens"] > 1 for count in ledger["filtered"].values())
    assert crawl["rewritten"]["redact.email"]["records"] == 5
    survey = read_json(built / "out" / "survey.json")["sources"]
    assert sum(s["tokens"] for s in survey.values()) == ledger["kept"]["tokens"]
    assert sum(survey["crawl"]["lengths"].values()) == 5
    said = (built / "said.txt").read_text()
    assert "crawl (web pages): read 8 = kept 5" in said
    assert "rewritten in kept texts: 5 × redact.email" in said
    verify_folder(built / "out")


def test_the_card_holds_no_markup_of_the_data_and_no_script(built: Path) -> None:
    page = (built / "out" / "card.html").read_text()
    assert "<script" not in page.lower()
    assert "&lt;script&gt;" in page  # the site's name, as text
    assert "default-src &#x27;none&#x27;" in page or "default-src 'none'" in page
    for word in ("web pages", "crawl", "personal data: email", "E-BINARY", "python", "<svg"):
        assert word in page
    assert write_data_card(built / "out").read_text() == page  # a function of what was counted


def test_inspect_shows_what_fell(built: Path) -> None:
    found = inspect_corpus(built / "out")
    assert {k: len(v) for k, v in found.samples.items()} == {
        "shorter than 3 words": 1, "duplicate": 1, "E-UTF8": 1, "E-BINARY": 1,
    }  # fmt: skip
    assert found.samples["duplicate"][0].note == f"crawl/{NASTY}0 stands for it"
    assert "\\xff" in found.samples["E-UTF8"][0].text
    assert set(inspect_corpus(built / "out", "duplicate").samples) == {"duplicate"}
    with pytest.raises(ModeledgeError, match="duplicate"):
        inspect_corpus(built / "out", "duplicates")
    with pytest.raises(ModeledgeError) as caught:
        inspect_corpus(built)
    assert caught.value.code == "E-RUN-FOLDER"


def test_the_commands(built: Path) -> None:
    shown = CliRunner().invoke(app, ["corpus", "inspect", str(built / "out")], color=False)
    assert shown.exit_code == 0, shown.output
    assert "filtered: duplicate" in shown.output
    assert "quarantined: E-BINARY" in shown.output
    assert "short" in shown.output
    found = CliRunner().invoke(app, ["corpus", "search", r"wrote to \S+", str(built / "web.jsonl"), "--limit", "2"])
    assert found.exit_code == 0, found.output
    assert found.output.count("wrote to ann@acme-mail.com") == 2
    assert "6 finds in 6 of 7 documents" in found.output
    made = ["corpus", "build", str(built / "recipe.toml"), "--tokenizer", str(built / "tokenizer")]
    again = CliRunner().invoke(app, [*made, "--out", str(built / "again")])
    assert again.exit_code == 0, again.output
    for name in ("tokens-00000.bin", "card.html", "ledger.json"):
        assert (built / "again" / name).read_bytes() == (built / "out" / name).read_bytes()


def test_sources_are_named_once_and_instead_of_paths(tmp_path: Path) -> None:
    one = {"name": "a", "paths": ["x"]}
    for values in ({"sources": [one, one]}, {"sources": [one], "paths": ["y"]}, {"sources": [{**one, "name": "<b>"}]}):
        with pytest.raises(ModeledgeError) as caught:
            load_config(CorpusRecipe, None, values=values)
        assert caught.value.code == "E-CONFIG-VALUE"
    hub = "hf://datasets/org/name/a.jsonl"
    made = placed(load_config(CorpusRecipe, None, values={"sources": [{**one, "paths": ["x", hub]}]}))
    assert made.sources[0].paths == (str(Path.cwd() / "x"), hub)


# --- search


def documents(*texts: str) -> list[Document]:
    return [Document(text, f"d{n}", f"f:{n}", source="ab"[n % 2]) for n, text in enumerate(texts)]


def test_search_counts_and_samples_in_any_order() -> None:
    texts = documents(*(f"say {n} cats and {n + 1} cats" for n in range(50)), "nothing")
    found = search(r"\d+ cats", texts, limit=5, context=4)
    assert (found.finds, found.matching, found.documents) == (100, 50, 51)
    assert found.sources == {"a": (26, 25, 50), "b": (25, 25, 50)}
    assert len(found.sample) == 5
    assert found.sample == search(r"\d+ cats", texts[::-1], limit=5, context=4).sample
    for find in found.sample:
        text = texts[int(find.id[1:])].text
        assert find.before + find.text + find.after in text
        assert text[find.start :].startswith(find.text)
    assert not search("cats", texts, limit=0).sample
    assert search("x*", texts).finds == 0  # an empty match is no find


def test_a_catastrophic_pattern_costs_one_document_its_time_and_no_more() -> None:
    begun = time.perf_counter()
    found = search(r"(a+)+$", documents("aa", "a" * 60 + "b", "xaa"), seconds=0.2)
    assert time.perf_counter() - begun < 5
    assert (found.unfinished, found.given_up, found.documents) == (1, ["f:1"], 3)
    assert found.matching == 2
    for wrong in ("(", "@nothing"):
        with pytest.raises(ModeledgeError) as caught:
            search(wrong, [])
        assert caught.value.code == "E-CONFIG-VALUE"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "translation",
            "As he put it, \u201cje ne suis pas un imb\u00e9cile\u201d [which means \u201cI am no fool\u201d].",
        ),
        (
            "translation",
            "In French \u201cMerci\u201d is what a speaker of English calls \u201cthank you\u201d.",
        ),
        ("summary", "TL;DR: it works well enough for us."),
        ("question-answer", "Q: What is it?\nA: A cat."),
        ("definition", "BPE stands for byte pair encoding"),
        ("arithmetic", "so 12 + 30 = 42 it is"),
    ],
)
def test_demonstrations(name: str, text: str) -> None:
    assert search("@" + name, documents(text)).finds == 1
    assert search("@" + name, documents("Nothing of the kind is in this plain sentence.")).finds == 0


def test_every_demonstration_is_safe_on_adverse_text() -> None:
    for name in DEMONSTRATIONS:
        for text in ('"' * 20_000, "1 + " * 5_000, "French " * 5_000, "Q: x\n" * 3_000):
            assert not search("@" + name, documents(text), seconds=5).unfinished, (name, text[:10])


def test_search_reads_what_dedup_wrote_and_refuses_shards(built: Path) -> None:
    with pytest.raises(ModeledgeError) as caught:
        search_corpus("x", CorpusRecipe(paths=(str(built / "out"),)), Ledger())
    assert caught.value.code == "E-USAGE"


def test_frequent_names_are_exact_while_they_fit_and_bounded_beyond() -> None:
    few, many = Frequent(), Frequent(most=10)
    for n in range(1000):
        for each in (few, many):
            each.add(f"rare {n}")
            each.add("often")
    assert few.as_dict()["top"]["often"] == 1000
    assert few.missed == 0
    assert len(many.counts) <= 10
    assert 1000 - many.missed <= many.counts["often"] <= 1000
