"""The answer that was found in a text, by one model or by several.

Devlin et al.'s best SQuAD figure is an ensemble of seven. Its members agree on characters, not on tokens (they may have
other vocabularies, so other windows), and their raw scores have no common zero. So what is averaged is each one's share
of a span among its n best and "no answer", as in the reference repository's own script for ensembles of n-best lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from modeledge.errors import ModeledgeError
from modeledge.tasks.spans import Best, joined_best
from modeledge.tasks.task import Answer


@dataclass(frozen=True)
class Found:
    """The text of the best span of a row, whether or not it is given as the answer, how sure it is, and the threshold
    of "no answer" (`None` where there always is one). `context` is what the text is a piece of."""

    text: str
    best: Best
    threshold: float | None
    context: str


def found_answer(number: int, best: Best, threshold: float | None, context: str) -> Answer:
    """The answer of one row: the best span, or nothing where "no answer" scores above it by more than the threshold."""
    text = "" if best.place is None else context[slice(*best.place)]
    silent = threshold is not None and best.margin > threshold
    return Answer(number, "" if silent else text, details=Found(text, best, threshold, context))


def joined_answer(number: int, told: Sequence[Found]) -> Answer:
    """The span with the largest mean share; "no answer" is said by the mean of the models' thresholds.

    `E-KEYS` where some models can say that there is no answer, and others cannot.
    """
    thresholds = [found.threshold for found in told if found.threshold is not None]
    if 0 < len(thresholds) < len(told):
        what = f"{len(thresholds)} of {len(told)} models can say that there is no answer"
        raise ModeledgeError("E-KEYS", what, remedy="join models that learned from rows of one kind")
    threshold = fmean(thresholds) if thresholds else None
    return found_answer(number, joined_best([found.best for found in told]), threshold, told[0].context)
