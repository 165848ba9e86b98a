"""Some weights of a model under the names of its checkpoint, and back: what an adapter's file holds beside the adapter.

A whole model is written by `checkpoint.py`. Where only a few tensors were trained (a new head, the pooler below it),
they alone are named here, by the rules of the class that the model's heads make.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.families.checkpoint import choose, name_modules
from modeledge.families.family import Family, origin_of
from modeledge.families.fill import listing
from modeledge.families.heads import described
from modeledge.families.rules import MOVING, Moving, names_of, ours_of
from modeledge.families.wrapped.wrap import HuggingFaceModel
from modeledge.model.backbone import Backbone
from modeledge.model.transformer import Transformer


@dataclass(frozen=True)
class Named:
    """The weights of a model by the names of a class: `family` and its `rules` (none for a wrapped model, whose body
    has the names of its own library behind `prefix`)."""

    model: Backbone
    family: Family | None
    rules: tuple[Moving, ...]
    prefix: str

    @property
    def beside(self) -> str:
        """How the names of the body begin; what begins otherwise stands on it. Empty: nothing tells them apart."""
        return self.prefix if self.family is None or described(self.model) else ""

    def write(self, changed: Collection[str]) -> dict[str, Tensor]:
        """Their tensors that hold any of these tensors of ours; a name that no rule knows is `E-KEYS`."""
        state = self.model.state_dict()
        if self.family is None:
            return {self._wrapped(name): state[name].detach() for name in changed}
        known = {name for rule in self.rules for name in ours_of(rule)}
        if strange := sorted(set(changed) - known):
            raise ModeledgeError("E-KEYS", f"no class of {self.family.model_type} holds {listing(strange)}")
        out: dict[str, Tensor] = {}
        for rule in self.rules:
            if set(ours_of(rule)) & set(changed):
                out |= {self.spell(name): tensor.detach() for name, tensor in rule.write(state).items()}
        return out

    def within(self, names: Collection[str]) -> dict[str, Tensor]:
        """All tensors of theirs that belong to these modules."""
        heads = tuple(f"{name}." for name in names)
        if self.family is None:
            ours = [name for name in self.model.state_dict() if self._wrapped(name).startswith(heads)]
            return self.write(ours)
        held = [r for r in self.rules if any(self.spell(name).startswith(heads) for name in names_of(r))]
        found = self.write({name for rule in held for name in ours_of(rule)})
        return {name: tensor for name, tensor in found.items() if name.startswith(heads)}

    def read(self, theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Ours that these tensors of theirs hold; one that no rule knows is `E-KEYS`, and so is a wrong shape."""
        state = self.model.state_dict()
        out: dict[str, Tensor] = {}
        if self.family is None:
            names = {self._wrapped(name): name for name in state}
            out = {names[name]: tensor for name, tensor in theirs.items() if name in names}
            left = theirs.keys() - names.keys()
        else:
            given = {self.plain(name): tensor for name, tensor in theirs.items()}
            left = given.keys() - {name for rule in self.rules for name in names_of(rule)}
            for rule in self.rules:
                mine = {name: given[name] for name in names_of(rule) if name in given}
                if mine:
                    self._check(rule, mine, state)
                    out |= rule.read({**rule.write(state), **mine})
        if left:
            raise ModeledgeError("E-KEYS", f"unexpected: {listing(sorted(left))}")
        wrong = [f"{n} {list(t.shape)} for {list(state[n].shape)}" for n, t in out.items() if t.shape != state[n].shape]
        if wrong:
            raise ModeledgeError("E-KEYS", f"of another shape: {listing(wrong)}")
        return out

    def load(self, theirs: Mapping[str, Tensor]) -> None:
        """Give the model these weights."""
        state = self.model.state_dict()
        with torch.no_grad():
            for name, tensor in self.read(theirs).items():
                state[name].copy_(tensor)

    def spell(self, name: str) -> str:
        """A canonical name as the class of the model's heads has it."""
        assert self.family is not None
        heads = described(self.model)
        return self.family.called(heads, name) if heads else name.removeprefix(self.prefix)

    def plain(self, name: str) -> str:
        """The canonical name of what a file calls so, with or without the prefix of a body."""
        known = {spelled: n for rule in self.rules for n in names_of(rule) for spelled in (self.spell(n), n)}
        return known.get(name) or known.get(self.prefix + name) or name

    def _wrapped(self, name: str) -> str:
        return name if name.startswith("heads.") else self.prefix + name.removeprefix("body.")

    def _check(self, rule: Moving, mine: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        for name, tensor in rule.write(state).items():
            if name in mine and mine[name].shape != tensor.shape:
                what = f"{name} is {list(mine[name].shape)} and must be {list(tensor.shape)}"
                raise ModeledgeError("E-KEYS", what)


def named(model: Backbone, family: str | None = None) -> Named:
    """A model by the names of the class that its heads make, in a family or in the one that would be written. The
    model's sites have those names from now on."""
    if not isinstance(model, Transformer):
        assert isinstance(model, HuggingFaceModel)
        return Named(model, None, (), model.prefix)
    heads = described(model)
    page = choose(model.config, heads, origin_of(model), family)
    rules = page.rules(model.config, heads)
    name_modules(model, page, heads, rules)
    return Named(model, page, tuple(rule for rule in rules if isinstance(rule, MOVING)), page.prefix)


def modules(names: Iterable[str], whole: Collection[str] = ()) -> list[str]:
    """The modules that these tensors belong to; those that are named by `whole` as a whole."""
    found = (name.partition(".")[0] if name.partition(".")[0] in whole else name.rpartition(".")[0] for name in names)
    return sorted(set(found))
