"""Texts that repeat one thing a hundred thousand times: no filter and no stage may take more than linear time."""

from __future__ import annotations

import time

import pytest

from modeledge.corpus.filter import FILTERS, STAGES, make_filters, make_stages
from modeledge.errors import ModeledgeError
from modeledge.records import Document

LENGTH = 120_000
UNITS = (
    *("a", "1", " ", "\n", "@", "a.", "a@", "a.b-c_", "http://", "http://a:b@", "-", "1-", "1 ", "1:", "1.", "["),
    *('"', "言", "\u0315\u0300", "\u200d\U0001f468", "+", "A", "%2", "DE89", "12 Main ", "word\n", "…", "• x\n"),
)


@pytest.mark.parametrize("name", sorted({*FILTERS, *STAGES} - {"perplexity", "quality", "toxicity"}))
def test_a_text_of_one_thing_takes_linear_time(name: str) -> None:
    value = 5 if name in ("shorter_than", "longer_than") else True
    try:
        filters = make_filters({name: value}) if name in FILTERS else []
    except ModeledgeError as error:
        if error.code != "E-EXTRA":
            raise
        pytest.skip(str(error))
    stages = make_stages({name: True}) if name in STAGES else []
    for unit in UNITS:
        document, started = Document("a" + unit * (LENGTH // len(unit)), "id"), time.process_time()
        for judge in filters:
            judge(document)
        for stage in stages:
            assert len(list(stage([document]))) == 1
        assert time.process_time() - started < 5, unit  # a fiftieth of it is usual
