"""What a model can be asked to learn: `OBJECTIVES` is the table."""

from modeledge.objectives.ahead import AheadPrepare, MultiToken
from modeledge.objectives.blend import Blend, BlendPrepare
from modeledge.objectives.causal import CausalLM, CausalPrepare
from modeledge.objectives.choice import ChoicePrepare, Choose
from modeledge.objectives.collate import Shape, collate, fill, plan
from modeledge.objectives.diffusion import DiffusionPrepare, MaskedDiffusion, elbo
from modeledge.objectives.image import PicturePrepare, patches
from modeledge.objectives.label import Classify, Labelling, LabelPrepare, Regress
from modeledge.objectives.masked import MaskedLM, MaskedPrepare
from modeledge.objectives.middle import FillMiddle, MiddlePrepare
from modeledge.objectives.objective import Loss, Objective, Prepare, Step, Term, prepared
from modeledge.objectives.ordinal import Order
from modeledge.objectives.rank import Rank, RankPrepare
from modeledge.objectives.relate import MarkedPrepare
from modeledge.objectives.schedule import Number, Phases, Ramp, Scheduled, Shortened
from modeledge.objectives.several import ClassifySeveral
from modeledge.objectives.span import NOT_HERE, UNKNOWN, Span, SpanPrepare
from modeledge.objectives.tag import TagPrepare, TagTokens
from modeledge.objectives.unilm import ReadingLM, ReadingPrepare, UniLM
from modeledge.objectives.write import Write, WritePrepare

OBJECTIVES: dict[str, type[Objective]] = {
    "causal": CausalLM,
    "fim": FillMiddle,
    "multi-token": MultiToken,
    "masked": MaskedLM,
    "reading": ReadingLM,
    "unilm": UniLM,
    "diffusion": MaskedDiffusion,
    "blend": Blend,
    "classify": Classify,
    "regress": Regress,
    "choose": Choose,
    "several": ClassifySeveral,
    "ordinal": Order,
    "token": TagTokens,
    "span": Span,
    "write": Write,
    "rank": Rank,
}

__all__ = [
    "NOT_HERE",
    "OBJECTIVES",
    "UNKNOWN",
    "AheadPrepare",
    "Blend",
    "BlendPrepare",
    "CausalLM",
    "CausalPrepare",
    "ChoicePrepare",
    "Choose",
    "Classify",
    "ClassifySeveral",
    "DiffusionPrepare",
    "FillMiddle",
    "LabelPrepare",
    "Labelling",
    "Loss",
    "MarkedPrepare",
    "MaskedDiffusion",
    "MaskedLM",
    "MaskedPrepare",
    "MiddlePrepare",
    "MultiToken",
    "Number",
    "Objective",
    "Order",
    "Phases",
    "PicturePrepare",
    "Prepare",
    "Ramp",
    "Rank",
    "RankPrepare",
    "ReadingLM",
    "ReadingPrepare",
    "Regress",
    "Scheduled",
    "Shape",
    "Shortened",
    "Span",
    "SpanPrepare",
    "Step",
    "TagPrepare",
    "TagTokens",
    "Term",
    "UniLM",
    "Write",
    "WritePrepare",
    "collate",
    "elbo",
    "fill",
    "patches",
    "plan",
    "prepared",
]
