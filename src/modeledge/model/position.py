"""How a model knows where a token stands. A position acts in one of three places: on the embeddings, on queries and
keys, or on the scores; the others are left alone."""

from __future__ import annotations

import math
from typing import TypeAlias

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.model.kinds import Buckets, Learned, PositionConfig, Rotary, Sinusoidal, Stretch
from modeledge.model.pattern import Marks

Angles: TypeAlias = tuple[Tensor, Tensor]


class Position(nn.Module):
    """No position at all; the kinds below override what they act on."""

    def embed(self, states: Tensor, positions: Tensor) -> Tensor:
        """Act on embeddings `[rows, seq, width]`."""
        return states

    def turns(self, layer: int) -> bool:
        """Are this layer's queries and keys turned?"""
        return False

    def far(self, queries: Marks, keys: Marks) -> Tensor | None:
        """Whose example is so long that its angles are others, `[rows, seq]`; `None` where no length matters."""
        return None

    def angles(
        self, positions: Tensor, dtype: torch.dtype, *, local: bool = False, far: Tensor | None = None
    ) -> Angles:
        """Cosines and sines `[rows, seq, 1, turned]`, made once a forward pass for all layers with a window (`local`)
        and once for all without; `far` is what `far` said."""
        raise NotImplementedError

    def score(self, queries: Marks, keys: Marks, *, whole: bool, causal: bool) -> Tensor | None:
        """What is added to the scores of all layers, `[1 or rows, heads, queries, keys]`; one row for `whole` or
        `steady` rows, which are all alike; what stands where the pattern lets nothing be seen does not matter."""
        return None


class LearnedPosition(Position):
    """One learned vector a position; longer rows than the table are `E-POSITION`."""

    def __init__(self, config: Learned, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.length, width))
        self.offset = config.offset

    def embed(self, states: Tensor, positions: Tensor) -> Tensor:
        length = self.weight.shape[0] - self.offset
        may_exceed = positions.shape[1] > length or positions.device.type == "cpu"  # elsewhere, looking costs a wait
        if may_exceed and int(positions.max()) >= length:
            what = f"position {int(positions.max())} is beyond the {length} that the model has learned"
            raise ModeledgeError("E-POSITION", what, remedy=f"keep examples within {length} tokens")
        places = positions + self.offset if self.offset else positions
        return states + nn.functional.embedding(places, self.weight).to(states.dtype)


class SinusoidalPosition(Position):
    """PE(p, 2i) = sin(p / base^(2i/width)), PE(p, 2i+1) = cos(…) (Vaswani et al. 2017)."""

    def __init__(self, width: int, base: float) -> None:
        super().__init__()
        self.width, self.base = width, base

    def embed(self, states: Tensor, positions: Tensor) -> Tensor:
        even = torch.arange(0, self.width, 2, device=positions.device, dtype=torch.float32)
        angle = positions[..., None].float() * torch.exp(even * (-math.log(self.base) / self.width))
        table = torch.stack((angle.sin(), angle.cos()), -1).flatten(-2)[..., : self.width]
        return states + table.to(states.dtype)


