"""What is measured on a copy: the same examples laid out in several ways, then two real steps.

The loss of a global batch is one number: Σ total / Σ weight. How it is cut (rows of several examples or of one,
micro-batches, ranks) must not change it, and what stands in padding must not either. That is measured here in fp32
without dropout, on the run's own first examples; the two steps are then those of the run itself, dropout and precision
included. The copy is thrown away.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from modeledge.adapt.features import split
from modeledge.corpus.pack import deal, plan_rows
from modeledge.corpus.stream import ListStream
from modeledge.errors import ModeledgeError
from modeledge.model.batch import Batch, Side
from modeledge.objectives import Shape, Step, fill, plan, prepared
from modeledge.records import Example, Prepared
from modeledge.seed import Noise
from modeledge.train import Trainer

LEAST, MOST, TOKENS = 4, 6, 256  # examples that are laid out in several ways, and their tokens


@dataclass(frozen=True)
class Measured:
    """A global batch's loss, its terms, the norm of its gradient (`None` where none was taken), the last states of each
    example, and the terms whose weight is not the one that was counted before the forward pass."""

    loss: float
    terms: Mapping[str, float]
    norm: float | None = None
    states: Mapping[int, Tensor] = field(default_factory=dict, repr=False)
    weights: tuple[str, ...] = ()

    def apart(self, other: Measured) -> float:
        """The largest relative difference, of the loss, of the norm where both have one, or of an example's states. Not
        a number counts as infinitely far.

        Where a gradient is what little is left of large terms (texts that a fresh model reads alike), its rounding is
        relative to those terms: a norm is measured in hundredths of the loss at least.
        """
        pairs = [(self.loss, other.loss, 1e-6)]
        if self.norm is not None and other.norm is not None:
            pairs.append((self.norm, other.norm, max(1e-6, 1e-2 * abs(self.loss))))
        found = [abs(a - b) / max(abs(a), abs(b), least) for a, b, least in pairs]
        found += [far(self.states[i], other.states[i]) for i in self.states.keys() & other.states.keys()]
        return max(float("inf") if x != x else x for x in found)


def far(one: Tensor, other: Tensor) -> float:
    """The largest difference of two tensors, in units of the largest element."""
    return float((one - other).abs().max() / one.abs().max().clamp(min=1e-6))


@dataclass(frozen=True)
class Layouts:
    """The same examples as one packed batch and otherwise. `None`: does not apply.

    `noisy`: the loss itself draws random numbers, so that cuts cannot be compared; `padded`: one example alone, with
    padding behind it, with other ids in that padding; `seen`: how far an earlier state moves with a later token.
    """

    packed: Measured
    unpacked: Measured
    padded: tuple[Measured, Measured, Measured] | None
    parts: Mapping[int, Measured] = field(default_factory=dict)
    ranks: Measured | None = None
    noisy: bool = False
    seen: float | None = None


@dataclass(frozen=True)
class Trial:
    """Two steps: what they cost, which weights were to move in either (a schedule may let more move in the second), and
    the farthest that a number of each one moved."""

    error: ModeledgeError | None = None
    losses: tuple[float, ...] = ()
    far: Mapping[str, float] = field(default_factory=dict)  # of those that changed
    moving: frozenset[str] = frozenset()
    activations: float = 0.0  # bytes a token kept for the backward pass


def twin(trainer: Trainer, examples: Sequence[Example]) -> Trainer:
    """A trainer like this one on a copy of its weights, that reads these examples in this order."""
    step, strategies = copy.deepcopy((trainer.module, trainer.strategies))
    batch = max(1, len(examples) // 2)
    config = trainer.config.model_copy(update={"batch": batch, "micro_batch": None})
    other = Trainer(step, _InOrder(examples), config=config, seed=trainer.noise.seed)
    other.strategies, other.shape = strategies, trainer.shape
    return other


class _InOrder(ListStream):
    """Examples as they are, with their epochs and numbers."""

    def __init__(self, examples: Sequence[Example]) -> None:
        super().__init__(examples, 0, shuffle=False)

    def example(self, index: int, epoch: int = 0) -> Example:
        return self._examples[index]


def try_steps(trainer: Trainer, original: Mapping[str, Tensor]) -> Trial:
    """Two steps of a copy; `original` are the weights that it began with."""
    losses: list[float] = []
    kept = _Kept(trainer.module)
    try:
        moving = trainer.moving_now()
        with torch.autograd.graph.saved_tensors_hooks(kept.pack, lambda tensor: tensor):
            record = trainer.step()
        losses.append(record.loss)
        moving |= trainer.moving_now()
        losses.append(trainer.step().loss)
    except ModeledgeError as error:
        return Trial(error, tuple(losses))
    after = dict(trainer.model.named_parameters())
    pairs = ((name, before, after[name].to(before.device)) for name, before in original.items())
    far = {n: float((b - a).detach().abs().max()) for n, a, b in pairs if not torch.equal(a, b)}
    return Trial(None, tuple(losses), far, moving, kept.bytes / max(1, record.tokens))


class _Kept:
    """Counts the memory that a forward pass keeps for its backward pass, each storage once, weights not at all."""

    def __init__(self, module: nn.Module) -> None:
        self.known = {p.untyped_storage().data_ptr() for p in module.parameters()}
        self.bytes = 0

    def pack(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.known:
            self.known.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def laid_out(ready: Sequence[Prepared]) -> list[Prepared]:
    """Which of the examples are laid out in several ways: the shortest that teach something, each of another length
    where there are enough of these, in their order.

    What a layout does wrong it does to any few examples of unequal length, so few tokens tell as much as many: at least
    `LEAST` examples (two ranks of two micro-batches), and as many more, up to `MOST`, as have `TOKENS` together.
    """
    met = set[int]()

    def worth(one: Prepared) -> tuple[bool, bool, int]:
        size = sum(one.lengths())
        again = size in met
        met.add(size)
        return not any((weight > 0).any() for weight in one.weights.values()), again, size

    order, taken, size = sorted(ready, key=worth), list[Prepared](), 0
    for one in order:
        size += sum(one.lengths())
        if len(taken) >= LEAST and (size > TOKENS or len(taken) == MOST):
            break
        taken.append(one)
    return [one for one in ready if any(one is other for other in taken)]


def try_layouts(trainer: Trainer, examples: Sequence[Example]) -> Layouts:
    """Measure the examples in several layouts, with the copy's first weights."""
    step, compute = trainer.module, trainer.model.compute
    modes = {name: module.training for name, module in step.named_modules()}
    step.eval()
    trainer.model.compute = torch.promote_types(compute, torch.float32)
    try:
        return _layouts(trainer, laid_out([prepared(step.objective, e, trainer.noise) for e in examples]))
    finally:
        trainer.model.compute = compute
        trainer.optimizer.zero_grad()
        for name, module in step.named_modules():
            module.training = modes[name]


