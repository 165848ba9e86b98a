"""What classical methods make of the same rows: the baselines that a pre-trained network has to answer to.

`tfidf_logistic` counts words, weighs them by how rare they are (TF-IDF; Spärck Jones 1972) and fits a logistic
regression. It knows the labelled rows and nothing else: the counterpart of a network from random weights. (Word pairs
and character sequences were tried beside words on rows that are no test rows: no better.)

`tfidf_svd_logistic` first learns from text *without labels*: `LatentSemantics` weighs the words of a whole corpus and
keeps the directions in which its texts differ most (a truncated singular value decomposition; Deerwester et al. 1990,
"Indexing by latent semantic analysis"). Then the same logistic regression reads a hundred numbers a text in place of
thousands of words. That is pre-training and a linear probe in two lines: the representation comes from unlabelled
text, labels are for the last step only, and a word that occurs in no labelled row still counts, through the words that
it keeps company with.

*What* a text is in pre-training decides what the directions mean, for this method as for a network with its context
length: decomposed over chapters they are topics, which is what a section of the canon is made of; over verses they
stay close to words, which is what tells a verse from its neighbour. So several spaces may be offered, and the training
rows choose.

Two texts a and b become |a − b|, a · b (element by element) and their cosine: how far apart, how much in common.

Whatever is chosen (space, strength of the penalty) is chosen by cross-validation on the training rows alone, folds cut
by chapter like the test rows. Everything runs on one thread.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold, cross_val_score
from sklearn.preprocessing import normalize
from threadpoolctl import threadpool_limits

from modeledge.classical.pairs import compared
from modeledge.errors import ModeledgeError
from modeledge.records import FloatArray
from modeledge.seed import Noise

Rows: TypeAlias = Sequence[Mapping[str, Any]]
Vectors: TypeAlias = Any  # [texts, features], a NumPy array or a SciPy sparse matrix, rows of unit length
Vectorize: TypeAlias = Callable[[Sequence[str]], Vectors]

COMPONENTS = 100
PENALTIES = (0.3, 3.0, 30.0, 300.0)  # scikit-learn's C: the larger, the weaker the penalty
FOLDS = 3


@dataclass(frozen=True)
class Outcome:
    """What a baseline said of the test rows, in their order.

    `predictions` are labels, `probabilities` `[rows, classes]` stand in the order of `classes`, `correct` `[rows]` is
    1.0 where the label is right (what `metrics.paired_difference` compares), `chosen` names the space and the penalty.
    """

    classes: tuple[Any, ...]
    predictions: tuple[Any, ...]
    probabilities: FloatArray
    correct: FloatArray
    chosen: str
    seconds: float

    @property
    def accuracy(self) -> float:
        """The share of right answers."""
        return float(self.correct.mean())


class LatentSemantics:
    """Texts as `components` numbers, learned from texts without labels. Fit it once, use it for every task and seed."""

    def __init__(self, components: int = COMPONENTS, *, seed: int, name: str = "svd") -> None:
        self.name = name
        self.words = _words(min_df=2)
        self.svd = TruncatedSVD(components, random_state=_state(Noise(seed).at("classical", "svd")))

    def fit(self, texts: Sequence[str]) -> LatentSemantics:
        """Learn the weight of each word that at least two texts share, and the directions of the corpus.

        Raises `E-CONFIG-VALUE` for more components than the texts have words or the corpus has texts.
        """
        counts = self.words.fit_transform(texts)
        if self.svd.n_components > min(counts.shape):
            what = f"{self.svd.n_components} components of {counts.shape[0]} texts with {counts.shape[1]} words"
            raise ModeledgeError("E-CONFIG-VALUE", what, why="there are no more directions than the smaller of the two")
        with threadpool_limits(1):
            self.svd.fit(counts)
        return self

    def transform(self, texts: Sequence[str]) -> FloatArray:
        """`[texts, components]`, rows of unit length; a text of unknown words only is all zeros."""
        with threadpool_limits(1):
            return np.asarray(normalize(self.svd.transform(self.words.transform(texts))))


def tfidf_logistic(train: Rows, test: Rows, seed: int) -> Outcome:
    """Logistic regression on the TF-IDF of words, all of it learned from the training rows.

    Rows are `{"text", "label"}`, with `"pair"` where a row is two texts and `"chapter"` where folds are to keep groups
    whole. Raises `E-EMPTY-SPLIT`, `E-ONE-CLASS` and `E-CLASS-TOO-SMALL`.
    """
    began = time.perf_counter()
    _refuse(train, test)
    words = _words().fit([row[side] for row in train for side in ("text", "pair") if side in row])
    return _best({"words": words.transform}, train, test, seed, began)


def tfidf_svd_logistic(spaces: Sequence[LatentSemantics], train: Rows, test: Rows, seed: int) -> Outcome:
    """Logistic regression in the one of `spaces`, fitted on unlabelled text, that suits the training rows best.

    Rows and errors are those of `tfidf_logistic`; the time to fit the spaces is not counted.
    """
    began = time.perf_counter()
    _refuse(train, test)
    return _best({space.name: space.transform for space in spaces}, train, test, seed, began)


def features(rows: Rows, vectorize: Vectorize) -> Vectors:
    """The numbers that stand for each row: its text's, or those of two texts, `|a − b|, a · b, cosine`."""
    a = vectorize([row["text"] for row in rows])
    if "pair" not in rows[0]:
        return a
    return compared(a, vectorize([row["pair"] for row in rows]))


