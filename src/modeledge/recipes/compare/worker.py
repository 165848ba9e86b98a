"""A process of `jobs`: it reads names of runs, prints how each ended, and says all else on standard error."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from types import FrameType

from modeledge.config import load_config
from modeledge.machine import calm_threads


def main() -> None:
    """Run what is named until the input ends."""
    calm_threads()
    signal.signal(signal.SIGTERM, _terminated)
    from modeledge.recipes.compare.engine import attempt, unseen
    from modeledge.recipes.compare.grid import units
    from modeledge.recipes.compare.jobs import DONE, FAILED
    from modeledge.recipes.compare.study import StudyRecipe
    from modeledge.recipes.folder import RECIPE

    folder = Path(sys.argv[1])
    study = load_config(StudyRecipe, folder / RECIPE)
    known = {unit.name: unit for unit in units(study)}
    for line in sys.stdin:
        ended = attempt(study, known[line.strip()], folder, unseen, say)
        print(DONE if ended else FAILED, flush=True)


def say(line: str) -> None:
    """A line on standard error."""
    print(line, file=sys.stderr, flush=True)


def _terminated(number: int, frame: FrameType | None) -> None:
    """Between runs there is nothing to save; a run has a handler of its own."""
    sys.exit(128 + number)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
