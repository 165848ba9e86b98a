"""Filters give reasons; stages rewrite text and nothing else."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledge.corpus.filter import (
    FILTERS,
    NUMBERED,
    PLAIN,
    STAGES,
    empty,
    longer_than,
    make_filters,
    make_stages,
    shorter_than,
    size,
)
from modeledge.corpus.quality import RULES
from modeledge.errors import ModeledgeError
from modeledge.records import Document


def document(text):
    return Document(text, "a:1", "a.txt:1", {"k": 1})


@given(st.text(), st.integers(0, 8))
def test_word_bounds_split_the_documents_in_three(text, words):
    count = len(text.split())
    assert (shorter_than(words)(document(text)) is not None) == (count < words)
    assert (longer_than(words)(document(text)) is not None) == (count > words)
    assert (empty(document(text)) is not None) == (count == 0)


def test_a_reason_names_rule_and_value():
    assert shorter_than(3)(document("one two")) == "shorter than 3 words"
    assert longer_than(1)(document("one two")) == "longer than 1 words"
    assert empty(document(" \n")) == "empty"


def test_every_row_of_the_table_can_be_made():
    assert set(FILTERS) == set(PLAIN) | set(NUMBERED) | set(RULES)
    for name in (*PLAIN, *NUMBERED):
        (made,) = make_filters({name: True if name in PLAIN else 2})
        assert made(document("")) in (None, "empty", "shorter than 2 words")
        assert make_filters({name: False}) == []


@pytest.mark.parametrize(
    ("settings", "code", "word"),
    [
        ({"shorter": 3}, "E-CONFIG-KEY", "shorter_than"),
        ({"shorter_than": True}, "E-CONFIG-VALUE", "shorter_than"),
        ({"shorter_than": "3"}, "E-CONFIG-VALUE", "'3'"),
        ({"longer_than": -1}, "E-CONFIG-VALUE", "-1"),
        ({"empty": 3}, "E-CONFIG-VALUE", "true or false"),
    ],
)
def test_wrong_settings_are_named(settings, code, word):
    with pytest.raises(ModeledgeError, match=word) as caught:
        make_filters(settings)
    assert caught.value.code == code


def test_an_unknown_stage_names_the_nearest():
    with pytest.raises(ModeledgeError, match="'nfc'") as caught:
        make_stages(["nfkc"])
    assert caught.value.code == "E-CONFIG-KEY"


@given(st.text())
def test_nfc_rewrites_the_text_and_keeps_the_rest(text):
    (out,) = STAGES["nfc"]([document(text)])
    assert out.text == unicodedata.normalize("NFC", text)
    assert (out.id, out.where, out.fields) == ("a:1", "a.txt:1", {"k": 1})


@given(st.text(alphabet="ab \t\r\n\u00a0\u2003", max_size=30))
def test_spaces_keeps_words_and_is_settled_after_one_pass(text):
    (out,) = STAGES["spaces"]([document(text)])
    assert out.text.split() == text.split()
    assert "  " not in out.text
    assert "\n\n\n" not in out.text
    assert list(STAGES["spaces"]([out])) == [out]


def test_spaces_keeps_lines_and_paragraphs():
    (out,) = STAGES["spaces"]([document("  a \t b\r\nc\n\n \n\nd ")])
    assert out.text == "a b\nc\n\nd"


def test_size_counts_utf8_and_survives_half_a_pair():
    assert size(document("né")) == 3
    assert size(document("\ud800")) == 3
