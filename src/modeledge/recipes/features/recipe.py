"""What can be asked of features: which states, read by which head, and whether that is to be searched for."""

from __future__ import annotations

import os
from typing import Literal

from pydantic import Field, model_validator

from modeledge.config import Settings


class FeaturesRecipe(Settings):
    """A frozen body under a classical head, in the place of training (`docs/features.md`).

    `layers`, `pool` and `head` are one word each, or with `search` several to choose from by cross-validation on the
    training rows; those that are left out stand for a space of their own. `layers` are named as in `layers_named`; a
    word may say how these are combined (`last4:mean`), else `combine` does. `strength` is the knob of the head that
    matters most; left out, it is the head's own, or searched. Two texts are compared (`pairs = "apart"`), or read as
    one. `cache` is the folder of the states, by default beside the run's; "" keeps none.
    """

    layers: str | tuple[str, ...] = ()
    combine: Literal["concat", "mean", "sum", "mix"] = "concat"
    pool: str | tuple[str, ...] = ()
    head: str | tuple[str, ...] = ()
    strength: float | None = Field(default=None, gt=0)
    pca: int | None = Field(default=None, ge=1)
    pairs: Literal["apart", "joint"] = "apart"
    search: bool = False
    cache: str | None = None
    memory_gib: float = Field(default=4.0, gt=0)

    def absolute(self) -> FeaturesRecipe:
        """With the cache's path made absolute."""
        return self.model_copy(update={"cache": os.path.abspath(self.cache)}) if self.cache else self

    @model_validator(mode="after")
    def _one_without_search(self) -> FeaturesRecipe:
        for name in ("layers", "pool", "head"):
            if len(several(getattr(self, name))) > 1 and not self.search:
                raise ValueError(f"{name} names several, and search is false: name one, or set search")
        return self


def several(words: str | tuple[str, ...]) -> tuple[str, ...]:
    """One word is a list of one."""
    return (words,) if isinstance(words, str) else words
