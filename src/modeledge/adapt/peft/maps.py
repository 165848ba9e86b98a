"""The maps of a checkpoint, and which of our sites lie in each.

Adapters in files stand beside the linear maps of the checkpoint. One of theirs may be several of our sites (GPT-2's
`c_attn` makes queries, keys and values), their rows may lie in another order (GPT-NeoX), and their weight the other way
round (`Conv1D`). All of that is in `Site`; here the sites are put together by the map that they belong to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from modeledge.adapt.graft import Added, all_grafts
from modeledge.adapt.targets import sites_of
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.sites import Site, hidden_sites
from modeledge.model.transformer import Transformer


@dataclass(frozen=True)
class Map:
    """One linear map of the checkpoint: its name there, and the sites that it holds, in the order of their rows; of an
    adapter those that it acts on, and the `others`."""

    name: str
    sites: tuple[Site, ...]
    others: tuple[Site, ...] = ()

    @property
    def height(self) -> int:
        """How many rows it has."""
        return self.sites[0].hf_height

    @property
    def inputs(self) -> int:
        """How many numbers it reads."""
        return self.sites[0].weight.shape[1]

    @property
    def transposed(self) -> bool:
        """Does the checkpoint store it as `[inputs, outputs]`?"""
        return self.sites[0].transposed

    @property
    def whole(self) -> bool:
        """Is it one site, row by row?"""
        return len(self.sites) == 1 and torch.equal(self.sites[0].hf_rows, torch.arange(self.height))

    def spread(self, parts: Sequence[tuple[Site, Tensor]], rest: float) -> Tensor:
        """Rows of single sites `[outputs, ...]` in the place that they have in this map; `rest` elsewhere."""
        first = parts[0][1]
        whole = torch.full((self.height, *first.shape[1:]), rest, dtype=first.dtype, device=first.device)
        for site, rows in parts:
            whole[site.hf_rows.to(first.device)] = rows.detach()
        return whole

    def cut(self, whole: Tensor, rest: float) -> list[Tensor]:
        """The rows of each site, out of those of this map; rows of no site must be `rest` (`E-ADAPTER`)."""
        if whole.shape[0] != self.height:
            raise ModeledgeError("E-KEYS", f"{whole.shape[0]} rows where the map has {self.height}", where=self.name)
        free = torch.ones(self.height, dtype=torch.bool)
        for site in self.sites:
            free[site.hf_rows] = False
        if bool((whole[free] != rest).any()):
            what = "it changes rows that no site of ours has"
            raise ModeledgeError("E-ADAPTER", what, where=self.name, remedy="merge it with the library that wrote it")
        return [whole[site.hf_rows].clone() for site in self.sites]


def maps_of(sites: Iterable[Site]) -> dict[str, Map]:
    """Sites by the map that they lie in, its sites in the order of their rows."""
    found: dict[str, list[Site]] = {}
    for site in sites:
        found.setdefault(site.hf_name, []).append(site)
    return {name: Map(name, tuple(sorted(held, key=lambda s: int(s.hf_rows[0])))) for name, held in found.items()}


def all_sites(model: Backbone) -> list[Site]:
    """Every site that a file may name: those of strategies, and the hidden layers of heads."""
    return sites_of(model) + (hidden_sites(model, model.hf_names) if isinstance(model, Transformer) else [])


def all_maps(model: Backbone) -> dict[str, Map]:
    """Every map of the checkpoint that has a site."""
    return maps_of(all_sites(model))


def written(model: Backbone, adapter: str) -> list[tuple[Map, list[Added]]]:
    """What an adapter added, by the maps of the checkpoint: each with the sites that it acts on, and what acts there.

    A model with another adapter of this name, or none, gives what is there.
    """
    now = {(site.path, site.kind): site for site in all_sites(model)}
    by_site: dict[tuple[str, str], Added] = {}
    for path, grafts in all_grafts(model):
        for name, added in grafts.items():
            owner, _, kind = name.partition(":")
            if owner == adapter and isinstance(added, Added):
                by_site[path, kind] = added
    found: list[tuple[Map, list[Added]]] = []
    for each in maps_of(now.values()).values():
        held = tuple(site for site in each.sites if (site.path, site.kind) in by_site)
        others = tuple(site for site in each.sites if site not in held)
        if held:
            found.append((Map(each.name, held, others), [by_site[site.path, site.kind] for site in held]))
    return found


def common(values: Mapping[str, float]) -> tuple[float, dict[str, float]]:
    """The value that most names have, and those of the others."""
    counts = list(values.values())
    most = max(dict.fromkeys(counts), key=counts.count)
    return most, {name: value for name, value in values.items() if value != most}
