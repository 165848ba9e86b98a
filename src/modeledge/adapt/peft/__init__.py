"""Adapters in the format of the PEFT library, `adapter_config.json` and `adapter_model.safetensors`: `PAGES`.

A page a method, read and written by the same page. A configuration and tensors go in, grafts on a model come out, and
back; files, the base and trained heads are the business of `recipes/adapters`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from modeledge.adapt.graft import Added, graft
from modeledge.adapt.peft.adalora import AdaLoraPage
from modeledge.adapt.peft.config import CONFIG, PREFIX, aimed, check_keys, heading, type_of
from modeledge.adapt.peft.ia3 import IA3Page
from modeledge.adapt.peft.loha import LoHaPage
from modeledge.adapt.peft.lokr import LoKrPage
from modeledge.adapt.peft.lora import LoraPage
from modeledge.adapt.peft.maps import all_maps, written
from modeledge.adapt.peft.page import Leaves, Page, Written
from modeledge.errors import ModeledgeError, printable
from modeledge.model.backbone import Backbone

PAGES: dict[str, Page] = {
    page.peft_type: page for page in (LoraPage(), AdaLoraPage(), LoHaPage(), LoKrPage(), IA3Page())
}


def write_adapter(model: Backbone, adapter: str) -> tuple[str, Written]:
    """What an adapter on the model's maps is in their format: its type, its keys and its tensors by map.

    `E-SITE` where there is none; `E-ADAPTER` where several methods act under one name, or one that has no page.
    """
    maps = written(model, adapter)
    if not maps:
        raise ModeledgeError("E-SITE", f"there is no adapter {adapter!r} on the model's maps")
    kinds = sorted({type(part).__name__ for _, parts in maps for part in parts})
    fitting = [p for p in PAGES.values() if all(p.holds(part) for _, parts in maps for part in parts)]
    if not fitting:
        what = f"no page of the format holds {', '.join(kinds)} under the one name {adapter!r}"
        raise ModeledgeError("E-ADAPTER", what, remedy="give each method a name of its own, or merge them")
    made = fitting[0].write(maps)
    made.config["target_modules"] = sorted(made.tensors)
    return fitting[0].peft_type, made


def read_adapter(model: Backbone, adapter: str, said: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Put an adapter out of a file beside the model's maps, under a name; it acts at once.

    `tensors` are named `<map>.<leaf>` as in the file, without its prefix. Nothing is put there unless all of it fits:
    every map that the configuration aims at has its tensors, and every tensor its map (`E-KEYS`).
    """
    page = PAGES[type_of(said, PAGES)]
    check_keys(said, page.reads, page.inert)
    page.check(said)
    maps = all_maps(model)
    leaves: dict[str, Leaves] = {}
    for name, tensor in tensors.items():
        found = next((m for m in owners(name) if m in maps), None)
        if found is None:
            what = f"{printable(name)} stands beside no map that an adapter can act on"
            raise ModeledgeError("E-KEYS", what, why="a tensor that is left out in silence makes another model")
        leaves.setdefault(found, {})[name.removeprefix(f"{found}.")] = tensor
    missing = sorted(aimed(said, maps) - leaves.keys())
    if missing and said.get("target_modules") != "all-linear":
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        what = f"there are no tensors for {', '.join(missing[:3])}{more}, which target_modules names"
        raise ModeledgeError("E-KEYS", what, where=CONFIG)
    if not leaves:
        raise ModeledgeError("E-KEYS", "the adapter has no tensors", where=CONFIG)
    made: list[Added] = []
    for name, held in leaves.items():
        for site, added in zip(maps[name].sites, page.read(said, maps[name], held), strict=True):
            added.site = site
            made.append(added)
    for added in made:
        graft(added.site, adapter, added)


def owners(name: str) -> list[str]:
    """The modules that a tensor of this name may belong to, the nearest first."""
    words = name.split(".")
    return [".".join(words[:n]) for n in range(len(words) - 1, 0, -1)]


__all__ = ["CONFIG", "PAGES", "PREFIX", "Page", "Written", "heading", "read_adapter", "write_adapter"]
