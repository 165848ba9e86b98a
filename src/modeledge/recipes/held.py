"""Examples that pre-training never sees: their loss says which step was best, and when to stop."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from modeledge.corpus.stream import ShardStream
from modeledge.errors import ModeledgeError
from modeledge.model.backbone import Backbone
from modeledge.objectives import Shape, Step, collate, prepared
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.train import TrainConfig


def check_judging(recipe: PretrainRecipe) -> None:
    """Refuse a judge that would have nothing to mark (`E-CONFIG`)."""
    for name in ("judge_every", "patience"):
        if getattr(recipe.train, name) is not None and not recipe.held_out:
            what, remedy = "there are no held-out examples to judge by", "set held_out to a share, e.g. 0.01"
            raise ModeledgeError("E-CONFIG", what, where=f"train.{name}", remedy=remedy)


def every(recipe: PretrainRecipe) -> int:
    """Steps between two verdicts; without `judge_every` there is one, at the end."""
    return recipe.train.judge_every or recipe.train.steps


def split_stream(stream: ShardStream, share: float, seed: int) -> tuple[ShardStream, list[Example]]:
    """The stream without a share of its examples, and those; which ones is a function of the seed and their number.

    The held-out examples are a stream of their own: what an example takes from another one (the second half of a pair)
    never crosses. Raises `E-EMPTY-SPLIT` where one side would be empty.
    """
    total = len(stream)
    count = max(1, round(share * total))
    if count >= total:
        what = f"a share of {share:g} of {total} examples leaves nothing to train on"
        raise ModeledgeError("E-EMPTY-SPLIT", what, where="held_out")
    order = Noise(seed).at("held out").generator().permutation(total)
    held, kept = np.sort(order[:count]), np.sort(order[count:])
    apart = stream.only(held)
    return stream.only(kept), [apart.example(number) for number in range(count)]


def loss_on(step: Step, examples: Sequence[Example], config: TrainConfig) -> Callable[[Backbone], Mapping[str, float]]:
    """A function that gives the loss on these examples, whose noise is the same each time; where the objective has
    several terms, each by itself too, in nats an item."""
    noise, size = Noise(0), config.micro_batch or config.batch

    def evaluate(model: Backbone) -> dict[str, float]:
        totals: dict[str, float] = defaultdict(float)
        weights: dict[str, float] = defaultdict(float)
        shares: dict[str, float] = {}
        device = next(model.parameters()).device
        with torch.no_grad():
            for start in range(0, len(examples), size):
                ready = [prepared(step.objective, e, noise) for e in examples[start : start + size]]
                loss = step.objective.loss(model, collate(ready, Shape(config.length)).to(device), noise)
                for name, term in loss.terms.items():
                    totals[name] += float(term.total)
                    weights[name] += float(term.weight)
                    shares[name] = term.share
        means = {name: totals[name] / max(weights[name], 1e-38) for name in totals}
        whole = sum(shares[name] * mean for name, mean in means.items())
        return {"loss": whole, **({} if len(means) == 1 else {f"loss.{name}": mean for name, mean in means.items()})}

    return evaluate
