"""Which weights move: `STRATEGIES` is the table."""

from modeledge.adapt.features import FeatureCache, cache_features, frozen_depth, needed_bytes, split, starting_above
from modeledge.adapt.freeze import Freeze, Probe
from modeledge.adapt.heads import NewHead, ReplacedHead
from modeledge.adapt.inputs import NewInput
from modeledge.adapt.layers import AddedLayers
from modeledge.adapt.pattern import BitFit, Named
from modeledge.adapt.rates import Rates
from modeledge.adapt.reinit import Reinit
from modeledge.adapt.start_point import StartPoint
from modeledge.adapt.strategy import Clock, Full, Group, Neutral, Strategy, apply_moving, compose
from modeledge.adapt.unfreeze import HeadFirst, Unfreeze
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
    "l2-sp": StartPoint,
}

__all__ = [
    "STRATEGIES",
    "AddedLayers",
    "BitFit",
    "Clock",
    "FeatureCache",
    "Freeze",
    "Full",
    "Group",
    "HeadFirst",
    "Named",
    "Neutral",
    "NewHead",
    "NewInput",
    "Probe",
    "Rates",
    "Reinit",
    "ReplacedHead",
    "StartPoint",
    "Strategy",
    "Unfreeze",
    "WidthRule",
    "apply_moving",
    "cache_features",
    "compose",
    "frozen_depth",
    "needed_bytes",
    "split",
    "starting_above",
]
