"""Which weights move, and how fast: θ = (θ₁ moves, θ̂₂ stays), the split that every transfer method makes.

Full fine-tuning moves all of θ, a linear probe the head alone, freezing a part of it; the others add something, or give
each part its own rate. They compose: a parameter moves only where every strategy lets it move, and rates multiply. A
simple strategy states its `moving` and inherits the rest from `Neutral`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from torch import Tensor

from modeledge.adapt.parts import parts_of
from modeledge.errors import ModeledgeError, nearest
from modeledge.model.backbone import Backbone
from modeledge.seed import Noise


@dataclass(frozen=True)
class Clock:
    """Where training stands: updates done, updates in all, epochs seen (not a number where the data have no end), and
    the judge's last metrics, its verdicts so far, and how many of them in a row were no better than the best."""

    step: int
    steps: int
    epoch: float
    metrics: Mapping[str, float] = field(default_factory=dict)
    judged: int = 0
    waited: int = 0


@dataclass(frozen=True)
class Group:
    """Parameters by their names in the model, and the factor on the base learning rate that they move at."""

    names: tuple[str, ...]
    rate: float = 1.0


class Strategy(Protocol):
    """One way to adapt a model. Several make a sequence; what it declares is what the contract test asks.

    `starts_equal`: attaching it does not change what the model computes. `mergeable`: `merge` leaves a plain model that
    computes the same. `reserve`: positions that must stay free before each example. `needs_judge`: a trainer that marks
    nothing on the way refuses it.
    """

    @property
    def starts_equal(self) -> bool: ...

    @property
    def mergeable(self) -> bool: ...

    @property
    def reserve(self) -> int: ...

    @property
    def needs_judge(self) -> bool: ...

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Add what is to be added, a function of (seed, name) alone; refuse what the model does not have (`E-SITE`)."""
        ...

    def added(self, model: Backbone) -> Sequence[str]:
        """The parameters that this strategy has put beside a body that stays: the others of its kind have no say."""
        ...

    def drawn(self, model: Backbone) -> Sequence[str]:
        """The parameters of the model itself that `attach` has drawn anew: held still, they would stay at random."""
        ...

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """The parameters that this strategy lets move now, each in one group."""
        ...

    def penalty(self, model: Backbone, clock: Clock) -> Tensor | None:
        """What is added to the loss once a step, after its division."""
        ...

    def after_step(self, model: Backbone, clock: Clock) -> None:
        """Called after each update, while the gradients are still there."""
        ...

    def merge(self, model: Backbone) -> None:
        """Fold what was added into the plain weights, or refuse (`E-MERGE`)."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know beside the weights, as JSON values."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take back what `state_dict` gave; anything else is `E-RESUME`."""
        ...


class Neutral:
    """What a strategy does where it says nothing else: adds nothing, lets everything move, remembers nothing."""

    starts_equal: ClassVar[bool] = True
    mergeable: ClassVar[bool] = True
    reserve: ClassVar[int] = 0

    @property
    def needs_judge(self) -> bool:
        """It asks for no verdicts."""
        return False

    def attach(self, model: Backbone, noise: Noise) -> None:
        """Nothing is added."""

    def added(self, model: Backbone) -> Sequence[str]:
        """Nothing is added beside the body."""
        return ()

    def drawn(self, model: Backbone) -> Sequence[str]:
        """Nothing is drawn anew."""
        return ()

    def moving(self, model: Backbone, clock: Clock) -> Sequence[Group]:
        """Everything moves."""
        return all_but(model, ())

    def penalty(self, model: Backbone, clock: Clock) -> Tensor | None:
        """No penalty."""
        return None

    def after_step(self, model: Backbone, clock: Clock) -> None:
        """Nothing follows a step."""

    def merge(self, model: Backbone) -> None:
        """Nothing is to be folded in; a strategy that says it cannot be merged refuses (`E-MERGE`)."""
        if not self.mergeable:
            raise ModeledgeError("E-MERGE", f"{type(self).__name__} adds what plain weights cannot hold")

    def state_dict(self) -> dict[str, Any]:
        """Nothing is remembered."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Only nothing can be taken back."""
        if state:
            what = f"{type(self).__name__} keeps no state, but the checkpoint holds {sorted(state)[:5]}"
            raise ModeledgeError("E-RESUME", what, where="strategies", remedy="resume with the recipe of the run")


