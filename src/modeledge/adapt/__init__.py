"""Which weights move: `STRATEGIES` is the table."""

from modeledge.adapt.features import FeatureCache, cache_features, frozen_depth, needed_bytes, split, starting_above
from modeledge.adapt.freeze import Freeze, Probe
from modeledge.adapt.heads import NewHead, ReplacedHead
from modeledge.adapt.layers import AddedLayers
from modeledge.adapt.linear import LinearMethod
from modeledge.adapt.lora import Lora
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
    "lora": Lora,
}

__all__ = [
    "STRATEGIES",
    "AddedLayers",
    "Clock",
    "FeatureCache",
    "Freeze",
    "Full",
    "Group",
    "LinearMethod",
    "Lora",
    "Neutral",
    "NewHead",
    "Probe",
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
