"""What a model can be asked to learn: `OBJECTIVES` is the table."""

from modeledge.objectives.ahead import AheadPrepare, MultiToken
from modeledge.objectives.bart import Bart
from modeledge.objectives.blend import Blend, BlendPrepare
from modeledge.objectives.boundary import BoundaryLM, BoundaryPrepare
from modeledge.objectives.causal import CausalLM, CausalPrepare
from modeledge.objectives.choice import ChoicePrepare, Choose
from modeledge.objectives.collate import Shape, collate, fill, plan
from modeledge.objectives.contrast import Contrast, ContrastPrepare
from modeledge.objectives.corrupt import Dropped, Fragment, Masked, RandomSpans, Salients, Scattered, Shuffled, Split
from modeledge.objectives.damage import Damage, Damaged
from modeledge.objectives.denoise import Denoise, DenoisePrepare, PrefixLM
from modeledge.objectives.diffusion import DiffusionPrepare, MaskedDiffusion, elbo
from modeledge.objectives.form import Form, most_tokens
from modeledge.objectives.image import PicturePrepare, patches
from modeledge.objectives.label import Classify, Labelling, LabelPrepare, Regress
from modeledge.objectives.masked import MaskedLM, MaskedPrepare
from modeledge.objectives.middle import FillMiddle, MiddlePrepare
from modeledge.objectives.mixture import Mixture, ul2
from modeledge.objectives.objective import Loss, Objective, Prepare, Step, Term, prepared
from modeledge.objectives.ordinal import Order
from modeledge.objectives.rank import Rank, RankPrepare
from modeledge.objectives.relate import MarkedPrepare
from modeledge.objectives.replaced import Replaced, ReplacedPrepare, generator_of
from modeledge.objectives.schedule import Number, Phases, Ramp, Scheduled, Shortened
from modeledge.objectives.sentence import PairPrepare, SentencePairs
from modeledge.objectives.several import ClassifySeveral
from modeledge.objectives.smooth import Smooth
from modeledge.objectives.span import NOT_HERE, UNKNOWN, Span, SpanPrepare
from modeledge.objectives.tag import TagPrepare, TagTokens
from modeledge.objectives.unilm import ReadingLM, ReadingPrepare, UniLM
from modeledge.objectives.units import Readable, Runs, Salient, Single, Unit, ngrams, spans, whole_words
from modeledge.objectives.write import Write, WritePrepare

OBJECTIVES: dict[str, type[Objective]] = {
    "causal": CausalLM,
    "fim": FillMiddle,
    "multi-token": MultiToken,
    "masked": MaskedLM,
    "denoise": Denoise,
    "prefix": PrefixLM,
    "replaced": Replaced,
    "sentence": SentencePairs,
    "contrast": Contrast,
    "boundary": BoundaryLM,
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
    "Bart",
    "Blend",
    "BlendPrepare",
    "BoundaryLM",
    "BoundaryPrepare",
    "CausalLM",
    "CausalPrepare",
    "ChoicePrepare",
    "Choose",
    "Classify",
    "ClassifySeveral",
    "Contrast",
    "ContrastPrepare",
    "Damage",
    "Damaged",
    "Denoise",
    "DenoisePrepare",
    "DiffusionPrepare",
    "Dropped",
    "FillMiddle",
    "Form",
    "Fragment",
    "LabelPrepare",
    "Labelling",
    "Loss",
    "MarkedPrepare",
    "Masked",
    "MaskedDiffusion",
    "MaskedLM",
    "MaskedPrepare",
    "MiddlePrepare",
    "Mixture",
    "MultiToken",
    "Number",
    "Objective",
    "Order",
    "PairPrepare",
    "Phases",
    "PicturePrepare",
    "PrefixLM",
    "Prepare",
    "Ramp",
    "RandomSpans",
    "Rank",
    "RankPrepare",
    "Readable",
    "ReadingLM",
    "ReadingPrepare",
    "Regress",
    "Replaced",
    "ReplacedPrepare",
    "Runs",
    "Salient",
    "Salients",
    "Scattered",
    "Scheduled",
    "SentencePairs",
    "Shape",
    "Shortened",
    "Shuffled",
    "Single",
    "Smooth",
    "Span",
    "SpanPrepare",
    "Split",
    "Step",
    "TagPrepare",
    "TagTokens",
    "Term",
    "UniLM",
    "Unit",
    "Write",
    "WritePrepare",
    "collate",
    "elbo",
    "fill",
    "generator_of",
    "most_tokens",
    "ngrams",
    "patches",
    "plan",
    "prepared",
    "spans",
    "ul2",
    "whole_words",
]
