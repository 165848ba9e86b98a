"""From a recipe's words to a strategy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from inspect import signature

from modeledge.adapt import STRATEGIES, PromptTuning
from modeledge.adapt.strategy import Strategy
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.recipe import StrategyRecipe
from modeledge.recipes.tuning.source_stage import staged
from modeledge.tokens import Tokenizer


def make_strategy(recipe: StrategyRecipe) -> Strategy:
    """A row of `STRATEGIES` with the recipe's fields, and with those that a source stage settles."""
    if recipe.kind not in STRATEGIES:
        remedy = nearest(recipe.kind, STRATEGIES)
        raise ModeledgeError(
            "E-CONFIG-VALUE", f"there is no strategy {recipe.kind!r}", where="strategies", remedy=remedy
        )
    known = list(signature(STRATEGIES[recipe.kind]).parameters)
    if unknown := [name for name in recipe.options if name not in known]:
        where, remedy = f"strategies.{recipe.kind}", nearest(unknown[0], known)
        raise ModeledgeError("E-CONFIG-KEY", f"there is no option {unknown[0]!r}", where=where, remedy=remedy)
    try:
        strategy: Strategy = STRATEGIES[recipe.kind](**staged(recipe).options)
    except TypeError as error:
        raise ModeledgeError(
            "E-CONFIG-KEY", str(error).split("__init__() ")[-1], where=f"strategies.{recipe.kind}"
        ) from error
    return strategy


def worded(strategy: Strategy, tokenizer: Tokenizer, classes: Sequence[str] = ()) -> Strategy:
    """A prompt that begins with words, with the ids of its text, or of the names of a task's classes; any other
    strategy as it is. `E-CONFIG-VALUE` where there are no words."""
    if not isinstance(strategy, PromptTuning) or strategy.ids or strategy.start not in ("text", "labels"):
        return strategy
    where = f"strategies.{strategy.kind}.start"
    if strategy.start == "labels":
        if not classes:
            what = "the task has no classes whose names a prompt could begin with"
            raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy='use "vocabulary" or "text"')
        return replace(strategy, ids=tuple(tuple(tokenizer.encode(name).tolist()) for name in classes))
    if not strategy.text:
        what, remedy = "the prompt begins with a text, and there is none", 'give one: text = "…"'
        raise ModeledgeError("E-CONFIG-VALUE", what, where=where, remedy=remedy)
    return replace(strategy, ids=tuple((token,) for token in tokenizer.encode(strategy.text).tolist()))
