"""Plans of mixtures: GPT-3's printed table, limits, budgets, temperatures, phases."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modeledge.corpus.mixture import Phase, plan_mixture
from modeledge.errors import ModeledgeError

GPT3 = {"Common Crawl": 410e9, "WebText2": 19e9, "Books1": 12e9, "Books2": 55e9, "Wikipedia": 3e9}
WEIGHTS = dict(zip(GPT3, (0.60, 0.22, 0.08, 0.08, 0.03), strict=True))


def test_the_table_of_gpt3() -> None:
    """Brown et al. 2020, table 2.2, by arithmetic. Printed are 0.44, 2.9, 1.9, 0.43, 3.4: see docs/mixture.md."""
    plan = plan_mixture(GPT3, 300e9, [Phase(weights=WEIGHTS)], normalise=False)
    assert [f"{source.epochs:.2f}" for source in plan.sources] == ["0.44", "3.47", "2.00", "0.44", "3.00"]
    assert plan.notes == ("the weights add up to 101 %, so 303 B tokens are read, not 300 B",)
    assert math.isclose(plan.tokens, 303e9)
    whole = plan_mixture(GPT3, 300e9, [Phase(weights=WEIGHTS)])
    assert math.isclose(whole.tokens, 300e9)
    assert math.isclose(whole.sources[1].epochs, 3.4740 / 1.01, rel_tol=1e-4)
    assert "Wikipedia" in whole.table()


def test_an_epoch_limit_moves_what_is_over_to_the_others() -> None:
    plan = plan_mixture({"a": 10, "b": 1}, 12, [Phase(weights={"a": 1, "b": 1})], limit=4)
    assert [(s.tokens, s.epochs) for s in plan.sources] == [(8, 0.8), (4, 4)]
    assert plan.notes == ("b is limited to 4 epochs; the others give what it cannot",)
    with pytest.raises(ModeledgeError, match=r"E-CONFIG: the sources give 44 of 45 tokens within 4 epochs"):
        plan_mixture({"a": 10, "b": 1}, 45, limit=4)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.tuples(st.floats(1, 1e4), st.floats(0.001, 1)), min_size=1, max_size=5),
    st.floats(0.01, 1),
    st.floats(1, 8),
    st.booleans(),
)
def test_tokens_are_conserved_and_limits_are_kept(
    rows: list[tuple[float, float]], part: float, limit: float, phased: bool
) -> None:
    sizes = {f"s{i}": size for i, (size, _) in enumerate(rows)}
    weights = {f"s{i}": weight for i, (_, weight) in enumerate(rows)}
    tokens = part * limit * sum(sizes.values()) * 0.999
    phases = [Phase(part=0.8, weights=weights), Phase(part=0.2, temperature=2)] if phased else [Phase(weights=weights)]
    plan = plan_mixture(sizes, tokens, phases, limit=limit)
    assert math.isclose(plan.tokens, tokens, rel_tol=1e-6)
    assert all(source.epochs <= limit * (1 + 1e-9) for source in plan.sources)
    assert all(math.isclose(sum(plan.shares(i)), 1, rel_tol=1e-6) for i in range(len(phases)))
    free = [s for s in plan.sources if s.epochs < limit * (1 - 1e-6)]
    if not phased:  # between sources that are not limited the weights hold
        ratios = [s.tokens / weights[s.name] for s in free]
        assert all(math.isclose(ratio, ratios[0], rel_tol=1e-5) for ratio in ratios)


def test_temperature_budgets_and_phases() -> None:
    sizes = {"web": 900.0, "code": 100.0}
    assert plan_mixture(sizes, 100).shares() == pytest.approx((0.9, 0.1))
    assert plan_mixture(sizes, 100, [Phase(temperature=2)]).shares() == pytest.approx((0.75, 0.25))
    assert plan_mixture(sizes, 100, [Phase(temperature=math.inf)]).shares() == (0.5, 0.5)
    plan = plan_mixture({**sizes, "books": 50.0}, 200, [Phase(budgets={"books": 100})])
    assert [s.tokens for s in plan.sources] == pytest.approx([90, 10, 100])
    anneal = plan_mixture(sizes, 100, [Phase(part=0.9), Phase(part=0.1, weights={"code": 1})])
    assert anneal.shares(1) == (0, 1)
    assert [s.tokens for s in anneal.sources] == pytest.approx([81, 19])


@pytest.mark.parametrize(
    ("phase", "code"),
    [
        (Phase(weights={"wb": 1}), "E-CONFIG-KEY.*'web'"),
        (Phase(weights={"web": -1}), "E-CONFIG-VALUE"),
        (Phase(temperature=0), "E-CONFIG-VALUE"),
        (Phase(part=0), "E-CONFIG-VALUE"),
        (Phase(budgets={"web": 101}), "E-CONFIG"),
        (Phase(weights={"web": 0}), "E-CONFIG"),
    ],
)
def test_what_cannot_be_is_refused(phase: Phase, code: str) -> None:
    with pytest.raises(ModeledgeError, match=code):
        plan_mixture({"web": 10.0}, 100, [phase])
