"""The anatomy of a model as adaptation sees it: every parameter is in one part (`modeledge.model.parts`)."""

from __future__ import annotations

from modeledge.model.backbone import Backbone
from modeledge.model.heads import LanguageModelling
from modeledge.model.parts import Part, Parts

__all__ = ["Part", "Parts", "head_names", "parts_of"]


def parts_of(model: Backbone) -> Parts:
    """Cut a model into its parts."""
    parts = model.parts()
    named = [name for part in parts for name in part.names]
    assert sorted(named) == sorted(name for name, _ in model.named_parameters()), "a parameter belongs to no part"
    return parts


def head_names(model: Backbone) -> tuple[str, ...]:
    """The parameters of all heads but those over the vocabulary: they were pre-trained with the body."""
    heads = parts_of(model).heads.items()
    return tuple(n for name, part in heads if not isinstance(model.heads[name], LanguageModelling) for n in part.names)
