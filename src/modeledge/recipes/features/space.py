"""From a recipe's words to the candidates that a run fits: one, or with `search` a space."""

from __future__ import annotations

from collections.abc import Sequence

from modeledge.classical import HEADS, Candidate, check_how, check_strength, kind_named, layers_named, space_of
from modeledge.errors import ModeledgeError, nearest
from modeledge.recipes.features.recipe import FeaturesRecipe, several
from modeledge.tasks.states import TEXT_POOLS, WORD_POOLS, Look

LAYERS = ("last", "second", "last4", "all:mean")  # of Devlin et al. (2019, table 7)
QUICK = ("logistic", "svm", "knn", "forest")  # the others take minutes where these take seconds
POOL_WORDS = {"cls": "first"}


def candidates(
    asked: FeaturesRecipe, layers: int, rows: int, *, words: bool, apart: bool, ahead: bool
) -> list[Candidate]:
    """What is to be tried, for a body of so many layers. `words`: a row gives a vector a word; `apart`: two texts are
    read by themselves; `ahead`: the body reads left to right.

    Raises `E-CONFIG-VALUE` for a word that names nothing, and for settings that do not go together.
    """
    default = LAYERS if asked.search else ("last",)
    named = [
        layers_asked(word, asked.combine, layers, strict=bool(asked.layers))
        for word in several(asked.layers) or default
    ]
    for _, how in named:
        check_how(how, apart=apart)
    known = WORD_POOLS if words else TEXT_POOLS
    usual = ("first", "mean") if words or not ahead else ("last", "mean")
    pools = [pool_named(word, known) for word in several(asked.pool)] or list(usual if asked.search else ("mean",))
    heads = list(several(asked.head)) or list(QUICK if asked.search else QUICK[:1])
    for head in heads:
        kind_named(head)
        if asked.strength is not None:
            check_strength(head, asked.strength, rows)
    if not asked.search:
        strength = asked.strength if asked.strength is not None else HEADS[heads[0]].default
        return space_of(named, pools, asked.pca, heads, strength)
    most = rows * 2 // 3  # what a fold leaves to learn from
    space = space_of(dict.fromkeys(named), dict.fromkeys(pools), asked.pca, list(dict.fromkeys(heads)), asked.strength)
    return [one for one in space if one.head != "knn" or one.strength <= most]


def layers_asked(word: str, combine: str, count: int, *, strict: bool) -> tuple[tuple[int, ...], str]:
    """`last4:mean` → the numbers of the layers and how they are combined; one layer is as it is. A word of the default
    space that asks for more layers than there are stands for all of them."""
    name, colon, how = word.partition(":")
    if not strict and name == "last4":
        name = f"last{min(4, count)}"
    numbers = layers_named(name, count)
    return numbers, (how if colon else combine) if len(numbers) > 1 else "concat"


def pool_named(word: str, known: tuple[str, ...]) -> str:
    """A pooling (`E-CONFIG-VALUE`)."""
    pool = POOL_WORDS.get(word, word)
    if pool not in known:
        names = ["cls" if name == "first" and known is TEXT_POOLS else name for name in known]
        what = f"there is no pooling {word!r} here"
        raise ModeledgeError("E-CONFIG-VALUE", what, where="features.pool", remedy=nearest(word, names))
    return pool


def look_of(space: Sequence[Candidate]) -> Look:
    """The states that all candidates need: one pass gives them."""
    layers = sorted({layer for one in space for layer in one.layers})
    return Look(tuple(layers), tuple(dict.fromkeys(one.pool for one in space)))
