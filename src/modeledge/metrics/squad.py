"""Marks for short answers: exact match and word F1, as the official SQuAD scripts compute them.

An answer is right whichever annotator gave it, however it is capitalised, with or without an article or a full stop.
So both sides are normalised (lower case, punctuation out, the words a, an, the out, white space to one blank), and the
best over the gold answers counts. Word F1 treats both sides as bags of words (Rajpurkar et al. 2016, arXiv 1606.05250,
section 6.1).

Version 2.0 (Rajpurkar et al. 2018, arXiv 1806.03822) adds questions without an answer. Their one right answer is the
empty text; where either side is empty, F1 is 1 if both are and 0 otherwise. A system may also give each question a
probability that it has no answer: above a threshold its answer is taken as empty, and the script reports the threshold
that would have been best for exact match and for F1 (found on the very data it marks: an upper bound, not a result).

CoQA (Reddy et al. 2019, arXiv 1808.07042, section 6.1) leaves one annotator out at a time, so that a system is compared
with as many answers as a human annotator is.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from modeledge.errors import ModeledgeError
from modeledge.metrics.intervals import Score, score_of
from modeledge.metrics.metric import Floats, Tally, finite, mean_of
from modeledge.metrics.text import text_pair

ARTICLES = re.compile(r"\b(?:a|an|the)\b")
PUNCTUATION = str.maketrans("", "", string.punctuation)
NORMALISED = "normalise:lower,punctuation,articles"
Compare = Callable[[str, str], float]


@dataclass(frozen=True)
class Best:
    """The best mark that any no-answer threshold reaches, and the threshold."""

    value: float
    threshold: float


@dataclass(frozen=True)
class SquadReport:
    """What a whole prediction file scores. `scores` has `exact_match` and `f1_answer`, for version 2.0 also each over
    the questions with an answer (`…_has_answer`) and without one (`…_no_answer`)."""

    scores: dict[str, Score]
    best_exact: Best | None = None
    best_f1: Best | None = None


def normalise(answer: str) -> str:
    """An answer without case, punctuation, articles and superfluous white space.

    >>> normalise("The  U.S. Army!")
    'us army'
    """
    return " ".join(ARTICLES.sub(" ", answer.lower().translate(PUNCTUATION)).split())


def exact(prediction: str, gold: str) -> float:
    """1 where two answers are the same after `normalise`, else 0."""
    return float(normalise(prediction) == normalise(gold))


def word_overlap(guess: Sequence[str], truth: Sequence[str]) -> float:
    """F1 of two bags of words; 0 where they share none."""
    shared = sum((Counter(guess) & Counter(truth)).values())
    return 2 * shared / (len(guess) + len(truth)) if shared else 0.0


def f1_v1(prediction: str, gold: str) -> float:
    """Word F1 of two answers as version 1.1 has it: 0 where nothing is shared, two empty answers among them."""
    return word_overlap(normalise(prediction).split(), normalise(gold).split())


def f1_v2(prediction: str, gold: str) -> float:
    """Word F1 of two answers as version 2.0 and CoQA have it: two empty answers agree."""
    guess, truth = normalise(prediction).split(), normalise(gold).split()
    if not guess or not truth:
        return float(guess == truth)
    return word_overlap(guess, truth)


def best_of(compare: Compare, prediction: str, golds: Sequence[str]) -> float:
    """The mark against the gold answer that fits best."""
    return max(compare(prediction, gold) for gold in golds)


def best_said(compare: Compare, prediction: str, golds: Sequence[str]) -> float:
    """Version 2.0's mark: the best over the gold answers that say something. Where none does, the empty text is right;
    beside others, a gold answer of articles and punctuation alone is no excuse for silence."""
    return best_of(compare, prediction, [gold for gold in golds if normalise(gold)] or [""])


def leave_one_out(compare: Compare, prediction: str, golds: Sequence[str]) -> float:
    """CoQA's mark: the mean, over annotators left out, of the best mark against the others; one gold stands alone."""
    if len(golds) == 1:
        return compare(prediction, golds[0])
    marks = [compare(prediction, gold) for gold in golds]
    return float(np.mean([max(marks[:i] + marks[i + 1 :]) for i in range(len(marks))]))


def exact_match(predictions: Any, labels: Any) -> Tally:
    """The share of answers that equal one of their gold answers after `normalise` (version 2.0's rule), 0 … 1."""
    return marked(predictions, labels, exact, best_said, "gold:best-of-said")


def f1_answer(predictions: Any, labels: Any) -> Tally:
    """The mean word F1 against the best gold answer (version 2.0's rules for empty answers), 0 … 1."""
    return marked(predictions, labels, f1_v2, best_said, "gold:best-of-said")


def coqa_exact(predictions: Any, labels: Any) -> Tally:
    """CoQA's exact match, one annotator left out at a time."""
    return marked(predictions, labels, exact, leave_one_out, "gold:leave-one-out")


def coqa_f1(predictions: Any, labels: Any) -> Tally:
    """CoQA's word F1, one annotator left out at a time."""
    return marked(predictions, labels, f1_v2, leave_one_out, "gold:leave-one-out")


def marked(
    predictions: Any,
    labels: Any,
    compare: Compare,
    over: Callable[[Compare, str, Sequence[str]], float],
    how: str,
) -> Tally:
    """The mean of one comparison an item."""
    guesses, truths = text_pair(predictions, labels)
    marks = [over(compare, guess, truth) for guess, truth in zip(guesses, truths, strict=True)]
    return mean_of(np.array(marks, np.float64), f"{NORMALISED}|{how}")


