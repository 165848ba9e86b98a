"""The working copy of a weight that stays as it is: cast once, not at every use.

Parameters are fp32 masters, products are made in the dtype of the states. The copy of a weight that moves lives for one
use, because the next step makes it stale. That of a frozen weight is kept until the weight changes, seen by its version
counter, its storage and its device; it is no buffer: no checkpoint, no `state_dict` and no count of weights has it. The
backward pass would hold the copy all the same, so keeping it does not raise the peak of a training step.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


class Working:
    """The last working copy of some weights that do not move, joined along their rows."""

    def __init__(self) -> None:
        self.marks: tuple[Any, ...] = ()
        self.copy: Tensor | None = None

    def of(self, weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
        """The weights in this dtype: themselves where they have it already, and the kept copy where they are frozen."""
        first = weights[0]
        if len(weights) == 1 and first.dtype is dtype:
            return first
        if any(w.requires_grad or w.is_inference() for w in weights) or torch.compiler.is_compiling():
            return _cast(weights, dtype)
        marks = (dtype, *((id(w), w._version, w.data_ptr(), w.device) for w in weights))
        if self.copy is None or marks != self.marks:
            with torch.inference_mode(False), torch.no_grad():
                self.marks, self.copy = marks, _cast(weights, dtype)
        return self.copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Working:
        """A copy of a layer makes its own."""
        return Working()


def _cast(weights: Sequence[Tensor], dtype: torch.dtype) -> Tensor:
    return (weights[0] if len(weights) == 1 else torch.cat(tuple(weights))).to(dtype)
