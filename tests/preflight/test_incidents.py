"""Each incident is refused for its own reason, each healthy twin passes without a word."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from incidents import EARLIER, HEALTHY, INCIDENTS, NOT_HERE, Incident, small_recipe

from modeledge.errors import ModeledgeError
from modeledge.preflight import CHECKS, View, preflight, refusal
from modeledge.recipes.look import check_recipe


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda incident: incident.id)
def test_the_incident_is_refused(incident: Incident) -> None:
    verdict = preflight(incident.build())
    refused = verdict.refused()
    assert refused, "nothing was found"
    found = [(finding.check, finding.code) for finding in refused]
    assert (incident.check, incident.code) in found, found
    assert all(finding.check in CHECKS for finding in refused)
    assert refusal(refused).exit_status in (65, 74, 78)


@pytest.mark.parametrize(("build", "code"), EARLIER.values(), ids=EARLIER)
def test_what_is_refused_before_any_check(build: Callable[[Path], Path], code: str, tmp_path: Path) -> None:
    with pytest.raises(ModeledgeError, match=code):
        check_recipe(build(tmp_path), (), {}, lambda line: None)


def test_the_recipe_that_these_spoil_is_healthy(tmp_path: Path) -> None:
    assert check_recipe(small_recipe(tmp_path), (), {}, lambda line: None).startswith("checked ")


@pytest.mark.parametrize("build", HEALTHY.values(), ids=HEALTHY)
def test_the_healthy_twin_passes(build: Callable[[], View]) -> None:
    verdict = preflight(build())
    assert [str(finding) for finding in verdict.findings] == []


def test_the_list_is_as_long_as_was_asked_for() -> None:
    assert len({incident.id for incident in INCIDENTS}) == len(INCIDENTS) >= 40
    assert len(HEALTHY) >= 20
    assert all(reason for reason in NOT_HERE.values())


@pytest.mark.parametrize("check", CHECKS)
def test_every_check_has_an_incident_or_says_a_warning(check: str) -> None:
    """A check that nothing here trips cannot be known to work."""
    elsewhere = {
        "examples",
        "cut-examples",
        "batch",
        "positions",
        "missing-last",
        "courses",
    }  # tests/preflight/test_checks.py
    elsewhere |= {"epochs"}  # tests/recipes/test_mixture_runs.py
    assert check in {incident.check for incident in INCIDENTS} | elsewhere
