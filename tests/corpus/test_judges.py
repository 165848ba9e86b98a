"""The n-gram model against loops over the formula, the classifier on what it can and cannot tell apart."""

import csv
import gzip
import json
import math
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest

from modeledge.corpus.filter import make_filters
from modeledge.corpus.quality.classifier import Classifier, features, figures, train_classifier
from modeledge.corpus.quality.ngram import EDGE, NgramModel, train_ngrams
from modeledge.corpus.quality.page import Page
from modeledge.errors import ModeledgeError
from modeledge.records import Document

TOXICITY = Path(__file__).parents[3] / "shared" / "data" / "toxicity" / "labeled_data.csv.gz"
TEXTS = [
    "the cat sat on the mat",
    "the dog sat on the cat",
    "a dog and a cat sat",
    "the the the",
    "on the mat a dog sat",
]


def looped(model, texts):
    """Interpolated Kneser-Ney by the formula: p(w | u, v), with dictionaries."""
    ids = [model.encode(text).tolist() for text in texts]
    three = Counter(tuple(row[i : i + 3]) for row in ids for i in range(len(row) - 2))
    befores = defaultdict(set)
    for u, v, w in three:
        befores[v, w].add(u)
    two = Counter({pair: len(found) for pair, found in befores.items()})
    for row in ids:
        two[tuple(row[:2])] += 1
    one = Counter()
    for _, w in two:
        one[w] += 1

    def off(counts):
        n1, n2 = sum(c == 1 for c in counts.values()), sum(c == 2 for c in counts.values())
        return n1 / (n1 + 2 * n2) if n1 and n2 else 0.5

    d1, d2, d3 = off(one), off(two), off(three)

    def p1(w):
        return max(one[w] - d1, 0) / sum(one.values()) + d1 * len(one) / sum(one.values()) / len(model.words)

    def up(counts, context, w, d, lower):
        here = {key: c for key, c in counts.items() if key[:-1] == context}
        if not here:
            return lower
        total = sum(here.values())
        return max(here.get((*context, w), 0) - d, 0) / total + d * len(here) / total * lower

    def p(u, v, w):
        low = up(two, (v,), w, d2, p1(w))
        return low if u is None else up(three, (u, v), w, d3, low)

    return p


def test_kneser_ney_is_the_formula_and_sums_to_one():
    model = train_ngrams(TEXTS, min_count=2)
    p = looped(model, TEXTS)
    for text in (*TEXTS, "a cat and a zebra sat on mat", "zebra zebra", ""):
        ids = model.encode(text)
        want = [math.log(p(ids[i - 2] if i > 1 else None, ids[i - 1], ids[i])) for i in range(1, len(ids))]
        assert np.allclose(model.log_probabilities(ids), want, rtol=0, atol=1e-12)
    size = len(model.words)
    for u in range(size):
        for v in range(size):
            total = sum(math.exp(model.log_probabilities(np.array([u, v, w]))[1]) for w in range(size))
            assert total == pytest.approx(1, abs=1e-12)
    assert sum(math.exp(model.log_probabilities(np.array([EDGE, w]))[0]) for w in range(size)) == pytest.approx(1)


def test_perplexity_tells_salad_from_prose_and_survives_the_disk(tmp_path):
    model = train_ngrams(TEXTS * 3)
    model.save(tmp_path / "m")
    again = NgramModel.load(tmp_path / "m")
    prose, salad = "the dog sat on the mat", "mat the on sat a a on"
    assert again.perplexity(prose) == model.perplexity(prose) < model.perplexity(salad)
    middle = math.sqrt(model.perplexity(prose) * model.perplexity(salad))
    (rules,) = make_filters({"perplexity": {"model": str(tmp_path / "m"), "at_most": middle, "at_least": 1.0}})
    assert rules(Document(prose, "a")) is None
    assert rules(Document(salad, "a")) == "perplexity.high"
    (rules,) = make_filters({"perplexity": {"model": str(tmp_path / "m"), "at_least": middle}})
    assert rules(Document(prose, "a")) == "perplexity.low"
    with pytest.raises(ModeledgeError, match="how surprising"):
        make_filters({"perplexity": {"model": str(tmp_path / "m")}})
    assert train_ngrams(TEXTS[::-1] * 3).levels[2].logs.tobytes() == model.levels[2].logs.tobytes()


