"""From a recipe's words to a strategy."""

from __future__ import annotations

from modeledge.adapt import STRATEGIES
from modeledge.adapt.strategy import Strategy
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.recipe import StrategyRecipe


def make_strategy(recipe: StrategyRecipe) -> Strategy:
    """A row of `STRATEGIES` with the recipe's fields."""
    if recipe.kind not in STRATEGIES:
        remedy = nearest(recipe.kind, STRATEGIES)
        raise ModeledgeError(
            "E-CONFIG-VALUE", f"there is no strategy {recipe.kind!r}", where="strategies", remedy=remedy
        )
    try:
        strategy: Strategy = STRATEGIES[recipe.kind](**recipe.options)
    except TypeError as error:
        raise ModeledgeError(
            "E-CONFIG-KEY", str(error).split("__init__() ")[-1], where=f"strategies.{recipe.kind}"
        ) from error
    return strategy