def _layouts(trainer: Trainer, ready: list[Prepared]) -> Layouts:
    step, shape, device = trainer.module, trainer.shape, trainer.device
    noise = trainer.noise.at("preflight")
    single, one_wide = plan(ready, replace(shape, packed=False))
    rows, width = packed_rows(ready, shape)

    def filled(rows: Sequence[Sequence[int]], width: int, which: Sequence[Prepared] = ready) -> Batch:
        return fill(which, rows, width, reserve=shape.reserve).to(device)

    packed = measure(step, [filled(rows, width)], noise)
    unpacked = measure(step, [filled(single, one_wide)], noise)
    again = measure(step, [filled(single, one_wide)], noise.at("other"), gradient=False)
    noisy = math.isfinite(unpacked.loss) and again.apart(unpacked) > 1e-4
    parts: dict[int, Measured] = {}
    ranks = None
    if not (step.objective.couples or noisy) and len(ready) > 1:
        parts[2] = measure(step, [filled(share, one_wide) for share in deal(single, 2)], noise)
        shares = [part for rank in deal(single, 2) for part in deal(rank, 2) if part]
        ranks = measure(step, [filled(share, one_wide) for share in shares], noise)
    return Layouts(
        packed,
        unpacked,
        _padding(step, ready[0], shape.reserve, noise, device),
        parts,
        ranks,
        noisy,
        _looks_ahead(trainer, ready),
    )