class RotaryPosition(Position):
    """Half-split rotary embedding: (x₁, x₂) → (x₁ cos − x₂ sin, x₂ cos + x₁ sin), angle p · base^(−2i/turned)."""

    def __init__(self, config: Rotary, head_width: int) -> None:
        super().__init__()
        self.config, self.width = config, int(head_width * config.fraction)

    def turns(self, layer: int) -> bool:
        layers = self.config.layers
        return layers[layer % len(layers)]

    def far(self, queries: Marks, keys: Marks) -> Tensor | None:
        stretch = self.config.stretch
        return far_examples(stretch.original, queries, keys) if stretch and stretch.kind == "longrope" else None

    def angles(
        self, positions: Tensor, dtype: torch.dtype, *, local: bool = False, far: Tensor | None = None
    ) -> Angles:
        config = self.config
        even = torch.arange(0, self.width, 2, device=positions.device, dtype=torch.float32)
        if local and config.local_base is not None:
            speed, temper = 1.0 / config.local_base ** (even / self.width), 1.0
        else:
            slowness = config.base ** (even / self.width)
            temper = 1.0 if config.stretch is None else config.stretch.temper
            speed = 1.0 / slowness if config.stretch is None else stretched(slowness, config.stretch, config.base, far)
        angle = positions[..., None, None].float() * speed
        angle = torch.cat((angle, angle), -1)
        cosine, sine = angle.cos(), angle.sin()
        sine[..., : self.width // 2].neg_()  # folded in, so that turning is two products and one sum
        if temper != 1.0:
            cosine, sine = cosine * temper, sine * temper
        return cosine.to(dtype), sine.to(dtype)


class BucketPosition(Position):
    """A learned number for each head and each bucket of signed distances (Raffel et al. 2020, section 2.1): near ones
    have a bucket each, farther ones share buckets that widen logarithmically."""

    def __init__(self, config: Buckets, heads: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(config.count, heads))
        self.count, self.distance = config.count, config.distance

    def score(self, queries: Marks, keys: Marks, *, whole: bool, causal: bool) -> Tensor | None:
        if keys is queries and queries.steady:  # a token is as far ahead as its column: one row, each distance once
            return self._by_columns(queries.positions.shape[1], causal)
        rows = slice(0, 1) if whole else slice(None)
        ahead = keys.positions[rows, None, :] - queries.positions[rows, :, None]
        numbers = nn.functional.embedding(bucket(ahead, self.count, self.distance, causal=causal), self.weight)
        return numbers.permute(0, 3, 1, 2)

    def _by_columns(self, count: int, causal: bool) -> Tensor:
        """`[1, heads, count, count]`: row i of the last two holds the numbers of the distances −i … count − 1 − i."""
        ahead = torch.arange(1 - count, count, device=self.weight.device)
        numbers = nn.functional.embedding(bucket(ahead, self.count, self.distance, causal=causal), self.weight)
        return numbers.T.contiguous().unfold(1, count, 1).flip(1).contiguous()[None]


def bucket(ahead: Tensor, count: int, distance: int, *, causal: bool) -> Tensor:
    """The bucket of each signed distance key − query; a decoder's keys are never ahead, so all buckets look back."""
    if causal:
        first, away = torch.zeros_like(ahead), (-ahead).clamp(min=0)
    else:
        count //= 2
        first, away = (ahead > 0).long() * count, ahead.abs()
    near = count // 2
    steps = torch.log(away.clamp(min=1).float() / near) / math.log(distance / near) * (count - near)
    far = (near + steps.long()).clamp(max=count - 1)
    return first + torch.where(away < near, away, far)


def far_examples(original: int, queries: Marks, keys: Marks) -> Tensor:
    """Which queries stand in an example of more than `original` tokens: bool `[rows, seq]`.

    Keys that a cache holds were turned as those of a short text; an example that outgrows it is `E-POSITION`.
    """
    count, seen = int(keys.segments.max()) + 1, keys.positions.shape[1] - queries.positions.shape[1]
    none = torch.full((len(keys.positions), count), -1, dtype=keys.positions.dtype, device=keys.positions.device)
    last = none.scatter_reduce(1, keys.segments, keys.positions, "amax")
    before = none.scatter_reduce(1, keys.segments[:, :seen], keys.positions[:, :seen], "amax")
    far = last >= original
    if seen and bool(((before >= 0) & (before < original) & far)[:, 1:].any()):
        what = f"a text grew beyond {original} tokens, and the cache holds it as a shorter one"
        why = "the angles of all its tokens change there (longrope)"
        raise ModeledgeError("E-POSITION", what, why=why, remedy="read the whole text again with an empty cache")
    return far.gather(1, queries.segments)


def stretched(slowness: Tensor, how: Stretch, base: float, far: Tensor | None = None) -> Tensor:
    """Angles a position, slowed for longer texts: positions an angle `[turned / 2]` → the same shape, or one for each
    token where it matters whether its example is `far`."""
    if how.kind == "longrope":
        near, beyond = (1.0 / (torch.tensor(x, device=slowness.device) * slowness) for x in (how.near, how.far))
        return near if far is None else torch.where(far[..., None, None], beyond, near)
    speed = 1.0 / slowness
    slow = speed / how.factor
    if how.kind == "linear":
        return slow
    if how.kind == "llama3":
        turns = how.original * speed / (2 * math.pi)  # in the texts of the first training
        blend = ((turns - how.low) / (how.high - how.low)).clamp(0, 1)
        return (1 - blend) * slow + blend * speed
    width = 2 * len(speed)

    def dimension(turns: float) -> float:
        return width * math.log(how.original / (turns * 2 * math.pi)) / (2 * math.log(base))

    low = max(math.floor(dimension(how.high)), 0)
    high = min(math.ceil(dimension(how.low)), width - 1)
    ramp = (torch.arange(len(speed), device=speed.device) - low) / max(high - low, 0.001)
    blend = 1 - ramp.clamp(0, 1)
    return (1 - blend) * slow + blend * speed


def turned(x: Tensor, angles: Angles | None) -> Tensor:
    """Queries or keys `[rows, seq, heads, head_width]` turned by the angles of their positions."""
    if angles is None:
        return x
    cosine, sine = angles
    width = cosine.shape[-1]
    if width < x.shape[-1]:
        return torch.cat((turned(x[..., :width], angles), x[..., width:]), -1)
    return x * cosine + torch.roll(x, width // 2, -1) * sine


def build_position(config: PositionConfig, width: int, head_width: int, heads: int = 1) -> Position:
    """The position of a stack; `width` is that of the embeddings."""
    match config:
        case Learned():
            return LearnedPosition(config, width)
        case Sinusoidal():
            return SinusoidalPosition(width, config.base)
        case Rotary():
            return RotaryPosition(config, head_width)
        case Buckets():
            return BucketPosition(config, heads)
        case _:
            return Position()
