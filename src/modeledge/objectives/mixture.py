"""Several ways to damage a text, one for each example: UL2's mixture of denoisers (Tay et al. 2022, arXiv 2205.05131).

A model that was pre-trained with one objective is good at what resembles it. UL2 draws one of seven span corruptions
for each example (table 1; μ the mean length, r the share that is hidden), and a token before the inputs says of which
kind it is, so that a task can later ask for a kind ("mode switching", section 3.1.3):

    [R] regular     μ 3, r 0.15 · μ 8, r 0.15
    [S] sequential  μ n/4, r 0.25, one span: the end of the text, which makes it prefix language modelling
    [X] extreme     μ 3, r 0.5 · μ 8, r 0.5 · μ 64, r 0.15 · μ 64, r 0.5
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from modeledge.objectives.corrupt import RandomSpans
from modeledge.objectives.damage import Damage, Damaged, Generator
from modeledge.objectives.form import Sizes
from modeledge.records import Example

REGULAR, SEQUENTIAL, EXTREME = MODES = ("[R]", "[S]", "[X]")
DENOISERS: tuple[tuple[str, float | None, float], ...] = (  # mode, mean length (None: one span), share hidden
    (REGULAR, 3.0, 0.15),
    (REGULAR, 8.0, 0.15),
    (SEQUENTIAL, None, 0.25),
    (EXTREME, 3.0, 0.5),
    (EXTREME, 8.0, 0.5),
    (EXTREME, 64.0, 0.15),
    (EXTREME, 64.0, 0.5),
)


@dataclass(frozen=True)
class Mixture(Damage):
    """One of several ways for each example, by their `shares` (all alike where none are given); the token `modes[i]`
    stands before the inputs that `ways[i]` makes, `None` is none."""

    ways: tuple[Damage, ...]
    modes: tuple[int | None, ...]
    shares: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        assert len(self.ways) == len(self.modes), "a mode for each way"
        assert not self.shares or len(self.shares) == len(self.ways), "a share for each way"

    @property
    def channels(self) -> frozenset[str]:
        """What any of the ways reads."""
        return frozenset().union(*(way.channels for way in self.ways))

    def __call__(self, example: Example, random: Generator) -> Damaged:
        shares = np.asarray(self.shares or (1.0,) * len(self.ways))
        which = int(random.choice(len(self.ways), p=shares / shares.sum()))
        made, mode = self.ways[which](example, random), self.modes[which]
        return made if mode is None else Damaged(np.append(mode, made.inputs), made.targets, made.begins)

    def needs(self, tokens: int) -> int:
        """The most that any of the ways asks for."""
        return max(way.needs(tokens) for way in self.ways)

    def sizes(self, tokens: int) -> Sizes:
        """Those of all ways, and a mode before each."""
        pairs = zip(self.ways, self.modes, strict=True)
        return [(inputs + (mode is not None), targets) for way, mode in pairs for inputs, targets in way.sizes(tokens)]


def ul2(sentinels: tuple[int, ...], modes: tuple[int | None, int | None, int | None]) -> Mixture:
    """The seven denoisers, each as likely; `modes` are the ids of [R], [S] and [X]."""
    ids = dict(zip(MODES, modes, strict=True))
    ways = tuple(RandomSpans(sentinels, rate, mean) for _, mean, rate in DENOISERS)
    return Mixture(ways, tuple(ids[mode] for mode, _, _ in DENOISERS))
