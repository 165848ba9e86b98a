"""What everyone above a model may ask about its shape, whoever built it.

`TransformerConfig` answers all of it by itself. A model that is wrapped (docs/decisions/0008) answers it too, and
nothing else: a head, a task or a strategy that keeps to this page works on both.
"""

from __future__ import annotations

from typing import Protocol

from modeledge.model.config import FeedForward, Norm, Patches, Tokens


class Make(Protocol):
    """How the layers are made, as far as a fresh layer on top of them follows it: their number, norm and activation."""

    @property
    def layers(self) -> int: ...

    @property
    def norm(self) -> Norm: ...

    @property
    def feedforward(self) -> FeedForward: ...


class Facts(Protocol):
    """The shape of a model from outside.

    `width` of its states; `embed`: what it reads; `table`: its token embeddings on the side that heads read;
    `positions`: the longest example on each side (`None`: no limit); `init`: the standard deviation of fresh weights.
    `encoder` is not `None` where something reads both ways, `decoder` where something reads from left to right; with
    `both` the second reads the first.
    """

    @property
    def width(self) -> int: ...

    @property
    def embed(self) -> Tokens | Patches: ...

    @property
    def table(self) -> Tokens: ...

    @property
    def positions(self) -> int | None: ...

    @property
    def init(self) -> float: ...

    @property
    def encoder(self) -> object | None: ...

    @property
    def decoder(self) -> object | None: ...

    @property
    def both(self) -> bool: ...

    @property
    def stack(self) -> Make: ...
