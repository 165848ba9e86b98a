"""How answers are marked: one table of metrics, and the intervals that say how sure a mark is.

Every metric is a function `(predictions, labels) -> float` over one set of items. `needs` tells an evaluator what to
hand in:

| needs | predictions | labels |
|---|---|---|
| `"labels"` | class ids `[items]` | class ids `[items]` |
| `"scores"` | values `[items]`, or class probabilities `[items, classes]` | values, or class ids `[items]` |
| `"text"` | one string an item | a string an item, or several that are all right |
| `"spans"` | tags `[items][tokens]` | tags `[items][tokens]` |
| `"matrix"` | 0/1 `[items, classes]` | 0/1 `[items, classes]` |
| `"ranking"` | a score for each candidate `[queries][candidates]` | its relevance, ≥ 0 |
| `"outcomes"` | 0/1, did each try pass, `[problems][tries]` | one entry a problem, not read |

The fine-tuned and the prompted way of a task are marked by the same row of this table. `bootstrap` gives any row its
interval. What is no answer to items has pages of its own: perplexity (`surprise`, `language`), prediction files
(`squad`), averages over tasks (`glue`), reliability (`calibrate`), temperatures (`temperature`).
"""

from __future__ import annotations

from modeledge.errors import ModeledgeError, nearest
from modeledge.metrics.calibrate import (
    Reliability,
    brier,
    calibration_error,
    negative_log_likelihood,
    reliability,
)
from modeledge.metrics.classify import accuracy, each_right, f1_binary, f1_macro, f1_micro, matthews, relation_f1
from modeledge.metrics.dialogue import word_f1
from modeledge.metrics.diversity import distinct, self_repetition, type_token
from modeledge.metrics.glue import glue_average, glue_score
from modeledge.metrics.intervals import Interval, Score, bootstrap, paired_difference, score_of, wilson
from modeledge.metrics.language import bits_per_byte, bits_per_token, perplexity
from modeledge.metrics.metric import LeftOut, Metric, Needs, Tally, counted
from modeledge.metrics.multilabel import (
    multilabel_exact,
    multilabel_f1_macro,
    multilabel_f1_micro,
    multilabel_f1_samples,
)
from modeledge.metrics.ordinal import mean_absolute_error, weighted_kappa
from modeledge.metrics.paired import Drawn, drawn, drawn_difference
from modeledge.metrics.programs import pass_at, pass_chance
from modeledge.metrics.ranking import average_precision, ndcg_at, recall_at, reciprocal_rank
from modeledge.metrics.regress import mean_squared_error, pearson, spearman
from modeledge.metrics.rouge import rouge
from modeledge.metrics.spans import by_type, entities, entity
from modeledge.metrics.spikes import spike_score
from modeledge.metrics.squad import (
    coqa_exact,
    coqa_f1,
    exact_match,
    f1_answer,
    gold_answers,
    squad_v1,
    squad_v2,
)
from modeledge.metrics.surprise import (
    bits_of_bytes,
    bits_per_text_byte,
    nats_per_token,
    perplexity_per_byte,
    perplexity_per_token,
    perplexity_per_word,
    perplexity_renormalised,
)
from modeledge.metrics.temperature import fit_temperature, tempered
from modeledge.metrics.translation import translation

