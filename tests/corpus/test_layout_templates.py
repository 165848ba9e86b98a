"""Requests are text with gaps and nothing else; tags are told by how their chunks begin and end."""

from __future__ import annotations

import doctest
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modeledge.corpus.layouts import LAYOUTS, Template, candidates, find_scheme, relations, render, schemes, template
from modeledge.errors import ModeledgeError


@pytest.mark.parametrize("module", [template, schemes, relations])
def test_examples_in_docstrings(module: Any) -> None:
    result = doctest.testmod(module)
    assert result.attempted
    assert not result.failed


def test_rte_is_asked_as_in_the_paper_of_gpt_3() -> None:
    layout = LAYOUTS["rte"]
    row = {"sentence1": "It rained.", "sentence2": "It was wet.", "label": "entailment"}
    assert render(layout.template, row, layout.roles) == "It rained.\nQuestion: It was wet. True or False?\nAnswer:"
    assert candidates(layout.template, row, layout.roles) == {"entailment": " True", "not_entailment": " False"}


def test_choices_are_letters_in_the_request_or_continuations_of_it() -> None:
    mmlu, copa = LAYOUTS["mmlu"], LAYOUTS["copa"]
    row = {"question": "Which?", "choices": ["x", "y", "z", "w"], "label": 1}
    assert render(mmlu.template, row, mmlu.roles) == "Which?\nA. x\nB. y\nC. z\nD. w\nAnswer:"
    assert candidates(mmlu.template, row, mmlu.roles)["1"] == " B"
    row = {"premise": "He fell", "connective": "because", "choices": ["it was icy.", "he sang."], "label": 0}
    assert render(copa.template, row, copa.roles) == "He fell because"
    assert candidates(copa.template, row, copa.roles) == {"0": " it was icy.", "1": " he sang."}


@given(st.text(), st.text())
def test_what_is_put_in_is_taken_as_it_is(first: str, second: str) -> None:
    row = {"a": first + "{b}", "b": second}
    assert render(Template("<{a}|{b}>"), row) == f"<{first}{{b}}|{second}>"


@pytest.mark.parametrize(
    "text", ["{0}", "{}", "{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{{a}}", "{a", "a}", "{a b}", "{__class__.x}"]
)
def test_a_brace_that_is_no_gap_is_refused(text: str) -> None:
    with pytest.raises(ModeledgeError, match="E-TEMPLATE"):
        Template(text)


def test_a_gap_without_a_value_is_refused() -> None:
    row = {"text": "a", "number": {"x": 1}, "nothing": None, "__where__": "f.tsv:3"}
    for gap, code in (("texts", "E-MISSING-FIELD"), ("nothing", "E-MISSING-FIELD"), ("number", "E-FIELD-TYPE")):
        with pytest.raises(ModeledgeError, match=f"{code}: f.tsv:3: "):
            render(Template(f"{{{gap}}}"), row)
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD.*did you mean 'text'"):
        render(Template("{texts}"), row)
    with pytest.raises(ModeledgeError, match=r"E-MISSING-FIELD.*'__class__'"):
        render(Template("{__class__}"), row)


# ---- schemes: chunks drawn at random, written each way


@st.composite
def sentences(draw: st.DrawFn) -> list[list[tuple[str, int]]]:
    """Sentences as pieces (type, length); type "" is one token outside."""
    piece = st.tuples(st.sampled_from(["", "LOC", "PER"]), st.integers(1, 3))
    return draw(st.lists(st.lists(piece, min_size=1, max_size=6), min_size=1, max_size=5))


def spelled(pieces: list[tuple[str, int]], scheme: str) -> list[str]:
    """The tags of one sentence: an independent writer for each scheme."""
    tags: list[str] = []
    for kind, length in pieces:
        if not kind:
            tags.append("O")
            continue
        letters = ["I"] * length
        if scheme in ("IOB2", "IOBES", "BILOU") or (tags and tags[-1].endswith("-" + kind)):
            letters[0] = "B"
        if scheme in ("IOBES", "BILOU"):
            letters[-1] = "E" if scheme == "IOBES" else "L"
            letters = letters if length > 1 else ["S" if scheme == "IOBES" else "U"]
        tags += [f"{letter}-{kind}" for letter in letters]
    return tags


@pytest.mark.parametrize("scheme", ["IOB1", "IOB2", "IOBES", "BILOU"])
@given(sentences())
def test_well_formed_tags_are_known_for_what_they_are(scheme: str, drawn: list[list[tuple[str, int]]]) -> None:
    found = find_scheme([spelled(pieces, scheme) for pieces in drawn])
    assert found.malformed == 0
    assert found.unknown is None
    assert found.scheme == (scheme if any(kind for pieces in drawn for kind, _ in pieces) else "plain")


@pytest.mark.parametrize(
    ("tags", "scheme", "first"),
    [
        (["B-X", "I-X", "I-Y"], "IOB2", (0, 2)),
        (["I-X", "O", "I-Y", "O", "B-Y"], "IOB1", (0, 4)),
        (["B-X", "E-X", "B-X", "O"], "IOBES", (0, 2)),
        (["S-X", "E-X"], "IOBES", (0, 1)),
        (["U-X", "B-X", "L-X", "B-X"], "BILOU", (0, 3)),
        (["U-X", "S-X", "L-X", "B-X", "L-X"], "BILOU", (0, 1)),
    ],
)
def test_malformed_tags_are_found_where_they_stand(tags: list[str], scheme: str, first: tuple[int, int]) -> None:
    found = find_scheme([tags])
    assert (found.scheme, found.first) == (scheme, first)
    assert found.malformed >= 1
