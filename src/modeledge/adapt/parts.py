"""The anatomy of a model as adaptation sees it: embeddings, blocks from the bottom up, the last norm, heads by name.

Every parameter belongs to exactly one part. What is frozen, slowed down or cached is said in parts, and a part is found
by looking at the modules that make it up, never by reading parameter names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from modeledge.model.transformer import Transformer


@dataclass(frozen=True)
class Part:
    """The names of a part's parameters in the model, and its modules, whose mode says whether anything is dropped."""

    names: tuple[str, ...]
    modules: tuple[nn.Module, ...]

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


def parts_of(model: Transformer) -> Parts:
    """Cut a model into its parts."""
    tower = model.tower
    own = tuple(name for name, _ in model.named_parameters(recurse=False))
    position = _part("tower.position", tower.position)
    norm = _part("embed_norm", model.embed_norm)
    parts = Parts(
        embeddings=Part((*own, *norm.names, *position.names), (*norm.modules, *position.modules, model.embed_dropout)),
        blocks=tuple(_part(f"tower.blocks.{number}", block) for number, block in enumerate(tower.blocks)),
        last=_part("tower.final_norm", tower.final_norm),
        heads={name: _part(f"heads.{name}", head) for name, head in model.heads.items()},
    )
    named = [name for part in parts for name in part.names]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters()), "a parameter belongs to no part"
    return parts


def _part(prefix: str, module: nn.Module | None) -> Part:
    if module is None:
        return Part((), ())
    return Part(tuple(f"{prefix}.{name}" for name, _ in module.named_parameters()), (module,))
