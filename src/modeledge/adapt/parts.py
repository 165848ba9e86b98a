"""The anatomy of a model as adaptation sees it: every parameter is in one part (`modeledge.model.parts`)."""

from __future__ import annotations

from modeledge.adapt.graft import all_grafts
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
    """The parameters of all heads but those over the vocabulary, which were pre-trained with the body, and but the
    hidden layers that an adapter stands at: it moves in their place."""
    adapted = tuple(f"{path}." for path, _ in all_grafts(model))
    heads = [part for name, part in parts_of(model).heads.items() if not over_vocabulary(model, name)]
    return tuple(name for part in heads for name in part.names if not name.startswith(adapted))


def over_vocabulary(model: Backbone, head: str) -> bool:
    """Does this head score the vocabulary?"""
    return isinstance(model.heads[head], LanguageModelling)
