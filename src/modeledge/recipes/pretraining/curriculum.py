"""What changes in the course of a run, in a recipe: numbers of the objective, chances of a blend, the length of texts.

In a recipe a curriculum counts steps; what prepares an example counts examples, `train.batch` to a step.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.errors import ModeledgeError, nearest
from modeledge.objectives import Blend, Objective, Phases, Ramp, Scheduled, Shortened
from modeledge.objectives.blend import BlendPrepare
from modeledge.objectives.schedule import Number


class Course(Settings):
    """`values[i]` at step `steps[i]`: two of them with a straight line between, or with `jumps` any number, each until
    the next."""

    values: tuple[float, ...] = Field(min_length=2)
    steps: tuple[int, ...] = Field(min_length=2)
    jumps: bool = False

    @model_validator(mode="after")
    def _fits(self) -> Course:
        rising = all(a < b for a, b in zip(self.steps, self.steps[1:], strict=False))
        if len(self.values) != len(self.steps) or not rising or self.steps[0] < 0:
            raise ValueError("a step is named for each value, each later than the one before")
        if self.jumps and self.steps[0] != 0:
            raise ValueError("the first value holds from step 0")
        if not self.jumps and len(self.values) != 2:
            raise ValueError("a straight line has two ends; set jumps = true for more values")
        return self

    def number(self, batch: int) -> Number:
        """The same over examples."""
        places = tuple(step * batch for step in self.steps)
        if self.jumps:
            return Phases(self.values, places)
        start, end = self.values
        return Ramp(start, end, over=places[1] - places[0], begin=places[0])


class CurriculumRecipe(Settings):
    """`length`: how many tokens of a text are read at a time, in rows as full as ever. `numbers`: fields of what
    prepares examples ("rate"; in a blend "masked.rate"). `chances`: of the parts of a blend that are drawn in turn."""

    length: Course | None = None
    numbers: dict[str, Course] = Field(default_factory=dict)
    chances: dict[str, Course] = Field(default_factory=dict)

    def apply(self, objective: Objective, batch: int, shared: int | None) -> None:
        """Let the objective's `prepare` follow the run; `shared` is that of the aim (see `Aim`).

        Raises `E-CONFIG` for what this objective has not, `E-CONFIG-KEY` for a field or part that is not there,
        `E-CONFIG-VALUE` for values that some step could not use.
        """
        for path, course in self.numbers.items():
            owner = objective
            *names, field = path.split(".")
            for name in names:
                owner = _part(owner, name, f"curriculum.numbers.{path}")
            owner.prepare = Scheduled(owner.prepare, ((field, course.number(batch)),))
        _gather(objective)
        if self.chances:
            _draw(objective, {name: course.number(batch) for name, course in self.chances.items()})
        if self.length is not None:
            if shared is None:
                what = "examples of this objective cannot be read in parts"
                raise ModeledgeError("E-CONFIG", what, where="curriculum.length", remedy="leave it out")
            if round(min(self.length.values)) < 1:
                what = f"a length of {min(self.length.values):g} holds no token"
                raise ModeledgeError("E-CONFIG-VALUE", what, where="curriculum.length", remedy="give lengths from 1")
            objective.prepare = Shortened(objective.prepare, self.length.number(batch), shared)


def _part(owner: Objective, name: str, where: str) -> Objective:
    parts = owner.each() if isinstance(owner, Blend) else {}
    if name not in parts:
        raise ModeledgeError("E-CONFIG-KEY", f"there is no part {name!r}", where=where, remedy=nearest(name, parts))
    return parts[name]


def _gather(objective: Objective) -> None:
    """Let a blend prepare by what its parts prepare by now."""
    if isinstance(objective, Blend):
        for part in objective.each().values():
            _gather(part)
        objective.gather()


def _draw(objective: Objective, chances: dict[str, Number]) -> None:
    prepare = objective.prepare
    if not (isinstance(objective, Blend) and isinstance(prepare, BlendPrepare) and prepare.chances):
        what = "chances are those of a blend whose parts are drawn in turn"
        raise ModeledgeError("E-CONFIG", what, where="curriculum.chances", remedy='set mode = "in turn"')
    for name in chances:
        _part(objective, name, f"curriculum.chances.{name}")
    objective.gather(chances)
    assert isinstance(objective.prepare, BlendPrepare)
    objective.prepare.check_course()