def test_a_model_without_words_is_refused():
    for texts in ([], [" "], ["once"]):
        with pytest.raises(ModeledgeError) as caught:
            train_ngrams(texts)
        assert caught.value.code == "E-NO-RECORDS"


GOOD = [f"the report number {i} describes a quiet study of rivers" for i in range(60)]
BAD = [f"click {i} now win free money fast buy buy" for i in range(60)]


def test_a_classifier_learns_saves_and_filters(tmp_path):
    made = train_classifier(GOOD, BAD, bits=12)
    assert made.about["held_out"]["auc"] == 1.0
    assert made.about["held_out"]["rows"] == 24
    made.save(tmp_path / "c")
    again = Classifier.load(tmp_path / "c")
    assert again.score(GOOD[0]) == made.score(GOOD[0]) > 0.5 > made.score(BAD[0])
    assert again.about == made.about
    for name, reason in (("quality", "quality.low"), ("toxicity", "toxicity.high")):
        (rules,) = make_filters({name: {"model": str(tmp_path / "c")}})
        assert rules(Document(GOOD[1], "a")) is None
        assert rules(Document(BAD[1], "a")) == reason


def test_damage_is_seen(tmp_path):
    train_classifier(GOOD, BAD, bits=8).save(tmp_path / "c")
    with pytest.raises(ModeledgeError, match="not a n-gram model") as caught:
        NgramModel.load(tmp_path / "c")
    assert caught.value.code == "E-CHECKPOINT"
    path = tmp_path / "c" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ModeledgeError, match="train it again") as caught:
        Classifier.load(tmp_path / "c")
    assert caught.value.code == "E-CHECKPOINT"


def test_sides_that_teach_nothing_are_refused():
    for good, bad, code in ((GOOD, [], "E-ONE-CLASS"), (GOOD, BAD[:9], "E-CLASS-TOO-SMALL")):
        with pytest.raises(ModeledgeError) as caught:
            train_classifier(good, bad)
        assert caught.value.code == code


def test_features_are_one_long_and_know_the_order_of_words():
    places, values = features(Page("one two three two"), 18)
    assert np.linalg.norm(values) == pytest.approx(1)
    assert (np.diff(places) > 0).all()
    assert len(places) == 6  # three words, three pairs
    assert features(Page("two one"), 18)[0].tolist() != features(Page("one two"), 18)[0].tolist()
    assert len(features(Page(""), 18)[0]) == 0


def test_figures_against_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200).astype(float)
    scores = np.round(np.clip(labels * 0.3 + rng.random(200) * 0.7, 0, 1), 1)
    told = figures(scores, labels)
    assert told["auc"] == pytest.approx(metrics.roc_auc_score(labels, scores), abs=1e-12)
    for row in told["thresholds"]:
        dropped = scores < row["threshold"]
        assert row["recall"] == pytest.approx(metrics.recall_score(labels == 0, dropped))
        if row["precision"] is not None:
            assert row["precision"] == pytest.approx(metrics.precision_score(labels == 0, dropped))


def tweets():
    with gzip.open(TOXICITY, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [r["tweet"] for r in rows if r["class"] == "2"], [r["tweet"] for r in rows if r["class"] != "2"]


@pytest.mark.shared_data
def test_toxicity_of_tweets():
    """The floors of docs/corpus-filters.md."""
    if not TOXICITY.exists():
        pytest.skip("the data folder beside the checkout is missing")
    clean, toxic = tweets()
    about = train_classifier(clean, toxic).about["held_out"]
    print(json.dumps(about, indent=1))
    (half,) = [row for row in about["thresholds"] if row["threshold"] == 0.5]
    assert about["auc"] > 0.95
    assert half["precision"] > 0.97
    assert half["recall"] > 0.9
