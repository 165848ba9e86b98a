"""The best spans over all windows of a text, and when to say that there is none.

A span's score is the sum of its start and end scores, raw, so that those of different windows can be compared; the
score of "no answer" is that of the first token, the least over the windows: one window that is sure of an answer is
enough (Devlin et al. 2019, section 4.3). The search is exact. Of n tokens only n · `max_answer` spans are short enough,
so all of them are scored, a few hundred windows at once, instead of pairing the best starts with the best ends as the
reference scripts do.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import fmean

import numpy as np
import numpy.typing as npt

from modeledge.errors import ModeledgeError
from modeledge.records import FloatArray, IntArray

Floats = npt.NDArray[np.float64]
CHUNK = 1 << 21  # span scores held at once: 16 MiB


@dataclass(frozen=True)
class Search:
    """How texts are cut and spans are chosen, in tokens: windows begin every `stride`; questions are cut to
    `max_question`; answers are at most `max_answer` long; `n_best` spans share the confidence; "no answer" is said
    where its score is above the best span's by more than `null_threshold`."""

    stride: int = 128
    max_question: int = 64
    max_answer: int = 30
    n_best: int = 20
    null_threshold: float = 0.0

    def __post_init__(self) -> None:
        for name in ("stride", "max_question", "max_answer", "n_best"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ModeledgeError("E-CONFIG-VALUE", f"{value!r} is no number above 0", where=f"options.{name}")
        if isinstance(self.null_threshold, bool) or not isinstance(self.null_threshold, int | float):
            raise ModeledgeError("E-CONFIG-VALUE", "the threshold is no number", where="options.null_threshold")


@dataclass(frozen=True)
class Told:
    """What a model said about windows `[windows]`: the number of each one's row, the start and end scores of its tokens
    of the text `[tokens, 2]`, the characters of these `[tokens, 2]`, and the score of "no answer"."""

    rows: IntArray
    scores: Sequence[FloatArray]
    offsets: Sequence[IntArray]
    nulls: Floats


@dataclass(frozen=True)
class Best:
    """The best span of a row: its characters (`None` where there is none), its share among the n best and "no answer",
    that of "no answer" (0 where there always is one), and by how much "no answer" scores above the span. `among` are
    the n best with their shares, best first."""

    place: tuple[int, int] | None
    share: float
    null: float
    margin: float
    among: tuple[tuple[tuple[int, int], float], ...] = ()


def best_of_rows(told: Told, search: Search, *, impossible: bool) -> list[Best]:
    """The best span of each row 0 … over its windows. A token without characters is no end of an answer."""
    count = int(told.rows.max(initial=-1)) + 1
    null = np.full(count, np.inf)
    np.minimum.at(null, told.rows, told.nulls)
    solid = [offsets[:, 1] > offsets[:, 0] for offsets in told.offsets]
    scores = [np.where(s[:, None], w, -np.inf) for s, w in zip(solid, told.scores, strict=True)]
    spans = best_spans(scores, search.max_answer, search.n_best)
    base = np.cumsum([0, *map(len, scores)])[spans.window]
    offsets = np.concatenate([np.zeros((0, 2), dtype=np.int64), *told.offsets])
    places = np.column_stack([offsets[base + spans.first, 0], offsets[base + spans.last, 1]])
    kept = ranked(spans, told.rows[spans.window], places, search.n_best)
    rows, places, found = told.rows[spans.window[kept]], places[kept], spans.score[kept]
    best = np.full(count, -np.inf)
    np.maximum.at(best, rows, found)
    top = np.maximum(best, null) if impossible else best
    with np.errstate(invalid="ignore", divide="ignore"):
        nothing = np.exp(null - top) if impossible else np.zeros(count)
        whole = nothing + np.bincount(rows, np.exp(found - top[rows]), count)
        shares, nothing, margins = np.exp(best - top) / whole, nothing / whole, null - best
    out = [Best(None, 0.0, float(impossible), float("inf"))] * count
    spread = (np.exp(found - top[rows]) / whole[rows]).tolist()
    firsts = np.flatnonzero(place_within(rows) == 0).tolist()
    for a, b in pairwise([*firsts, len(rows)]):
        row, spans_of_row = int(rows[a]), [(int(start), int(end)) for start, end in places[a:b]]
        among = tuple(zip(spans_of_row, spread[a:b], strict=True))
        out[row] = Best(spans_of_row[0], float(shares[row]), float(nothing[row]), float(margins[row]), among)
    return out


def joined_best(told: Sequence[Best]) -> Best:
    """What several models say together of one row: the mean of their shares of each span, and of "no answer".

    Spans are known by their characters, so models may cut the text into other tokens and windows. A span that is not
    among the n best of a model has no share of it. Equal shares: the earlier, then the shorter span.
    """
    shares = defaultdict[tuple[int, int], float](float)
    for best in told:
        for place, share in best.among:
            shares[place] += share / len(told)
    null = fmean(best.null for best in told)
    if not shares:
        return Best(None, 0.0, null, float("inf"))
    among = tuple(sorted(shares.items(), key=lambda one: (-one[1], one[0])))
    place, share = among[0]
    with np.errstate(divide="ignore"):
        margin = float(np.log(null) - np.log(share)) if share else float("inf")
    return Best(place, share, null, margin, among)


@dataclass(frozen=True)
class Spans:
    """Spans `[n]`: the number of their window, their first and last token in it, their score."""

    window: IntArray
    first: IntArray
    last: IntArray
    score: Floats

    def chosen(self, which: IntArray) -> Spans:
        """Some of them, in the order named."""
        return Spans(self.window[which], self.first[which], self.last[which], self.score[which])


def best_spans(scores: Sequence[npt.NDArray[np.floating]], longest: int, keep: int) -> Spans:
    """The `keep` best spans of each window that are no longer than `longest` tokens, in no order.

    `scores[window]` are start and end scores `[tokens, 2]`; −∞ forbids a token. A window has fewer spans where fewer
    are allowed. Of equal scores any may be kept.
    """
    lengths = np.array([len(window) for window in scores], dtype=np.int64)
    order, found = np.argsort(lengths, kind="stable"), list[Spans]()
    at = 0
    while at < len(order):
        size = max(1, CHUNK // max(1, int(lengths[order[min(at + 255, len(order) - 1)]]) * longest))
        numbers = order[at : at + min(size, 256)]
        found.append(_best(numbers, [scores[n] for n in numbers], longest, keep))
        at += len(numbers)
    if not found:
        nothing = np.zeros(0, dtype=np.int64)
        return Spans(nothing, nothing, nothing, np.zeros(0))
    return Spans(*(np.concatenate([getattr(part, name) for part in found]) for name in Spans.__dataclass_fields__))


def _best(numbers: IntArray, scores: Sequence[npt.NDArray[np.floating]], longest: int, keep: int) -> Spans:
    """The same for a few windows of like lengths: of the sums `[windows, first, length − 1]` the largest are kept."""
    width = max(1, *map(len, scores))
    starts, ends = np.full((len(scores), width), -np.inf), np.full((len(scores), width + longest - 1), -np.inf)
    for row, window in enumerate(scores):
        starts[row, : len(window)], ends[row, : len(window)] = window[:, 0], window[:, 1]
    banded = np.lib.stride_tricks.sliding_window_view(ends, longest, axis=1)[:, :width]
    sums = (starts[:, :, None] + banded).reshape(len(scores), -1)
    keep = min(keep, sums.shape[1])
    places = np.argpartition(-sums, keep - 1, axis=1)[:, :keep] if keep else np.zeros((len(scores), 0), dtype=np.int64)
    kept = np.take_along_axis(sums, places, axis=1)
    which = np.nonzero(kept > -np.inf)
    first, more = np.divmod(places[which], longest)
    return Spans(numbers[which[0]], first, first + more, kept[which])


def ranked(spans: Spans, rows: IntArray, places: IntArray, keep: int) -> IntArray:
    """Which spans stay when the windows of a row come together: row by row, best first, `keep` a row at most.

    `rows [n]` are the row of each span, `places [n, 2]` its characters: a span that several windows hold counts once,
    with its best score. Equal scores: the earlier, then the shorter one.
    """
    order = np.lexsort((-spans.score, places[:, 1], places[:, 0], rows))
    keys = np.column_stack([rows, places])[order]
    once = order[np.append(True, np.any(keys[1:] != keys[:-1], axis=1))] if len(order) else order
    ranks = once[np.lexsort((places[once, 1], places[once, 0], -spans.score[once], rows[once]))]
    return ranks[place_within(rows[ranks]) < keep]


def place_within(groups: IntArray) -> IntArray:
    """The number from 0 of each item within its group `[n]`; equal numbers stand together.

    >>> place_within(np.array([3, 3, 5, 7, 7, 7])).tolist()
    [0, 1, 0, 0, 1, 2]
    """
    fresh = np.append(True, groups[1:] != groups[:-1]) if len(groups) else np.zeros(0, dtype=np.bool_)
    places = np.arange(len(groups))
    return places - np.maximum.accumulate(np.where(fresh, places, 0)) if len(groups) else places


def best_threshold(margins: Floats, given: Floats, silent: Floats) -> tuple[float, float]:
    """The threshold that marks best when rows of a margin up to it are answered, and its mean mark.

    `given` and `silent [rows]` are what each row scores if it is answered, and if nothing is said. Rows are let through
    by rising margin, those of equal margin together; the threshold lies half-way to the next one.
    """
    some = np.flatnonzero(np.isfinite(margins))
    order = some[np.argsort(margins[some], kind="stable")]
    ranks = np.concatenate([margins[order[:1]] - 1.0, margins[order], margins[order[-1:]] + 1.0])
    if not len(order):
        return 0.0, float(silent.mean())
    sums = silent.sum() + np.append(0.0, np.cumsum((given - silent)[order]))
    place = int(np.argmax(np.where(ranks[1:] > ranks[:-1], sums, -np.inf)))
    return float((ranks[place] + ranks[place + 1]) / 2), float(sums[place] / len(margins))
