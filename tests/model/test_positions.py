"""Where a token stands: by formula, by difference alone, or by a table with an end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_small import batch_of, build, packed

from modeledge.errors import ModeledgeError
from modeledge.model import Cache, Learned, Rotary, Side, Sinusoidal
from modeledge.model.kinds import Stretch
from modeledge.model.pattern import Marks
from modeledge.model.position import build_position, turned


def scores(position, query, key, at, by):
    """The product of one query at `at` and one key at `by`, turned."""

    def turn(vector, place):
        angles = position.angles(torch.tensor([[place]]), torch.float64)
        return turned(vector[None, None, None], angles)[0, 0, 0]

    return float(turn(query, at) @ turn(key, by))


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 60),
    st.integers(0, 60),
    st.integers(0, 60),
    st.sampled_from([2, 4, 10]),
    st.sampled_from([10.0, 1e4]),
)
def test_rotary_scores_depend_on_differences_alone(at, by, shift, width, base):
    """Angles up to 120 in fp32 are off by at most 120 / 2**24 = 7e-6 each; the vectors have norm 1."""
    position = build_position(Rotary(base=base), 0, width)
    generator = torch.Generator().manual_seed(at * 61 + by)
    query, key = (torch.randn(width, generator=generator, dtype=torch.float64) for _ in range(2))
    query, key = query / query.norm(), key / key.norm()
    told = scores(position, query, key, at, by)
    assert scores(position, query, key, at + shift, by + shift) == pytest.approx(told, abs=5e-5)
    assert scores(position, query, key, 0, 0) == float(query @ key)
    pairs = query[: width // 2] + 1j * query[width // 2 :], key[: width // 2] + 1j * key[width // 2 :]
    speeds = torch.tensor([base ** (-2 * i / width) for i in range(width // 2)], dtype=torch.float64)
    turns = torch.polar(torch.ones_like(speeds), speeds * (at - by))
    assert told == pytest.approx(float((pairs[0] * turns * pairs[1].conj()).real.sum()), abs=5e-5)


def test_longrope_divides_the_angles_of_short_and_long_examples_by_numbers_of_their_own():
    """Ding et al. 2024 in float64, for a packed row with an example of 2 tokens, one of 4 and padding."""
    near, far = (1.0, 2.0), (3.0, 5.0)
    stretch = Stretch(kind="longrope", factor=2.0, original=3, temper=1.5, near=near, far=far)
    position = build_position(Rotary(base=50.0, stretch=stretch), 0, 4)
    marks = Marks(torch.tensor([[0, 1, 0, 1, 2, 3, 0]]), torch.tensor([[1, 1, 2, 2, 2, 2, 0]]))
    beyond = position.far(marks, marks)
    assert beyond.tolist() == [[False, False, True, True, True, True, False]]
    cosine, sine = position.angles(marks.positions, torch.float64, far=beyond)
    for column, (place, long) in enumerate(zip(marks.positions[0].tolist(), beyond[0].tolist(), strict=True)):
        for i, divisor in enumerate(far if long else near):
            angle = place / (divisor * 50.0 ** (i / 2))
            assert cosine[0, column, 0, i] == pytest.approx(1.5 * np.cos(angle), abs=1e-6)
            assert sine[0, column, 0, i + 2] == pytest.approx(1.5 * np.sin(angle), abs=1e-6)
    assert build_position(Rotary(), 0, 4).far(marks, marks) is None


def test_rotary_tells_places_apart():
    position = build_position(Rotary(), 0, 4)
    query, key = torch.tensor([1.0, 0, 0, 0], dtype=torch.float64), torch.tensor([1.0, 0, 0, 0], dtype=torch.float64)
    seen = {round(scores(position, query, key, 0, by), 6) for by in range(3)}
    assert len(seen) == 3
    assert position.embed(query, torch.tensor([0])) is query


@pytest.mark.parametrize("kind", ["modern", "bert", "gemma", "bare"])
def test_shifting_all_positions(kind):
    """Nothing changes in a rotary model or one without positions; in the others it does."""
    model, side = build(kind, "decoder", torch.float64), packed([[6], [3, 2]], 6)
    moved = replace(side, positions=side.positions + 7)
    with torch.no_grad():
        told, found = (model(batch_of(s, "decoder")).last[side.segments > 0] for s in (side, moved))
    difference = float((told - found).abs().max())
    assert difference < 1e-4 if kind in ("modern", "bare") else difference > 1e-2


@pytest.mark.parametrize("width", [6, 7])
def test_sinusoidal_is_the_formula(width):
    position = build_position(Sinusoidal(base=100.0), width, 0)
    positions = torch.tensor([[0, 1, 2, 0, 50]])
    found = position.embed(torch.ones(1, 5, width, dtype=torch.float64), positions).numpy()
    for column, place in enumerate(positions[0].tolist()):
        for i in range(width):
            angle = place / 100.0 ** (2 * (i // 2) / width)
            told = 1 + (np.cos(angle) if i % 2 else np.sin(angle))
            assert found[0, column, i] == pytest.approx(told, abs=1e-5)
    assert not position.turns(0)


def test_learned_positions_are_rows_of_a_table():
    position = build_position(Learned(length=4), 3, 0)
    with torch.no_grad():
        position.weight.normal_()
    positions = torch.tensor([[0, 1, 0, 1, 2, 3, 0]])  # a row longer than the table, segments within it
    found = position.embed(torch.zeros(1, 7, 3), positions)
    assert torch.equal(found, position.weight[positions])
    assert not position.turns(0)


@pytest.mark.parametrize("positions", [[[0, 1, 2, 3, 4]], [[4]], [[0, 9]]])
def test_a_position_beyond_the_table_is_one_clear_error(positions):
    """Also where the row itself is short: a cache hands over one token that stands far behind."""
    position = build_position(Learned(length=4), 3, 0)
    with torch.no_grad():
        position.weight.normal_()
    with pytest.raises(ModeledgeError, match=r"E-POSITION.*beyond the 4"):
        position.embed(torch.zeros(1, len(positions[0]), 3), torch.tensor(positions))


def test_generation_beyond_the_table_is_one_clear_error():
    model = build("gpt2", "decoder")
    one = torch.tensor([[1]])
    cache = Cache.empty(model.config, 1, 30, torch.float32)
    with torch.no_grad():
        for place in range(24):
            cache = model(batch_of(Side(one, one * 0 + place, one), "decoder"), cache).cache
        with pytest.raises(ModeledgeError, match=r"E-POSITION.*position 24"):
            model(batch_of(Side(one, one * 0 + 24, one), "decoder"), cache)


def test_a_length_is_checked_before_any_work():
    for kind, limit in (("bert", 24), ("modern", None), ("gemma", None)):
        model = build(kind, "encoder")
        assert model.config.positions == limit
        model.check_length(24)
        if limit is not None:
            with pytest.raises(ModeledgeError, match="E-POSITION"):
                model.check_length(25)
        else:
            model.check_length(10_000)
