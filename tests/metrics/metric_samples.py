"""For every row of METRICS: a small good pair, the truth itself, and a larger random pair."""

import importlib.util

import numpy as np
import pytest

from modeledge.metrics import METRICS

PROBABILITIES = {"calibration_error", "brier", "negative_log_likelihood"}
SURPRISE = {"nats_per_token", "bits_per_byte"}
BY_SACREBLEU = {"bleu", "chrf", "chrf++", "ter"}
WORDS = ["the", "a", "cat", "dog", "runs", "quickly", "over", "green", "hills", "Running", "cats", "ponies"]
TAGS = ["O", "B-PER", "B-LOC"]
ALONE = {"entity_f1_strict_iobes": "S", "entity_f1_strict_bilou": "U"}  # how a scheme writes an entity of one token

GOOD = {
    "labels": ([0, 1, 1], [0, 1, 0]),
    "scores": ([0.5, 2.5, 1.5], [1.0, 2.0, 3.5]),
    "text": (
        ["a black cat ran over the hill", "the dog sleeps in the sun now", "nobody knew who had been there"],
        ["a white cat ran over the hill", "the dog sleeps in the shade now", "nobody knew what had been there"],
    ),
    "spans": ([["B-PER", "O"], ["O", "B-LOC"], ["B-LOC"]], [["B-PER", "O"], ["B-LOC", "O"], ["B-LOC"]]),
    "matrix": ([[1, 0], [1, 1], [0, 1]], [[1, 0], [0, 1], [1, 1]]),
    "ranking": (
        [[0.1, 0.9, 0.5, *[1.0] * 9], [0.3, 0.2, 0.1, *[0.0] * 9], [*range(12, 0, -1)]],
        [[1, 0, 0] * 4, [1, 0, 1, *[0] * 9], [0, 0, 2] * 4],
    ),
    "outcomes": ([[1, 0] * 5, [0, 0] * 5, [1, 1] * 5], [0, 1, 2]),
}
CHANCES = [[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]]


def needed(name):
    """Skips, saying so, where a row's library is not installed."""
    if name in BY_SACREBLEU and importlib.util.find_spec("sacrebleu") is None:
        pytest.skip("sacrebleu is not installed: pip install 'modeledge[bleu]'")


def good(name):
    needed(name)
    if name == "spike_score":
        return [0.0, 1.0, 0.0], [0, 0, 0]
    if name in SURPRISE:
        return [0.5, 2.5, 1.5], [1, 2, 3]
    pair = (CHANCES, [0, 1, 0]) if name in PROBABILITIES else GOOD[METRICS[name].needs]
    return tuple(spelled(side, name) for side in pair) if name in ALONE else pair


def spelled(side, name):
    """Tags of one-token entities as the row's scheme writes them."""
    return [[tag.replace("B-", ALONE.get(name, "B") + "-") for tag in tags] for tags in side]


def truth(name):
    """What would mark best, for the labels of `good`."""
    _, labels = good(name)
    if name in SURPRISE:  # what is certain surprises nobody
        return [0.0 for _ in labels]
    if METRICS[name].needs == "ranking":  # equal relevances in some order: ties would count against the system
        return [np.array(row) - 0.01 * np.arange(len(row)) for row in labels]
    return np.eye(2)[labels] if name in PROBABILITIES else labels


def many(name, items, seed):
    """A random pair that is right about two times in three."""
    needed(name)
    rng = np.random.default_rng(seed)
    row = METRICS[name]
    if name == "spike_score":
        return (rng.random(items) < 0.2).astype(float), np.zeros(items)
    if name in SURPRISE:
        return rng.exponential(5.0, items), rng.integers(1, 9, items)
    if row.needs in ("labels", "scores"):
        labels = rng.integers(0, 2, items)
        guess = np.where(rng.random(items) < 0.7, labels, 1 - labels)
        if name in PROBABILITIES:
            return np.eye(2)[guess] * 0.6 + 0.2, labels
        return (guess if row.needs == "labels" else guess + rng.normal(size=items)), labels
    if row.needs == "matrix":
        labels = rng.integers(0, 2, (items, 3))
        return np.where(rng.random((items, 3)) < 0.7, labels, 1 - labels), labels
    if row.needs == "ranking":
        labels = [[1, *rng.integers(0, 3, rng.integers(1, 16)).tolist()] for _ in range(items)]
        return [(np.array(r) + rng.normal(size=len(r)) * 2).tolist() for r in labels], labels
    if row.needs == "outcomes":
        return [(rng.random(12) < rng.random()).astype(int).tolist() for _ in range(items)], list(range(items))
    sizes = rng.integers(2, 9, items)
    draw = TAGS if row.needs == "spans" else WORDS
    labels = [[draw[i] for i in rng.integers(0, len(draw), n)] for n in sizes]
    guess = [[w if rng.random() < 0.7 else draw[rng.integers(len(draw))] for w in words] for words in labels]
    if row.needs == "spans":
        return spelled(guess, name), spelled(labels, name)
    again = rng.integers(1, 3, items)  # some texts loop
    return [" ".join(words * times) for words, times in zip(guess, again, strict=True)], [" ".join(w) for w in labels]
