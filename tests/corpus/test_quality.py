"""The published rules on hand-made pages at their thresholds, and against datatrove where it is installed."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.filter import make_filters, make_stages
from modeledge.corpus.quality import C4, RULES, C4Lines, FineWeb, GopherQuality, GopherRepetition, LineRules
from modeledge.corpus.quality.gopher import duplicate_characters, repeated_grams, top_characters
from modeledge.corpus.quality.page import WORD, Page, page_of
from modeledge.errors import ModeledgeError
from modeledge.records import Document, Ledger

WEB = Path(__file__).parents[3] / "shared" / "data" / "web" / "c4_demo.jsonl"
FREE = {"words": None, "word_length": None, "symbol_ratio": None, "bullets": None, "ellipses": None, "lettered": None}
GRAMS = {"lines": None, "paragraphs": None, "line_characters": None, "paragraph_characters": None}


def document(text):
    return Document(text, "a", "a")


def words(count, word="word"):
    return " ".join([word] * count)


def prose(lines):
    """So many different lines of seven words, each a sentence."""
    return "\n".join(f"The cat number{i} and the dog{i}x sleep." for i in range(lines))


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"words": (3, 5)}, "one two", "gopher.too-few-words"),
        ({"words": (3, 5)}, "one two . !", "gopher.too-few-words"),
        ({"words": (3, 5)}, "one two three", None),
        ({"words": (3, 5)}, "a b c d e", None),
        ({"words": (3, 5)}, "a b c d e f", "gopher.too-many-words"),
        ({"word_length": (3, 10)}, "abc abc , ,", None),
        ({"word_length": (3, 10)}, "abc ab", "gopher.short-words"),
        ({"word_length": (3, 10)}, "a" * 10, None),
        ({"word_length": (3, 10)}, "a" * 11, "gopher.long-words"),
        ({"symbol_ratio": 0.1}, "# " + words(9), None),
        ({"symbol_ratio": 0.1}, "# " + words(8), "gopher.hashes"),
        ({"symbol_ratio": 0.1}, words(8) + " …", "gopher.ellipses"),
        ({"symbol_ratio": 0.1}, words(9) + " ...", None),
        ({"bullets": 0.9}, "\n".join(["- a"] * 9 + ["b"]), None),
        ({"bullets": 0.9}, "\n".join(["  • a"] * 10), "gopher.bullets"),
        ({"ellipses": 0.3}, "\n".join(["a..."] * 3 + ["b"] * 7), None),
        ({"ellipses": 0.3}, "\n".join(["a… "] * 4 + ["b"] * 6), "gopher.ellipsis-lines"),
        ({"lettered": 0.8}, "a b c d 1", None),
        ({"lettered": 0.8}, "a b c 1 2", "gopher.few-letters"),
        ({"stop_words": 2}, "the the thing", "gopher.few-stop-words"),
        ({"stop_words": 2}, "the thing with it", None),
    ],
)
def test_gopher_quality_at_its_thresholds(fields, text, reason):
    assert GopherQuality(**{**FREE, "stop_words": None, **fields})(document(text)) == reason


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({"lines": 0.3}, "\n".join("aaabcdefgh"), None),  # 2 of 10 came before
        ({"lines": 0.3}, "\n".join("aaaaacdefg"), "gopher.duplicate-lines"),
        ({"paragraphs": 0.3}, "\n\n".join("aaaaacdefg"), "gopher.duplicate-paragraphs"),
        ({"line_characters": 0.2}, "long line here\nlong line here\n" + "x " * 15, "gopher.duplicate-line-characters"),
        ({"line_characters": 0.2}, "long line here\nlong line here\n" + "x " * 30, None),
        ({"top": ((2, 0.2),)}, "a b c a b d e f g h i j k l m", "gopher.top-2-gram"),  # 6 of 29 characters
        ({"top": ((2, 0.2),)}, "a b c a b d e f g h i j k l m n", None),  # 6 of 31
        ({"duplicate": ((5, 0.15),)}, "a b c d e f a b c d e " + words(20, "zz zy zx"), "gopher.duplicate-5-grams"),
    ],
)
def test_gopher_repetition_at_its_thresholds(fields, text, reason):
    assert GopherRepetition(**{**GRAMS, "top": (), "duplicate": (), **fields})(document(text)) == reason


@settings(max_examples=150, deadline=None)
@given(st.lists(st.sampled_from(["a", "bb", "ccc", ".", "d"]), min_size=1, max_size=40))
def test_n_grams_against_loops(held):
    """The arithmetic of n-grams beside a plain reading with strings and sets."""
    page = Page(" ".join(held))
    lengths = []
    for n, places, grams in repeated_grams(page.ids, 6):
        lengths.append(n)
        plain = [tuple(held[i : i + n]) for i in range(len(held) - n + 1)]
        assert places.tolist() == [i for i, gram in enumerate(plain) if plain.count(gram) > 1]
        found = dict(zip(places.tolist(), grams.tolist(), strict=True))
        assert all((found[i] == found[j]) == (plain[i] == plain[j]) for i in found for j in found)
        most = max(plain, key=plain.count)
        assert top_characters(page, places, grams, n) == len(" ".join(most)) * plain.count(most)
        seen, total, place = set(), 0, 0
        while place < len(plain):
            again = plain[place] in seen
            total += len("".join(plain[place])) if again else 0
            seen.add(plain[place])
            place += n if again else 1
        assert duplicate_characters(page, places, grams, n) == total
    assert lengths == list(range(1, min(6, len(held)) + 1))


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        ({}, prose(3), None),
        ({}, prose(2), "c4.too-few-sentences"),
        ({}, prose(2) + "\nNo full stop stands at the end of this", "c4.too-few-sentences"),
        ({}, prose(2) + "\nIt has only four.", "c4.too-few-sentences"),
        ({"words": 3}, prose(2) + "\nIt has only four.", None),
        ({}, prose(2) + "\nThis line ends with an ellipsis...", "c4.too-few-sentences"),
        ({}, prose(2) + "\nPlease do enable JavaScript right now.", "c4.too-few-sentences"),
        ({}, prose(2) + "\nSee our privacy policy for the rest.", "c4.too-few-sentences"),
        ({"policies": False}, prose(2) + "\nSee our privacy policy for the rest.", None),
        ({}, prose(3) + "\nHere is Lorem Ipsum for you all.", "c4.lorem-ipsum"),
        ({}, prose(3) + "\nA curly { stands in this line.", "c4.curly-bracket"),
        ({}, prose(3) + "\nfunction() {", None),
        ({"anywhere": True}, prose(3) + "\nfunction() {", "c4.curly-bracket"),
        ({}, prose(3) + "\nthis xxx page", "c4.bad-words"),
        ({}, prose(3) + "\nthis xxxl page", None),
        ({"bad_words": False}, prose(3) + "\nthis xxx page", None),
        ({}, prose(2) + "\nThat has been said before.[12]", None),
        ({"citations": False}, prose(2) + "\nThat has been said before.[12]", "c4.too-few-sentences"),
        ({"longest_word": 5}, prose(3), "c4.too-few-sentences"),
    ],
)
def test_c4_on_edge_cases(fields, text, reason):
    assert C4(**fields)(document(text)) == reason


@pytest.mark.parametrize(
    ("fields", "text", "reason"),
    [
        (
            {},
            "\n".join(["A line that ends well, as a line of prose does."] + [f"{words(9)} {i}" for i in range(7)]),
            None,
        ),
        ({}, "\n".join(f"{words(9)} {i}" for i in range(8)), "fineweb.unpunctuated-lines"),
        ({}, "\n".join(f"Short {i}." for i in range(3)), "fineweb.short-lines"),
        ({"short": None}, "\n".join(f"Short {i}." for i in range(3)), None),
        ({}, "\n".join([words(20) + "."] * 2), "fineweb.duplicate-lines"),
        (
            {"breaks": 0.3},
            "\n".join(f"Thisisaverylongwordthatfillstheline{i}." for i in range(9)),
            "fineweb.line-breaks",
        ),
    ],
)
def test_fineweb_on_edge_cases(fields, text, reason):
    assert FineWeb(**fields)(document(text)) == reason


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("1,234", "lines.no-letter"),
        ("3 likes", "lines.counter"),
        ("Home", "lines.one-word"),
        ("Read more...", "lines.button"),
        ("Sign in to see it", "lines.button"),
        ("ALL OF THIS IS loud", "lines.capitals"),
        ("A line of prose with capitals in USA.", None),
        ("", None),
    ],
)
def test_line_rules(line, reason):
    assert LineRules().judge(line)[1] == reason


def test_left_overs_are_five_percent_of_the_words():
    text = words(19, "fine prose stands here ok") + "\n" + words(5, "LOUD")
    assert LineRules()(document(text)) is None  # 5 of 100 words
    assert LineRules()(document(text + "\nHome")) == "lines.left-overs"


def test_stages_take_lines_out_and_count_them():
    ledger = Ledger()
    (stage,) = make_stages({"c4_lines": {"words": 3}}, ledger)
    text = "It is good prose.\n\nmenu\nWe use cookies on this site.\nAnd [1] more of it.[2]"
    (out,) = stage([document(text)])
    assert out.text == "It is good prose.\nAnd  more of it."
    assert {k: (c.records, c.bytes) for k, c in ledger.rewritten.items()} == {
        "c4.no-terminal-punctuation": (1, 4),
        "c4.policy": (1, 28),
    }
    assert ledger.as_dict()["rewritten"]["c4.policy"]["records"] == 1
    assert "rewritten" not in Ledger().as_dict()


@given(st.text(alphabet="ab1 .#…-\n\r'’é{", max_size=80))
def test_any_text_has_a_verdict_and_words_lose_nothing(text):
    for name in ("gopher_quality", "gopher_repetition", "c4", "fineweb", "line_rules"):
        (rules,) = make_filters({name: True})
        reason = rules(document(text))
        assert reason is None or "." in reason
    assert "".join(WORD.findall(text)) == "".join(text.split())
    page = page_of(text)
    assert int(page.ends[-1]) == sum(map(len, page.words))
    assert page.symbols == sum(not any(map(str.isalnum, w)) for w in page.words)
    assert page.lettered == sum(any(map(str.isalpha, w)) for w in page.words)


@pytest.mark.parametrize(
    ("settings", "code", "said"),
    [
        ({"gopher_quality": {"word": [1, 2]}}, "E-CONFIG-KEY", "filters.gopher_quality: unknown key .word."),
        ({"gopher_quality": {"bullets": 1.5}}, "E-CONFIG-VALUE", "filters.gopher_quality.bullets"),
        ({"gopher_qualty": True}, "E-CONFIG-KEY", "gopher_quality"),
        ({"c4": 3}, "E-CONFIG-VALUE", "true, false or a table"),
        ({"c4": {"bad_words_file": "nowhere.txt"}}, "E-NO-FILE", "nowhere.txt"),
        ({"perplexity": True}, "E-CONFIG", "model"),
        ({"quality": {"model": "nowhere"}}, "E-NO-FILE", "nowhere"),
        ({"toxicity": {"model": "nowhere", "at_least": 2.0}}, "E-CONFIG-VALUE", "at_least"),
    ],
)
def test_wrong_fields_are_named(settings, code, said):
    with pytest.raises(ModeledgeError, match=said) as caught:
        make_filters(settings)
    assert caught.value.code.startswith(code)


def test_a_list_of_bad_words_is_read(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("gnorp\nfoo bar\n", encoding="utf-8")
    (rules,) = make_filters({"c4": {"bad_words_file": str(path)}})
    assert rules(document(prose(3) + "\nwell foo bar then")) == "c4.bad-words"
    assert rules(document(prose(3) + "\nthis xxx page")) is None
    path.write_bytes(b"\xff\n")
    (tmp_path / "empty.txt").write_text("\n")
    for name, code in (("empty.txt", "E-NO-RECORDS"), ("words.txt", "E-UTF8")):
        from modeledge.corpus.quality.c4 import read_list

        read_list.cache_clear()
        with pytest.raises(ModeledgeError) as caught:
            make_filters({"c4": {"bad_words_file": str(tmp_path / name)}})
        assert caught.value.code == code


def test_language_needs_its_package(monkeypatch):
    for name in ("py3langid", "py3langid.langid"):  # another test may have loaded it
        monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(ModeledgeError, match=r"modeledge\[language\]") as caught:
        make_filters({"language": True})
    assert caught.value.code == "E-EXTRA"


def test_language_where_it_is_installed():
    pytest.importorskip("py3langid", reason="the optional extra `language` is not installed")
    (rules,) = make_filters({"language": {"languages": ["en", "de"]}})
    assert rules(document("The weather has been very good this summer, and we went to the sea.")) is None
    assert rules(document("Das Wetter war in diesem Sommer sehr gut, und wir fuhren oft ans Meer.")) is None
    assert rules(document("Il tempo è stato molto bello questa estate e siamo andati al mare.")) == "language.it"
    with pytest.raises(ModeledgeError, match="'xq'") as caught:
        make_filters({"language": {"languages": ["xq"]}})
    assert caught.value.code == "E-CONFIG-VALUE"


def test_every_rule_set_is_in_the_page_of_filters():
    page = (Path(__file__).parents[2] / "docs" / "corpus-filters.md").read_text(encoding="utf-8")
    assert [name for name in RULES if f"`{name}`" not in page] == []


# ---- the oracle


@pytest.mark.shared_data
def test_datatrove_agrees_word_for_word(monkeypatch):
    """The same words given to both, each page of the web sample, whole and in part, has the same verdict."""
    pytest.importorskip("datatrove", reason="datatrove is not installed")
    if not WEB.exists():
        pytest.skip("the data folder beside the checkout is missing")
    from datatrove.data import Document as Theirs
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
        c4_filters,
        gopher_quality_filter,
        gopher_repetition_filter,
    )

    from modeledge.corpus.sentences import sentence_starts

    for module in (gopher_quality_filter, gopher_repetition_filter):
        monkeypatch.setattr(module, "split_into_words", lambda text, language: WORD.findall(text))
    monkeypatch.setattr(c4_filters, "split_into_sentences", lambda text, language: list(sentence_starts(text)))
    texts = [json.loads(line)["text"] for line in WEB.read_text(encoding="utf-8").splitlines()]
    texts += [text[: 40 * (i + 1)] for i, text in enumerate(texts[:60])] + [
        texts[i] + "\n" + texts[i] for i in range(9)
    ]
    pairs = (
        (GopherQuality(), GopherQualityFilter()),
        (GopherRepetition(), GopherRepetitionFilter()),
        (C4(bad_words=False), C4QualityFilter(min_num_sentences=3, min_words_per_line=5)),
    )
    for ours, theirs in pairs:
        verdicts = [ours(document(text)) for text in texts]
        oracle = [theirs.filter(Theirs(text=text, id="0")) is True for text in texts]
        assert [reason is None for reason in verdicts] == oracle, type(ours).__name__
        assert 0 < sum(oracle) < len(texts)


def test_lines_of_c4_are_those_of_its_filter():
    rules, lines = C4(sentences=1, bad_words=False), C4Lines()
    for line in ("It has five words here.", "It has four words", "Use cookies if you like them.", "No."):
        assert (rules(document(line)) is None) == (lines.judge(line)[1] is None)


def test_page_of_keeps_the_last_text():
    first = page_of("some text")
    assert page_of("some text") is first
    assert page_of("other") is not first
    assert np.array_equal(page_of("a b a").ids, [0, 1, 0])
