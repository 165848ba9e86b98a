"""A frozen body in 8 or 4 bits a weight, under adapters that are trained in full precision.

Dettmers et al. (2023, arXiv 2305.14314: QLoRA) train LoRA through a frozen body whose weights are stored in 4 bits and
made whole again for each product (`adapt/nf4.py`). In 8 bits the plainest code there is (Dettmers et al. 2022, arXiv
2208.07339, section 2.1, row by row) loses less: with s = max |w| / 127 over a row, w is stored as round(w / s), so that

    |w − ŵ| ≤ s / 2 = max |w| / 254.

A row has one number more, so a map of many inputs takes a quarter of its fp32. The product is made in the dtype of the
states, x Cᵀ · s, and the backward pass makes the codes whole again in place of keeping them: what is held is 1 byte a
weight. Embeddings, norms, biases and heads stay as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from modeledge.adapt.nf4 import Nf4DoubleLinear, Nf4Linear
from modeledge.adapt.targets import sites_of
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.linear import Linear
from modeledge.model.transformer import Transformer

CODES = 127


class _Product(torch.autograd.Function):
    """x Cᵀ · s, which keeps the codes for its backward pass and no copy of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(codes, scale)
        return F.linear(x, codes.to(x.dtype)) * scale.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        codes, scale = ctx.saved_tensors
        dtype = gradients[0].dtype
        return (gradients[0] * scale.to(dtype)) @ codes.to(dtype), None, None


class Int8Linear(Linear):
    """A linear map that never moves: `codes [outputs, inputs]` int8 and `scale [outputs]` in place of its weight."""

    form: ClassVar[str] = "int8"
    codes: Tensor
    scale: Tensor

    def __init__(self, plain: Linear) -> None:
        nn.Module.__init__(self)
        weight = plain.weight.detach()
        scale = weight.abs().amax(1).float() / CODES
        codes = torch.round(weight / torch.where(scale > 0, scale, 1.0)[:, None]).to(torch.int8)
        self.register_buffer("codes", codes)
        self.register_buffer("scale", scale)
        self.bias = plain.bias
        self.residual = plain.residual

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """What the codes stand for, made anew at each call: a change of it is lost."""
        return self.codes.to(self.scale.dtype) * self.scale[:, None]

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = _Product.apply(x, self.codes, self.scale)  # type: ignore[no-untyped-call]
        return y if self.bias is None else y + self.bias.to(x.dtype)

    def extra_repr(self) -> str:
        return f"{self.codes.shape[1]} → {self.codes.shape[0]}, int8"


FORMS: dict[str, type[Int8Linear | Nf4Linear]] = {held.form: held for held in (Int8Linear, Nf4Linear, Nf4DoubleLinear)}


@dataclass(frozen=True)
class Quantized:
    """What fewer bits cost and save: `maps` of them in a `form`, their bytes before and now, and over all
    √(Σ (w − ŵ)² / Σ w²)."""

    form: str
    maps: int
    before: int
    after: int
    error: float

    def told(self) -> str:
        """In one line."""
        sizes = f"{self.before / 2**20:,.1f} MiB of weights are {self.after / 2**20:,.1f} MiB in {self.form}"
        return f"{sizes} ({self.maps} maps, relative error {self.error:.2%})"


def quantize(model: Backbone, form: str = "int8") -> Quantized:
    """Put the linear maps of a model's blocks into a form of `FORMS`, for good. `E-SITE` for a model that is wrapped,
    or that has an adapter on its maps already."""
    if not isinstance(model, Transformer):
        what = f"a {type(model).__name__} is wrapped whole: its maps are another library's"
        raise ModeledgeError("E-SITE", what, where="quantize", remedy="leave quantize out")
    before = after = 0
    wrong = whole = 0.0
    maps = {site.path: site.module for site in sites_of(model)}
    for path, module in maps.items():
        if type(module) is not Linear or module._forward_hooks:
            raise ModeledgeError("E-SITE", f"{path} has an adapter, or is in fewer bits", where="quantize")
    for path, module in maps.items():
        assert isinstance(module, Linear)
        made = FORMS[form](module).train(module.training)
        weight = module.weight.detach()
        wrong += float((weight - made.weight).square().sum())
        whole += float(weight.square().sum())
        before += weight.numel() * weight.element_size()
        after += sum(held.numel() * held.element_size() for held in made.buffers())
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, made)
    return Quantized(form, len(maps), before, after, (wrong / whole) ** 0.5 if whole else 0.0)


def form_of(model: Backbone) -> str | None:
    """The form that a model's maps are held in; `None` where they are plain."""
    found = (module.form for module in model.modules() if isinstance(module, Int8Linear | Nf4Linear))
    return next(found, None)


def quantized_names(model: Backbone) -> set[str]:
    """The tensors of a model's `state_dict` that stand in the place of weights: codes, and what scales them."""
    found = [(path, module) for path, module in model.named_modules() if isinstance(module, Int8Linear | Nf4Linear)]
    return {f"{path}.{name}" for path, module in found for name, _ in module.named_buffers(recurse=False)}


def held_bytes(model: Backbone) -> int:
    """The bytes of all that a model holds: its parameters and buffers."""
    held = {id(t): t for t in (*model.parameters(), *model.buffers())}
    return sum(t.numel() * t.element_size() for t in held.values())
