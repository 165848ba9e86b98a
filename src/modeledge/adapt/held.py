"""What a strategy remembers of a model, beside the frozen value that it is.

A strategy is a plain value that serves many models; what it must know of one (how many layers were there, where the
weights started) is kept here under that model and goes with it. A copy of model and strategy that are copied together
knows the same of the copied model: the pre-flight tries its steps on such a copy.
"""

from __future__ import annotations

from typing import Any, Generic, TypeVar
from weakref import ReferenceType, WeakKeyDictionary, ref

from modeledge.model.backbone import Backbone

V = TypeVar("V")


class Held(Generic[V]):
    """A value a model, and the value of the model that came last: the one that a trainer saves and restores."""

    def __init__(self) -> None:
        self._values: WeakKeyDictionary[Backbone, V] = WeakKeyDictionary()
        self._last: ReferenceType[Backbone] | None = None

    def __contains__(self, model: object) -> bool:
        return model in self._values

    def __getitem__(self, model: Backbone) -> V:
        return self._values[model]

    def __setitem__(self, model: Backbone, value: V) -> None:
        self._values[model] = value
        self._last = ref(model)

    def get(self, model: Backbone, default: V) -> V:
        """The value of a model, or the default."""
        return self._values.get(model, default)

    @property
    def last(self) -> V | None:
        """The value of the model that came last, if it is still there."""
        model = None if self._last is None else self._last()
        return None if model is None else self._values.get(model)

    def __deepcopy__(self, memo: dict[int, Any]) -> Held[V]:
        from copy import deepcopy

        other: Held[V] = Held()
        last = None if self._last is None else self._last()
        for model, value in list(self._values.items()):
            copied = memo.get(id(model), model)  # the copy, where the model was copied before
            other._values[copied] = deepcopy(value, memo)
            if model is last:
                other._last = ref(copied)
        return other
