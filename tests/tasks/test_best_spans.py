"""Windows and best spans against loops that try everything."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from modeledge.errors import ModeledgeError
from modeledge.tasks.spans import Search, Told, best_of_rows, best_spans, best_threshold
from modeledge.tasks.windows import tokens_of, trimmed, windows


@given(st.integers(0, 60), st.integers(1, 20), st.integers(1, 30))
def test_windows_hold_every_token_and_begin_every_stride(count: int, room: int, stride: int) -> None:
    """As the loop of Devlin et al.'s run_squad: it ends with the first window that reaches the end of the text."""
    told, start = [], 0
    while True:
        length = min(count - start, room)
        told.append((start, start + length))
        if start + length >= count:
            break
        start += min(length, stride)
    found = windows(count, room, stride)
    assert found == told
    assert set().union(*(range(a, b) for a, b in found)) == set(range(count))
    assert all(b[0] - a[0] == min(stride, room) for a, b in pairwise(found))


@given(st.text(alphabet="ab \n\r\u00a0é🙂", max_size=12), st.data())
def test_tokens_lose_the_white_space_at_their_ends(text: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=6)))
    offsets = np.array([*pairwise([0, *cuts, len(text)])], dtype=np.int64)
    for (a, b), (start, end) in zip(offsets.tolist(), trimmed(offsets, text).tolist(), strict=True):
        assert text[start:end] == text[a:b].strip()
        assert a <= start <= end <= b or (start == end == a)


def test_tokens_behind_characters() -> None:
    offsets = np.array([[0, 3], [3, 3], [4, 7], [7, 9]])
    assert tokens_of(offsets, 0, 3) == (0, 0)
    assert tokens_of(offsets, 3, 5) == (2, 2)  # the third token holds no character of its own
    assert tokens_of(offsets, 2, 8) == (0, 3)
    assert tokens_of(offsets, 3, 4) is None


def every_span(window: np.ndarray, longest: int) -> list[tuple[float, int, int]]:
    return sorted(
        (
            (window[i, 0] + window[j, 1], i, j)
            for i in range(len(window))
            for j in range(i, min(len(window), i + longest))
        ),
        reverse=True,
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=6), st.integers(1, 5), st.integers(1, 60), st.integers(0, 99))
def test_the_best_spans_are_those_of_trying_all(sizes: list[int], longest: int, keep: int, seed: int) -> None:
    lots = np.random.default_rng(seed)
    scores = [lots.normal(size=(size, 2)) for size in sizes]
    for window in scores:
        window[lots.random(len(window)) < 0.2] = -np.inf
    found = best_spans(scores, longest, keep)
    for number, window in enumerate(scores):
        mine = np.flatnonzero(found.window == number)
        told = [span for span in every_span(window, longest) if span[0] > -np.inf][:keep]
        ours = zip(found.score[mine], found.first[mine], found.last[mine], strict=True)
        assert sorted(ours, reverse=True) == told


def brute(told: Told, search: Search, impossible: bool) -> list[tuple[tuple[int, int] | None, float, float, float]]:
    """Row by row, as the reference script does: all spans of all windows in one list, softmax over the best."""
    out = []
    for row in range(max(told.rows) + 1):
        mine = [n for n in range(len(told.rows)) if told.rows[n] == row]
        null = min(float(told.nulls[n]) for n in mine)
        found: dict[tuple[int, int], float] = {}
        for n in mine:
            offsets = told.offsets[n]
            for score, i, j in every_span(told.scores[n], search.max_answer):
                if offsets[i, 0] < offsets[i, 1] and offsets[j, 0] < offsets[j, 1]:
                    place = (int(offsets[i, 0]), int(offsets[j, 1]))
                    found[place] = max(score, found.get(place, -np.inf))
        best = sorted(found.items(), key=lambda item: -item[1])[: search.n_best]
        shares = np.exp([score for _, score in best] + ([null] if impossible else []))
        shares = shares / shares.sum()
        if best:
            nothing = float(shares[-1]) if impossible else 0.0
            out.append((best[0][0], float(shares[0]), nothing, null - best[0][1]))
        else:
            out.append((None, 0.0, float(impossible), np.inf))
    return out


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=8), st.booleans(), st.integers(1, 30), st.integers(0, 99))
@example(counts=[0], impossible=True, n_best=1, seed=0)
def test_rows_choose_over_all_their_windows(counts: list[int], impossible: bool, n_best: int, seed: int) -> None:
    """`counts` are the windows of each row beside the first; they overlap, and some tokens have no characters."""
    lots, search = np.random.default_rng(seed), Search(max_answer=3, n_best=n_best)
    rows, scores, offsets = [], [], []
    for row, more in enumerate(counts):
        for start in range(0, 2 * more + 1, 2):
            size = int(lots.integers(0, 6))
            places = 3 * (start + np.arange(size))
            rows.append(row)
            scores.append(lots.normal(size=(size, 2)))
            offsets.append(np.stack([places, places + 2 * (lots.random(size) < 0.8)], 1))
    told = Told(np.array(rows), scores, offsets, lots.normal(size=len(rows)))
    for found, (place, share, null, margin) in zip(
        best_of_rows(told, search, impossible=impossible), brute(told, search, impossible), strict=True
    ):
        assert found.place == place
        assert (found.share, found.null) == (pytest.approx(share), pytest.approx(null))
        assert found.margin == pytest.approx(margin)


def test_ten_thousand_questions_take_seconds() -> None:
    """Rows of 384 tokens, a third in two windows; generous, for a machine that is busy."""
    lots = np.random.default_rng(0)
    rows = np.sort(np.append(np.arange(2000), np.arange(0, 2000, 3)))
    scores = [lots.normal(size=(size, 2)).astype(np.float32) for size in lots.integers(150, 360, len(rows))]
    offsets = [np.stack([np.arange(len(s)), np.arange(len(s)) + 1], 1) for s in scores]
    start = time.process_time()
    best_of_rows(Told(rows, scores, offsets, np.zeros(len(rows))), Search(), impossible=True)
    assert 5 * (time.process_time() - start) < 60  # five times 2,000; measured: 1 s each


@settings(max_examples=80)
@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=9))
def test_the_threshold_is_the_best_of_all(rows: list[tuple[int, int, int]]) -> None:
    margins, given_, silent = (np.array(side, dtype=np.float64) for side in zip(*rows, strict=True))
    threshold, mark = best_threshold(margins, given_, silent)
    every = [np.where(margins > t, silent, given_).mean() for t in (-9, *(margins + 0.5), *margins)]
    assert mark == pytest.approx(max(every))
    assert np.where(margins > threshold, silent, given_).mean() == pytest.approx(mark)


def test_a_row_without_any_span_moves_no_threshold() -> None:
    threshold, mark = best_threshold(np.array([np.inf, 1.0, 3.0]), np.array([0.0, 1.0, 0.0]), np.array([0.0, 0.0, 1.0]))
    assert (threshold, mark) == (2.0, pytest.approx(2 / 3))
    assert best_threshold(np.array([np.inf]), np.zeros(1), np.ones(1)) == (0.0, 1.0)


@pytest.mark.parametrize(
    "wrong", [{"stride": 0}, {"max_answer": 1.5}, {"n_best": True}, {"max_question": "9"}, {"null_threshold": "low"}]
)
def test_options_that_mean_nothing_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ModeledgeError, match=f"E-CONFIG-VALUE: options.{next(iter(wrong))}"):
        Search(**wrong)  # type: ignore[arg-type]
