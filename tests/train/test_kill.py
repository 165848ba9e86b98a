"""A run that is killed again and again leaves what an untouched run leaves, byte for byte.

The harness is `benchmarks/kill.py`, which does the same a thousand times.
"""

from __future__ import annotations

import random
import signal
from pathlib import Path

import pytest

import kill


@pytest.fixture(scope="module")
def arena(tmp_path_factory: pytest.TempPathFactory) -> kill.Arena:
    return kill.Arena(tmp_path_factory.mktemp("arena"))


@pytest.mark.parametrize("kind", kill.KINDS)
def test_random_kills_change_nothing(arena: kill.Arena, kind: str) -> None:
    verdict = kill.torment(arena, kind, 12, random.Random(1))
    assert verdict.faults == []
    assert verdict.kills >= 12
    assert verdict.resumed > 0


@pytest.mark.parametrize("sabotage", kill.SABOTAGE)
def test_what_a_resume_could_get_wrong_is_found(arena: kill.Arena, sabotage: str) -> None:
    """The negative controls: without them the test above could pass for the wrong reason."""
    verdict = kill.torment(arena, "pretrain", 6, random.Random(2), sabotage=sabotage, name=sabotage.replace(" ", "-"))
    assert verdict.faults
    if sabotage == "dropped key":
        assert all("E-RESUME" in fault for fault in verdict.faults)
    else:
        assert verdict.resumed > 0
        assert all("differs in" in fault and "model/model.safetensors" in fault for fault in verdict.faults)


def touches(arena: kill.Arena, kind: str) -> int:
    """How often a whole run touches its files: the first point that a run does not reach, found by halving."""
    low, high = 1, 4096
    while low + 1 < high:
        middle = (low + high) // 2
        code, different, _ = kill.crash(arena, kind, middle)
        assert different == []
        low, high = (middle, high) if code == -signal.SIGKILL else (low, middle)
    return low


@pytest.mark.parametrize("kind", kill.KINDS)
def test_death_at_a_touch_of_a_file(arena: kill.Arena, kind: str) -> None:
    """Opened, renamed, removed: a process may die at each of these; here at some of them, chosen at random."""
    last = touches(arena, kind)
    assert last > 40
    for at in sorted(random.Random(3).sample(range(1, last + 1), 8)):
        _, different, log = kill.crash(arena, kind, at)
        assert different == [], f"{kind} died at touch {at}: {log}"


@pytest.mark.long
@pytest.mark.parametrize("kind", kill.KINDS)
def test_death_at_every_touch_of_a_file(arena: kill.Arena, kind: str) -> None:
    for at in range(1, touches(arena, kind) + 1):
        _, different, log = kill.crash(arena, kind, at)
        assert different == [], f"{kind} died at touch {at}: {log}"


def test_logs_hold_no_traceback(arena: kill.Arena) -> None:
    for log in Path(arena.folder).rglob("*.log"):
        if not any(log.name.startswith(s.replace(" ", "-")) for s in kill.SABOTAGE):
            assert "Traceback" not in log.read_text(), log
