"""A copy of a model that is made for decoding: weights in the dtype of the products, laid out for few rows at a time.

A decoding step multiplies each weight matrix with one vector a prompt, so it waits for memory, not for arithmetic. On a
CPU with oneDNN the weights are put once into the blocked order that its kernels read; otherwise they would be put into
it again for every token (measured: 1.6 times as many bytes a second).
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from modeledge.machine import tune_malloc
from modeledge.model.feedforward import FeedForward
from modeledge.model.heads import LanguageModelling
from modeledge.model.linear import Linear
from modeledge.model.transformer import Transformer

FUSED = {"gelu": ("gelu", "none"), "gelu_tanh": ("gelu", "tanh"), "relu": ("relu", "")}  # silu is not among its own


class PackedLinear(nn.Module):
    """A linear map whose weight lies in oneDNN's blocked order, with an activation that its kernel applies."""

    def __init__(self, weight: Tensor, bias: Tensor | None, activation: tuple[str, str] = ("none", "")) -> None:
        super().__init__()
        self.activation = activation
        self.register_buffer("packed", torch.ops.mkldnn._reorder_linear_weight(weight.contiguous()), persistent=False)
        self.register_buffer("bias", bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        name, form = self.activation
        out: Tensor = torch.ops.mkldnn._linear_pointwise(x, self.packed, self.bias, name, [], form)
        return out


class PackedVocabulary(nn.Module):
    """A language-modelling head over a packed vocabulary table."""

    def __init__(self, head: LanguageModelling, table: Tensor) -> None:
        super().__init__()
        self.head = head
        self.product = PackedLinear(table, None if head.bias is None else head.bias.detach())

    def forward(self, states: Tensor, embedding: Tensor) -> Tensor:
        """States `[..., width]` → scores `[..., vocab]`."""
        return self.head.capped(self.product(self.head.hidden(states)))


def ready(model: Transformer, dtype: torch.dtype | None = None) -> Transformer:
    """A copy for inference alone: evaluation mode, no gradients, weights in `dtype` (default: the model's compute)."""
    tune_malloc()
    dtype = dtype or model.compute
    made = copy.deepcopy(model).eval().requires_grad_(False).to(dtype)
    made.compute = dtype
    if dtype is torch.bfloat16 and made.device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        _pack(made)
        for name, head in made.heads.items():
            if isinstance(head, LanguageModelling):
                made.heads[name] = PackedVocabulary(head, head.weights(made.table).detach())
    return made


def _pack(module: nn.Module) -> None:
    for name, child in module.named_children():
        if type(child) is Linear:
            bias = None if child.bias is None else child.bias.detach()
            activation, hooked = ("none", ""), bool(child._forward_hooks or child._forward_pre_hooks)
            if not hooked and isinstance(module, FeedForward) and name == "up" and module.kind in FUSED:
                activation, module.activation = FUSED[module.kind], _unchanged
            packed = PackedLinear(child.weight.detach(), bias, activation)
            if hooked:
                _take_over(packed, child)
            setattr(module, name, packed)
        else:
            _pack(child)


def _take_over(packed: PackedLinear, child: Linear) -> None:
    """What an adapter has put beside a map, and the hooks that call it: they act on the packed one as they did on it.
    An activation must come behind them, so it is not fused."""
    for name, beside in child.named_children():
        packed.add_module(name, beside)
    packed._forward_hooks, packed._forward_pre_hooks = child._forward_hooks, child._forward_pre_hooks
    packed._forward_hooks_with_kwargs = child._forward_hooks_with_kwargs
    packed._forward_pre_hooks_with_kwargs = child._forward_pre_hooks_with_kwargs


def _unchanged(x: Tensor) -> Tensor:
    return x
