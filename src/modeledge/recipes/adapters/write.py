"""An adapter as a folder: what was added, and every other weight that is not the base's.

`peft` opens the folder on the base where the method is one of its own. Trained heads, and whatever else moved, go in
through `modules_to_save`: what a run has learned is in the folder, or the folder is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from modeledge.adapt.graft import adapters_on, leads_of
from modeledge.adapt.peft import heading, write_adapter
from modeledge.adapt.quantize import form_of
from modeledge.errors import ModeledgeError
from modeledge.families.fill import listing
from modeledge.families.heads import described, heads_as_plain
from modeledge.families.partial import Named, modules, named
from modeledge.model.backbone import Backbone
from modeledge.model.heads import ClassHead, LMHead, TokenHead, ValueHead
from modeledge.recipes.adapters.digest import Base, base_from, changed, plain
from modeledge.recipes.adapters.pair import write_pair
from modeledge.recipes.store.hub import find_model
from modeledge.recipes.store.open import open_model

WHOLE = {  # what peft saves as a whole under a task_type, and wants to find in every file of it
    "SEQ_CLS": ("classifier", "score"),
    "TOKEN_CLS": ("classifier", "score"),
    "QUESTION_ANS": ("qa_outputs",),
}


def save_adapter(
    model: Backbone,
    folder: str | Path,
    *,
    base: str | Path,
    adapter: str | None = None,
    revision: str | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Write an adapter that is on a model into a folder, in the format of `peft`.

    `base` is the folder, or the name on a hub, that the model was loaded from: it is read again, so that everything
    that differs from it is written. `adapter` names one where there are several. Raises `E-ADAPTER` for what the format
    cannot hold, `E-SITE` for a name that is not there.
    """
    found = find_model(base, revision)
    source = base_from(open_model(found.folder, say), str(base), found.source.get("revision"))
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_folder(model, Path(folder), source, adapter=adapter)
    return Path(folder)


def write_folder(
    model: Backbone, folder: Path, base: Base, *, adapter: str | None = None, family: str | None = None
) -> None:
    """The two files of an adapter and of what else is not the base's (see `save_adapter`)."""
    adapter = adapter if adapter is not None else only_one(model)
    names = named(model, family)
    task = task_type(model)
    made = write_adapter(model, adapter, task)
    saved = saved_beside(names, base, made.maps, WHOLE.get(task or "", ()))
    named_task = task or (
        "FEATURE_EXTRACTION" if adapter in leads_of(model) else None
    )  # without, PEFT leaves prompts out
    said = heading(made.peft_type, named_task, base.source, base.revision) | made.config
    said["modules_to_save"] = modules(saved, WHOLE.get(task or "", ())) or None
    notes: dict[str, Any] = {"base": base.digest, "heads": heads_as_plain(described(model)), **made.notes}
    if (form := form_of(model)) is not None:
        notes["quantize"] = form
    tensors = made.tensors | {made.prefix + name: tensor for name, tensor in saved.items()}
    write_pair(folder, said, tensors, notes)


def saved_beside(names: Named, base: Base, maps: Collection[str], always: Sequence[str]) -> dict[str, Tensor]:
    """What is not the base's beside the adapter, by whole modules, and those that are `always` written; `E-ADAPTER`
    where that cannot be opened again."""
    moved = changed(base, names.model)
    added = [name for name in plain(names.model).keys() - base.weights.keys() if not name.startswith("heads.")]
    if added:
        what = f"the body has parts that its base has not: {listing(sorted(added))}"
        raise ModeledgeError("E-ADAPTER", what, remedy="write the whole model: merge = true")
    whole = sorted({*modules(names.write(moved), always), *always})
    if both := [module for module in whole if module in maps]:
        what = f"both an adapter and the weights below it were trained: {listing(both)}"
        raise ModeledgeError("E-ADAPTER", what, remedy="write the whole model: merge = true")
    return names.within(whole) if whole else {}


def only_one(model: Backbone) -> str:
    """The one adapter of a model (`E-SITE` where there is none or more)."""
    there = adapters_on(model)
    if len(there) != 1:
        what = f"the model has {len(there) or 'no'} adapters{': ' if there else ''}{', '.join(there)}"
        raise ModeledgeError("E-SITE", what, remedy="name one: adapter=" if there else "add one first")
    return there[0]


def task_type(model: Backbone) -> str | None:
    """Which of the reference library's classes stands on the body, in the words of `peft`; `None` for another."""
    heads = described(model)
    kinds = {type(head) for head in heads.values()}
    if "span" in heads:
        return "QUESTION_ANS"
    if kinds & {ClassHead, ValueHead}:
        return "SEQ_CLS"
    if TokenHead in kinds:
        return "TOKEN_CLS"
    if LMHead in kinds and model.config.decoder is not None:
        return "SEQ_2_SEQ_LM" if model.config.both else "CAUSAL_LM"
    return None
