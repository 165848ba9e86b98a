"""What a model of another library is, found out by watching it read a few tokens.

Its class says little that all classes say alike: whether it reads both ways, whether its mask really hides padding, how
wide its states are, which modules are its layers and which stand below and above them. Each is a fact that one forward
pass over four tokens shows, so it is asked, not guessed from a name.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.errors import ModeledgeError
from modeledge.families.wrapped.rows import Reading, Rows
from modeledge.model.parts import Part, Parts

ROUNDING = 1e-5  # of the largest state: ten times what fp32 sums of another order differ by


@dataclass(frozen=True)
class Anatomy:
    """Paths of modules inside the body: what lies `below` the layers, the `blocks` from the bottom up (one may be made
    of several modules), and what runs `last`."""

    below: tuple[str, ...]
    blocks: tuple[tuple[str, ...], ...]
    last: tuple[str, ...]

    def block_of(self, path: str) -> int | None:
        """The number of the block that a module is in."""
        for number, modules in enumerate(self.blocks):
            if any(within(path, module) for module in modules):
                return number
        return None

    def parts(self, body: nn.Module, heads: Mapping[str, nn.Module]) -> Parts:
        """The whole model's parts; a parameter is where the module that owns it is."""
        below: list[str] = []
        last: list[str] = []
        blocks: list[list[str]] = [[] for _ in self.blocks]
        ends = frozenset(self.last)
        for name, _ in body.named_parameters():
            owner = name.rpartition(".")[0]
            number = self.block_of(owner)
            where = blocks[number] if number is not None else last if owner in ends else below
            where.append(f"body.{name}")
        return Parts(
            Part(tuple(below), modules(body, self.below)),
            tuple(Part(tuple(n), modules(body, paths)) for n, paths in zip(blocks, self.blocks, strict=True)),
            Part(tuple(last), modules(body, self.last)),
            {name: Part.of(f"heads.{name}", head) for name, head in heads.items()},
        )


@dataclass(frozen=True)
class Findings:
    """What the probe found: `both` sides, `ahead` (a token sees those after it), `masks` (padding changes nothing),
    the width of the states, and the anatomy."""

    both: bool
    ahead: bool
    masks: bool
    width: int
    anatomy: Anatomy


def modules(body: nn.Module, paths: Collection[str]) -> tuple[nn.Module, ...]:
    """The modules at these paths."""
    return tuple(body.get_submodule(path) for path in paths)


def read(body: nn.Module, rows: Rows, target: Rows | None = None, *, layers: bool = False) -> Any:
    """Call the body: its own output object. Nothing is given that its signature does not name."""
    known = inspect.signature(body.forward).parameters
    given: dict[str, Any] = {"input_ids": rows.ids, "attention_mask": rows.mask, "token_type_ids": rows.types}
    if target is not None:
        given |= {"decoder_input_ids": target.ids, "decoder_attention_mask": target.mask}
    given = {name: value for name, value in given.items() if value is not None}
    if strange := given.keys() - known.keys():
        what = f"{type(body).__name__} reads no {', '.join(sorted(strange))}"
        raise ModeledgeError("E-USAGE", what, remedy="wrap a model of text")
    if "use_cache" in known:
        given["use_cache"] = False
    return body(**given, output_hidden_states=layers, return_dict=True)


def probe(body: nn.Module, config: Any, vocab: int) -> Findings:
    """Let the body read four tokens, in evaluation mode, and look. Fewer than five ids are `E-USAGE`."""
    device = next(body.parameters()).device
    usual = [i for i in range(vocab) if i != getattr(config, "pad_token_id", None)][:5]
    if len(usual) < 5:
        raise ModeledgeError("E-USAGE", f"a vocabulary of {vocab} ids is too small to be tried")
    a, b, c, d, e = usual
    one, other = (torch.tensor([ids], device=device) for ids in ([a, b, c, d], [a, b, c, e]))
    both = bool(getattr(config, "is_encoder_decoder", False))
    with quiet(body), torch.no_grad():
        with watched(body) as calls:
            states = _last(body, Rows(one), both)
        changed = _last(body, Rows(other), both)
        masks = "attention_mask" in inspect.signature(body.forward).parameters
        if masks:
            short = _last(body, Rows(one[:, :2]), both)
            mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1]], device=device)
            padded = _last(body, Rows(torch.cat((one, other)), mask), both)[:1, :2]
            masks = same(short, padded)
    width = states.shape[-1]
    return Findings(both, not same(states[:, :3], changed[:, :3]), masks, width, anatomy(body, config, calls))


def same(one: Tensor, two: Tensor) -> bool:
    """Equal up to rounding?"""
    return bool((one - two).abs().max() <= ROUNDING * one.abs().max())


@contextlib.contextmanager
def quiet(body: nn.Module) -> Iterator[None]:
    """Within this block the body is in evaluation mode: it drops nothing."""
    training = [module for module in body.modules() if module.training]
    for module in training:
        module.training = False
    try:
        yield
    finally:
        for module in training:
            module.training = True