@dataclass(frozen=True)
class Full(Neutral):
    """Fine-tune every weight at the base rate (Devlin et al. 2019, section 3.2): the default, said aloud."""


def all_but(model: Backbone, still: Iterable[str]) -> tuple[Group, ...]:
    """One group at the base rate of all parameters that are not in `still`."""
    frozen = set(still)
    return (Group(tuple(name for name, _ in model.named_parameters() if name not in frozen)),)


def compose(strategies: Sequence[Strategy], model: Backbone, clock: Clock) -> dict[str, float]:
    """The factor on the learning rate of every parameter that moves now, in the model's order.

    A parameter moves only if every strategy lets it move; rates multiply; no strategy at all is full fine-tuning. A
    strategy that adds to a body that stays has no say about what another one added: so two adapters train together,
    while one that no strategy of this run has brought stays as it is. Where nothing is left to move this is `E-CONFIG`.
    """
    rates = {name: 1.0 for name, _ in model.named_parameters()}
    known = tuple(rates)
    added = [set(strategy.added(model)) for strategy in strategies]
    for number, strategy in enumerate(strategies):
        allowed = _allowed(strategy, model, clock, known)
        if added[number]:
            others = set[str]().union(*added[:number], *added[number + 1 :]) - added[number]
            allowed |= dict.fromkeys(others, 1.0)
        rates = {name: rate * allowed[name] for name, rate in rates.items() if name in allowed}
    if not rates:
        names = ", ".join(repr(strategy) for strategy in strategies)
        raise ModeledgeError(
            "E-CONFIG",
            f"nothing moves under {names}",
            where="strategies",
            why="training would change no weight",
            remedy="freeze less, or add a head that has weights of its own",
        )
    return rates


def staying(strategies: Sequence[Strategy], model: Backbone) -> set[str]:
    """The parameters that no step of a run will move: a strategy has put its own beside them."""
    names, now = {name for name, _ in model.named_parameters()}, Clock(0, 1, 0.0)
    found = set[str]()
    added = [set(strategy.added(model)) for strategy in strategies]
    for number, strategy in enumerate(strategies):
        if added[number]:
            others = set[str]().union(*added[:number], *added[number + 1 :])
            found |= names - others - _allowed(strategy, model, now, names).keys()
    return found


def _allowed(strategy: Strategy, model: Backbone, clock: Clock, known: Collection[str]) -> dict[str, float]:
    """One strategy's groups as name → rate; a strategy of a stranger is checked like our own."""
    who, rates = type(strategy).__name__, dict[str, float]()
    for group in strategy.moving(model, clock):
        if not (math.isfinite(group.rate) and group.rate > 0):
            what = f"{who} gives {group.names[:1]} the rate {group.rate}"
            raise ModeledgeError("E-CONFIG-VALUE", what, remedy="leave out what is not to move")
        for name in group.names:
            if name in rates:
                raise ModeledgeError("E-CONFIG", f"{who} puts {name} into two groups", remedy="name it once")
            rates[name] = group.rate
    for name in rates.keys() - set(known):
        raise ModeledgeError("E-SITE", f"{who} moves {name!r}, which is not there", remedy=nearest(name, known))
    return rates


def apply_moving(model: Backbone, rates: Mapping[str, float]) -> None:
    """Ready the model for training steps in which exactly the parameters in `rates` move.

    They require a gradient, the others neither require nor hold one, so that nothing is computed for them. The model is
    put in training mode, but each part that is frozen as a whole (embeddings, a block, a head) in eval mode: it drops
    nothing, its states are the same in every epoch, and caching them is exact.
    """
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in rates)
        if name not in rates:
            parameter.grad = None
    model.train()
    for part in parts_of(model):
        if part.names and not part.moves(rates):
            for module in part.modules:
                module.eval()
