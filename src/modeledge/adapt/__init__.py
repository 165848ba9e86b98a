"""Which weights move: `STRATEGIES` is the table."""

from modeledge.adapt.adapter import BottleneckAdapter
from modeledge.adapt.features import FeatureCache, cache_features, frozen_depth, needed_bytes, split, starting_above
from modeledge.adapt.freeze import Freeze, Probe
from modeledge.adapt.heads import NewHead, ReplacedHead
from modeledge.adapt.layers import AddedLayers
from modeledge.adapt.mpt import MultitaskPromptTuning
from modeledge.adapt.prefix import PrefixTuning
from modeledge.adapt.prompt import PromptTuning
from modeledge.adapt.ptuning import PTuning
from modeledge.adapt.rates import Rates
from modeledge.adapt.strategy import Clock, Full, Group, Neutral, Strategy, apply_moving, compose
from modeledge.adapt.width import WidthRule

STRATEGIES: dict[str, type[Strategy]] = {
    "full": Full,
    "probe": Probe,
    "freeze": Freeze,
    "new-head": NewHead,
    "replaced-head": ReplacedHead,
    "layers": AddedLayers,
    "rates": Rates,
    "adapter": BottleneckAdapter,
    "prompt": PromptTuning,
    "p-tuning": PTuning,
    "prefix": PrefixTuning,
    "mpt": MultitaskPromptTuning,
}

__all__ = [
    "STRATEGIES",
    "AddedLayers",
    "BottleneckAdapter",
    "Clock",
    "FeatureCache",
    "Freeze",
    "Full",
    "Group",
    "MultitaskPromptTuning",
    "Neutral",
    "NewHead",
    "PTuning",
    "PrefixTuning",
    "Probe",
    "PromptTuning",
    "Rates",
    "ReplacedHead",
    "Strategy",
    "WidthRule",
    "apply_moving",
    "cache_features",
    "compose",
    "frozen_depth",
    "needed_bytes",
    "split",
    "starting_above",
]