@contextlib.contextmanager
def watched(body: nn.Module) -> Iterator[list[str]]:
    """Within this block each call of a module inside the body adds its path to the list."""
    calls: list[str] = []

    def noting(path: str) -> Callable[[nn.Module, Any], None]:
        return lambda module, arguments: calls.append(path)

    handles = [module.register_forward_pre_hook(noting(path)) for path, module in body.named_modules() if path]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def anatomy(body: nn.Module, config: Any, calls: list[str]) -> Anatomy:
    """Blocks are the members of the body's lists of layers; what first runs after the last block of its stack stands
    above, everything else below. A body without such lists is one block."""
    stacks = _stacks(body, config, calls)
    inside = {path for stack in stacks for block in stack for path in block}
    if not inside:
        return Anatomy((), (("",),), ())
    ends = {path: home for home, stack in zip(_homes(stacks), stacks, strict=True) for path in stack[-1]}
    top = max(stacks, key=lambda stack: max(calls.index(path) for path in stack[-1]))[-1]
    last: list[str] = []
    recent = ""
    for path in dict.fromkeys(calls):
        block = next((b for b in inside if within(path, b)), None)
        if block is not None:
            recent = block
        elif recent in ends and (recent in top or path.startswith(ends[recent])) and not _holds(path, inside):
            last.append(path)
    rest = [
        path
        for path, _ in body.named_modules()
        if path and path not in last and not _holds(path, inside) and not any(within(path, b) for b in inside)
    ]
    return Anatomy(tuple(rest), tuple(block for stack in stacks for block in stack), tuple(last))


def _stacks(body: nn.Module, config: Any, calls: list[str]) -> list[list[tuple[str, ...]]]:
    """The stacks in the order in which they run, each a list of blocks. Lists of one length that stand side by side
    (XLM keeps its attentions in one, its feed-forwards in another) make one stack."""
    said = {v for k, v in vars(config).items() if "layer" in k and type(v) is int}
    said.add(getattr(config, "num_hidden_layers", 0))
    lists = {path: module for path, module in body.named_modules() if isinstance(module, nn.ModuleList)}
    outer = [path for path in lists if not any(within(path, other) for other in lists if other != path)]
    ran = [p for p in outer if len(lists[p]) and all(f"{p}.{n}" in calls for n in range(len(lists[p])))]
    fitting = [path for path in ran if len(lists[path]) in said] or sorted(ran, key=lambda p: -_size(lists[p]))[:1]
    stacks: dict[tuple[str, int], list[str]] = {}
    for path in fitting:
        stacks.setdefault((path.rpartition(".")[0], len(lists[path])), []).append(path)
    made = [[tuple(f"{p}.{n}" for p in paths) for n in range(length)] for (_, length), paths in stacks.items()]
    return sorted(made, key=lambda stack: min(calls.index(path) for path in stack[0]))


def _homes(stacks: list[list[tuple[str, ...]]]) -> list[str]:
    """For each stack the beginning of the paths of the modules beside it."""
    parents = [stack[0][0].rpartition(".")[0].rpartition(".")[0] for stack in stacks]
    return [f"{parent}." if parent else "" for parent in parents]


def _last(body: nn.Module, rows: Rows, both: bool) -> Tensor:
    out = read(body, rows, rows if both else None)
    return last_states(body, out)


def last_states(body: nn.Module, out: Any) -> Tensor:
    """The last states `[examples, seq, width]` of an output; a model that gives none is `E-USAGE`."""
    states = out.get("last_hidden_state") if hasattr(out, "get") else None
    if not isinstance(states, Tensor) or states.ndim != 3:
        what = f"{type(body).__name__} gives no states of tokens"
        raise ModeledgeError("E-USAGE", what, remedy="wrap the body alone (AutoModel, or model.base_model)")
    return states


def reading(body: nn.Module, out: Any, *, layers: bool) -> Reading:
    """The states of an output. A body that does not give all layers' when they are asked for is `E-USAGE`."""
    last, encoder = last_states(body, out), out.get("encoder_last_hidden_state")
    if not layers:
        return Reading(last, encoder=encoder)
    every = tuple(out.get("decoder_hidden_states" if encoder is not None else "hidden_states") or ())
    below = tuple(out.get("encoder_hidden_states") or ())
    if not every or any(state.shape != last.shape for state in every):
        raise ModeledgeError("E-USAGE", f"{type(body).__name__} gives no states of all layers")
    return Reading(last, every, encoder, below)


def within(path: str, other: str) -> bool:
    """Is the first module the second, or inside it? All are inside the body itself, which has no path."""
    return not other or path == other or path.startswith(f"{other}.")


def _holds(path: str, inside: Collection[str]) -> bool:
    return any(block.startswith(f"{path}.") for block in inside)


def _size(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