def packed_rows(ready: Sequence[Prepared], shape: Shape) -> tuple[list[list[int]], int]:
    """Rows of several examples: as the run packs them, or wider where it would give each a row of its own."""
    rows, width = plan(ready, replace(shape, packed=True))
    if len(rows) < len(ready):
        return rows, width
    wide = 2 * max(max(p.lengths()) + shape.reserve for p in ready)
    return plan_rows([max(p.lengths()) + shape.reserve for p in ready], wide), wide


def measure(step: Step, batches: Sequence[Batch], noise: Noise, *, gradient: bool = True) -> Measured:
    """Loss and gradient of a global batch that is cut into these batches, as the trainer sums them."""
    step.zero_grad()
    counted = [step.objective.weights(batch) for batch in batches]
    weights = {name: torch.stack([c[name] for c in counted]).sum() for name in counted[0]}
    value, terms, last, wrong = 0.0, dict.fromkeys(weights, 0.0), list[Tensor](), set[str]()
    states: dict[int, Tensor] = {}
    hook = step.model.register_forward_hook(lambda model, given, out: last.append(out.last.detach()))
    with torch.set_grad_enabled(gradient):
        for batch, own in zip(batches, counted, strict=True):
            last.clear()
            loss = step(batch, noise)
            if len(last) == 1 and last[0].ndim == 3:
                states |= split(batch, last[0])
            part = loss.value(weights)
            if gradient:
                part.backward()
            value += float(part.detach())
            for name, term in loss.terms.items():
                terms[name] = terms.get(name, 0.0) + float(term.total.detach() / weights[name].clamp(min=1e-38))
                if name not in own or not torch.isclose(term.weight.float(), own[name].float()):
                    wrong.add(name)
    hook.remove()
    norm = _norm(step) if gradient else None
    step.zero_grad()
    return Measured(value, terms, norm, states, tuple(sorted(wrong)))


def _norm(step: Step) -> float:
    gradients = [p.grad for p in step.parameters() if p.grad is not None]
    return float(torch.nn.utils.get_total_norm(gradients)) if gradients else 0.0


def _padding(
    step: Step, ready: Prepared, reserve: int, noise: Noise, device: torch.device
) -> tuple[Measured, Measured, Measured] | None:
    """An example alone, with padding behind it, and with other ids in the padding."""
    width = max(ready.lengths()) + reserve
    alone, batch = (fill([ready], [[0]], width + more, reserve=reserve).to(device) for more in (0, 3))
    sides = [side for side in (batch.source, batch.target) if side is not None]
    if any(side.ids.is_floating_point() for side in sides):
        return None
    other = replace(batch, source=_scribbled(batch.source), target=_scribbled(batch.target))
    return measure(step, [alone], noise), measure(step, [batch], noise), measure(step, [other], noise, gradient=False)


def _scribbled(side: Side | None) -> Side | None:
    """A side whose padding repeats its own first tokens."""
    if side is None:
        return None
    return replace(side, ids=torch.where(side.segments > 0, side.ids, side.ids[:, :1].expand_as(side.ids)))


def _looks_ahead(trainer: Trainer, ready: Sequence[Prepared]) -> float | None:
    """How far the states before the last token move when that token changes; `None` where looking ahead is meant."""
    chosen = next(
        (p for p in ready if p.target is not None and p.target.prefix is None and len(p.target.ids) > 2), None
    )
    if chosen is None or chosen.target is None or chosen.target.ids.ndim > 1:
        return None
    batch = fill([chosen], [[0]], max(chosen.lengths())).to(trainer.device)
    assert batch.target is not None
    other, last = batch.target.ids.clone(), len(chosen.target.ids) - 1
    other[0, last] = other[0, 0] if other[0, last] != other[0, 0] else other[0, 1]
    if torch.equal(other, batch.target.ids):
        return None
    with torch.no_grad():
        before = trainer.model(batch).last[0, :last]
        after = trainer.model(replace(batch, target=replace(batch.target, ids=other))).last[0, :last]
    return far(before, after)
