"""What a checkpoint leaves out: the weights of a base that no step of the run can move.

An adapter of a few megabytes is trained beside a body of gigabytes that stays as it was read. Each checkpoint would
hold that body again; in its place it holds the SHA-256 of those weights. The run that goes on has read the base anew,
as its recipe says, and is refused where the digests differ (`E-BASE`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from modeledge.adapt.quantize import quantized_names
from modeledge.adapt.strategy import Strategy, staying
from modeledge.errors import ModeledgeError
from modeledge.objectives import Step


class Still:
    """The tensors of a step's `state_dict` that stay for the whole run, and their digest."""

    def __init__(self, step: Step, strategies: Sequence[Strategy]) -> None:
        self.step = step
        stays = staying(strategies, step.model)
        parameters = {id(p) for name, p in step.model.named_parameters() if name in stays}
        codes = {f"model.{name}" for name in quantized_names(step.model)} if stays else set[str]()
        self.names = frozenset(
            name
            for name, value in step.state_dict(keep_vars=True).items()
            if name in codes or (isinstance(value, nn.Parameter) and id(value) in parameters)
        )
        self._digest: str | None = None

    @property
    def digest(self) -> str | None:
        """The SHA-256 of their names, shapes and numbers, counted once: they do not change. `None` where none stays."""
        if self._digest is None and self.names:
            state, whole = self.step.state_dict(), hashlib.sha256()
            for name in sorted(self.names):
                whole.update(f"{name} {state[name].dtype} {list(state[name].shape)}\n".encode())
                whole.update(_bytes(state[name]))
            self._digest = whole.hexdigest()
        return self._digest

    def check(self, wanted: str | None) -> None:
        """Refuse to go on over other weights than those that the checkpoint was written beside (`E-BASE`)."""
        if wanted is not None and wanted != self.digest:
            raise ModeledgeError(
                "E-BASE",
                f"the checkpoint was written beside frozen weights of SHA-256 {wanted}; here they have {self.digest}",
                why="it holds what moves alone, and on other weights that is noise",
                remedy="bring back the model that the run began with, or start a new run",
            )


def _bytes(tensor: Tensor) -> memoryview:
    held = tensor.detach().cpu().contiguous()
    data: memoryview = held.reshape(-1).view(torch.uint8).numpy().data
    return data
