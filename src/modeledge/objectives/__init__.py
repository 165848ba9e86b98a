"""What a model can be asked to learn: `OBJECTIVES` is the table."""

from modeledge.objectives.causal import CausalLM, CausalPrepare
from modeledge.objectives.collate import Shape, collate, fill, plan
from modeledge.objectives.image import PicturePrepare, patches
from modeledge.objectives.label import Classify, LabelPrepare, Regress
from modeledge.objectives.masked import MaskedLM, MaskedPrepare
from modeledge.objectives.objective import Loss, Objective, Prepare, Step, Term, prepared
from modeledge.objectives.relate import MarkedPrepare
from modeledge.objectives.tag import TagPrepare, TagTokens

OBJECTIVES: dict[str, type[Objective]] = {
    "causal": CausalLM,
    "masked": MaskedLM,
    "classify": Classify,
    "regress": Regress,
    "token": TagTokens,
}

__all__ = [
    "OBJECTIVES",
    "CausalLM",
    "CausalPrepare",
    "Classify",
    "LabelPrepare",
    "Loss",
    "MarkedPrepare",
    "MaskedLM",
    "MaskedPrepare",
    "Objective",
    "PicturePrepare",
    "Prepare",
    "Regress",
    "Shape",
    "Step",
    "TagPrepare",
    "TagTokens",
    "Term",
    "collate",
    "fill",
    "patches",
    "plan",
    "prepared",
]
