"""The one way in which a method adds to a linear map: y = f(x, W x), beside a weight that stays as it is.

LoRA, DoRA, LoHa, LoKr and (IA)³ differ in f alone. What they add is an `Added` module, held by the map itself under
`grafts.<adapter>:<kind of site>`, so that a map that makes queries, keys and values at once carries three, each on its
own rows, and several adapters live side by side. Hooks call them: the map, whether ours or another library's, knows
nothing of it, and a map without grafts costs nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from itertools import accumulate, chain, pairwise
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from modeledge.adapt.beside import Thin, add_thin, with_thin
from modeledge.adapt.checks import check_name
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.lead import Leads
from modeledge.model.linear import Joint
from modeledge.model.sites import HIDDEN, KINDS, Site
from modeledge.seed import Noise

ROUTES: ContextVar[Routes | None] = ContextVar("which tokens each adapter reads", default=None)
PLACES = (*KINDS, "feedforward", HIDDEN)  # the maps, a feed-forward as a whole, a head's hidden layer
PLACE = "grafts"  # the name of the child module that holds what is added to a map
THIN = 128  # low-rank parts are one product up to this rank: most of a wider block-diagonal B would be zeros


class Routes(Protocol):
    """Who acts on which tokens, where not all of them are one adapter's (`adapt/route.py`)."""

    def before(self, grafts: Grafts, x: Tensor) -> Tensor: ...

    def after(self, grafts: Grafts, x: Tensor, y: Tensor) -> Tensor: ...


class Added(nn.Module):
    """What one method adds to the rows of one linear map, its `site`. A subclass overrides `forward`, and `folded`
    where the sum is a plain weight again; `before` where it changes what the map reads.

    `additive`: y + g(x), whatever y is, so that its place among other adapters does not matter.
    """

    additive: ClassVar[bool] = False
    site: Site

    def start(self, noise: Noise) -> None:
        """Fill the weights, as a function of (seed, name)."""

    def before(self, x: Tensor) -> Tensor:
        """What the map reads `[..., inputs]` in the place of x; of a map that makes several things all of it."""
        return x

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x `[..., inputs]` as the map read it, y `[..., outputs]` what its rows made of it → their new output."""
        return y

    def thin(self) -> Thin | None:
        """Where it only adds scale · B A x now: these, so that they are computed with the map, and several as one."""
        return None

    def folded(self, weight: Tensor) -> Tensor:
        """The plain weight `[outputs, inputs]` that computes the same; `E-MERGE` where there is none."""
        raise ModeledgeError("E-MERGE", f"{type(self).__name__} cannot be folded into a weight")

    def folded_bias(self, bias: Tensor) -> Tensor:
        """The plain bias `[outputs]` that belongs to the folded weight."""
        return bias


class Grafts(nn.ModuleDict):
    """All that is added to one map, by `<adapter>:<kind>`. `active` names the adapters that act, in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[str, slice] = {}
        self.active: tuple[str, ...] = ()
        self.handles: tuple[RemovableHandle, ...] = ()  # a map is read before only where something changes that

    def of(self, adapter: str) -> list[tuple[Added, slice]]:
        """What an adapter has here, with the rows that it acts on."""
        names = [name for kind in PLACES if (name := f"{adapter}:{kind}") in self.rows]  # a hundred others cost nothing
        return [(added, self.rows[name]) for name in names if isinstance(added := self[name], Added)]

    def acting(self) -> Iterator[tuple[Added, slice]]:
        """What acts now, adapter by adapter, with the rows that it acts on."""
        for adapter in self.active:
            yield from self.of(adapter)

    def check_alone(self, adapter: str) -> None:
        """`E-MERGE` unless this adapter acts here, and alone or among what is only added to it."""
        if adapter not in self.active:
            what = f"the adapter {adapter!r} does not act now: merged, it would"
            raise ModeledgeError("E-MERGE", what, remedy="activate it first")
        together = [added for added, _ in self.acting()]
        others = [other for other in self.active if any(name.startswith(f"{other}:") for name in self)]
        if len(others) > 1 and not all(added.additive for added in together):
            what = f"{', '.join(others)} act on one map, and not all of them only add to it"
            raise ModeledgeError("E-MERGE", what, remedy="let one of them act alone, and merge it")


