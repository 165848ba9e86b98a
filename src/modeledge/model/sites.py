"""Where an adapter may act: named places in the model, whatever way its weights are stored."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from modeledge.errors import ModeledgeError, nearest
from modeledge.model.linear import Linear

KINDS = ("query", "key", "value", "attention_output", "gate", "up", "down")


@dataclass(frozen=True)
class Site:
    """A linear map inside the model: `rows` of the output of `module`.

    `path` names the module in the model; `hf_name` names it in the Hugging Face checkpoint it came from (equal to
    `path` for a model of our own), and `transposed` says that the checkpoint stores its weight the other way round.
    `turned` says so of the module itself: in a model that is wrapped it may be a linear layer of another library, which
    holds `[inputs, outputs]`. Whoever changes weights goes through `weight`.
    """

    kind: str
    path: str
    module: nn.Module
    rows: slice
    hf_name: str
    transposed: bool = False
    turned: bool = False

    @property
    def weight(self) -> Tensor:
        """The weights of these rows `[outputs, inputs]`, a view into the module's."""
        weight = self.module.weight
        assert isinstance(weight, Tensor)
        return (weight.T if self.turned else weight)[self.rows]

    @property
    def bias(self) -> Tensor | None:
        """The bias of these rows `[outputs]`, a view into the module's; `None` where it has none."""
        bias = self.module.bias
        return bias[self.rows] if isinstance(bias, Tensor) else None

    @property
    def name(self) -> str:
        """The module's path and which of its rows: `tower.blocks.0.attention.qkv:query`."""
        return f"{self.path}:{self.kind}"


def find_sites(model: nn.Module, kind: str, hf_names: dict[str, tuple[str, bool]]) -> list[Site]:
    """All sites of one kind, in the order of the layers, an encoder's before those of the decoder that reads it, a
    layer's attention over a source behind that over itself; an unknown kind is `E-SITE`."""
    from modeledge.model.attention import CrossAttention, SelfAttention
    from modeledge.model.feedforward import FeedForward

    if kind not in KINDS:
        raise ModeledgeError("E-SITE", f"there is no site {kind!r}", remedy=nearest(kind, KINDS))
    found: list[Site] = []

    def add(path: str, module: nn.Module, rows: slice) -> None:
        name, transposed = hf_names.get(path, (path, False))
        assert isinstance(module, Linear)
        found.append(Site(kind, path, module, rows, name, transposed))

    for path, module in model.named_modules():
        if isinstance(module, SelfAttention | CrossAttention) and kind in ("query", "key", "value"):
            number = ("query", "key", "value").index(kind)
            start = sum(module.sizes[:number]) if module.fused else 0
            name = "qkv" if module.fused else kind
            add(f"{path}.{name}", getattr(module, name), slice(start, start + module.sizes[number]))
        elif isinstance(module, SelfAttention | CrossAttention) and kind == "attention_output":
            add(f"{path}.output", module.output, slice(0, module.output.weight.shape[0]))
        elif isinstance(module, FeedForward) and kind in ("gate", "up", "down"):
            part = getattr(module, kind)
            if part is not None:
                add(f"{path}.{kind}", part, slice(0, part.weight.shape[0]))
    return found
