"""Adapters in the format of the PEFT library, `adapter_config.json` and `adapter_model.safetensors`.

A page a method, read and written by the same page: `PAGES` those that act at linear maps, `LEADS` those that stand
before examples; bottleneck adapters, which PEFT has not, have a form of our own. A configuration and tensors go in, an
adapter on a model comes out, and back; files, the base and trained heads are the business of `recipes/adapters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from torch import Tensor

from modeledge.adapt.adapter import Bottleneck
from modeledge.adapt.graft import Added, added_by, graft
from modeledge.adapt.peft.adalora import AdaLoraPage
from modeledge.adapt.peft.bottleneck import BOTTLENECK, MARK, read_bottleneck, write_bottleneck
from modeledge.adapt.peft.config import CONFIG, PREFIX, aimed, check_keys, heading, type_of
from modeledge.adapt.peft.ia3 import IA3Page
from modeledge.adapt.peft.leads import BODY, LEAD_TYPES, LEADS, NAMES, read_lead, write_lead
from modeledge.adapt.peft.loha import LoHaPage
from modeledge.adapt.peft.lokr import LoKrPage
from modeledge.adapt.peft.lora import LoraPage
from modeledge.adapt.peft.maps import Map, all_maps, written
from modeledge.adapt.peft.page import Filed, Leaves, Page, Written
from modeledge.adapt.peft.vera import VeraPage
from modeledge.errors import ModeledgeError, printable
from modeledge.model.backbone import Backbone
from modeledge.model.transformer import Transformer

PAGES: dict[str, Page] = {
    page.peft_type: page for page in (LoraPage(), AdaLoraPage(), LoHaPage(), LoKrPage(), IA3Page(), VeraPage())
}
Named: TypeAlias = dict[str, Tensor]
TYPES = frozenset({*PAGES, *LEAD_TYPES, BOTTLENECK})  # every peft_type that is read here


def write_adapter(model: Backbone, adapter: str, task: str | None = None, *, trained: bool = False) -> Filed:
    """What an adapter on a model is in their format. `task` is the class that stands on the body, in PEFT's words;
    `trained` says that it will be trained first, so that what could not be written then is refused now.

    `E-SITE` where there is none; `E-ADAPTER` where several methods act under one name, or one that has no page.
    """
    added = list(added_by(model, adapter))
    if isinstance(model, Transformer) and adapter in model.leads:
        if added:
            _several(adapter, ["what stands before the examples", *{type(one).__name__ for one in added}])
        return write_lead(model, adapter, task)
    if added and all(isinstance(one, Bottleneck) for one in added):
        return write_bottleneck(model, adapter)
    maps = written(model, adapter)
    if not maps:
        raise ModeledgeError("E-SITE", f"there is no adapter {adapter!r} on the model")
    fitting = [p for p in PAGES.values() if all(p.holds(part) for part in added)]
    if not fitting:
        _several(adapter, sorted({type(part).__name__ for part in added}))
    page = fitting[0]
    if trained:
        page.check_trained(maps)
    made = page.write(maps)
    tensors = {f"{PREFIX}{name}.{leaf}": t for name, leaves in made.tensors.items() for leaf, t in leaves.items()}
    tensors |= {BODY + name: tensor for name, tensor in made.shared.items()}
    config = made.config | {"target_modules": sorted(made.tensors)}
    return Filed(page.peft_type, config, tensors, PREFIX, tuple(made.tensors))


def _several(adapter: str, kinds: list[str]) -> None:
    what = f"no page of the format holds {', '.join(kinds)} under the one name {adapter!r}"
    raise ModeledgeError("E-ADAPTER", what, remedy="give each method a name of its own, or merge them")


def cut(model: Backbone, said: Mapping[str, Any], tensors: Mapping[str, Tensor], prefix: str) -> tuple[Named, Named]:
    """The tensors of a file: the adapter's own, as `read_adapter` wants them, and weights of the base by their names
    there. A map's name may have the `prefix` of the body or lack it. One that is neither is `E-KEYS`; what a method put
    beside a map that has no site here is `E-ADAPTER`."""
    kind = type_of(said, TYPES)
    before = BODY if kind in LEAD_TYPES else PREFIX
    mine, saved = dict[str, Tensor](), dict[str, Tensor]()
    maps = all_maps(model) if kind in PAGES else {}
    for name, tensor in tensors.items():
        plain = name.removeprefix(before)
        shared = kind in PAGES and name.removeprefix(BODY) in PAGES[kind].shared
        if shared or (kind in LEAD_TYPES and name in NAMES) or (kind == BOTTLENECK and name.startswith(MARK)):
            mine[name.removeprefix(BODY)] = tensor
        elif not name.startswith(before):
            raise ModeledgeError("E-KEYS", f"unexpected: {printable(name)}", why=f"names begin with {before}")
        elif near := next((n for n in (plain, prefix + plain, plain.removeprefix(prefix)) if beside(n, maps)), None):
            mine[near] = tensor
        elif kind in PAGES and (found := stands_at(plain, PAGES[kind].mark)):
            what = f"it stands at {printable(found)}, where no adapter of ours can"
            raise ModeledgeError("E-ADAPTER", what, remedy="merge it with the library that wrote it")
        else:
            saved[plain] = tensor
    return mine, saved


def beside(name: str, maps: Mapping[str, Map]) -> bool:
    """Is this tensor something that stands beside a map, and not the map's own weight or bias?"""
    owner = next((o for o in owners(name) if o in maps), None)
    return owner is not None and name.removeprefix(f"{owner}.") not in ("weight", "bias")


