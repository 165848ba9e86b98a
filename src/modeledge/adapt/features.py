"""Run a frozen body once, and keep its states: what makes a linear probe nearly free.

Where everything below some layer is frozen, that part of the forward pass gives the same states for an example in every
epoch (frozen parts are in eval mode, see `apply_moving`). They are computed once, kept by example, and put back into
rows in whatever order the trainer packs them; the model then starts above them.

The states of one example do not depend on its neighbours in a row, so an example may be cached in one row and used in
another: equal up to the order in which a matrix product adds up its terms, which torch chooses by the number of rows
(about 1e-6 of their size in fp32), and bit for bit equal where the rows are the same. To keep resumed runs bitwise
exact, fill the cache from batches in a fixed order (`cache_features` over the data as it lies), not as training happens
to meet the examples.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from modeledge.adapt.parts import parts_of
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone, Start
from modeledge.model.batch import Batch
from modeledge.model.heads import members


def frozen_depth(model: Backbone, rates: Mapping[str, float]) -> int | None:
    """How many blocks lie below everything in the body that moves; `None` where the embeddings move, and for a model
    that cannot be cut at a block (a decoder that reads an encoder, a model that is wrapped).

    `rates` is what `compose` gave. 0 means that only the embeddings can be cached, the number of layers that all blocks
    can: the last norm is cheap and always run.
    """
    parts = parts_of(model)
    if parts.embeddings.moves(rates) or not model.cuts:
        return None
    still = [not block.moves(rates) for block in parts.blocks]  # one for all layers where they share their weights
    return still.index(False) if False in still else model.config.stack.layers


def needed_bytes(model: Backbone, tokens: int) -> int:
    """The memory that the states of so many tokens take: what to compare with a limit before caching."""
    return tokens * model.config.width * model.compute.itemsize


class FeatureCache:
    """States `[tokens, width]` that enter block `layer`, by example number, in at most `limit` bytes.

    With each example a digest of its tokens is kept, so that states are never used for other tokens than they were
    computed from: an objective with noise (masking) is refused, as is a changed tokenizer or truncation.
    """

    def __init__(self, layer: int, *, limit: int) -> None:
        self.layer, self.limit, self.bytes = layer, limit, 0
        self._held: dict[int, tuple[bytes, Tensor]] = {}

    def __len__(self) -> int:
        return len(self._held)

    def __contains__(self, index: int) -> bool:
        return index in self._held

    def get(self, index: int, digest: bytes) -> Tensor:
        """The states of an example, if they were computed from these tokens; else `E-FEATURES`."""
        if index not in self._held:
            raise _refused(index, "its states were never cached", "cache every example that is trained on")
        kept, states = self._held[index]
        if kept != digest:
            raise _refused(index, "its states were computed from other tokens", "cache only what has no noise")
        return states

    def put(self, index: int, digest: bytes, states: Tensor) -> None:
        """Keep a copy of an example's states; beyond the limit, or for other tokens than before: `E-FEATURES`."""
        if index in self._held:
            self.get(index, digest)
            return
        if self.bytes + states.nbytes > self.limit:
            what = f"{self.bytes + states.nbytes:,} bytes are more than the limit of {self.limit:,}"
            raise _refused(index, what, "raise the limit, or train without the cache")
        self._held[index] = (digest, states.detach().clone(memory_format=torch.contiguous_format))
        self.bytes += states.nbytes

    def fill(self, batch: Batch, states: Tensor) -> None:
        """Keep the states `[rows, seq, width]` of all examples of a batch."""
        prints = digests(batch)
        for index, piece in split(batch, states).items():
            self.put(index, prints[index], piece)

    def assemble(self, batch: Batch) -> Tensor:
        """The states of a batch `[rows, seq, width]` out of its examples', zero where there is no token."""
        prints = digests(batch)
        pieces = torch.cat([self.get(index, prints[index]) for index in batch.indices.tolist()])
        rows, seq = batch.side.positions.shape
        _, position = members(batch, seq)
        flat = pieces.new_zeros(rows * seq, pieces.shape[1])
        return flat.index_copy_(0, position.to(pieces.device), pieces).view(rows, seq, -1)


def split(batch: Batch, states: Tensor) -> dict[int, Tensor]:
    """States `[rows, seq, width]` cut into those of each example, `{index: [tokens, width]}`."""
    spans = zip(batch.indices.tolist(), batch.spans.tolist(), strict=True)
    return {index: states[row, start:end] for index, (row, start, end) in spans}


def digests(batch: Batch) -> dict[int, bytes]:
    """A digest of what the model reads of each example: ids or patches, token types, prefix."""
    side = batch.side
    read = [x.cpu().numpy() for x in (side.ids, side.types, side.prefix) if x is not None]
    out: dict[int, bytes] = {}
    for index, (row, start, end) in zip(batch.indices.tolist(), batch.spans.tolist(), strict=True):
        digest = hashlib.blake2b(digest_size=16)
        for marks in read:
            digest.update(marks[row, start:end].tobytes())
        out[index] = digest.digest()
    return out


def cache_features(model: Backbone, batches: Iterable[Batch], layer: int, *, limit: int) -> FeatureCache:
    """Run the embeddings and the first `layer` blocks once over all batches and keep the states, without dropout.

    More than `limit` bytes is `E-FEATURES`: see `needed_bytes`. Batches must be on the model's device.
    """
    cache = FeatureCache(layer, limit=limit)
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        with torch.no_grad():
            for batch in batches:
                cache.fill(batch, model.states_at(batch, layer))
    finally:
        for module, training in modes.items():
            module.training = training
    return cache


@contextlib.contextmanager
def starting_above(cache: FeatureCache, model: Backbone, batch: Batch) -> Iterator[None]:
    """Within this block `model(batch)` starts from the cached states, whoever calls it; other batches run as usual."""
    assert _is_frozen(model, cache.layer), "states are cached below a layer that moves"
    start = Start(cache.assemble(batch), cache.layer)

    def skip(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any] | None:
        return (args, {**kwargs, "start": start}) if args and args[0] is batch else None

    handle = model.register_forward_pre_hook(skip, with_kwargs=True)
    try:
        yield
    finally:
        handle.remove()


def _is_frozen(model: Backbone, layer: int) -> bool:
    depth = frozen_depth(model, {name: 1.0 for name, p in model.named_parameters() if p.requires_grad})
    return depth is not None and layer <= depth


def _refused(index: int, what: str, remedy: str) -> ModeledgeError:
    return ModeledgeError("E-FEATURES", what, where=f"example {index}", remedy=remedy)
