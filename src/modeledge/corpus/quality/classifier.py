"""A classifier of pages that is quick enough for a crawl: word 1- and 2-grams, hashed, under a linear model.

GPT-3 filtered its crawl so, with hashed features and logistic regression (Brown et al. 2020, arXiv 2005.14165,
appendix A); fastText (Joulin et al. 2017, arXiv 1607.01759) is the same idea with a hidden layer. No vocabulary is
kept: a word's CRC-32, and a mixture of two of them for a pair, choose one of 2ᵏ weights, so that a model is one array.
A feature's value is ln(1 + count), and a page's vector has length one, so that long pages are not louder.

Trained on good and bad examples by logistic regression (L-BFGS, L2), the classes weighted alike; a fifth of the rows,
chosen by arithmetic, is held out and gives the figures that are saved beside the weights: the area under the ROC curve,
and precision and recall at thresholds. Half of what a filter costs is which good pages it drops, so look at both.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field
from safetensors.numpy import save_file

from modeledge.config import Settings
from modeledge.corpus.quality.ngram import open_arrays
from modeledge.corpus.quality.page import Page, Share, page_of
from modeledge.errors import ModeledgeError
from modeledge.files import committed_folder, write_json
from modeledge.records import Document, IntArray
from modeledge.seed import Noise

KIND = "page classifier"
HELD = 5  # one row of five is held out
THRESHOLDS = (0.1, 0.25, 0.5, 0.75, 0.9)
Floats = npt.NDArray[np.float64]


def features(page: Page, bits: int) -> tuple[IntArray, Floats]:
    """The places `[n]` of a page's features among 2^bits, rising, and their values, a vector of length one."""
    if not page.words:
        return np.zeros(0, np.int64), np.zeros(0)
    hashes = (zlib.crc32(word.lower().encode("utf-8", "surrogatepass")) for word in page.numbers)
    words = np.fromiter(hashes, np.uint64, len(page.numbers))[page.ids]
    pairs = words[:-1] * np.uint64(0x9E3779B97F4A7C15) + words[1:] * np.uint64(0xBF58476D1CE4E5B9)
    mixed = np.concatenate((words * np.uint64(0x94D049BB133111EB), pairs)) >> np.uint64(64 - bits)
    places, times = np.unique(mixed, return_counts=True)
    values = np.log1p(times)
    return places.astype(np.int64), values / np.linalg.norm(values)


@dataclass(frozen=True)
class Classifier:
    """Weights `[2^bits]`, float32, and a bias; `about` holds the figures on held-out rows."""

    weights: npt.NDArray[np.float32]
    bias: float
    about: Mapping[str, Any]

    def score(self, text: str) -> float:
        """The probability that a text is of the good kind."""
        places, values = features(page_of(text), len(self.weights).bit_length() - 1)
        logit = float(values @ self.weights[places]) + self.bias
        return float(1 / (1 + np.exp(-logit)))

    def save(self, folder: Path) -> None:
        """Write weights and figures. Raises `E-OUTPUT` where the folder exists."""
        with committed_folder(folder, {"kind": KIND}) as temporary:
            save_file({"weights": self.weights, "bias": np.array([self.bias])}, temporary / "model.safetensors")
            write_json(temporary / "classifier.json", dict(self.about))

    @classmethod
    def load(cls, folder: Path) -> Classifier:
        """Read what `save` wrote. Raises `E-NO-FILE`, `E-CHECKPOINT` for a damaged folder or one of another kind."""
        arrays, about = open_arrays(folder, KIND, "classifier.json")
        return cls(arrays["weights"], float(arrays["bias"][0]), about)


def train_classifier(good: Sequence[str], bad: Sequence[str], *, bits: int = 18, penalty: float = 1e-5) -> Classifier:
    """Learn to tell two kinds of texts apart; `penalty` is that of the squared weights, for the mean loss of a row.

    Raises `E-ONE-CLASS` where a side is empty, `E-CLASS-TOO-SMALL` where it cannot be split.
    """
    for name, texts in (("good", good), ("bad", bad)):
        if not texts:
            raise ModeledgeError("E-ONE-CLASS", f"there is no {name} example")
        if len(texts) < 2 * HELD:
            what = f"{len(texts)} {name} examples; {2 * HELD} are the least, as one of {HELD} is held out"
            raise ModeledgeError("E-CLASS-TOO-SMALL", what)
    labels = np.repeat([1.0, 0.0], [len(good), len(bad)])
    rows = [features(Page(text), bits) for text in (*good, *bad)]
    held = np.concatenate([_held(len(good), "good"), _held(len(bad), "bad")])
    matrix = _sparse(rows, bits)
    weights, bias = _fit(matrix[~held], labels[~held], penalty)
    scores = 1 / (1 + np.exp(-(matrix[held] @ weights + bias)))
    about: dict[str, Any] = {"bits": bits, "penalty": penalty, "good": len(good), "bad": len(bad)}
    about["held_out"] = figures(scores, labels[held])
    return Classifier(weights.astype(np.float32), bias, about)


