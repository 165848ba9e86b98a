"""Plans: how a corpus is cut into examples, and which examples share a row.

A row of fixed width holds several examples, told apart by segment numbers, so that nothing computes padding (Krell et
al. 2021, arXiv 2107.02027). This module moves no token: it answers with numbers, and rows are filled after the noise
has given each example its final length.

**The rank law.** A step's global batch is planned as a whole, over a fixed window of the stream, then its rows are
dealt to ranks and micro-batches. The plan sees lengths only, never ranks, so any number of ranks computes one step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, TypeVar

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.records import IntArray

T = TypeVar("T")
Lengths = Sequence[int] | IntArray
How = Literal["split", "document"]


def cut_examples(offsets: IntArray, length: int, *, how: How = "split", shortest: int = 1) -> IntArray:
    """Token ranges `[n, 2]` (start, stop) of at most `length` tokens that cover a corpus with these document offsets.

    "split" concatenates all documents and cuts every `length` tokens; "document" cuts each document for itself, so that
    no range crosses a boundary. A last piece below `shortest` tokens takes what it lacks from the piece before it;
    where there is none, or it would become too short itself, the piece is left out: `left_out` counts these tokens.
    With the default nothing is left out; a causal objective needs 2, or a lone token would have no successor.
    """
    if not 1 <= shortest <= length:
        raise ModeledgeError("E-CONFIG-VALUE", f"shortest is {shortest}; it lies between 1 and the length, {length}")
    if how not in ("split", "document"):
        raise ModeledgeError("E-CONFIG-VALUE", f"cutting by {how!r}", remedy="choose 'split' or 'document'")
    bounds = np.asarray(offsets, np.int64)
    if how == "split":
        bounds = bounds[[0, -1]]
    bounds = np.stack([bounds[:-1], bounds[1:]], 1)
    bounds = bounds[bounds[:, 1] > bounds[:, 0]]
    counts = -(-(bounds[:, 1] - bounds[:, 0]) // length)
    first = np.cumsum(counts) - counts
    within = np.arange(counts.sum()) - np.repeat(first, counts)
    starts = np.repeat(bounds[:, 0], counts) + within * length
    stops = np.minimum(starts + length, np.repeat(bounds[:, 1], counts))

    last = first + counts - 1
    lacking = shortest - (stops - starts)[last]
    borrows = (lacking > 0) & (counts > 1) & (length - lacking >= shortest)
    starts[last[borrows]] -= lacking[borrows]
    stops[last[borrows] - 1] -= lacking[borrows]
    ranges: IntArray = np.stack([starts, stops], 1)[stops - starts >= shortest]
    return ranges


def left_out(offsets: IntArray, ranges: IntArray) -> int:
    """The tokens of a corpus that no range covers."""
    return int(offsets[-1] - offsets[0]) - int((ranges[:, 1] - ranges[:, 0]).sum())


def plan_rows(lengths: Lengths, capacity: int) -> list[list[int]]:
    """Which examples share a row of `capacity` tokens: first-fit decreasing, at most 11/9 of the
    fewest rows plus 2/3 of one (Dósa 2007), and near the fewest in practice.

    Ties go by index; a row lists its examples in order, rows stand in the order of their first example. Raises
    `E-TOO-LONG` that names the first example longer than a row.
    """
    return _first_fit([_checked(lengths, capacity, "")], [capacity])


def plan_rows_two(
    lengths_source: Lengths, lengths_target: Lengths, capacity_source: int, capacity_target: int
) -> list[list[int]]:
    """`plan_rows` for encoder-decoders: an example has the same row on both sides, and must fit on both.

    The most demanding example, by the larger of its two shares of a row, is placed first.
    """
    if len(lengths_source) != len(lengths_target):
        what = f"{len(lengths_source)} source lengths stand beside {len(lengths_target)} target lengths"
        raise ModeledgeError("E-LENGTH-MISMATCH", what)
    sides = [
        _checked(lengths_source, capacity_source, " in the source"),
        _checked(lengths_target, capacity_target, " in the target"),
    ]
    return _first_fit(sides, [capacity_source, capacity_target])


def _checked(lengths: Lengths, capacity: int, side: str) -> list[int]:
    checked = [int(length) for length in lengths]
    for index, length in enumerate(checked):
        assert length >= 0
        if length > capacity:
            what = f"{length} tokens{side} do not fit a row of {capacity}"
            raise ModeledgeError("E-TOO-LONG", what, where=f"example {index} of the batch")
    return checked


def _first_fit(sides: Sequence[list[int]], capacities: Sequence[int]) -> list[list[int]]:
    """First-fit decreasing by tournament trees, one a side, that hold the most room below each node: O(n log n).

    All rows exist from the start, empty; the leftmost one with room on every side is found by descent.
    """
    count = len(sides[0])
    scale = math.prod(capacities)
    shares = [
        max(n * scale // max(c, 1) for n, c in zip(needs, capacities, strict=True))
        for needs in zip(*sides, strict=True)
    ]
    leaves = 1 << max(count - 1, 1).bit_length()
    rooms = [[capacity] * (2 * leaves) for capacity in capacities]
    rows: dict[int, list[int]] = {}
    for index in sorted(range(count), key=lambda i: (-shares[i], i)):
        needs = [side[index] for side in sides]
        leaf = _leftmost(rooms, needs, leaves)
        rows.setdefault(leaf, []).append(index)
        for room, need in zip(rooms, needs, strict=True):
            _take(room, leaf, need)
    return sorted(sorted(row) for row in rows.values())


def _leftmost(rooms: Sequence[list[int]], needs: Sequence[int], leaves: int) -> int:
    """The first leaf with room for `needs`; on two sides a node's two maxima may belong to two leaves: then go back."""
    sides = list(zip(rooms, needs, strict=True))
    stack = [1]
    while True:
        node = stack.pop()
        for room, need in sides:
            if room[node] < need:
                break
        else:
            if node >= leaves:
                return node
            stack += (2 * node + 1, 2 * node)


