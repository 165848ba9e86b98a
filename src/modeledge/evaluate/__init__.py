"""How good is it, where is it wrong, and what do several models say together?"""

from modeledge.evaluate.analysis import analyse
from modeledge.evaluate.ensemble import ensemble
from modeledge.evaluate.submit import GLUE, glue_file, glue_zip, squad_files

__all__ = ["GLUE", "analyse", "ensemble", "glue_file", "glue_zip", "squad_files"]
