"""How answers are marked: one table of metrics, and the intervals that say how sure a mark is.

Every metric is a function `(predictions, labels) -> float` over one set of items. `needs` tells an evaluator what to
hand in as predictions: `"labels"`: class ids `[items]`; `"scores"`: real numbers, the predicted value `[items]` of a
regression or the class probabilities `[items, classes]` of a classifier. The fine-tuned and the prompted way of a task
are marked by the same row of this table.
"""

from __future__ import annotations

from modeledge.errors import ModeledgeError, nearest
from modeledge.metrics.calibrate import calibration_error
from modeledge.metrics.classify import accuracy, f1_binary, f1_macro, f1_micro, matthews
from modeledge.metrics.intervals import Interval, Score, bootstrap, paired_difference, wilson
from modeledge.metrics.language import bits_per_byte, bits_per_token, nats_per_token, perplexity
from modeledge.metrics.metric import Metric, Needs
from modeledge.metrics.regress import mean_squared_error, pearson, spearman

METRICS: dict[str, Metric] = {
    "accuracy": Metric("accuracy", accuracy, greater_is_better=True, needs="labels"),
    "f1": Metric("f1", f1_binary, greater_is_better=True, needs="labels"),
    "f1_macro": Metric("f1_macro", f1_macro, greater_is_better=True, needs="labels"),
    "f1_micro": Metric("f1_micro", f1_micro, greater_is_better=True, needs="labels"),
    "matthews": Metric("matthews", matthews, greater_is_better=True, needs="labels"),
    "pearson": Metric("pearson", pearson, greater_is_better=True, needs="scores"),
    "spearman": Metric("spearman", spearman, greater_is_better=True, needs="scores"),
    "mean_squared_error": Metric("mean_squared_error", mean_squared_error, greater_is_better=False, needs="scores"),
    "calibration_error": Metric("calibration_error", calibration_error, greater_is_better=False, needs="scores"),
    "nats_per_token": Metric("nats_per_token", nats_per_token, greater_is_better=False, needs="scores"),
}


def metric_named(name: str) -> Metric:
    """The row of `METRICS` with this name; `E-CONFIG-VALUE` names the nearest one there is."""
    if name not in METRICS:
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no metric {name!r}", remedy=nearest(name, METRICS))
    return METRICS[name]


__all__ = [
    "METRICS",
    "Interval",
    "Metric",
    "Needs",
    "Score",
    "accuracy",
    "bits_per_byte",
    "bits_per_token",
    "bootstrap",
    "calibration_error",
    "f1_binary",
    "f1_macro",
    "f1_micro",
    "matthews",
    "mean_squared_error",
    "metric_named",
    "nats_per_token",
    "paired_difference",
    "pearson",
    "perplexity",
    "spearman",
    "wilson",
]
