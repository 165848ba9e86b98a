"""The anatomy of a model as adaptation sees it: embeddings, blocks from the bottom up, the last norm, heads by name.

Every parameter belongs to exactly one part. What is frozen, slowed down or cached is said in parts, and a part is found
by looking at the modules that make it up, never by reading parameter names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    drops = tuple(drop for drop in (model.embed_dropout, model.source_dropout) if drop is not None)
    own = Part(tuple(name for name, _ in model.named_parameters(recurse=False)), drops)
    towers = {"source_tower": model.source_tower, "tower": model.tower}
    there = {name: tower for name, tower in towers.items() if tower is not None}
    below = {name: getattr(model, name) for name in ("embed_norm", "target_norm", "project", "patches")}
    below |= {f"{name}.position": tower.position for name, tower in there.items()}
    parts = Parts(
        embeddings=_joined([own, *(_part(name, module) for name, module in below.items())]),
        blocks=tuple(
            _part(f"{name}.blocks.{number}", block)
            for name, tower in there.items()
            for number, block in enumerate(tower.blocks)
        ),
        last=_joined([_part(f"{name}.final_norm", tower.final_norm) for name, tower in there.items()]),
        heads={name: _part(f"heads.{name}", head) for name, head in model.heads.items()},
    )
    named = [name for part in parts for name in part.names]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters()), "a parameter belongs to no part"
    return parts


def _joined(parts: Sequence[Part]) -> Part:
    return Part(tuple(n for part in parts for n in part.names), tuple(m for part in parts for m in part.modules))


def _part(prefix: str, module: nn.Module | None) -> Part:
    if module is None:
        return Part((), ())
    return Part(tuple(f"{prefix}.{name}" for name, _ in module.named_parameters()), (module,))
