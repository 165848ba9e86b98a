"""The kinds of positions that a stack may have, as values: where a token stands, said on the embeddings, on queries and
keys, or on the scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias


@dataclass(frozen=True, kw_only=True)
class Learned:
    """A table of position embeddings added to the tokens (Radford et al. 2018); `length` rows, the first `offset` of
    which no token uses (RoBERTa, OPT and BART count from there)."""

    length: int
    offset: int = 0
    kind: Literal["learned"] = "learned"


@dataclass(frozen=True, kw_only=True)
class Sinusoidal:
    """Fixed sines and cosines added to the tokens (Vaswani et al. 2017, section 3.5)."""

    base: float = 10000.0
    kind: Literal["sinusoidal"] = "sinusoidal"


@dataclass(frozen=True, kw_only=True)
class Stretch:
    """Rotary angles slowed for texts longer than those of the first training, which had `original` tokens.

    `linear` divides all by `factor` (Chen et al. 2023); `llama3` leaves fast angles alone (more than `high` turns in
    `original`), divides slow ones (fewer than `low`) and blends between; `yarn` blends between dimensions (Peng et al.
    2023, section 3.2; `high` and `low` are β_fast and β_slow) and multiplies cosines and sines by `temper`; `longrope`
    (Ding et al. 2024, arXiv 2402.13753; Phi-3) divides each angle by a number of its own: those of `near` in an example
    of up to `original` tokens, those of `far` in a longer one. `factor` says there how far that reaches.
    """

    factor: float
    kind: Literal["linear", "llama3", "yarn", "longrope"] = "linear"
    low: float = 1.0
    high: float = 4.0
    original: int = 8192
    temper: float = 1.0
    near: tuple[float, ...] | None = None
    far: tuple[float, ...] | None = None


@dataclass(frozen=True, kw_only=True)
class Rotary:
    """Queries and keys turned by an angle proportional to the position (Su et al. 2021, equation 34).

    `fraction` of each head is turned, the rest is left. Layers with a window turn by `local_base` where one is given,
    unstretched. `layers` repeats over the layers: `(True, True, True, False)` leaves every fourth unturned (SmolLM3).
    """

    base: float = 10000.0
    local_base: float | None = None
    fraction: float = 1.0
    stretch: Stretch | None = None
    layers: tuple[bool, ...] = (True,)
    kind: Literal["rotary"] = "rotary"


@dataclass(frozen=True, kw_only=True)
class Buckets:
    """One learned number a head for each bucket of distances, added to the scores; one table for all layers of a stack
    (Raffel et al. 2020, section 2.1). Distances beyond `distance` share the last of `count` buckets."""

    count: int = 32
    distance: int = 128
    kind: Literal["buckets"] = "buckets"


PositionConfig: TypeAlias = Learned | Sinusoidal | Rotary | Buckets | None
