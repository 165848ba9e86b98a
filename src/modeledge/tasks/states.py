"""A body run once over examples: the states of chosen layers, pooled, as arrays. Nothing is trained, nothing padded.

One pass serves every layer and pooling that is asked for. Examples are packed into rows of similar lengths; of each
batch only the pooled vectors are kept, in fp32. An encoder–decoder is read at its encoder: the decoder is not run.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.model.batch import Batch
from modeledge.model.heads import pooled
from modeledge.objectives import Shape, collate
from modeledge.records import Example, FloatArray, IntArray, Piece, Prepared
from modeledge.tasks.label import LabelTask
from modeledge.tasks.tag import TagTask
from modeledge.tasks.task import Task

TOKENS = 8192  # of one batch
TEXT_POOLS, WORD_POOLS = ("first", "mean", "max", "last"), ("first", "mean")


@dataclass(frozen=True)
class Look:
    """What is kept of a pass: which layers (0: the embeddings), and which poolings."""

    layers: tuple[int, ...]
    pools: tuple[str, ...]


@dataclass(frozen=True)
class Reads:
    """What a body reads: `pieces`, in which of the two stacks, and, where words are asked for and not texts, of each
    piece the first place of each word and the place behind it `[words, 2]`."""

    pieces: Sequence[Piece]
    source: bool
    words: Sequence[IntArray] | None = None

    @property
    def items(self) -> int:
        """How many vectors there will be."""
        return len(self.pieces) if self.words is None else sum(map(len, self.words))


def reads_of(task: Task, examples: Sequence[Example], *, apart: bool) -> Reads:
    """The examples as the task's own preparation lays them out. Where pairs are `apart`, all first texts by themselves,
    and then all second ones. A task without such a way is `E-USAGE`."""
    if isinstance(task, TagTask):
        prepare = task.objective.prepare
        begins = prepare.first is not None
        spans = [np.stack((e.channels["reads"], e.channels["stops"]), 1) + begins for e in examples]
        return Reads([prepare.piece(e) for e in examples], prepare.side == "source", spans)
    check_task(task)
    assert isinstance(task, LabelTask)
    if apart:
        firsts = [replace(e, pair=None) for e in examples]
        examples = [*firsts, *(replace(e, ids=e.pair, pair=None) for e in examples if e.pair is not None)]
    return Reads([task.prepare.piece(e) for e in examples], task.prepare.side != "target")


def check_task(task: Task) -> None:
    """Refuse a task whose answers are not one label a row or one tag a word (`E-USAGE`)."""
    known = "label", "classification", "regression", "tag", "entities"
    if task.kind not in known:
        what = f"the task {task.kind!r} has no classical heads"
        raise ModeledgeError("E-USAGE", what, remedy=f"{', '.join(known[1:])}; or fine-tune: --strategy probe")
    if isinstance(task, TagTask) and task.shape.decode == "crf":
        what, remedy = "a chain of tags is learned with a head of the model", 'decode = "viterbi", or fine-tune'
        raise ModeledgeError("E-CONFIG-VALUE", what, where="options.decode", remedy=remedy)


def layers_in(model: Backbone) -> int:
    """How many layers the stack has that is read."""
    if not model.config.both:
        return model.config.stack.layers
    told = getattr(model.config.encoder, "layers", None)
    if told is None:  # a wrapped body says how many its decoder has: its encoder is asked with one token
        batch = collate([Prepared(0, source=Piece(np.zeros(1, dtype=np.int64)))], Shape(1))
        with torch.inference_mode():
            told = len(model.layers_of(batch.to(model.device))) - 1
    return int(told)


def needed_bytes(reads: Reads, look: Look, width: int) -> int:
    """The memory that the states take."""
    return reads.items * len(look.layers) * len(look.pools) * width * 4


def check_room(reads: Reads, look: Look, width: int, limit: int) -> None:
    """Refuse states that are larger than a limit, before the body is run (`E-FEATURES`)."""
    needed = needed_bytes(reads, look, width)
    if needed > limit:
        many = f"{reads.items:,} vectors of {len(look.layers)} layers by {len(look.pools)} poolings"
        what = f"{many} take {needed / 2**30:.2f} GiB, more than {limit / 2**30:.2f}"
        raise ModeledgeError("E-FEATURES", what, remedy="raise features.memory_gib, or ask for fewer layers or rows")


def states_of(model: Backbone, reads: Reads, look: Look) -> dict[str, FloatArray]:
    """Of each pooling `[items, layers, width]` in fp32; the model is in evaluation mode, its `compute` as it is."""
    out = {pool: np.zeros((reads.items, len(look.layers), model.config.width), np.float32) for pool in look.pools}
    counts = [1] * len(reads.pieces) if reads.words is None else [len(words) for words in reads.words]
    starts = np.cumsum([0, *counts])
    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches(reads):
                batch = batch.to(model.device)
                layers = chosen_layers(model, batch, look.layers)
                items = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in batch.indices.tolist()])
                for pool, told in vectors(layers, batch, look.pools, reads):
                    out[pool][items] = told.cpu().numpy()
    finally:
        model.train(training)
    return out


def batches(reads: Reads) -> Iterator[Batch]:
    """All pieces in packed batches of about `TOKENS` tokens, similar lengths together."""
    lengths = [len(piece.ids) for piece in reads.pieces]
    order = sorted(range(len(lengths)), key=lambda n: (lengths[n], n))
    shape, chosen, tokens = Shape(max(lengths, default=1)), list[int](), 0
    for place, number in enumerate(order):
        chosen.append(number)
        tokens += lengths[number]
        if tokens >= TOKENS or place == len(order) - 1:
            side = "source" if reads.source else "target"
            yield collate([Prepared(n, **{side: reads.pieces[n]}) for n in chosen], shape)  # type: ignore[arg-type]
            chosen, tokens = [], 0


def chosen_layers(model: Backbone, batch: Batch, layers: Sequence[int]) -> list[Tensor]:
    """The states `[rows, seq, width]` of some layers in fp32; all layers are held only where the last is not all."""
    if list(layers) == [layers_in(model)]:
        return [(model.encode(batch) if batch.source is not None else model(batch).last).float()]
    every = model.layers_of(batch)
    assert len(every) == layers_in(model) + 1, "the embeddings, and the output of each layer"
    return [every[layer].float() for layer in layers]


def vectors(layers: Sequence[Tensor], batch: Batch, pools: Sequence[str], reads: Reads) -> Iterator[tuple[str, Tensor]]:
    """Of each pooling the vectors of the batch's items `[items, layers, width]`, example by example."""
    if reads.words is None:
        for pool in pools:
            yield pool, torch.stack([pooled(states, batch, pool) for states in layers], 1)  # type: ignore[arg-type]
        return
    seq = batch.side.positions.shape[1]
    base = (batch.spans[:, 0] * seq + batch.spans[:, 1]).tolist()
    spans = [reads.words[i] + at for i, at in zip(batch.indices.tolist(), base, strict=True)]
    places = torch.from_numpy(np.concatenate(spans)).to(layers[0].device)
    flat = [states.flatten(0, 1) for states in layers]
    for pool in pools:
        if pool == "first":
            yield pool, torch.stack([states[places[:, 0]] for states in flat], 1)
        else:
            yield pool, torch.stack([mean_of(states, places) for states in flat], 1)


def mean_of(states: Tensor, places: Tensor) -> Tensor:
    """The mean of the states of each word's pieces: `[tokens, width]`, `[words, 2]` → `[words, width]`."""
    counts = places[:, 1] - places[:, 0]
    word = torch.repeat_interleave(torch.arange(len(places), device=states.device), counts)
    within = torch.arange(len(word), device=states.device) - (torch.cumsum(counts, 0) - counts)[word]
    sums = states.new_zeros(len(places), states.shape[1]).index_add(0, word, states[places[word, 0] + within])
    return sums / counts[:, None]


def group_keys(examples: Sequence[Example], reads: Reads) -> list[Hashable]:
    """What keeps rows together when folds are cut: rows that read the same, and all words of one row."""
    if reads.words is not None:
        return [e.row for e, words in zip(examples, reads.words, strict=True) for _ in words]
    return [(e.ids.tobytes(), None if e.pair is None else e.pair.tobytes()) for e in examples]
