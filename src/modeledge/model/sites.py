"""Where an adapter may act: named places in the model, whatever way its weights are stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError, nearest
from modeledge.model.linear import Linear

KINDS = ("query", "key", "value", "attention_output", "gate", "up", "down")
HIDDEN = "hidden"  # the kind of a head's hidden layer, where adapters of files may stand, and no strategy puts one


@dataclass(frozen=True)
class Laid:
    """Where the rows of a map of ours lie in the map of the checkpoint: in `groups` equal runs, each of them piece
    `number` of `pieces`, behind `start`. By default they are that whole map; `of` is its height, where pieces do not
    say it (0).

    GPT-2 stores [Q; K; V], cut at `start`; GPT-NeoX stores the three of one head side by side, so that its keys are
    piece 1 of 3 in as many groups as there are heads.
    """

    start: int = 0
    groups: int = 1
    pieces: int = 1
    number: int = 0
    of: int = 0

    def rows(self, count: int) -> Tensor:
        """The number in their map of each of our `count` rows, int64."""
        run = count // self.groups
        group, within = torch.arange(count) // run, torch.arange(count) % run
        return self.start + (group * self.pieces + self.number) * run + within

    def height(self, count: int) -> int:
        """How many rows their map has, where ours has `count`."""
        return self.of or count * self.pieces


@dataclass(frozen=True)
class Site:
    """A linear map inside the model: `rows` of the output of `module`.

    `path` names the module in the model; `hf_name` names it in the Hugging Face checkpoint it came from (equal to
    `path` for a model of our own), and `transposed` says that the checkpoint stores its weight the other way round.
    `turned` says so of the module itself: in a model that is wrapped it may be a linear layer of another library, which
    holds `[inputs, outputs]`. Whoever changes weights goes through `weight`. `laid` says where the module's rows lie in
    the checkpoint's map.
    """

    kind: str
    path: str
    module: nn.Module
    rows: slice
    hf_name: str
    transposed: bool = False
    turned: bool = False
    laid: Laid = Laid()

    @property
    def outputs(self) -> int:
        """How many rows the module has in all."""
        assert isinstance(self.module.weight, Tensor)
        return self.module.weight.shape[1 if self.turned else 0]

    @property
    def hf_rows(self) -> Tensor:
        """The rows of the checkpoint's map that this site is, int64, in our order."""
        return self.laid.rows(self.outputs)[self.rows]

    @property
    def hf_height(self) -> int:
        """How many rows the checkpoint's map has."""
        return self.laid.height(self.outputs)

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


def hidden_sites(model: nn.Module, hf_names: Mapping[str, tuple[str, bool]]) -> list[Site]:
    """The hidden layers of a model's heads (BERT's pooler) that the checkpoint has a name for."""
    from modeledge.model.heads import LanguageModelling, Scores

    found: list[Site] = []
    for path, module in model.named_modules():
        if isinstance(module, Scores | LanguageModelling) and module.dense is not None:
            at, rows = f"{path}.dense", slice(0, module.dense.weight.shape[0])
            if at in hf_names:
                found.append(Site(HIDDEN, at, module.dense, rows, *hf_names[at]))
    return found


def find_sites(
    model: nn.Module, kind: str, hf_names: Mapping[str, tuple[str, bool]], hf_laid: Mapping[str, Laid]
) -> list[Site]:
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
        found.append(Site(kind, path, module, rows, name, transposed, laid=hf_laid.get(path, Laid())))

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
