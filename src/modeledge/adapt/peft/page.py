"""What a page of the PEFT format says of one method: which configuration and tensors are which of our values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeAlias

from torch import Tensor

from modeledge.adapt.graft import Added
from modeledge.adapt.peft.config import PREFIX
from modeledge.adapt.peft.maps import Map
from modeledge.errors import ModeledgeError, printable

Leaves: TypeAlias = dict[str, Tensor]  # the tensors of one map by the last part of their names, "lora_A.weight"


@dataclass(frozen=True)
class Written:
    """The keys of the configuration that belong to the method, its tensors by map, and those of all maps."""

    config: dict[str, Any]
    tensors: dict[str, Leaves]
    shared: Leaves = field(default_factory=dict)


@dataclass(frozen=True)
class Filed:
    """An adapter as its files say it: the type, the method's keys, its tensors by their names in the file, how the
    names of other weights begin there, the maps that it acts on, and what only we read."""

    peft_type: str
    config: dict[str, Any]
    tensors: dict[str, Tensor]
    prefix: str = PREFIX
    maps: tuple[str, ...] = ()
    notes: dict[str, Any] = field(default_factory=dict)


class Page:
    """One method that acts on linear maps. `reads` names the keys of its configuration that count, `inert` those that
    change no answer, `shared` tensors that belong to all maps. `mark` is how PEFT begins the names of its modules."""

    peft_type: ClassVar[str]
    mark: ClassVar[str]
    reads: ClassVar[Sequence[str]]
    inert: ClassVar[Sequence[str]] = ()
    shared: ClassVar[Sequence[str]] = ()

    def holds(self, added: Added) -> bool:
        """Is this what the page writes?"""
        raise NotImplementedError

    def write(self, maps: Sequence[tuple[Map, list[Added]]]) -> Written:
        """Ours → theirs; what they cannot say is `E-ADAPTER`."""
        raise NotImplementedError

    def check_trained(self, maps: Sequence[tuple[Map, list[Added]]]) -> None:
        """Refuse, before the first step, what could not be written after it (`E-ADAPTER`)."""

    def prepare(self, said: Mapping[str, Any], maps: Sequence[Map], shared: Leaves) -> Leaves:
        """What each of an adapter's maps reads beside its own tensors."""
        return shared

    def check(self, said: Mapping[str, Any]) -> None:
        """Refuse a configuration that asks for what is not done here."""

    def read(self, said: Mapping[str, Any], each: Map, leaves: Leaves) -> list[Added]:
        """Theirs → what stands beside each of the map's sites. Raises `E-KEYS`, `E-CONFIG-VALUE`, `E-ADAPTER`."""
        raise NotImplementedError


def shaped(name: str, leaves: Leaves, shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Refuse tensors that are missing, not known, of another shape or not floating-point numbers (`E-KEYS`)."""
    wrong = [f"{leaf} is missing" for leaf in shapes if leaf not in leaves]
    wrong += [f"{printable(leaf, 60)} is not known" for leaf in leaves if leaf not in shapes]
    for leaf in shapes.keys() & leaves.keys():
        if tuple(leaves[leaf].shape) != shapes[leaf]:
            wrong.append(f"{leaf} is {list(leaves[leaf].shape)} and must be {list(shapes[leaf])}")
        elif not leaves[leaf].is_floating_point():
            wrong.append(f"{leaf} is {leaves[leaf].dtype}")
    if wrong:
        raise ModeledgeError("E-KEYS", "; ".join(sorted(wrong)), where=name)
