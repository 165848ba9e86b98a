"""One page of names, read in both directions.

A checkpoint of another library is a dictionary of tensors under other names, some of them lying the other way round or
joined into one. A family says how the two dictionaries belong together as a list of rules. Each rule knows its inverse:
`read` takes their tensors to ours, `write` takes ours to theirs, and one after the other gives the same bits. So there
is one page a family and no second, slowly diverging export script.

`Rename` and `Transpose` take one tensor to one. `Split` takes their one matrix to several of ours. `Tie` is a second
copy that must equal the first. `Keep` names what the model does not compute with (masks stored as buffers, a head that
is not built): it is carried verbatim and written back.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TypeAlias

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.sites import Laid

Tensors: TypeAlias = Mapping[str, Tensor]


@dataclass(frozen=True)
class Rename:
    """Their tensor is ours under another name."""

    theirs: str
    ours: str

    def read(self, theirs: Tensors) -> dict[str, Tensor]:
        return {self.ours: theirs[self.theirs]}

    def write(self, ours: Tensors) -> dict[str, Tensor]:
        return {self.theirs: ours[self.ours]}

    def modules(self) -> dict[str, tuple[str, bool]]:
        """For each of our modules its name in their model, and whether its weight lies the other way round there."""
        return _modules(self.theirs, (self.ours,), transposed=False)


@dataclass(frozen=True)
class Transpose:
    """Their matrix `[inputs, outputs]` is ours `[outputs, inputs]` (GPT-2's `Conv1D`)."""

    theirs: str
    ours: str

    def read(self, theirs: Tensors) -> dict[str, Tensor]:
        return {self.ours: _turned(theirs[self.theirs], self.theirs)}

    def write(self, ours: Tensors) -> dict[str, Tensor]:
        return {self.theirs: ours[self.ours].T}

    def modules(self) -> dict[str, tuple[str, bool]]:
        return _modules(self.theirs, (self.ours,), transposed=True)


@dataclass(frozen=True)
class Split:
    """Their one tensor is several of ours, `sizes` rows of the output each; `transposed` as in `Transpose`."""

    theirs: str
    ours: tuple[str, ...]
    sizes: tuple[int, ...]
    transposed: bool = False

    def read(self, theirs: Tensors) -> dict[str, Tensor]:
        whole = theirs[self.theirs]
        whole = _turned(whole, self.theirs) if self.transposed else whole
        if whole.ndim == 0 or whole.shape[0] != sum(self.sizes):
            what = f"{self.theirs} {list(whole.shape)} does not split into {list(self.sizes)}"
            raise ModeledgeError("E-KEYS", what)
        return dict(zip(self.ours, torch.split(whole, list(self.sizes)), strict=True))

    def write(self, ours: Tensors) -> dict[str, Tensor]:
        whole = torch.cat([ours[name] for name in self.ours])
        return {self.theirs: whole.T if self.transposed else whole}

    def modules(self) -> dict[str, tuple[str, bool]]:
        return _modules(self.theirs, self.ours, transposed=self.transposed)

    def laid(self) -> dict[str, Laid]:
        """Where the rows of each of ours lie in theirs."""
        starts = accumulate((0, *self.sizes[:-1]))
        return {name: Laid(start, of=sum(self.sizes)) for name, start in zip(self.ours, starts, strict=True)}


@dataclass(frozen=True)
class Interleave:
    """Their one tensor holds ours in turns: for each of `groups` groups a piece of each of `ours` (GPT-NeoX lays out
    queries, keys and values head by head)."""

    theirs: str
    ours: tuple[str, ...]
    groups: int

    def read(self, theirs: Tensors) -> dict[str, Tensor]:
        whole = theirs[self.theirs]
        if whole.ndim == 0 or whole.shape[0] % (self.groups * len(self.ours)):
            what = f"{self.theirs} {list(whole.shape)} is not {self.groups} groups of {len(self.ours)} pieces"
            raise ModeledgeError("E-KEYS", what)
        pieces = whole.view(self.groups, len(self.ours), -1, *whole.shape[1:])
        return {name: pieces[:, n].reshape(-1, *whole.shape[1:]) for n, name in enumerate(self.ours)}

    def write(self, ours: Tensors) -> dict[str, Tensor]:
        parts = [ours[name] for name in self.ours]
        pieces = torch.stack([part.view(self.groups, -1, *part.shape[1:]) for part in parts], 1)
        return {self.theirs: pieces.reshape(-1, *parts[0].shape[1:])}

    def modules(self) -> dict[str, tuple[str, bool]]:
        return _modules(self.theirs, self.ours, transposed=False)

    def laid(self) -> dict[str, Laid]:
        """Where the rows of each of ours lie in theirs."""
        pieces = len(self.ours)
        return {name: Laid(0, self.groups, pieces, number) for number, name in enumerate(self.ours)}


@dataclass(frozen=True)
class Join:
    """Several of their tensors are one of ours, one below the other; each has `sizes` of our rows.

    `shape` is that of each of theirs where it has more dimensions than ours: leading ones of length 1.
    """

    theirs: tuple[str, ...]
    ours: str
    sizes: tuple[int, ...]
    shape: tuple[int, ...] | None = None

    def read(self, theirs: Tensors) -> dict[str, Tensor]:
        parts = [theirs[name] for name in self.theirs]
        if self.shape is not None:
            parts = [self._flat(name, part) for name, part in zip(self.theirs, parts, strict=True)]
        for name, part, size in zip(self.theirs, parts, self.sizes, strict=True):
            if part.ndim == 0 or part.shape[0] != size:
                raise ModeledgeError("E-KEYS", f"{name} {list(part.shape)} must have {size} rows")
        return {self.ours: torch.cat(parts)}

    def write(self, ours: Tensors) -> dict[str, Tensor]:
        parts = torch.split(ours[self.ours], list(self.sizes))
        shaped = parts if self.shape is None else [part.reshape(self.shape) for part in parts]
        return dict(zip(self.theirs, shaped, strict=True))

    def _flat(self, name: str, part: Tensor) -> Tensor:
        if tuple(part.shape) != self.shape:
            raise ModeledgeError("E-KEYS", f"{name} is {list(part.shape)} and must be {list(self.shape or ())}")
        return part.reshape(-1, part.shape[-1])

    def modules(self) -> dict[str, tuple[str, bool]]:
        return {}


@dataclass(frozen=True)
class Reshape:
    """Their tensor of shape `shape` is ours in another shape, `mine`: the same numbers in the same order."""

    theirs: str
    ours: str
    shape: tuple[int, ...]
    mine: tuple[int, ...]

    def read(self, theirs: Tensors) -> dict[str, Tensor]:
        whole = theirs[self.theirs]
        if tuple(whole.shape) != self.shape:
            raise ModeledgeError("E-KEYS", f"{self.theirs} is {list(whole.shape)} and must be {list(self.shape)}")
        return {self.ours: whole.reshape(self.mine)}

    def write(self, ours: Tensors) -> dict[str, Tensor]:
        return {self.theirs: ours[self.ours].reshape(self.shape)}

    def modules(self) -> dict[str, tuple[str, bool]]:
        return {}


@dataclass(frozen=True)
class Tie:
    """Their tensor `theirs` may be stored a second time as `copy`. Where it is, both must hold the same bits."""

    copy: str
    theirs: str

    def check(self, theirs: Tensors) -> None:
        """Refuse a copy that differs (`E-KEYS`): the configuration says that there is one weight, the file has two."""
        if self.copy in theirs and self.theirs in theirs and not same_bits(theirs[self.copy], theirs[self.theirs]):
            raise ModeledgeError(
                "E-KEYS",
                f"{self.copy} differs from {self.theirs}",
                why="the configuration says that the two are one weight, and only one can be used",
                remedy="set tie_word_embeddings to false if they were trained apart",
            )


@dataclass(frozen=True)
class Keep:
    """Their tensor may be there; nothing is computed with it, and it is written back as it was."""

    theirs: str


Moving: TypeAlias = Rename | Transpose | Split | Interleave | Join | Reshape
MOVING = (Rename, Transpose, Split, Interleave, Join, Reshape)
Rule: TypeAlias = Moving | Tie | Keep


@dataclass(frozen=True)
class Reading:
    """Their tensors, sorted by the rules: `ours` to compute with, `kept` verbatim, `copies` that were there twice."""

    ours: dict[str, Tensor]
    kept: dict[str, Tensor] = field(default_factory=dict)
    copies: frozenset[str] = frozenset()


def needed(rules: Sequence[Rule]) -> tuple[str, ...]:
    """Their names without which the model is not whole."""
    return tuple(name for rule in rules if isinstance(rule, MOVING) for name in names_of(rule))


def names_of(rule: Rule) -> tuple[str, ...]:
    """Their names that a rule reads."""
    return rule.theirs if isinstance(rule, Join) else (rule.theirs,)


def ours_of(rule: Moving) -> tuple[str, ...]:
    """Our names that a rule makes."""
    return rule.ours if isinstance(rule.ours, tuple) else (rule.ours,)


def allowed(rules: Sequence[Rule]) -> frozenset[str]:
    """All of their names that the rules know."""
    return frozenset(name for rule in rules for name in ((rule.copy,) if isinstance(rule, Tie) else names_of(rule)))


def moved(rules: Sequence[Rule], theirs: Tensors) -> Iterator[dict[str, Tensor]]:
    """Ours, a rule at a time: tensors that are read from a file when asked for are never all held at once."""
    for rule in rules:
        if isinstance(rule, MOVING):
            yield rule.read(theirs)


def carried(rules: Sequence[Rule], theirs: Tensors) -> tuple[dict[str, Tensor], frozenset[str]]:
    """What is kept verbatim, and which second copies were there; a copy that differs is `E-KEYS`."""
    ties = [rule for rule in rules if isinstance(rule, Tie)]
    for rule in ties:
        rule.check(theirs)
    kept = {r.theirs: theirs[r.theirs] for r in rules if isinstance(r, Keep) and r.theirs in theirs}
    return kept, frozenset(rule.copy for rule in ties if rule.copy in theirs)


def read_tensors(rules: Sequence[Rule], theirs: Tensors) -> Reading:
    """Theirs → ours. The names must have been checked against `needed` and `allowed` before."""
    kept, copies = carried(rules, theirs)
    return Reading({name: tensor for part in moved(rules, theirs) for name, tensor in part.items()}, kept, copies)


def write_tensors(rules: Sequence[Rule], ours: Tensors, *, kept: Tensors, copies: Container[str]) -> dict[str, Tensor]:
    """Ours → theirs: the inverse of `read_tensors`. Of `kept` only what no other rule writes now is written."""
    theirs: dict[str, Tensor] = {}
    for rule in rules:
        if isinstance(rule, MOVING):
            theirs |= rule.write(ours)
    for rule in rules:
        if isinstance(rule, Keep) and rule.theirs in kept:
            theirs.setdefault(rule.theirs, kept[rule.theirs])
        elif isinstance(rule, Tie) and rule.copy in copies:
            theirs[rule.copy] = theirs[rule.theirs].clone()
    return theirs


def same_bits(a: Tensor, b: Tensor) -> bool:
    """Equal shape, dtype and bits: NaN equals itself, and −0 is not 0."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[a.element_size()]
    return torch.equal(a.view(bits), b.view(bits))


def _modules(theirs: str, ours: Sequence[str], *, transposed: bool) -> dict[str, tuple[str, bool]]:
    end = ".weight"
    if not theirs.endswith(end):
        return {}
    return {name.removesuffix(end): (theirs.removesuffix(end), transposed) for name in ours if name.endswith(end)}


def _turned(matrix: Tensor, name: str) -> Tensor:
    if matrix.ndim != 2:
        raise ModeledgeError("E-KEYS", f"{name} {list(matrix.shape)} is not a matrix")
    return matrix.T
