"""A map and its low-rank parts as one step: the numbers of autograd, and none of its copies."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from modeledge.adapt.beside import Thin, add_thin, with_thin


def parts_of_a_map(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, list[Thin], list[slice]]:
    """x, W, b, and two parts of other ranks and scales on some of the rows."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=draw, dtype=dtype).requires_grad_()

    x, weight, bias = normal(2, 5, 6), normal(9, 6), normal(9)
    parts = [Thin(normal(2, 6), normal(4, 2), 0.5), Thin(normal(3, 6), normal(3, 3), 2.0)]
    return x, weight, bias, parts, [slice(0, 4), slice(6, 9)]


def plain(x: Any, weight: Any, bias: Any, parts: list[Thin], rows: list[slice]) -> torch.Tensor:
    y = torch.nn.functional.linear(x, weight, bias)
    pieces = list(y.unbind(-1))
    for part, at in zip(parts, rows, strict=True):
        for i, row in enumerate(range(at.start, at.stop)):
            pieces[row] = pieces[row] + part.scale * ((x @ part.first.T) @ part.second[i])
    return torch.stack(pieces, -1)


@pytest.mark.parametrize("still", ["nothing", "weights", "x"])
def test_the_gradients_are_those_of_the_formula(still: str) -> None:
    x, weight, bias, parts, rows = parts_of_a_map(torch.float64)
    for tensor in {"nothing": (), "weights": (weight, bias), "x": (x,)}[still]:
        tensor.requires_grad_(False)
    thin = [matrix for part in parts for matrix in (part.first, part.second)]
    moving = [t for t in (x, weight, bias, *thin) if t.requires_grad]
    found = []
    for way in (plain, with_thin):
        y = way(x, weight, bias, parts, rows)
        found.append((y.detach(), torch.autograd.grad(y.cos().sum(), moving)))
    torch.testing.assert_close(found[1], found[0], rtol=1e-12, atol=1e-12)
    beside = add_thin(x, torch.nn.functional.linear(x, weight, bias), parts, rows)
    torch.testing.assert_close(beside, found[0][0], rtol=1e-12, atol=1e-12)


class Large(TorchDispatchMode):
    """Counts what makes a tensor as large as the map's input or output, but for the products themselves."""

    def __init__(self, least: int) -> None:
        super().__init__()
        self.least, self.names = least, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        known = {a.untyped_storage().data_ptr() for a in args if isinstance(a, torch.Tensor)}
        made = isinstance(out, torch.Tensor) and out.untyped_storage().data_ptr() not in known
        if made and out.numel() >= self.least:
            self.names.append(func.overloadpacket.__name__)
        return out


def test_no_copy_of_states_is_made() -> None:
    """Forward y alone is made, backward the gradient of x alone: no second read for a sum, no gradient of W."""
    x = torch.randn(8, 64, 32, requires_grad=True)
    weight, part = torch.randn(48, 32), Thin(torch.randn(4, 32).requires_grad_(), torch.randn(48, 4).requires_grad_())
    with Large(8 * 64 * 32) as forward:
        y = with_thin(x, weight, None, [part], [slice(0, 48)])
    with Large(8 * 64 * 32) as backward:
        y.backward(torch.empty_like(y))
    assert forward.names == ["mm"]
    assert [name for name in backward.names if name != "empty_like"] == ["mm"]
