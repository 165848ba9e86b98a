"""A study: pre-trainings × seeds × downstream tasks as a grid of runs, and the one table that comes of it.

`study` is what can be asked for, `grid` which runs that is, `rows` the data that all share, `engine` runs what is not
finished, `facts` measures a body, `results` reads the runs, `page` and `table` show them.
"""

from modeledge.recipes.compare.engine import compare
from modeledge.recipes.compare.results import Outcome, Results, collect
from modeledge.recipes.compare.study import CellRecipe, StudyRecipe, TaskRecipe, load_study

__all__ = [
    "CellRecipe",
    "Outcome",
    "Results",
    "StudyRecipe",
    "TaskRecipe",
    "collect",
    "compare",
    "load_study",
]