def stands_at(name: str, mark: str) -> str:
    """The module that a tensor of a method stands at, by the `mark` of its own modules; empty for a weight."""
    words = name.split(".")
    at = next((n for n, word in enumerate(words) if word.startswith(mark)), 0)
    return ".".join(words[:at])


def check_said(said: Mapping[str, Any]) -> None:
    """Refuse a configuration that asks for what is not done here, before a tensor is looked at."""
    kind = type_of(said, TYPES)
    if kind in PAGES:
        check_keys(said, PAGES[kind].reads, PAGES[kind].inert)
        PAGES[kind].check(said)


def read_adapter(
    model: Backbone,
    adapter: str,
    said: Mapping[str, Any],
    tensors: Mapping[str, Tensor],
    notes: Mapping[str, Any] | None = None,
) -> None:
    """Put an adapter out of a file on a model, under a name; it acts at once.

    `tensors` are named as in the file, those at maps `<map>.<leaf>`, without its prefix. Nothing is put there unless
    all of it fits: every map that the configuration aims at has its tensors, and every tensor its map (`E-KEYS`).
    """
    kind = type_of(said, TYPES)
    if kind in LEAD_TYPES:
        read_lead(model, adapter, {**said, "peft_type": kind}, tensors, notes or {})
    elif kind == BOTTLENECK:
        read_bottleneck(model, adapter, said, tensors)
    else:
        for added in read_maps(model, PAGES[kind], said, tensors):
            graft(added.site, adapter, added)


def read_maps(model: Backbone, page: Page, said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> list[Added]:
    """What a file puts beside the model's maps."""
    check_said(said)
    maps = all_maps(model)
    leaves: dict[str, Leaves] = {}
    shared = {name: tensor for name, tensor in tensors.items() if name in page.shared}
    for name in tensors.keys() - shared.keys():
        found = next((m for m in owners(name) if m in maps), None)
        if found is None:
            what = f"{printable(name)} stands beside no map that an adapter can act on"
            raise ModeledgeError("E-KEYS", what, why="a tensor that is left out in silence makes another model")
        leaves.setdefault(found, {})[name.removeprefix(f"{found}.")] = tensors[name]
    missing = sorted(aimed(said, maps) - leaves.keys())
    if missing and said.get("target_modules") != "all-linear":
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        what = f"there are no tensors for {', '.join(missing[:3])}{more}, which target_modules names"
        raise ModeledgeError("E-KEYS", what, where=CONFIG)
    if not leaves:
        raise ModeledgeError("E-KEYS", "the adapter has no tensors", where=CONFIG)
    made: list[Added] = []
    ours = [name for name in maps if name in leaves]
    beside = page.prepare(said, [maps[name] for name in ours], shared)
    for name in ours:
        for site, added in zip(maps[name].sites, page.read(said, maps[name], leaves[name] | beside), strict=True):
            added.site = site
            made.append(added)
    return made


def owners(name: str) -> list[str]:
    """The modules that a tensor of this name may belong to, the nearest first."""
    words = name.split(".")
    return [".".join(words[:n]) for n in range(len(words) - 1, 0, -1)]


__all__ = [
    "CONFIG",
    "LEADS",
    "PAGES",
    "PREFIX",
    "TYPES",
    "Filed",
    "Page",
    "Written",
    "check_said",
    "cut",
    "heading",
    "read_adapter",
    "write_adapter",
]
