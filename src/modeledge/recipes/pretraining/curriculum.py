"""What changes in the course of a run, in a recipe: numbers of the objective, chances of a blend, the length of texts.

In a recipe a curriculum counts steps; what prepares an example counts examples, `train.batch` to a step.
"""

from __future__ import annotations

from pydantic import Field, model_validator

from modeledge.config import Settings
from modeledge.errors import ModeledgeError, nearest
from modeledge.objectives import Blend, Objective, Phases, Ramp
from modeledge.objectives.blend import BlendPrepare
from modeledge.objectives.schedule import Number
from modeledge.recipes.objectives.aim import Aim


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
    """`length`: how many positions a text has, as `train.length` is for a row, in rows as full as ever. `numbers`: keys
    of the objective ("rate"; in a blend "masked.rate"). `chances`: of the parts of a blend that are drawn in turn."""

    length: Course | None = None
    numbers: dict[str, Course] = Field(default_factory=dict)
    chances: dict[str, Course] = Field(default_factory=dict)

    def told(self, aim: Aim, batch: int, row: int) -> Aim:
        """The aim with the numbers and the length that follow the run, in rows of so many positions: `E-CONFIG-KEY` for
        a number that cannot, `E-CONFIG` for a length that cannot, `E-CONFIG-VALUE` for values that some step could not
        use."""
        told = aim.following({key: course.number(batch) for key, course in self.numbers.items()})
        if self.length is None:
            return told
        told = told.shorter(self.length.number(batch))
        if (most := round(max(self.length.values))) > row:
            what, remedy = f"texts of {most} positions do not fit in rows of {row}", f"set train.length = {most}"
            raise ModeledgeError("E-CONFIG-VALUE", what, where="curriculum.length", remedy=remedy)
        return told

    def ends(self) -> dict[str, int]:
        """How many steps a run needs to come to the end of each course, by its key in a recipe: a line may end with the
        run, and behind a jump there is a step."""
        told = {f"numbers.{name}": course for name, course in self.numbers.items()}
        told |= {f"chances.{name}": course for name, course in self.chances.items()}
        told |= {} if self.length is None else {"length": self.length}
        return {f"curriculum.{name}": course.steps[-1] + course.jumps for name, course in told.items()}

    def apply(self, objective: Objective, aim: Aim, batch: int) -> None:
        """Let the `prepare` of the aim's objective follow the run.

        Raises `E-CONFIG` for chances that this objective has not, `E-CONFIG-KEY` for a part that is not there,
        `E-CONFIG-VALUE` for chances that some step could not use.
        """
        aim.follow(objective)
        if self.chances:
            _draw(objective, {name: course.number(batch) for name, course in self.chances.items()})


def _draw(objective: Objective, chances: dict[str, Number]) -> None:
    prepare, where = objective.prepare, "curriculum.chances"
    if not (isinstance(objective, Blend) and isinstance(prepare, BlendPrepare) and prepare.chances):
        what = "chances are those of a blend whose parts are drawn in turn"
        raise ModeledgeError("E-CONFIG", what, where=where, remedy='set mode = "in turn"')
    for name in chances:
        if name not in (parts := objective.each()):
            remedy = nearest(name, parts)
            raise ModeledgeError("E-CONFIG-KEY", f"there is no part {name!r}", where=f"{where}.{name}", remedy=remedy)
    objective.gather(chances)
    assert isinstance(objective.prepare, BlendPrepare)
    objective.prepare.check_course(where)
