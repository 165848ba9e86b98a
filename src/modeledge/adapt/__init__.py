"""Which weights move: `STRATEGIES` is the table."""

from modeledge.adapt.adalora import AdaLora
from modeledge.adapt.adapter import BottleneckAdapter
from modeledge.adapt.dora import Dora
from modeledge.adapt.features import FeatureCache, cache_features, frozen_depth, needed_bytes, split, starting_above
from modeledge.adapt.freeze import Freeze, Probe
from modeledge.adapt.hadamard import LoHa
from modeledge.adapt.heads import NewHead, ReplacedHead
from modeledge.adapt.ia3 import IA3
from modeledge.adapt.inputs import NewInput
from modeledge.adapt.kronecker import LoKr
from modeledge.adapt.layers import AddedLayers
from modeledge.adapt.linear import LinearMethod
from modeledge.adapt.lora import Lora
from modeledge.adapt.mpt import MultitaskPromptTuning
from modeledge.adapt.pattern import BitFit, Named
from modeledge.adapt.prefix import PrefixTuning
from modeledge.adapt.prompt import PromptTuning
from modeledge.adapt.ptuning import PTuning
from modeledge.adapt.rates import Rates
from modeledge.adapt.reinit import Reinit
from modeledge.adapt.start_point import StartPoint
from modeledge.adapt.strategy import Clock, Full, Group, Neutral, Strategy, apply_moving, compose
from modeledge.adapt.unfreeze import HeadFirst, Unfreeze
from modeledge.adapt.vera import Vera
from modeledge.adapt.width import WidthRule

STRATEGIES: dict[str, type[Strategy]] = {
    "full": Full,
    "probe": Probe,
    "freeze": Freeze,
    "named": Named,
    "bitfit": BitFit,
    "lp-ft": HeadFirst,
    "unfreeze": Unfreeze,
    "reinit": Reinit,
    "new-input": NewInput,
    "new-head": NewHead,
    "replaced-head": ReplacedHead,
    "layers": AddedLayers,
    "rates": Rates,
    "lora": Lora,
    "dora": Dora,
    "adalora": AdaLora,
    "loha": LoHa,
    "lokr": LoKr,
    "ia3": IA3,
    "vera": Vera,
    "adapter": BottleneckAdapter,
    "prompt": PromptTuning,
    "p-tuning": PTuning,
    "prefix": PrefixTuning,
    "mpt": MultitaskPromptTuning,
    "l2-sp": StartPoint,
}

__all__ = [
    "IA3",
    "STRATEGIES",
    "AdaLora",
    "AddedLayers",
    "BitFit",
    "BottleneckAdapter",
    "Clock",
    "Dora",
    "FeatureCache",
    "Freeze",
    "Full",
    "Group",
    "HeadFirst",
    "LinearMethod",
    "LoHa",
    "LoKr",
    "Lora",
    "MultitaskPromptTuning",
    "Named",
    "Neutral",
    "NewHead",
    "NewInput",
    "PTuning",
    "PrefixTuning",
    "Probe",
    "PromptTuning",
    "Rates",
    "Reinit",
    "ReplacedHead",
    "StartPoint",
    "Strategy",
    "Unfreeze",
    "Vera",
    "WidthRule",
    "apply_moving",
    "cache_features",
    "compose",
    "frozen_depth",
    "needed_bytes",
    "split",
    "starting_above",
]