def gold_answers(articles: Sequence[Mapping[str, Any]]) -> dict[str, tuple[str, ...]]:
    """Question id → gold answers, from the `data` list of a SQuAD file; () where a question has none."""
    return {
        str(question["id"]): tuple(str(answer["text"]) for answer in question["answers"])
        for article in articles
        for paragraph in article["paragraphs"]
        for question in paragraph["qas"]
    }


def squad_v1(
    golds: Mapping[str, Sequence[str]], predictions: Mapping[str, str], *, allow_missing: bool = False, seed: int
) -> SquadReport:
    """Exact match and F1 of a version 1.1 prediction file (question id → answer).

    A question without a prediction, or a prediction without a question, is `E-MISSING-FIELD`. With `allow_missing` the
    official script is followed: the first is marked wrong, the second not read; the signature counts the first.
    """
    names = paired_ids(golds, predictions, allow_missing)
    given = np.array([name in predictions for name in names])
    guesses, truths = [predictions.get(name, "") for name in names], [golds[name] for name in names]
    scores = {}
    for name, compare in (("exact_match", exact), ("f1_answer", f1_v1)):
        marks = marked(guesses, truths, compare, best_of, "").items[:, 0] * given
        how = f"{NORMALISED}|gold:best|squad:1.1|missing-and-wrong:{int(np.sum(~given))}"
        scores[name] = score_of(name, mean_of(marks, how), seed=seed)
    return SquadReport(scores)


def squad_v2(
    golds: Mapping[str, Sequence[str]],
    predictions: Mapping[str, str],
    *,
    no_answer: Mapping[str, float] | None = None,
    threshold: float = 1.0,
    allow_missing: bool = False,
    seed: int,
) -> SquadReport:
    """Exact match and F1 of a version 2.0 prediction file, in all and by whether a question has an answer.

    `no_answer` gives each question's probability of having none; above `threshold` its answer is taken as empty. With
    it the best thresholds are found too. Missing and surplus ids are `E-MISSING-FIELD`. With `allow_missing` the
    official script is followed: questions without a prediction are left out; the signature counts them.
    """
    every = paired_ids(golds, predictions, allow_missing)
    names = [name for name in every if name in predictions]
    answerable = np.array([bool(golds[name]) for name in names])
    truths = [golds[name] or ("",) for name in names]
    guesses = [predictions[name] for name in names]
    chances = None if no_answer is None else chances_of(no_answer, names)
    scores, best = {}, {}
    how = f"{NORMALISED}|gold:best-of-said|squad:2.0|left-out:{len(every) - len(names)}|threshold:{threshold:g}"
    for name, compare in (("exact_match", exact), ("f1_answer", f1_v2)):
        raw = marked(guesses, truths, compare, best_said, "").items[:, 0]
        marks = raw if chances is None else np.where(chances > threshold, ~answerable, raw).astype(np.float64)
        for part, kept in (("", np.full(len(names), True)), ("_has_answer", answerable), ("_no_answer", ~answerable)):
            if kept.any():
                scores[name + part] = score_of(name + part, mean_of(marks[kept], how), seed=seed)
        if chances is not None:
            best[name] = best_threshold(raw, chances, answerable, np.array([bool(guess) for guess in guesses]))
    return SquadReport(scores, best.get("exact_match"), best.get("f1_answer"))


def best_threshold(marks: Floats, chances: Floats, answerable: Any, answered: Any) -> Best:
    """The threshold on the no-answer probability that would have marked best.

    From "all are unanswerable" on, questions are let through in the order of their probability: one with an answer adds
    its mark, one without loses a point if something was answered. The first best sum wins, 0 if nothing is gained.
    Questions of equal probability are let through one after the other, as in the official script.
    """
    order = np.argsort(chances, kind="stable")
    gains = np.where(answerable, marks, np.where(answered, -1.0, 0.0))[order]
    sums = np.concatenate([[0.0], np.cumsum(gains)]) + np.sum(~answerable)
    place = int(np.argmax(sums))
    return Best(float(sums[place] / len(marks)), float(chances[order[place - 1]]) if place else 0.0)


def chances_of(no_answer: Mapping[str, float], names: Sequence[str]) -> Floats:
    """The no-answer probability of each question; a question without one is `E-MISSING-FIELD`."""
    lacking = [name for name in names if name not in no_answer]
    if lacking:
        what = f"{len(lacking)} of {len(names)} questions, {lacking[0]!r} first, have no no-answer probability"
        raise ModeledgeError("E-MISSING-FIELD", what, remedy="give one to every question that has a prediction")
    return finite([no_answer[name] for name in names], "no_answer")


def paired_ids(golds: Mapping[str, Any], predictions: Mapping[str, Any], allow_missing: bool) -> list[str]:
    """The ids of the questions; unless allowed, each must have a prediction, and each prediction a question."""
    for first, second, lack in ((golds, predictions, "no prediction"), (predictions, golds, "no question")):
        lacking = [name for name in first if name not in second]
        if lacking and not allow_missing:
            what = f"{len(lacking)} of {len(first)} ids, {lacking[0]!r} first, have {lack}"
            remedy = "complete the file, or pass allow_missing=True to mark it as the official script would"
            raise ModeledgeError("E-MISSING-FIELD", what, why="the mark would be over other questions", remedy=remedy)
    if not any(name in predictions for name in golds):
        raise ModeledgeError("E-EMPTY-SPLIT", "no question has a prediction, so there is nothing to mark")
    return list(golds)
