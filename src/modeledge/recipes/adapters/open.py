"""An adapter's folder in, a model out: its base, with the heads that were saved and the adapter beside its maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from modeledge.adapt.peft import TYPES, check_said, cut, read_adapter
from modeledge.adapt.peft.config import task_of, type_of
from modeledge.adapt.quantize import FORMS, quantize
from modeledge.errors import ModeledgeError, printable
from modeledge.families.fill import listing
from modeledge.families.heads import described, heads_from_plain
from modeledge.families.own import inherited, own_head
from modeledge.families.partial import named
from modeledge.model.backbone import Backbone
from modeledge.model.heads import Head
from modeledge.recipes.adapters.digest import Base, base_from, check_base, find_base
from modeledge.recipes.adapters.pair import Pair, is_adapter, read_pair
from modeledge.recipes.store.open import open_plain
from modeledge.seed import Noise

DEFAULT = "default"
OWN = {"SEQ_CLS": "class", "TOKEN_CLS": "tags", "QUESTION_ANS": "span"}  # task_type → our head


def open_adapted(
    folder: Path,
    say: Callable[[str], None] = print,
    *,
    base: str | Path | None = None,
    adapter: str = DEFAULT,
    whole: bool = False,
) -> Backbone:
    """The model of an adapter's folder. `base` says where its base lies now. A base that was in fewer bits while it
    was trained is put into the same again, unless it is wanted `whole`; both are said.

    Raises `E-BASE` where the base is gone or another one, `E-ADAPTER` for a method that is not known here, `E-KEYS` for
    tensors that are missing or left over, and what reading the files raises.
    """
    pair = read_pair(folder)
    type_of(pair.said, TYPES)
    source, there = find_base(folder, pair.said, base)
    if is_adapter(there):
        what = f"its base {source} is an adapter itself"
        raise ModeledgeError("E-BASE", what, where=str(folder), remedy=f"modeledge merge {source} --out FOLDER first")
    model = open_plain(there, say)
    check(model, pair, source, folder, say)
    form = pair.notes.get("quantize")
    if form is not None and not (isinstance(form, str) and form in FORMS):
        what = f"it was trained over weights in {printable(str(form))}, which is not known here"
        raise ModeledgeError("E-ADAPTER", what, where=str(folder), remedy=f"one of {', '.join(FORMS)}")
    if form is not None:
        if whole:
            say(f"it was trained over {form}, and is put on the weights as they are: answers may differ a little")
        else:
            say(quantize(model, form).told())
    put_on(model, pair, adapter)
    return model


def check(
    model: Backbone, pair: Pair, source: str, folder: Path, say: Callable[[str], None], *, base: Base | None = None
) -> None:
    """Is this model, or the `base` that it was hashed as, the base of the adapter, weight by weight? Another library's
    file does not say, and that is told."""
    if pair.notes:
        check_base(base or base_from(model, source), pair.notes["base"], folder)
    else:
        say(f"the adapter names its base, {source}, and no hash of its weights: it is taken by its name")


def put_on(model: Backbone, pair: Pair, adapter: str, *, still: bool = False) -> None:
    """Give a model the heads and other weights of an adapter's files, and put the adapter beside its maps. With `still`
    the weights of its body must stay (`E-ADAPTER`)."""
    check_said(pair.said)
    wanted = heads_of(pair, model)
    brought = inherited(model, wanted)
    drawn = set_heads(model, wanted)
    names = named(model)
    mine, saved = cut(model, pair.said, pair.tensors, names.prefix)
    ours = names.read(saved)
    kept = {n: t for n, t in brought.items() if n.startswith(tuple(f"heads.{name}." for name in drawn))}
    fresh = [n for n in model.state_dict() if n.startswith(tuple(f"heads.{name}." for name in drawn))]
    missing = sorted(set(fresh) - ours.keys() - kept.keys())
    if missing:
        why = "a head that is drawn afresh knows nothing"
        raise ModeledgeError("E-KEYS", f"there are no tensors for {listing(missing)}", why=why)
    if still and (body := sorted(name for name in ours if not name.startswith("heads."))):
        what = f"it changes weights of the base, {listing(body)}, which others on this model need"
        raise ModeledgeError("E-ADAPTER", what, remedy="open it alone, with a base of its own")
    read_adapter(model, adapter, pair.said, mine, pair.notes)
    state = model.state_dict()
    for name, tensor in {**kept, **ours}.items():
        state[name].copy_(tensor)


def set_heads(model: Backbone, wanted: Mapping[str, Head]) -> set[str]:
    """Give a model these heads and no others; returns those that are drawn afresh."""
    there = described(model)
    for name in there:
        if name not in wanted or there[name] != wanted[name]:
            del model.heads[name]
    fresh = {name for name in wanted if name not in model.heads}
    model.add_heads({name: wanted[name] for name in wanted if name in fresh}, Noise(0))
    return fresh


def heads_of(pair: Pair, model: Backbone) -> dict[str, Head]:
    """The heads that an adapter was trained with: as our notes say, else those of the class that it says it is on."""
    if pair.notes:
        return heads_from_plain(pair.notes.get("heads", {}))
    said = task_of(pair.said)
    if said not in OWN:
        return described(model)
    plain = {name.removeprefix("base_model.").removeprefix("model."): t for name, t in pair.tensors.items()}
    known = ("classifier", "score", "qa_outputs")
    last = [t for n, t in plain.items() if n.endswith(".weight") and n.split(".")[0] in known]
    if not last:
        return described(model)
    name = "value" if said == "SEQ_CLS" and last[-1].shape[0] == 1 else OWN[said]
    head = own_head(model, name, last[-1].shape[0], dropout=0.0)
    if head is None:
        what = f"the head of a {said} on this model is not known here"
        raise ModeledgeError("E-ADAPTER", what, remedy="merge it with the library that wrote it")
    return {name: head}
