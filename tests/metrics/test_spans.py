"""Entities: every scheme, sound and broken sequences, against seqeval."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.metrics import METRICS, by_type, entities
from modeledge.metrics.spans import SCHEMES, entity

MEASURES, AVERAGES = ("precision", "recall", "f1"), ("micro", "macro", "weighted")


def seqeval():
    return pytest.importorskip("seqeval.metrics", reason="seqeval is not installed: pip install 'modeledge[test]'")


def theirs(truth, guess, measure, average, scheme):
    metrics = seqeval()
    from seqeval import scheme as schemes

    function = getattr(metrics, f"{measure}_score")
    strict = {"mode": "strict", "scheme": getattr(schemes, "IOB2" if scheme == "BIO" else scheme)} if scheme else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(truth, guess, average=average, **strict)


def tags(prefixes):
    """Any order of prefixes and types, so most sequences break the rules; a type may hold a dash or be missing."""
    kinds = ("-A", "-B", "-A-B", "")
    return st.sampled_from(["O", "O", *(p + k for p in prefixes if p != "O" for k in kinds)])


def sentences(prefixes):
    pair = st.lists(st.tuples(tags(prefixes), tags(prefixes)), min_size=1, max_size=9)
    return st.lists(pair, min_size=1, max_size=5).map(
        lambda rows: tuple([[row[side] for row in sentence] for sentence in rows] for side in (0, 1))
    )


CASES = [(None, "BIESO"), (None, "BIO"), *((name, SCHEMES[name].prefixes) for name in SCHEMES)]


@pytest.mark.parametrize(("scheme", "prefixes"), CASES)
@settings(deadline=None, max_examples=150)
@given(st.data())
def test_every_mark_is_that_of_seqeval(scheme, prefixes, data):
    seqeval()
    truth, guess = data.draw(sentences(prefixes))
    if not any(entities(row, scheme=scheme) for row in (*truth, *guess)):
        for average in AVERAGES:  # seqeval's macro average is NaN here
            assert entity("f1", average, scheme)(guess, truth).mark() == 0
        return
    for measure in MEASURES:
        for average in AVERAGES:
            expected = theirs(truth, guess, measure, average, scheme)
            mark = entity(measure, average, scheme)(guess, truth).mark()
            assert mark == pytest.approx(expected, abs=1e-12), (measure, average)
        rows = by_type(guess, truth, scheme=scheme)
        expected = theirs(truth, guess, measure, None, scheme)
        assert [row[measure] for _, row in sorted(rows.items())] == pytest.approx(list(expected), abs=1e-12)


@settings(deadline=None, max_examples=150)
@given(st.lists(tags("BIESO"), max_size=12))
def test_entities_are_those_of_seqeval(row):
    get = seqeval().sequence_labeling.get_entities
    assert entities(row) == [(kind, first, last + 1) for kind, first, last in get(row)]


def test_the_two_answers_to_a_broken_sequence():
    broken = ["I-PER", "I-PER", "O", "B-LOC", "I-PER"]
    assert entities(broken) == [("PER", 0, 2), ("LOC", 3, 4), ("PER", 4, 5)]
    assert entities(broken, scheme="IOB2") == [("LOC", 3, 4)]
    assert entities(["B-X", "I-X"], scheme="IOBES") == []
    assert entities(["B-X", "L-X", "U-Y"], scheme="BILOU") == [("X", 0, 2), ("Y", 2, 3)]


def test_strict_types_are_what_stands_between_dashes():
    seqeval()
    from seqeval.scheme import IOB2, Tokens

    row = ["B-A-", "IA", "B--A", "I-A-B-", "B"]
    theirs = [(e.tag, e.start, e.end) for e in Tokens(row, IOB2).entities]
    assert entities(row, scheme="IOB2") == theirs == [("A", 0, 2), ("A", 2, 3), ("_", 4, 5)]


def test_rows_of_the_table_name_their_scheme():
    guess = [["I-A", "O"], ["B-A", "I-A"]]
    truth = [["I-A", "O"], ["B-A", "I-A"]]
    assert METRICS["entity_f1"](guess, truth) == 1
    assert "conlleval" in METRICS["entity_f1"].parts(guess, truth).how
    assert "strict-IOB2" in METRICS["entity_f1_strict_iob2"].parts(guess, truth).how
    assert METRICS["entity_recall"]([["O", "O"]], [["B-A", "B-A"]]) == 0
    assert METRICS["entity_f1"]([["O"]], [["O"]]) == 0
    assert METRICS["entity_f1"](np.array([["B-A", "O"]]), np.array([["B-A", "O"]])) == 1


def test_what_seqeval_only_warns_of_is_refused():
    for row, scheme, code in [
        (["U-PER"], None, "E-LABEL-UNKNOWN"),
        (["O-PER"], None, "E-LABEL-UNKNOWN"),
        (["PER"], None, "E-LABEL-UNKNOWN"),
        (["E-PER"], "IOB2", "E-LABEL-UNKNOWN"),
        (["B-PER", 3], "IOB2", "E-FIELD-TYPE"),
        (["B-PER"], "IOB3", "E-CONFIG-VALUE"),
    ]:
        with pytest.raises(ModeledgeError) as caught:
            entities(row, scheme=scheme)
        assert caught.value.code == code
    with pytest.raises(ModeledgeError, match=r"E-LABEL-UNKNOWN: labels\[1\]\[2\]"):
        METRICS["entity_f1"]([["O"], ["O", "O", "O"]], [["O"], ["O", "O", "X"]])