def draw_uniform(matrix: Tensor, noise: Noise) -> None:
    """Fill `[outputs, inputs]` uniformly within 1/√inputs: Kaiming's rule with √5, torch's for a linear layer."""
    bound = 1 / math.sqrt(matrix.shape[1])
    matrix.copy_(torch.empty(matrix.shape).uniform_(-bound, bound, generator=_generator(noise)))


def draw_normal(matrix: Tensor, std: float, noise: Noise) -> None:
    """Fill with normal numbers of this deviation."""
    matrix.copy_(torch.empty(matrix.shape).normal_(0.0, std, generator=_generator(noise)))


def _generator(noise: Noise) -> torch.Generator:
    return torch.Generator().manual_seed(noise.integer() >> 1)


def graft(site: Site, adapter: str, added: Added) -> None:
    """Add to a site under an adapter's name, and let it act; a second one of this name there is `E-CONFIG`."""
    grafts, name = grafts_of(site.module), f"{adapter}:{site.kind}"
    if grafts is None:
        grafts = Grafts()
        site.module.add_module(PLACE, grafts)
        grafts.handles = (site.module.register_forward_hook(_After()),)
    if type(added).before is not Added.before and len(grafts.handles) == 1:
        grafts.handles += (site.module.register_forward_pre_hook(_before),)
    if name in grafts:
        raise ModeledgeError("E-CONFIG", f"there is an adapter {adapter!r} at {site.path} already")
    added.site = site
    held = next(chain(site.module.parameters(), site.module.buffers()))
    grafts[name] = added.to(held.device).train(site.module.training)
    grafts.rows[name] = site.rows
    if adapter not in grafts.active:
        grafts.active = (*grafts.active, adapter)


def grafts_of(module: nn.Module) -> Grafts | None:
    """What is added to a map, if anything is."""
    found = module._modules.get(PLACE)
    return found if isinstance(found, Grafts) else None


def all_grafts(model: Backbone) -> Iterator[tuple[str, Grafts]]:
    """Every map of the model that something is added to: the path of the map, and what is added."""
    for path, module in model.named_modules():
        if isinstance(module, Grafts):
            yield path.rpartition(".")[0], module


def added_by(model: Backbone, adapter: str) -> Iterator[Added]:
    """What an adapter has added to the model's maps."""
    for _, grafts in all_grafts(model):
        for name, added in grafts.items():
            if name.startswith(f"{adapter}:"):
                assert isinstance(added, Added)
                yield added


def names_of(model: Backbone, adapter: str) -> tuple[str, ...]:
    """The parameters that an adapter has at the model's maps, by their names in the model."""
    return tuple(
        f"{path}.{PLACE}.{name}.{leaf}"
        for path, grafts in all_grafts(model)
        for name, added in grafts.items()
        if name.startswith(f"{adapter}:")
        for leaf, _ in added.named_parameters()
    )


def leads_of(model: Backbone) -> Leads:
    """What stands before the examples of a model; empty where nothing can (one that is wrapped)."""
    found = model._modules.get("leads")
    return found if isinstance(found, Leads) else Leads()


def adapters_on(model: Backbone) -> list[str]:
    """The names of the adapters that a model has: those at its maps in their order, then those before its examples."""
    at_maps = (name.partition(":")[0] for _, grafts in all_grafts(model) for name in grafts)
    return list(dict.fromkeys([*at_maps, *leads_of(model)]))


def check_unused(model: Backbone, adapter: Any) -> None:
    """Refuse what is no name of an adapter (`E-CONFIG-VALUE`), and a name that one of the model has (`E-CONFIG`)."""
    check_name(adapter)
    if adapter in adapters_on(model):
        raise ModeledgeError("E-CONFIG", f"there is an adapter {adapter!r} already", remedy="give it another name")


def activate(model: Backbone, adapters: Sequence[str]) -> None:
    """Let these adapters act, in this order, and no other: the swap costs nothing. An unknown one is `E-SITE`."""
    there = adapters_on(model)
    for adapter in adapters:
        if adapter not in there:
            remedy = f"one of {', '.join(sorted(there)) or 'none: the model has no adapter'}"
            raise ModeledgeError("E-SITE", f"there is no adapter {adapter!r}", remedy=remedy)
    for _, grafts in all_grafts(model):
        grafts.active = tuple(adapters)
    leads = leads_of(model)
    leads.active = tuple(adapter for adapter in adapters if adapter in leads)


