"""Training what judges pages: the classifier of good and bad text, and the n-gram model of good text."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from modeledge.config import load_config
from modeledge.corpus.filter import size
from modeledge.corpus.quality.classifier import Classifier, train_classifier
from modeledge.corpus.quality.ngram import NgramModel, train_ngrams
from modeledge.errors import ModeledgeError
from modeledge.recipes.corpora.build import fresh
from modeledge.recipes.corpora.source import read, report_ledger
from modeledge.recipes.corpora.texts import CorpusRecipe
from modeledge.records import Ledger
from modeledge.seed import Noise

Say = Callable[[str], None]
HELD = 20  # one text of twenty tells how surprising good text is


def texts_of(paths: Sequence[str], keys: Sequence[str], say: Say) -> list[str]:
    """The texts of files that hold more than white space, read by the keys of a corpus recipe."""
    corpus, ledger = load_config(CorpusRecipe, None, keys, values={"paths": list(paths)}), Ledger()
    texts = []
    for document in read(corpus, ledger):
        if document.text.strip():
            ledger.kept.add(bytes=size(document))
            texts.append(document.text)
    report_ledger(ledger, say)
    return texts


def build_classifier(good: Sequence[str], bad: Sequence[str], out: Path, say: Say) -> Classifier:
    """Learn good from bad texts, save the classifier in the folder `out` and say what it is worth on held-out rows."""
    fresh(out)
    made = train_classifier(good, bad)
    made.save(out)
    held = made.about["held_out"]
    say(f"{held['rows']:,} held-out rows: AUC {held['auc']:.4f}")
    for row in held["thresholds"]:
        right = "–" if row["precision"] is None else f"{row['precision']:.3f}"
        said = f"of the dropped bad {right}, of the bad dropped {row['recall']:.3f}, of the good lost {row['lost']:.3f}"
        say(f"at_least = {row['threshold']}: {said}")
    return made


def build_ngrams(texts: Sequence[str], out: Path, vocabulary: int, say: Say) -> NgramModel:
    """Count an n-gram model from good texts, save it in `out`, and say how surprising held-out good text is.

    Raises `E-CLASS-TOO-SMALL` for fewer than `HELD` texts: nothing could be held out.
    """
    fresh(out)
    if len(texts) < HELD:
        what = f"{len(texts)} texts; {HELD} are the least, as one of {HELD} is held out"
        raise ModeledgeError("E-CLASS-TOO-SMALL", what, remedy="split=paragraph makes a text of each paragraph")
    order = Noise(0).at("n-grams", len(texts)).generator().permutation(len(texts))
    held = order[: len(texts) // HELD]
    model = train_ngrams((texts[i] for i in sorted(order[len(held) :])), vocabulary=vocabulary)
    found = np.quantile([model.perplexity(texts[i]) for i in held], np.linspace(0.1, 0.9, 9))
    deciles = [round(float(value), 1) for value in found]
    model.save(out, {"texts": len(texts) - len(held), "held_out_deciles": deciles})
    counts = ", ".join(f"{len(level.keys):,}" for level in model.levels)
    say(f"1-, 2- and 3-grams: {counts}; perplexity of {len(held)} held-out texts, deciles: {deciles}")
    return model
