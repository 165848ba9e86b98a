"""Where an adapter may act in a model that is wrapped.

Linear maps are found by the names that the library's classes give them, inside the layers alone. A map that makes
queries, keys and values at once is cut into rows; its sizes do not say where to cut, because GPT-2 stores [Q; K; V],
while BLOOM and GPT-NeoX store the three of one head side by side. So the model is asked: what a later token takes from
an earlier one are its keys and values, never its query, and of a single token alone the value matters.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError, nearest
from modeledge.families.wrapped.anatomy import Anatomy, last_states, quiet, read
from modeledge.families.wrapped.rows import Rows
from modeledge.model.sites import KINDS, Site

NAMES = {
    "query": {"q", "query", "q_proj", "query_proj", "q_lin", "wq"},
    "key": {"k", "key", "k_proj", "key_proj", "k_lin", "wk"},
    "value": {"v", "value", "v_proj", "value_proj", "v_lin", "wv"},
    "attention_output": {"o", "o_proj", "out_lin"},
    "gate": {"gate_proj", "wi_0", "w1"},
    "up": {"up_proj", "wi", "wi_1", "fc1", "fc_in", "c_fc", "dense_h_to_4h", "lin1", "w3", "intermediate.dense"},
    "down": {"down_proj", "wo", "Wo", "fc2", "fc_out", "dense_4h_to_h", "lin2", "w2", "c_proj", "output.dense"},
}
IN_ATTENTION = {"dense", "c_proj", "out_proj", "output_proj", "proj", "wo", "Wo"}  # its output, and nothing else
FUSED = {"c_attn", "qkv_proj", "qkv", "Wqkv", "query_key_value"}
THREE = ("query", "key", "value")


def kind_of(path: str) -> str | None:
    """The kind of site that a linear map of this path is; "fused" makes queries, keys and values at once."""
    words = path.split(".")
    ends = {words[-1], ".".join(words[-2:])}
    attends = any("attn" in word or "attention" in word for word in path.lower().split(".")[:-1])
    if attends and words[-1] in IN_ATTENTION:
        return "attention_output"
    if words[-1] in FUSED:
        return "fused"
    return next((kind for kind, names in NAMES.items() if names & ends and (attends or kind not in THREE)), None)


def find_wrapped_sites(body: nn.Module, anatomy: Anatomy, kind: str, prefix: str, *, both: bool) -> list[Site]:
    """All sites of one kind, in the order of the layers. An unknown kind, and one that is not found, is `E-SITE`."""
    if kind not in KINDS:
        raise ModeledgeError("E-SITE", f"there is no site {kind!r}", remedy=nearest(kind, KINDS))
    found: list[Site] = []
    for path, module in linear_maps(body, anatomy):
        here = kind_of(path)
        turned = not isinstance(module, nn.Linear)
        rows = slice(0, module.weight.shape[1 if turned else 0])  # type: ignore[index]
        if here == "fused" and kind in THREE:
            rows = rows_of(body, path, module, anatomy, both=both)[kind]
        elif here != kind:
            continue
        found.append(Site(kind, f"body.{path}", module, rows, f"{prefix}{path}", turned, turned))
    if not found:
        seen = dict.fromkeys(_short(path) for path, _ in linear_maps(body, anatomy))
        what = (
            f"no linear map of a {type(body).__name__} is known as {kind!r}; its layers have {', '.join(seen) or '-'}"
        )
        raise ModeledgeError("E-SITE", what)
    return found


def linear_maps(body: nn.Module, anatomy: Anatomy) -> Iterator[tuple[str, nn.Module]]:
    """The linear maps inside the layers: torch's, and the library's own that stores its weight the other way round."""
    from transformers.pytorch_utils import Conv1D

    for path, module in body.named_modules():
        if isinstance(module, nn.Linear | Conv1D) and anatomy.block_of(path) is not None:
            yield path, module


def rows_of(body: nn.Module, path: str, module: nn.Module, anatomy: Anatomy, *, both: bool) -> dict[str, slice]:
    """The rows of queries, keys and values in a map that makes all three; rows that are not three pieces in this order
    are `E-SITE`."""
    number = anatomy.block_of(path)
    assert number is not None
    block = body.get_submodule(anatomy.blocks[number][0])
    taken = _slope(body, module, block, 2, both)[0] != 0  # what the last of two tokens takes from the first
    count, start = len(taken), int((~taken).sum())
    middle = (start + count) // 2
    alone = _slope(body, module, block, 1, both)[0].abs()
    apart = bool(taken[start:].all()) and (count - start) % 2 == 0 and start > 0
    if not apart or alone[:middle].mean() > 1e-3 * alone[middle:].mean():
        what = f"{path} makes queries, keys and values in {count} rows that do not lie in three pieces"
        raise ModeledgeError("E-SITE", what, why="an adapter on some rows would mix them")
    return {"query": slice(0, start), "key": slice(start, middle), "value": slice(middle, count)}


def _slope(body: nn.Module, module: nn.Module, block: nn.Module, length: int, both: bool) -> Tensor:
    """How the block's output at the last of `length` tokens changes with the map's at each: `[length, rows]`."""
    held: dict[str, Tensor] = {}

    def made(module: nn.Module, arguments: Any, out: Tensor) -> Tensor:
        held["made"] = out.detach().requires_grad_()
        return held["made"]

    def given(module: nn.Module, arguments: Any, out: Any) -> None:
        held["given"] = out if isinstance(out, Tensor) else out[0]

    handles = [module.register_forward_hook(made), block.register_forward_hook(given)]
    try:
        with quiet(body), torch.enable_grad():
            ids = torch.arange(1, 1 + length, device=next(body.parameters()).device)[None]
            last_states(body, read(body, Rows(ids), Rows(ids) if both else None))
            out = held["given"][0, -1]
            direction = torch.randn(out.shape, generator=torch.Generator().manual_seed(0)).to(out)
            (slope,) = torch.autograd.grad((out * direction).sum(), held["made"])
    finally:
        for handle in handles:
            handle.remove()
    return slope.reshape(length, -1)


def _short(path: str) -> str:
    """The last two words of a path, numbers left out."""
    return ".".join(word for word in path.split(".")[-2:] if not word.isdigit())
