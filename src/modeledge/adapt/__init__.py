"""Which weights move: `STRATEGIES` is the table."""

from modeledge.adapt.adalora import AdaLora
from modeledge.adapt.dora import Dora
from modeledge.adapt.features import FeatureCache, cache_features, frozen_depth, needed_bytes, split, starting_above
from modeledge.adapt.freeze import Freeze, Probe
from modeledge.adapt.hadamard import LoHa
from modeledge.adapt.heads import NewHead, ReplacedHead
from modeledge.adapt.ia3 import IA3
from modeledge.adapt.kronecker import LoKr
from modeledge.adapt.layers import AddedLayers
from modeledge.adapt.linear import LinearMethod
from modeledge.adapt.lora import Lora
from modeledge.adapt.rates import Rates
from modeledge.adapt.strategy import Clock, Full, Group, Neutral, Strategy, apply_moving, compose
from modeledge.adapt.vera import Vera
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
    "dora": Dora,
    "adalora": AdaLora,
    "loha": LoHa,
    "lokr": LoKr,
    "ia3": IA3,
    "vera": Vera,
}

__all__ = [
    "IA3",
    "STRATEGIES",
    "AdaLora",
    "AddedLayers",
    "Clock",
    "Dora",
    "FeatureCache",
    "Freeze",
    "Full",
    "Group",
    "LinearMethod",
    "LoHa",
    "LoKr",
    "Lora",
    "Neutral",
    "NewHead",
    "Probe",
    "Rates",
    "ReplacedHead",
    "Strategy",
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