ROWS: tuple[Metric, ...] = (
    # classes, one an item
    Metric("accuracy", accuracy, greater_is_better=True, needs="labels", parts=each_right),
    Metric("f1", f1_binary, greater_is_better=True, needs="labels"),
    Metric("f1_macro", f1_macro, greater_is_better=True, needs="labels"),
    Metric("f1_micro", f1_micro, greater_is_better=True, needs="labels"),
    Metric("matthews", matthews, greater_is_better=True, needs="labels"),
    counted("relation_f1", relation_f1, "labels"),
    # classes in an order
    counted("mean_absolute_error", mean_absolute_error, "labels", greater_is_better=False),
    counted("quadratic_kappa", weighted_kappa, "labels"),
    # values and probabilities
    Metric("pearson", pearson, greater_is_better=True, needs="scores"),
    Metric("spearman", spearman, greater_is_better=True, needs="scores"),
    Metric("mean_squared_error", mean_squared_error, greater_is_better=False, needs="scores"),
    Metric("calibration_error", calibration_error, greater_is_better=False, needs="scores"),
    counted("brier", brier, "scores", greater_is_better=False),
    counted("negative_log_likelihood", negative_log_likelihood, "scores", greater_is_better=False),
    # several classes an item
    counted("multilabel_exact", multilabel_exact, "matrix"),
    counted("multilabel_f1_micro", multilabel_f1_micro, "matrix"),
    counted("multilabel_f1_macro", multilabel_f1_macro, "matrix"),
    counted("multilabel_f1_samples", multilabel_f1_samples, "matrix"),
    # entities in tagged sentences
    counted("entity_f1", entity("f1"), "spans"),
    counted("entity_precision", entity("precision"), "spans"),
    counted("entity_recall", entity("recall"), "spans"),
    counted("entity_f1_macro", entity("f1", "macro"), "spans"),
    counted("entity_f1_weighted", entity("f1", "weighted"), "spans"),
    counted("entity_f1_strict_iob2", entity("f1", scheme="IOB2"), "spans"),
    counted("entity_f1_strict_iobes", entity("f1", scheme="IOBES"), "spans"),
    counted("entity_f1_strict_bilou", entity("f1", scheme="BILOU"), "spans"),
    # short answers
    counted("exact_match", exact_match, "text"),
    counted("f1_answer", f1_answer, "text"),
    counted("coqa_exact", coqa_exact, "text"),
    counted("coqa_f1", coqa_f1, "text"),
    counted("word_f1", word_f1, "text"),
    # summaries
    counted("rouge1", rouge("1"), "text"),
    counted("rouge2", rouge("2"), "text"),
    counted("rougeL", rouge("L"), "text"),
    counted("rougeLsum", rouge("Lsum"), "text"),
    counted("rouge1_stem", rouge("1", stem=True), "text"),
    counted("rouge2_stem", rouge("2", stem=True), "text"),
    counted("rougeL_stem", rouge("L", stem=True), "text"),
    counted("rougeLsum_stem", rouge("Lsum", stem=True), "text"),
    # translations, 0 … 100 (extra `bleu`)
    counted("bleu", translation("bleu"), "text"),
    counted("chrf", translation("chrf"), "text"),
    counted("chrf++", translation("chrf++"), "text"),
    counted("ter", translation("ter"), "text", greater_is_better=False),
    # variety of texts, no reference read
    counted("distinct_1", distinct(1), "text", alone=True),
    counted("distinct_2", distinct(2), "text", alone=True),
    counted("self_repetition", self_repetition(4), "text", greater_is_better=False, alone=True),
    counted("type_token", type_token, "text", alone=True),
    # the loss of a target's tokens
    counted("nats_per_token", nats_per_token, "scores", greater_is_better=False),
    counted("bits_per_byte", bits_of_bytes, "scores", greater_is_better=False),
    # steps of a training, 0 or 1 each: did it leap?
    counted("spike_score", spike_score, "scores", greater_is_better=False, alone=True),
    # rankings
    counted("mrr", reciprocal_rank, "ranking"),
    counted("map", average_precision, "ranking"),
    counted("recall@1", recall_at(1), "ranking"),
    counted("recall@5", recall_at(5), "ranking"),
    counted("recall@10", recall_at(10), "ranking"),
    counted("ndcg@5", ndcg_at(5), "ranking"),
    counted("ndcg@10", ndcg_at(10), "ranking"),
    # programs
    counted("pass@1", pass_at(1), "outcomes", alone=True),
    counted("pass@5", pass_at(5), "outcomes", alone=True),
    counted("pass@10", pass_at(10), "outcomes", alone=True),
)
METRICS: dict[str, Metric] = {row.name: row for row in ROWS}


def metric_named(name: str) -> Metric:
    """The row of `METRICS` with this name; `E-CONFIG-VALUE` names the nearest one there is."""
    if name not in METRICS:
        raise ModeledgeError("E-CONFIG-VALUE", f"there is no metric {name!r}", remedy=nearest(name, METRICS))
    return METRICS[name]


__all__ = [
    "METRICS",
    "Drawn",
    "Interval",
    "LeftOut",
    "Metric",
    "Needs",
    "Reliability",
    "Score",
    "Tally",
    "accuracy",
    "bits_per_byte",
    "bits_per_text_byte",
    "bits_per_token",
    "bootstrap",
    "by_type",
    "calibration_error",
    "distinct",
    "drawn",
    "drawn_difference",
    "entities",
    "entity",
    "f1_binary",
    "f1_macro",
    "f1_micro",
    "fit_temperature",
    "glue_average",
    "glue_score",
    "gold_answers",
    "matthews",
    "mean_squared_error",
    "metric_named",
    "nats_per_token",
    "ndcg_at",
    "paired_difference",
    "pass_at",
    "pass_chance",
    "pearson",
    "perplexity",
    "perplexity_per_byte",
    "perplexity_per_token",
    "perplexity_per_word",
    "perplexity_renormalised",
    "recall_at",
    "relation_f1",
    "reliability",
    "rouge",
    "score_of",
    "self_repetition",
    "spearman",
    "squad_v1",
    "squad_v2",
    "tempered",
    "translation",
    "wilson",
]
