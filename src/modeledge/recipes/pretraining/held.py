"""Examples that pre-training never sees: their loss says which step was best, and when to stop."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch

from modeledge.corpus.stream import ShardStream
from modeledge.errors import ModeledgeError
from modeledge.metrics.language import bits_per_byte
from modeledge.model.backbone import Backbone
from modeledge.objectives import Objective, Shape, Step, collate, prepared
from modeledge.recipes.recipe import PretrainRecipe
from modeledge.records import Example
from modeledge.seed import Noise
from modeledge.tokens import Tokenizer
from modeledge.tokens.measure import text_bytes
from modeledge.train import TrainConfig

TEXT = "lm"  # the term that is a likelihood of text
MOST = 690.0  # nats a token whose exponential is still a number


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


def metric_of(objective: Objective) -> str:
    """What the loss of held-out examples is called: that of hidden tokens is a pseudo-loss, whose exponential is no
    perplexity, because the tokens that are read would have to be guessed as well (Salazar et al. 2020)."""
    return "pseudo_loss" if objective.measure == "pseudo" else "loss"


def marks_on(
    step: Step, held: Mapping[str, Sequence[Example]], config: TrainConfig, tokenizer: Tokenizer
) -> Callable[[Backbone], Mapping[str, float]]:
    """A function that marks a model on held-out examples of each corpus, whose names begin the marks' names.

    Beside the loss, in nats a token: where it is a likelihood of texts, perplexity a token (of this tokenizer) and bits
    a byte of the texts (of any); where it bounds one, what perplexity is at most.
    """
    losses = {name: loss_on(step, examples, config) for name, examples in held.items()}
    sizes = {name: text_size(step.objective, examples, tokenizer) for name, examples in held.items()}
    called, likelihood = metric_of(step.objective), step.objective.measure == "likelihood"

    def evaluate(model: Backbone) -> dict[str, float]:
        out: dict[str, float] = {}
        for name, losses_of in losses.items():
            found = dict(losses_of(model))
            whole, own = found.pop("loss"), found.get(f"loss.{TEXT}")
            out |= {f"{name}{called}": whole, **{f"{name}{key}": value for key, value in found.items()}}
            if step.objective.measure == "bound":
                out[f"{name}perplexity_bound"] = math.exp(min(whole, MOST))
            if likelihood:
                tokens, size = sizes[name]
                nats = (whole if own is None else own) * tokens
                out[f"{name}perplexity"] = math.exp(min(nats / tokens, MOST))
                if size:
                    out[f"{name}bits_per_byte"] = bits_per_byte(nats, size)
        return out

    return evaluate


def text_size(objective: Objective, examples: Sequence[Example], tokenizer: Tokenizer) -> tuple[int, int]:
    """How many tokens of the examples are learned, and how many bytes of text these are."""
    tokens = size = 0
    for example in examples if objective.measure == "likelihood" else ():
        ready = prepared(objective, example, Noise(0))
        labels = ready.labels[TEXT][ready.weights[TEXT] > 0]
        tokens, size = tokens + len(labels), size + text_bytes(tokenizer, labels)
    return tokens, size


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
