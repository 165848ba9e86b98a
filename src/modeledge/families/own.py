"""The head that a model's own class has: what a task asks for, so that what it trains opens in the reference library.

A class over BERT is a pooler and a product, over RoBERTa a dense layer of its own, over Llama a product without bias at
the last token. No table says so twice: the head is what the page of the family reads of a file that names its class and
nothing else. What a checkpoint already holds of such a head (BERT's pooler, the dense layer of ModernBERT's masked-LM
head) is kept, as the reference library keeps it; scores are always fresh.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.families.checkpoint import holds
from modeledge.families.family import Extra, Family, Origin, origin_of
from modeledge.families.heads import described
from modeledge.families.labels import score_keys
from modeledge.families.rules import Rename
from modeledge.families.table import FAMILIES
from modeledge.model.backbone import Backbone
from modeledge.model.config import TransformerConfig
from modeledge.model.heads import ClassHead, Head, TokenHead, ValueHead
from modeledge.model.transformer import Transformer

OURS = "modeledge"
KINDS = ("class", "value", "tags", "span")


def own_head(model: Backbone, name: str, outputs: int, **fields: Any) -> Head | None:
    """The head over texts (`class`, `value`), tokens (`tags`) or answers (`span`) that the model's own class has.

    `fields` take the place of its own; a rate is that of all its dropouts. `None` where its family has no such class,
    where that class cannot say the fields, and for a model of no family.
    """
    if not isinstance(model, Transformer):
        return None
    origin = origin_of(model)
    for family in families_of(model.config, origin):
        head = head_of(family, model.config, origin, name, outputs)
        if head is not None:
            changed: Any = {key: value for key, value in fields.items() if hasattr(head, key)}
            found = fitting(family, model.config, name, replace(head, **changed))
            if found is not None:
                return found
    return None


def families_of(config: TransformerConfig, origin: Origin | None) -> Iterator[Family]:
    """The families that a model can be written in: the one that it came from, if that still holds its body, or those
    that do."""
    if origin is not None and origin.family != OURS and not FAMILIES[origin.family].lacks(config, {}):
        yield FAMILIES[origin.family]
        return
    for family in FAMILIES.values():
        if family.model_type != OURS and holds(family, config, {}):
            yield family


def head_of(
    family: Family, config: TransformerConfig, origin: Origin | None, name: str, outputs: int
) -> ClassHead | ValueHead | TokenHead | None:
    """The head that a page reads of a file of its class; `None` where it has no such class."""
    known = origin is not None and origin.family == family.model_type
    said = dict(origin.said) if origin is not None and known else family.write_config(config, Extra())
    asked: dict[str, Head] = {"class": ClassHead(outputs=outputs), "value": ValueHead()}
    asked |= {"tags": TokenHead(outputs=outputs), "span": TokenHead(outputs=2)}
    if name not in asked:
        raise ModeledgeError("E-SITE", f"there is no head {name!r} of a family's own", remedy=", ".join(KINDS))
    classes = family.write_heads(config, {name: asked[name]})["architectures"]
    found = family.heads({**said, "architectures": classes, **score_keys(name, asked[name])}, ()).get(name)
    return found if isinstance(found, ClassHead | ValueHead | TokenHead) else None


def fitting(family: Family, config: TransformerConfig, name: str, head: Head) -> Head | None:
    """The head as this family can say it: as it is, or with one rate for both its dropouts; of a class without any as
    it is all the same: its rates act in training alone, and are not written."""
    for other in (head, *one_rate(head)):
        if not family.lacks(config, {name: other}):
            return other
    return head if not family.lacks(config, {name: still(head)}) else None


def one_rate(head: Head) -> list[Head]:
    """The same head with its rate before the dense layer too."""
    return [replace(head, first_dropout=head.dropout)] if isinstance(head, ClassHead | ValueHead) else []


def still(head: Head) -> Head:
    """The same head without dropout, which changes no answer."""
    rates: Any = {key: 0.0 for key in ("dropout", "first_dropout") if hasattr(head, key)}
    return replace(head, **rates)


def inherited(model: Backbone, heads: Mapping[str, Head]) -> dict[str, Tensor]:
    """What the model's checkpoint already holds of these heads, below their scores, by our names.

    A tensor that the file kept for nobody, or that a head of another name reads under the same name; of a head of the
    same name what the reference library counts to the body. Empty for a model of no family.
    """
    origin = origin_of(model)
    if not isinstance(model, Transformer) or origin is None or origin.family == OURS:
        return {}
    family, config, state = FAMILIES[origin.family], model.config, model.state_dict()
    if family.lacks(config, {}):  # its body is another one now
        return {}
    held: dict[str, dict[str, Tensor]] = {name: dict(origin.kept) for name in heads}
    for other, spec in described(model).items():
        for rule in dense_rules(family, config, other, spec):
            for name, found in held.items():
                if rule.ours in state and (other != name or rule.theirs.startswith(family.prefix or "\0")):
                    found[rule.theirs] = state[rule.ours]
    return {
        rule.ours: held[name][rule.theirs].clone()
        for name, head in heads.items()
        if not family.lacks(config, {name: still(head)})
        for rule in dense_rules(family, config, name, head)
        if rule.theirs in held[name]
    }


def dense_rules(family: Family, config: TransformerConfig, name: str, head: Head) -> list[Rename]:
    """The rules of what stands below a head's scores."""
    below = (f"heads.{name}.dense.", f"heads.{name}.norm.")
    rules = family.rules(config, {name: head})
    return [rule for rule in rules if isinstance(rule, Rename) and rule.ours.startswith(below)]
