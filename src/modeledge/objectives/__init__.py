"""What a model can be asked to learn: `OBJECTIVES` is the table."""

from modeledge.objectives.causal import CausalLM, CausalPrepare
from modeledge.objectives.collate import Shape, collate, fill, plan
from modeledge.objectives.image import PicturePrepare, patches
from modeledge.objectives.label import Classify, LabelPrepare, Regress
from modeledge.objectives.masked import MaskedLM, MaskedPrepare
from modeledge.objectives.objective import Loss, Objective, Prepare, Step, Term, prepared
from modeledge.objectives.rank import Rank, RankPrepare
from modeledge.objectives.write import Write, WritePrepare

OBJECTIVES: dict[str, type[Objective]] = {
    "causal": CausalLM,
    "masked": MaskedLM,
    "classify": Classify,
    "regress": Regress,
    "write": Write,
    "rank": Rank,
}

__all__ = [
    "OBJECTIVES",
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
    "Rank",
    "RankPrepare",
    "Regress",
    "Shape",
    "Step",
    "Term",
    "Write",
    "WritePrepare",
    "collate",
    "fill",
    "patches",
    "plan",
    "prepared",
]
