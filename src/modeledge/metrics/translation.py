"""Marks for translations: BLEU, chrF, chrF++ and TER, by sacreBLEU.

BLEU (Papineni et al. 2002, P02-1040) multiplies the precisions of 1- to 4-grams; chrF (Popović 2015, W15-3049) is the
F2 of character n-grams up to 6, chrF++ (2017) adds word 2-grams; TER (Snover et al. 2006) counts the edits, moved
phrases among them, that turn the translation into the reference, for 100 words of it (less is better). All are read off
sums over the corpus, so none is a mean over sentences.

The numbers depend on tokenization, smoothing and case by more than most papers claim as progress (Post 2018,
arXiv 1804.08771). So the arithmetic is sacreBLEU's alone, on its scale of 0 to 100, and its signature is kept in that
of the score. It is an optional dependency: `pip install 'modeledge[bleu]'`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.metrics.metric import Floats, Tally
from modeledge.metrics.text import text_pair

Kind = Literal["bleu", "chrf", "chrf++", "ter"]


def translation(kind: Kind, **options: Any) -> Callable[[Any, Any], Tally]:
    """The metric's parts for one kind; `options` go to sacreBLEU's class (`tokenize="zh"`, `lowercase=True`).

    Raises `E-EXTRA` where sacreBLEU is not installed.
    """

    def parts(predictions: Any, labels: Any) -> Tally:
        guesses, truths = text_pair(predictions, labels)
        scorer = sacrebleu_metric(kind, options)
        counts = np.array(scorer._extract_corpus_statistics(guesses, streams(truths)), np.float64)

        def value(sums: Floats) -> Floats:
            rows = sums.reshape(-1, sums.shape[-1])
            marks = [scorer._compute_score_from_stats(numbers(row)).score for row in rows]
            return np.array(marks, np.float64).reshape(sums.shape[:-1])

        return Tally(counts, value, f"sacrebleu:{kind}|{scorer.get_signature()}")

    return parts


def numbers(row: Floats) -> list[int | float]:
    """Counts as sacreBLEU keeps them: whole numbers, but for TER's mean reference length."""
    return [int(number) if number.is_integer() else number for number in row.tolist()]


def streams(truths: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """References as sacreBLEU reads them: the first of every item, the second of every item, …; None where there is
    no further one."""
    most = max(len(golds) for golds in truths)
    return [[golds[i] if i < len(golds) else None for golds in truths] for i in range(most)]


def sacrebleu_metric(kind: Kind, options: dict[str, Any]) -> Any:
    """A fresh scorer of sacreBLEU."""
    try:
        from sacrebleu.metrics import BLEU, CHRF, TER
    except ImportError as error:
        what = f"{kind} is computed by sacrebleu, which is not installed"
        raise ModeledgeError("E-EXTRA", what, remedy="pip install 'modeledge[bleu]'") from error
    if kind == "bleu":
        return BLEU(**options)
    if kind == "ter":
        return TER(**options)
    return CHRF(**{"word_order": 2 if kind == "chrf++" else 0, **options})