def figures(scores: Floats, labels: Floats) -> dict[str, Any]:
    """How well scores `[n]` tell 1 from 0 `[n]`: the area under the ROC curve, and what a filter would do.

    For a threshold t, a page is dropped where its score is below t: `precision` is the share of the dropped that are
    bad, `recall` that of the bad that are dropped, `lost` that of the good that are dropped.
    """
    from scipy.stats import rankdata

    bad = labels == 0
    good, wrong = int((~bad).sum()), int(bad.sum())
    area = (rankdata(scores)[~bad].sum() - good * (good + 1) / 2) / (good * wrong)
    rows = []
    for threshold in THRESHOLDS:
        dropped = scores < threshold
        caught = int((dropped & bad).sum())
        precision = caught / int(dropped.sum()) if dropped.any() else None
        lost = float((dropped & ~bad).sum() / good)
        rows.append({"threshold": threshold, "precision": precision, "recall": caught / wrong, "lost": lost})
    return {"rows": len(labels), "auc": float(area), "thresholds": rows}


def _held(count: int, name: str) -> npt.NDArray[np.bool_]:
    """One row of `HELD`, drawn by (name, count) alone."""
    held = np.zeros(count, bool)
    held[Noise(0).at("classifier", name, count).generator().permutation(count)[: count // HELD]] = True
    return held


def _sparse(rows: Sequence[tuple[IntArray, Floats]], bits: int) -> Any:
    from scipy.sparse import csr_array

    ends = np.cumsum([0, *(len(places) for places, _ in rows)])
    places, values = (np.concatenate(parts) for parts in zip(*rows, strict=True))
    return csr_array((values, places, ends), shape=(len(rows), 2**bits))


def _fit(matrix: Any, labels: Floats, penalty: float) -> tuple[Floats, float]:
    """Logistic regression on rows of equal total weight a class, by L-BFGS from zero."""
    from scipy.optimize import minimize

    shares = np.where(labels == 1, 0.5 / labels.sum(), 0.5 / (1 - labels).sum())
    signs = 2 * labels - 1

    def loss(theta: Floats) -> tuple[float, Floats]:
        margins = signs * (matrix @ theta[:-1] + theta[-1])
        pull = -shares * signs / (1 + np.exp(np.minimum(margins, 500)))
        total = float(shares @ np.logaddexp(0, -margins)) + penalty * float(theta[:-1] @ theta[:-1])
        return total, np.append(matrix.T @ pull + 2 * penalty * theta[:-1], pull.sum())

    found = minimize(loss, np.zeros(matrix.shape[1] + 1), jac=True, method="L-BFGS-B", options={"maxiter": 200})
    return found.x[:-1], float(found.x[-1])


class Quality(Settings):
    """Drop what the classifier of the folder `model` takes for good with a probability below `at_least`."""

    model: str = Field(min_length=1)
    at_least: Share = 0.5

    @cached_property
    def _loaded(self) -> Classifier:
        return load_once(self.model)

    def prepare(self) -> None:
        """Open the model now, so that a missing or damaged one is an error before the first document."""
        assert self._loaded is not None

    def _fails(self, document: Document) -> bool:
        return self._loaded.score(document.text) < self.at_least

    def __call__(self, document: Document) -> str | None:
        """`quality.low`, or None."""
        return "quality.low" if self._fails(document) else None


class Toxicity(Quality):
    """The same with a classifier of clean (good) and toxic (bad) text, under a name of its own in the ledger."""

    def __call__(self, document: Document) -> str | None:
        """`toxicity.high`, or None."""
        return "toxicity.high" if self._fails(document) else None


@lru_cache(maxsize=4)
def load_once(folder: str) -> Classifier:
    """The classifier of a folder, kept in memory."""
    return Classifier.load(Path(folder))
