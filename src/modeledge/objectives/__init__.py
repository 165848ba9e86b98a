"""What a model can be asked to learn: `OBJECTIVES` is the table."""

from modeledge.objectives.causal import CausalLM, CausalPrepare
from modeledge.objectives.collate import Shape, collate, fill, plan
from modeledge.objectives.image import PicturePrepare, patches
from modeledge.objectives.label import Classify, LabelPrepare, Regress
from modeledge.objectives.masked import MaskedLM, MaskedPrepare
from modeledge.objectives.objective import Loss, Objective, Prepare, Step, Term, prepared
from modeledge.objectives.span import NOT_HERE, UNKNOWN, Span, SpanPrepare

OBJECTIVES: dict[str, type[Objective]] = {
    "causal": CausalLM,
    "masked": MaskedLM,
    "classify": Classify,
    "regress": Regress,
    "span": Span,
}

__all__ = [
    "NOT_HERE",
    "OBJECTIVES",
    "UNKNOWN",
    "CausalLM",
    "CausalPrepare",
    "Classify",
    "LabelPrepare",
    "Loss",
    "MaskedLM",
    "MaskedPrepare",
    "Objective",
    "PicturePrepare",
    "Prepare",
    "Regress",
    "Shape",
    "Span",
    "SpanPrepare",
    "Step",
    "Term",
    "collate",
    "fill",
    "patches",
    "plan",
    "prepared",
]
