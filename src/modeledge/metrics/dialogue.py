"""The mark of a reply in ConvAI2: word F1 after ParlAI's normalisation (Dinan et al. 2019, arXiv 1902.00098).

It looks like SQuAD's and is not: punctuation becomes a blank instead of vanishing ("don't" is two words here, one
there), and two replies that are both empty share no word, so they mark 0. Of several gold replies the best counts.
"""

from __future__ import annotations

import string
from typing import Any

import numpy as np

from modeledge.metrics.metric import Tally, mean_of
from modeledge.metrics.squad import ARTICLES, word_overlap
from modeledge.metrics.text import text_pair

PUNCTUATION = str.maketrans(string.punctuation, " " * len(string.punctuation))


def word_f1(predictions: Any, labels: Any) -> Tally:
    """The mean F1 of the words of a reply against its best gold reply, 0 … 1."""
    guesses, truths = text_pair(predictions, labels)
    marks = [
        max(word_overlap(reply_words(guess), reply_words(gold)) for gold in golds)
        for guess, golds in zip(guesses, truths, strict=True)
    ]
    return mean_of(np.array(marks, np.float64), "normalise:lower,punctuation-to-blank,articles|gold:best")


def reply_words(reply: str) -> list[str]:
    """The words that are compared.

    >>> reply_words("I don't like the U.S.")
    ['i', 'don', 't', 'like', 'u', 's']
    """
    return ARTICLES.sub(" ", reply.lower().translate(PUNCTUATION)).split()
