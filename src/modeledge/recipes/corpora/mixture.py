"""`[mixture]` of a pre-training recipe: several named corpora, how much is read of each, and when that changes."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Literal

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.corpus.mixture import Phase
from modeledge.errors import nearest
from modeledge.recipes.corpora.texts import CorpusRecipe, Kind, placed

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


class SourceRecipe(CorpusRecipe):
    """One corpus of a mixture: raw files or shards, with a `weight` (a share up to a common factor), or a `budget` of
    tokens that is read of it before the others share the rest of the run (of its first phase). `kind` says what kind
    of text it is, to its ledger and to the data card."""

    kind: Kind = "other"
    weight: float | None = Field(default=None, ge=0)
    budget: float | None = Field(default=None, ge=0)


class PhaseRecipe(Settings):
    """From the share `start` of all steps on: other `weights` (a source that they leave out is not read), or a
    `temperature`, and `budgets` in tokens of this phase."""

    start: float = Field(gt=0, lt=1)
    weights: dict[str, float] | None = None
    temperature: float = Field(default=1.0, gt=0)
    budgets: dict[str, float] = Field(default_factory=dict)


class MixtureRecipe(Settings):
    """Named sources and how they are mixed: by their weights, or without any by size and `temperature`.

    A source that would be read more than `max_epochs` times is said ("warn"), refuses the run ("refuse"), or is read
    so often and the others give the rest ("share"). Four epochs teach nearly as much as new text does, later ones
    little (Muennighoff et al. 2023, arXiv 2305.16264, section 6).
    """

    sources: dict[str, SourceRecipe] = Field(min_length=1)
    temperature: float = Field(default=1.0, gt=0)
    max_epochs: float | None = Field(default=4.0, gt=0)
    beyond: Literal["warn", "refuse", "share"] = "warn"
    phases: tuple[PhaseRecipe, ...] = ()

    @model_validator(mode="after")
    def _consistent(self) -> MixtureRecipe:
        weights = {name for name, source in self.sources.items() if source.weight is not None}
        for name, source in self.sources.items():
            if not NAME.fullmatch(name):
                raise ValueError(f"{name!r} is no name of a source: letters, digits, '_', '-'")
            if source.weight is not None and source.budget is not None:
                raise ValueError(f"sources.{name}: a weight or a budget, not both")
            if weights and source.weight is None and source.budget is None:
                raise ValueError(f"sources.{name} has no weight, and others have: say one, 0 leaves it out at first")
        if weights and self.temperature != 1.0:
            raise ValueError("temperature is for shares by size, and the sources have weights")
        starts = [0.0, *(phase.start for phase in self.phases)]
        if any(b <= a for a, b in pairwise(starts)):
            raise ValueError(f"phases start one after the other, not at {starts[1:]}")
        for number, phase in enumerate(self.phases):
            for name in {**(phase.weights or {}), **phase.budgets}:
                if name not in self.sources:
                    raise ValueError(f"phases[{number}]: {name!r} is no source; {nearest(name, self.sources)}")
        return self

    def starts(self, steps: int) -> list[int]:
        """The step (from 0) that each phase begins with."""
        return [0, *(round(phase.start * steps) for phase in self.phases)]

    def planned(self, tokens: list[float]) -> list[Phase]:
        """The phases for the planner, each with so many tokens."""
        weights = {n: s.weight for n, s in self.sources.items() if s.weight is not None}
        budgets = {n: s.budget for n, s in self.sources.items() if s.budget is not None}
        first = Phase(part=tokens[0], weights=weights or None, temperature=self.temperature, budgets=budgets)
        rest = [
            Phase(part=part, weights=phase.weights, temperature=phase.temperature, budgets=phase.budgets)
            for part, phase in zip(tokens[1:], self.phases, strict=True)
        ]
        return [first, *rest]

    def over(self, shared: CorpusRecipe) -> MixtureRecipe:
        """The mixture with absolute paths, each source with what `[corpus]` says of all and it does not say itself."""
        default = CorpusRecipe()
        said = {k: v for k in CorpusRecipe.model_fields if (v := getattr(shared, k)) != getattr(default, k)}
        sources = {
            name: placed(source.model_copy(update={k: v for k, v in said.items() if k not in source.model_fields_set}))
            for name, source in self.sources.items()
        }
        return self.model_copy(update={"sources": sources})