def prune(model: Backbone, adapter: str) -> None:
    """Take an adapter off the model, which computes what it did without it."""
    leads = leads_of(model)
    if adapter in leads:
        del leads[adapter]
        leads.active = tuple(a for a in leads.active if a != adapter)
    for path, grafts in list(all_grafts(model)):
        for name in [name for name in grafts if name.startswith(f"{adapter}:")]:
            del grafts[name], grafts.rows[name]
        grafts.active = tuple(a for a in grafts.active if a != adapter)
        if not len(grafts):
            for handle in grafts.handles:
                handle.remove()
            delattr(model.get_submodule(path), PLACE)


def _before(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    grafts = grafts_of(module)
    assert grafts is not None
    x, routes = args[0], ROUTES.get()
    if routes is not None:
        return (routes.before(grafts, x), *args[1:])
    for added, _ in grafts.acting():
        x = added.before(x)
    return (x, *args[1:])


class _After(Joint):
    """What acts on a map's output: that of one map, or of several that read the same and are computed as one."""

    def __call__(self, module: nn.Module, args: tuple[Any, ...], y: Tensor) -> Tensor:
        grafts, routes = grafts_of(module), ROUTES.get()
        assert grafts is not None
        if routes is not None:
            return routes.after(grafts, args[0], y)
        for adapter in grafts.active:
            y = joined(args[0], y, grafts.of(adapter))
        return y

    def whole(
        self, modules: Sequence[nn.Module], x: Tensor, weight: Tensor, bias: Tensor | None, sizes: Sequence[int]
    ) -> Tensor | None:
        if ROUTES.get() is not None or torch.compiler.is_compiling():
            return None
        acting = [part for parts in _acting(modules, sizes).values() for part in parts]
        thin = _all_thin(acting)
        return with_thin(x, weight, bias, thin, [rows for _, rows in acting]) if thin else None

    def together(self, modules: Sequence[nn.Module], x: Tensor, y: Tensor, sizes: Sequence[int]) -> Tensor:
        routes = ROUTES.get()
        if routes is not None:
            pieces = zip(map(grafts_of, modules), torch.split(y, list(sizes), -1), strict=True)
            return torch.cat([piece if g is None else routes.after(g, x, piece) for g, piece in pieces], -1)
        for parts in _acting(modules, sizes).values():
            y = joined(x, y, parts)
        return y


def _acting(modules: Sequence[nn.Module], sizes: Sequence[int]) -> dict[str, list[tuple[Added, slice]]]:
    """What each adapter has at maps that are computed as one, and on which rows of all of them."""
    found: dict[str, list[tuple[Added, slice]]] = {}
    starts = accumulate(sizes, initial=0)
    for grafts, start in zip(map(grafts_of, modules), starts, strict=False):
        if grafts is not None:
            for adapter in grafts.active:
                parts = found.setdefault(adapter, [])
                parts += [(added, slice(start + at.start, start + at.stop)) for added, at in grafts.of(adapter)]
    return found


def _all_thin(parts: Sequence[tuple[Added, slice]]) -> list[Thin]:
    """The thin matrices of all, or nothing where one has none now or they would be wide together."""
    thin = [one for added, _ in parts if (one := added.thin()) is not None]
    return thin if len(thin) == len(parts) and sum(len(one.first) for one in thin) <= THIN else []


def joined(x: Tensor, y: Tensor, parts: Sequence[tuple[Added, slice]]) -> Tensor:
    """What one adapter makes of a map's output: cut at its rows and put together again, copied once."""
    if len(parts) == 1 and parts[0][1] == slice(0, y.shape[-1]):
        return parts[0][0](x, y)  # type: ignore[no-any-return]
    if thin := _all_thin(parts):
        return add_thin(x, y, thin, [rows for _, rows in parts])
    ends = sorted({0, y.shape[-1], *(end for _, rows in parts for end in (rows.start, rows.stop))})
    pieces = list(torch.split(y, [end - start for start, end in pairwise(ends)], -1))
    for added, rows in parts:
        pieces[ends.index(rows.start)] = added(x, pieces[ends.index(rows.start)])
    return torch.cat(pieces, -1) if parts else y
