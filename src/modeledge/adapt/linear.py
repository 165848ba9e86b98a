"""What every method has in common that acts on linear maps: sites, a name, and a weight that can be folded in.

Beside y = W x a few numbers are trained that change y, and W stays. A method says what it adds to one site (`build`);
here it is put there, let move (with the heads, and nothing else), folded into the plain weights and taken out again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from modeledge.adapt.checks import check_name
from modeledge.adapt.graft import PLACE, Added, all_grafts, graft, names_of, prune
from modeledge.adapt.parts import head_names
from modeledge.adapt.quantize import form_of
from modeledge.adapt.strategy import Clock, Group, Neutral
from modeledge.adapt.targets import ALL, check_words, chosen, words_of
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.sites import Site
from modeledge.seed import Noise


@dataclass(frozen=True)
class Folded:
    """One site as it was before merging, bit for bit, and what was added to it."""

    site: Site
    added: Added
    weight: Tensor
    bias: Tensor | None


Merged: TypeAlias = WeakKeyDictionary[Backbone, list[Folded]]


@dataclass(frozen=True, kw_only=True)
class LinearMethod(Neutral):
    """A method that acts on the linear maps that `sites` names (see `adapt/targets.py`), under an adapter's `name`.

    Several with different names live side by side on one model.
    """

    sites: str | Sequence[str] = ALL
    name: str = "default"
    kind: ClassVar[str]
    _merged: Merged = field(default_factory=WeakKeyDictionary, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        words = words_of(self.sites, self.where("sites"))
        check_words(words, self.where("sites"))
        object.__setattr__(self, "sites", words)
        check_name(self.name, self.where("name"))

    @classmethod
    def where(cls, option: str) -> str:
        """Where a recipe gives this field."""
        return f"strategies.{cls.kind}.{option}"

    def build(self, sites: Sequence[Site]) -> list[Added]:
        """What is added to each site, its weights not yet drawn."""
        raise NotImplementedError

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Add to every site; words that name none are `E-SITE`, a name that is there already `E-CONFIG`."""
        if self.added(model):
            what = f"there is an adapter {self.name!r} on the model already"
            raise ModeledgeError("E-CONFIG", what, where=self.where("name"), remedy="give this one another name")
        sites = chosen(model, words_of(self.sites, self.where("sites")), self.where("sites"))
        for site, added in zip(sites, self.build(sites), strict=True):
            graft(site, self.name, added)
            with torch.no_grad():
                added.start(noise.at("init", f"{site.path}.{PLACE}.{self.name}:{site.kind}"))

    def added(self, model: Backbone) -> tuple[str, ...]:
        """The parameters of this adapter, by their names in the model."""
        return names_of(model, self.name)

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """The adapter, and the heads but for those over the vocabulary, which are the body's."""
        mine = self.added(model)
        if not mine and model not in self._merged:
            raise ModeledgeError("E-CONFIG", f"the adapter {self.name!r} is not on the model", where=self.where("name"))
        return [Group(mine), Group(head_names(model))]

    def merge(self, model: Backbone) -> None:
        """Fold the adapter into the plain weights and take it off. What it replaces is kept (one copy of the weights
        of its sites, in memory alone), so that `unmerge` gives back the same bits. Where an adapter acts that would
        compute something else on the new weights, and where these are codes, this is `E-MERGE`."""
        found = [(g, key) for _, g in all_grafts(model) for key in g if key.startswith(f"{self.name}:")]
        if not found or model in self._merged:
            raise ModeledgeError("E-MERGE", f"there is no adapter {self.name!r} to merge", where=self.where("name"))
        if (form := form_of(model)) is not None:
            what = f"the weights are in {form}, which cannot take an adapter in"
            remedy = "open the model whole, as `modeledge merge` does, and merge there"
            raise ModeledgeError("E-MERGE", what, where=self.where("name"), remedy=remedy)
        for grafts, _ in found:
            grafts.check_alone(self.name)
        kept = [_fold(added) for g, key in found if isinstance(added := g[key], Added)]
        prune(model, self.name)
        self._merged[model] = kept

    def unmerge(self, model: Backbone) -> None:
        """Give back the weights that `merge` has changed, bit for bit, and put the adapter beside them again; without
        a `merge` before it is `E-MERGE`."""
        if model not in self._merged:
            raise ModeledgeError("E-MERGE", f"the adapter {self.name!r} was not merged", where=self.where("name"))
        for kept in self._merged.pop(model):
            with torch.no_grad():
                kept.site.weight.copy_(kept.weight)
                if kept.bias is not None:
                    kept.site.bias.copy_(kept.bias)  # type: ignore[union-attr]
            graft(kept.site, self.name, kept.added)


def _fold(added: Added) -> Folded:
    """Write what the site and its adapter compute together into the site's weights."""
    site = added.site
    weight, bias = site.weight, site.bias
    kept = Folded(site, added, weight.detach().clone(), None if bias is None else bias.detach().clone())
    with torch.no_grad():
        weight.copy_(added.folded(kept.weight))
        if bias is not None and kept.bias is not None:
            bias.copy_(added.folded_bias(kept.bias))
    return kept
