"""The anatomy of a model: embeddings, blocks from the bottom up, the last norm, heads by name.

Every parameter belongs to exactly one part. What is frozen, slowed down or cached is said in parts, and a part is found
by looking at the modules that make it up, never by reading parameter names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Part:
    """The names of a part's parameters in the model, and its modules, whose mode says whether anything is dropped."""

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]

    @staticmethod
    def of(prefix: str, module: nn.Module | None) -> Part:
        """All of one module; nothing where there is none."""
        if module is None:
            return Part((), ())
        return Part(tuple(f"{prefix}.{name}" for name, _ in module.named_parameters()), (module,))

    @staticmethod
    def joined(parts: Sequence[Part]) -> Part:
        """Several parts as one."""
        return Part(tuple(n for part in parts for n in part.names), tuple(m for part in parts for m in part.modules))

    def moves(self, moving: Iterable[str]) -> bool:
        """Does any parameter of this part occur in `moving`?"""
        return not set(self.names).isdisjoint(moving)


@dataclass(frozen=True)
class Parts:
    """A model cut into parts. `last` is the norm above the last block (without parameters in a post-norm model)."""

    embeddings: Part
    blocks: tuple[Part, ...]
    last: Part
    heads: Mapping[str, Part]

    def __iter__(self) -> Iterator[Part]:
        yield from (self.embeddings, *self.blocks, self.last, *self.heads.values())

    @property
    def body(self) -> tuple[str, ...]:
        """The names of all parameters that are in no head."""
        return tuple(name for part in (self.embeddings, *self.blocks, self.last) for name in part.names)
