"""How much arithmetic a model is: counted from its matrices, and measured while it runs.

A product of `[n, a]` with `[a, b]` is n · a · b multiplications and as many additions: 2nab FLOPs. So a token costs two
FLOPs a weight of every matrix that it meets, and attention 4 · heads · head width for each key that its query is
compared with (scores, and the mixing of values). The backward pass makes two products for each of the forward one: with
respect to the input and to the weight (Kaplan et al. 2020, arXiv 2001.08361, section 2.1, whose C ≈ 6N is this without
attention and vocabulary; Hoffmann et al. 2022, appendix F, count as is done here). Norms, activations, softmax and
lookups are left out, as in both. Every query is compared with every key of its row, masked or not: that is what dense
kernels compute; a causal kernel that skips blocks does less.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from modeledge.model.block import Tower
from modeledge.model.heads import LanguageModelling
from modeledge.model.linear import Linear
from modeledge.model.transformer import Transformer


@dataclass(frozen=True)
class Work:
    """FLOPs of one row: of its products with weights, of attention, of its heads."""

    body: int
    attention: int
    heads: int

    @property
    def forward(self) -> int:
        """One forward pass."""
        return self.body + self.attention + self.heads

    @property
    def training(self) -> int:
        """Forward and backward."""
        return 3 * self.forward


def work_of(
    model: Transformer, source: int = 0, target: int = 0, reads: Mapping[str, int] = MappingProxyType({})
) -> Work:
    """The FLOPs of a row of `source` tokens in the encoder and `target` tokens in the decoder; each head in `reads`
    reads so many positions (or examples). Divide by the tokens for FLOPs a token; works on the meta device too."""
    config = model.config
    body = attention = 0
    if config.both:
        one, other = of_tower(model.source_tower or model.tower, source, 0, over=False)
        body, attention = one, other
    own = target if config.decoder is not None else source
    one, other = of_tower(model.tower, own, source)
    body, attention = body + one, attention + other
    if model.project is not None:
        body += 2 * model.project.weight.numel() * (source + target)
    if model.patches is not None:
        body += 2 * model.patches.weight.numel() * source
    heads = sum(of_head(model, name, count) for name, count in reads.items())
    return Work(body, attention, heads)


def of_tower(tower: Tower, tokens: int, source: int, *, over: bool = True) -> tuple[int, int]:
    """A tower's products with weights, and its attention; without `over` as it reads a source itself (`share_sides`),
    when its attention over one is not run."""
    body = attention = 0
    for number in range(tower.depth):
        block = tower.block(number)
        beside = 0 if block.cross is None else matrices(block.cross)
        body += 2 * (matrices(block) - beside) * tokens
        attention += 4 * block.attention.heads * block.attention.head_width * tokens**2
        if block.cross is not None and over:
            read = block.cross.key.weight.numel() + block.cross.value.weight.numel()
            body += 2 * (beside - read) * tokens + 2 * read * source
            attention += 4 * block.cross.heads * block.cross.head_width * tokens * source
    return body, attention


def of_head(model: Transformer, name: str, count: int) -> int:
    """A head's products where it reads `count` positions."""
    head = model.heads[name]
    table = head.weights(model.table).numel() if isinstance(head, LanguageModelling) else 0
    return 2 * (matrices(head) + table) * count


def matrices(module: nn.Module) -> int:
    """The weights of all linear layers."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, Linear))


def parameters(module: nn.Module) -> int:
    """All numbers that can be learned, each once."""
    return sum(parameter.numel() for parameter in module.parameters())


def measured(call: Callable[[], object]) -> int:
    """The FLOPs of the products that torch makes in a call, backward passes included (`FlopCounterMode`)."""
    missing = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention}
    with FlopCounterMode(display=False, custom_mapping=missing) as counter:
        call()
    return int(counter.get_total_flops())


def _attention(query: torch.Size, key: torch.Size, value: torch.Size, *rest: object, **more: object) -> int:
    """The FLOPs of torch's attention kernel on a CPU, which its counter does not know."""
    return int(sdpa_flop_count(query, key, value))  # type: ignore[no-untyped-call]
