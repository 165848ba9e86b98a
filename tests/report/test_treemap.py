"""Treemap and lengths: areas are shares, rectangles fill the box, and no name can become markup."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.report.lengths import length_plot
from modeledge.report.page import render_ledger
from modeledge.report.svg import check_svg
from modeledge.report.treemap import squarified, treemap


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.01, 1000), min_size=1, max_size=30), st.floats(1, 10), st.floats(1, 10))
def test_rectangles_fill_the_box_in_proportion(sizes, width, height):
    sizes = sorted(sizes, reverse=True)
    boxes = squarified(sizes, (2.0, 3.0, width, height))
    for size, (x, y, w, h) in zip(sizes, boxes, strict=True):
        assert w * h == pytest.approx(size / sum(sizes) * width * height, rel=1e-6)
        assert x >= 2 - 1e-6
        assert y >= 3 - 1e-6
        assert x + w <= 2 + width + 1e-6
        assert y + h <= 3 + height + 1e-6
    for n, (x, y, w, h) in enumerate(boxes):
        for a, b, c, d in boxes[:n]:
            across = min(x + w, a + c) - max(x, a)
            along = min(y + h, b + d) - max(y, b)
            assert min(across, along) < 1e-6 * (width + height)


def test_the_example_of_the_paper():
    """Bruls, Huizing and van Wijk 2000, section 3.1: 6 6 4 3 2 2 1 in a 6 × 4 box; the first row is 3 : 2."""
    boxes = squarified([6, 6, 4, 3, 2, 2, 1], (0, 0, 6, 4))
    assert boxes[:2] == [(0, 0, 3, 2), (0, 2, 3, 2)]
    for (_, _, w, h), size in zip(boxes[2:4], (4, 3), strict=True):
        assert (w, h) == pytest.approx((size / 7 * 3, 7 / 3))
    assert math.isclose(sum(w * h for _, _, w, h in boxes), 24)


def test_names_cannot_become_markup():
    nasty = '<script>alert("x")</script>&\u202e'
    picture = treemap({nasty: {nasty: 3, "b": 1}, "books": {"c": 0}}, nasty)
    assert "<script" not in picture
    assert check_svg(picture) == picture
    assert picture == treemap({nasty: {nasty: 3, "b": 1}}, nasty)  # what has no size is left out; the same bytes
    drawn = length_plot({nasty: {64: 3, 128: 1}, **{f"s{n}": {256: 1} for n in range(12)}})
    assert "<script" not in drawn
    assert "others" in drawn
    with pytest.raises(ModeledgeError):
        treemap({"a": {"b": 0}}, "nothing")
    with pytest.raises(ModeledgeError):
        length_plot({})


def test_the_ledger_shows_what_was_cut_and_rewritten():
    def count(records, bytes):
        return {"records": records, "bytes": bytes, "tokens": 0}

    ledger = {
        "read": count(3, 100), "kept": count(2, 60), "filtered": {"empty": count(1, 10)}, "quarantined": {},
        "cut": {"duplicate <line>": count(4, 30)}, "rewritten": {"redact.email": count(5, 7)},
    }  # fmt: skip
    shown = render_ledger(ledger)
    assert "duplicate &lt;line&gt;" in shown
    assert "redact.email" in shown
    assert "it balances" in shown
    ledger["cut"] = {}
    assert "30 bytes are unaccounted for" in render_ledger(ledger)
