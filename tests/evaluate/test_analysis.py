"""Where a model is wrong, counted by hand; several models made one; answers in a benchmark's files."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.evaluate import GLUE, analyse, ensemble, glue_file, glue_zip
from modeledge.evaluate.analysis import length_groups
from modeledge.model import Attention, FeedForward, Learned, Stack, Tokens, TransformerConfig
from modeledge.records import Example
from modeledge.report import error_page, render_page
from modeledge.tasks import Answer, Labels, LabelTask
from modeledge.tokens import train_tokenizer

NAMES = ("down", "up")


def task(labels: Labels = Labels("class", NAMES)) -> LabelTask:  # noqa: B008
    tokenizer = train_tokenizer(["down up"] * 4, vocab_size=270)
    stack = Stack(layers=1, attention=Attention(heads=2), feedforward=FeedForward(width=8), position=Learned(length=64))
    config = TransformerConfig(width=8, embed=Tokens(vocab=tokenizer.vocab_size, types=2), encoder=stack)
    return LabelTask(labels, tokenizer, config, length=16)


def example(index: int, length: int, label: Any) -> Example:
    return Example(index, np.zeros(length, dtype=np.int64), label=label, where=f"file:{index + 1}")


def told(index: int, up: float) -> Answer:
    return Answer(index, int(up > 0.5), (1 - up, up))


GOLD = [example(0, 2, 0), example(1, 2, 1), example(2, 5, 1), example(3, 9, 0)]
ANSWERS = [told(0, 0.1), told(1, 0.9), told(2, 0.2), told(3, 0.95)]
ROWS = [{"text": f"text <b>{n}</b>"} for n in range(4)]


def test_an_analysis_counts_what_a_hand_counts() -> None:
    found = analyse(task(), ANSWERS, GOLD, ROWS)
    assert found["confusion"] == [[1, 1], [1, 1]]
    assert [c["n"] for c in found["classes"]] == [2, 2]
    assert [c["precision"] for c in found["classes"]] == [0.5, 0.5]
    assert sum(g["n"] for g in found["by_length"]) == 4
    assert found["by_length"][0]["value"] == 1.0
    assert found["by_length"][-1]["value"] == 0.0
    assert [(m["where"], m["label"], m["prediction"]) for m in found["mistakes"]] == [
        ("file:4", "down", "up"),
        ("file:3", "up", "down"),
    ]
    assert found["mistakes"][0]["text"] == "text <b>3</b>"
    assert "text" not in analyse(task(), ANSWERS, GOLD)["mistakes"][0]


def test_a_class_that_nobody_names_has_no_precision() -> None:
    found = analyse(task(), [told(n, 0.9) for n in range(4)], GOLD)
    assert found["classes"][0]["precision"] is None
    assert found["classes"][0]["recall"] == 0.0


def test_values_are_analysed_by_length_alone() -> None:
    gold = [example(n, n + 1, float(n)) for n in range(20)]
    found = analyse(task(Labels("value")), [Answer(n, float(n)) for n in range(20)], gold)
    assert set(found) == {"metric", "by_length"}
    assert len(found["by_length"]) == 5
    assert all(g["value"] == pytest.approx(1.0) for g in found["by_length"])


def test_equal_lengths_are_never_parted() -> None:
    lengths = np.array([3, 3, 3, 3, 3, 3, 8])
    groups = length_groups(lengths)
    assert sum(g.sum() for g in groups) == 7
    assert all(len(set(lengths[g])) == 1 for g in groups)


def test_the_page_escapes_what_the_data_say() -> None:
    page = render_page(error_page("Errors", "4 rows", {}, analyse(task(), ANSWERS, GOLD, ROWS)))
    assert "text &lt;b&gt;3&lt;/b&gt;" in page
    assert "<b>3" not in page


def test_an_ensemble_is_the_mean_of_probabilities() -> None:
    one, two = [told(0, 0.9), told(1, 0.45)], [told(0, 0.2), told(1, 0.45)]
    joined = ensemble(task(), [one, two])
    assert joined[0].probabilities == pytest.approx((0.45, 0.55))
    assert [a.value for a in joined] == [1, 0]
    values = ensemble(task(Labels("value")), [[Answer(0, 1.0)], [Answer(0, 4.0)]])
    assert values[0].value == 2.5


@pytest.mark.parametrize("others", [[], [[told(0, 0.1)], [told(1, 0.1)]], [[told(0, 0.1)], []]])
def test_models_that_answered_other_rows_are_refused(others: list[list[Answer]]) -> None:
    with pytest.raises(ModeledgeError, match=r"E-(LENGTH-MISMATCH|EMPTY-SPLIT)"):
        ensemble(task(), others)


def test_answers_without_a_mean_are_refused() -> None:
    with pytest.raises(ModeledgeError, match="have no mean"):
        ensemble(task(), [[Answer(0, "a text")], [Answer(0, "another")]])


def test_a_submission_has_the_server_s_shape(tmp_path: Path) -> None:
    count = GLUE["wnli"].rows
    text = glue_file("wnli", [told(n, 0.9 * (n % 2)) for n in range(count)], ("0", "1"))
    assert text.splitlines()[:3] == ["index\tprediction", "0\t0", "1\t1"]
    assert len(text.splitlines()) == count + 1
    values = glue_file("stsb", [Answer(n, 7.0) for n in range(GLUE["stsb"].rows)])
    assert values.splitlines()[1] == "0\t5.000"
    glue_zip({"wnli": text, "stsb": values}, tmp_path / "glue.zip")
    with zipfile.ZipFile(tmp_path / "glue.zip") as file:
        assert sorted(file.namelist()) == ["STS-B.tsv", "WNLI.tsv"]


@pytest.mark.parametrize(
    ("name", "count", "names", "code"),
    [
        ("wnlj", 1, ("0", "1"), "E-CONFIG-VALUE"),
        ("wnli", 145, ("0", "1"), "E-LENGTH-MISMATCH"),
        ("wnli", 146, ("no", "yes"), "E-LABEL-UNKNOWN"),
        ("wnli", 146, (), "E-LABEL-UNKNOWN"),
        ("stsb", 1379, ("0", "1"), "E-LABEL-UNKNOWN"),
    ],
)
def test_a_submission_that_the_server_would_refuse_is_refused_here(
    name: str, count: int, names: tuple[str, ...], code: str
) -> None:
    with pytest.raises(ModeledgeError, match=code):
        glue_file(name, [told(n, 0.2) for n in range(count)], names)


@pytest.mark.parametrize(
    ("value", "name", "names"), [((0, 1), "wnli", ("0", "1")), ("text", "stsb", ()), (("O",), "stsb", ())]
)
def test_sets_tags_and_texts_are_no_answers_of_a_server(value: Any, name: str, names: tuple[str, ...]) -> None:
    told_all = [Answer(n, value) for n in range(GLUE[name].rows)]
    with pytest.raises(ModeledgeError, match=r"E-LABEL-TYPE.*row 1\b"):
        glue_file(name, told_all, names)


def test_a_class_that_occurs_once_and_is_never_named_has_f1_zero() -> None:
    found = analyse(task(), [told(0, 0.1), told(1, 0.1)], GOLD[:2])
    assert found["classes"][1]["f1"] == 0.0


def test_the_diagram_s_bins_hold_every_answer_and_are_drawn() -> None:
    """By hand: two right answers at 0.9, one wrong at 0.8 and one at 0.95."""
    found = analyse(task(), ANSWERS, GOLD)["calibration"]
    assert sum(b["count"] for b in found["bins"]) == 4
    assert found["error"] == pytest.approx((abs((0.9 - 1) * 2) + 0.8 + 0.95) / 4)
    assert "Reliability diagram" in render_page(error_page("Errors", "4 rows", {}, analyse(task(), ANSWERS, GOLD)))
