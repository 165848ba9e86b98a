"""Which head a run puts on its model, what of it the checkpoint brings, and in which form the result is written.

A task's head is the one that the model's own class has, so that what is trained opens in other libraries. Whatever
departs from that (a pooling that the class does not know, a model of no family) is written in our own form, and said.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from modeledge.errors import ModeledgeError
from modeledge.families import Origin, find_family, origin_of
from modeledge.families.checkpoint import choose
from modeledge.families.heads import described
from modeledge.families.own import OURS, inherited, still
from modeledge.model.backbone import Backbone
from modeledge.model.heads import ClassHead, Head, ValueHead
from modeledge.model.transformer import Transformer
from modeledge.objectives import LabelPrepare
from modeledge.tasks import Task

Say = Callable[[str], None]


@dataclass(frozen=True)
class Form:
    """How a model will be written: the family, the heads as it says them, and, where it is our own form, why."""

    family: str
    heads: Mapping[str, Head]
    why: str = ""

    @property
    def sentence(self) -> str:
        """What a person is told."""
        if self.family == OURS:
            return f"written in our own form, which other libraries do not open: {self.why}"
        if not self.family:
            return f"written as its own library writes it, with our heads beside it: {self.why}"
        named = ", ".join(self.heads) or "no head"
        return f"written as a {self.family} checkpoint that other libraries open (head: {named})"


def copied(model: Backbone, heads: Mapping[str, nn.Module]) -> Backbone:
    """A copy of a model with these heads alone; its others are not copied."""
    others, model.heads = model.heads, nn.ModuleDict(heads)
    try:
        return copy.deepcopy(model)
    finally:
        model.heads = others


def form_of(model: Backbone, heads: Mapping[str, Head], wanted: str | None) -> Form:
    """The form in which the model can be written with these heads alone. `wanted` names a family (`E-OUTSIDE-FAMILY`
    where it cannot hold them). Dropout that a class cannot say acts in training alone, and is left out."""
    if not isinstance(model, Transformer):
        return Form("", heads, f"a {model.config.encoder or model.config.decoder} is not one of the families here")
    if wanted == OURS:
        return Form(OURS, heads, 'it was asked for (family = "modeledge")')
    config, origin = model.config, origin_of(model)
    quiet = {name: still(head) for name, head in heads.items()}
    if wanted is not None:
        said = quiet if find_family(wanted).lacks(config, heads) else heads
        return Form(choose(config, said, origin, wanted).model_type, said)
    for said in (heads, quiet):
        family = choose(config, said, origin, None).model_type
        if family != OURS:
            return Form(family, said)
    return Form(OURS, heads, reason(config, quiet, origin))


def reason(config: Any, heads: Mapping[str, Head], origin: Origin | None) -> str:
    """Why the family that a model came from cannot hold it any more."""
    if origin is None:
        return "no family here is a model of this shape with such a head"
    if origin.family == OURS:
        return "so was the model that it started from"
    return f"a {origin.family} checkpoint cannot say it ({'; '.join(find_family(origin.family).lacks(config, heads))})"


def announce(
    model: Backbone, heads: Mapping[str, Head], continues: Collection[str], wanted: str | None, say: Say
) -> None:
    """Say of each head what the checkpoint brings of it (all, where one that is there `continues`), and how the result
    will be written."""
    kept = inherited(model, heads)
    for name, head in heads.items():
        layers = sorted({n.removeprefix(f"heads.{name}.").rpartition(".")[0] for n in kept})
        fresh = f"fresh but for {', '.join(layers)}, which the checkpoint brings" if layers else "fresh"
        pool = f" at {head.pool}" if isinstance(head, ClassHead | ValueHead) and head.pool else ""
        going_on = name in continues and name in model.heads
        say(f"head {name!r}{pool}: {'as the model brings it' if going_on else fresh}")
    form = form_of(model, heads, wanted)
    if form.family in ("", OURS):
        say(f"the model will be {form.sentence}")


def check_outputs(model: Backbone, heads: Mapping[str, Head]) -> None:
    """Refuse a head that a strategy has given another number of scores than the task has answers (`E-CONFIG-VALUE`):
    what it learns could not be read."""
    for name, head in heads.items():
        ours, theirs = (getattr(spec, "outputs", None) for spec in (head, getattr(model.heads[name], "spec", None)))
        if ours is not None and theirs is not None and ours != theirs:
            what = f"the head {name!r} scores {theirs} classes, and the task has {ours}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="strategies", remedy=f"write outputs={ours}")


def settle(model: Backbone, names: Collection[str], wanted: str | None, say: Say) -> str:
    """Make the model what its form can hold, and return a sentence on that form.

    Heads that the task did not use, and dropout that the class does not know, are left out and said. Our own form holds
    everything.
    """
    form = form_of(model, {name: described(model)[name] for name in names}, wanted)
    if form.family in ("", OURS):
        return form.sentence
    origin = origin_of(model)
    unused = sorted(described(model).keys() - form.heads.keys())
    for name in unused:
        del model.heads[name]
    loose = []
    if unused and origin is not None and origin.family == form.family:
        prefix = find_family(form.family).prefix
        loose = sorted(name for name in origin.kept if not name.startswith(prefix))
        origin.kept = {name: tensor for name, tensor in origin.kept.items() if name not in loose}
    for name, head in form.heads.items():
        if described(model)[name] != head:
            model.heads[name].spec = head  # type: ignore[assignment]
    left = [*(f"head {name!r}" for name in unused), *loose]
    if left:
        told = f"{form.family} class: {', '.join(left)}"
        say(f'left out of the written {told}, which the task did not use (family="modeledge" keeps it)')
    return form.sentence


def words_of(task: Task, model: Backbone) -> dict[str, Any]:
    """The keys of `config.json` that say what the task answers, and the special tokens that a class of the reference
    library looks for, where the file named none: padding, behind which a decoder's last token stands; where the token
    stands in a source at which a decoder is read, and what it begins with."""
    origin, specials, prepare = origin_of(model), task.tokenizer.specials, task.objective.prepare
    said = {} if origin is None else origin.said
    ids = {"pad_token_id": specials.pad, "eos_token_id": specials.eos, "bos_token_id": specials.bos}
    words = task.config_words()
    if isinstance(prepare, LabelPrepare):
        ids["decoder_start_token_id"] = prepare.start
        words |= {"eos_token_id": prepare.last} if prepare.side == "both" else {}
        if specials.pad == prepare.last:
            del ids["pad_token_id"]  # the last token would be taken for padding
    return {key: value for key, value in ids.items() if value is not None and said.get(key) is None} | words
