"""Tables of a study laid over each other, and made a recipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import reduce
from typing import Any, TypeVar

from modeledge.config import load_config
from modeledge.config.check import merged
from modeledge.errors import ModeledgeError
from modeledge.recipes.recipe import FinetuneRecipe, PretrainRecipe

WHOLE = ("objective", "position")  # tables whose keys go with their kind
R = TypeVar("R", PretrainRecipe, FinetuneRecipe)


def over(trees: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Tables over each other; an objective or positions of another `kind` take the place of those below, whole."""
    return reduce(lambda low, high: merged(low, high, WHOLE), trees, {})


def refuse(given: Mapping[str, str], places: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Keys that the study itself gives (`E-CONFIG-KEY`)."""
    for where, tree in places:
        for key in given:
            if key in tree:
                what, remedy = f"{key!r} is not a key of this table: the study gives it", f"set {given[key]}"
                raise ModeledgeError("E-CONFIG-KEY", what, where=where, remedy=remedy)


def loaded(kind: type[R], values: Mapping[str, Any], where: str) -> R:
    """A recipe out of its tables; an error says of which cell."""
    with placed(where):
        return load_config(kind, None, values=values)


@contextmanager
def placed(where: str) -> Iterator[None]:
    """Errors of this block say of which table of the study they are."""
    try:
        yield
    except ModeledgeError as error:
        place = f"{where}: {error.where}".removesuffix(": ")
        raise ModeledgeError(error.code, error.what, where=place, why=error.why, remedy=error.remedy) from error