def _best(spaces: Mapping[str, Vectorize], train: Rows, test: Rows, seed: int, began: float) -> Outcome:
    """Choose by cross-validation, fit on all training rows, answer. Ties: the first space, the strongest penalty."""
    labels = [row["label"] for row in train]
    folds = _folds(train, labels, Noise(seed).at("classical", "folds"))
    with threadpool_limits(1):
        vectors = {name: features(train, vectorize) for name, vectorize in spaces.items()}
        marks = {
            (name, penalty): cross_val_score(_logistic(penalty), vectors[name], labels, cv=folds).mean()
            for name in spaces
            for penalty in PENALTIES
        }
        name, penalty = max(marks, key=lambda choice: marks[choice])
        model = _logistic(penalty).fit(vectors[name], labels)
        probabilities = model.predict_proba(features(test, spaces[name]))
    classes = tuple(model.classes_.tolist())
    predictions = tuple(classes[best] for best in probabilities.argmax(1))
    correct = np.array([float(said == row["label"]) for said, row in zip(predictions, test, strict=True)])
    return Outcome(classes, predictions, probabilities, correct, f"{name}, C={penalty:g}", time.perf_counter() - began)


def _folds(train: Rows, labels: Sequence[Any], noise: Noise) -> list[tuple[Any, Any]]:
    """Folds that keep chapters whole, where rows name them and each class stands in enough of them."""
    groups = [row.get("chapter") for row in train]
    spread = Counter(label for label, group in {*zip(labels, groups, strict=True)} if group is not None)
    if all(spread[label] >= FOLDS for label in labels) and None not in groups:
        grouped = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=_state(noise))
        return list(grouped.split(labels, labels, groups))
    return list(StratifiedKFold(FOLDS, shuffle=True, random_state=_state(noise)).split(labels, labels))


def _refuse(train: Rows, test: Rows) -> None:
    if not train or not test:
        raise ModeledgeError("E-EMPTY-SPLIT", f"{len(train)} training rows and {len(test)} test rows")
    counts = Counter(row["label"] for row in train)
    if len(counts) < 2:
        raise ModeledgeError("E-ONE-CLASS", f"all {len(train)} training rows are {train[0]['label']!r}")
    label, least = min(counts.items(), key=lambda item: item[1])
    if least < FOLDS:
        why = f"cross-validation needs {FOLDS}"
        raise ModeledgeError("E-CLASS-TOO-SMALL", f"class {label!r} has {least} training rows", why=why)


def _words(min_df: int = 1) -> TfidfVectorizer:
    return TfidfVectorizer(sublinear_tf=True, min_df=min_df)


def _logistic(penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, max_iter=2000)


def _state(noise: Noise) -> int:
    return noise.integer() % 2**32