def _take(room: list[int], node: int, need: int) -> None:
    room[node] -= need
    while node > 1:
        node //= 2
        most = max(room[2 * node], room[2 * node + 1])
        if room[node] == most:
            break
        room[node] = most


def choose_capacity(lengths: Lengths, longest: int, *, multiple: int = 8, attention_width: int = 1024) -> int:
    """The row width between the longest example and `longest` at which a batch costs least.

    A row of width w costs w·(1 + w / `attention_width`): most of a layer's work grows with tokens, attention's with
    their square, and `attention_width` is where the two are equal (6 model widths by FLOPs: 24·d² a token for
    the projections and a 4·d feed-forward layer against 4·w·d for attention). Wide rows waste less padding, narrow ones
    less attention. Tried are multiples of `multiple`: a few factors of the longest example, and the widths at which
    the batch would fill one to four rows.
    """
    checked = _checked(lengths, longest, "")
    if not checked:
        return min(multiple, longest)
    most, total = max(max(checked), 1), sum(checked)
    wanted = [most * f // 4 for f in (4, 5, 6, 8, 12, 16, 24, 32)] + [-(-total // rows) for rows in range(1, 5)]
    widths = sorted({min(-(-max(w, most) // multiple) * multiple, longest) for w in wanted})
    best_cost, best = None, longest
    for width in widths:
        each = width * (attention_width + width)
        if best_cost is not None and -(-total // width) * each >= best_cost:
            continue  # not even rows without padding would pay
        cost = len(plan_rows(checked, width)) * each
        if best_cost is None or cost < best_cost:
            best_cost, best = cost, width
    return best


def deal(rows: Sequence[T], parts: int) -> list[list[T]]:
    """Rows for `parts` ranks or micro-batches: contiguous, sizes that differ by at most one, every row exactly once."""
    assert parts >= 1
    bounds = [len(rows) * part // parts for part in range(parts + 1)]
    return [list(rows[start:stop]) for start, stop in pairwise(bounds)]
