"""The classical baselines, against small worlds in which the right answer is known."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from modeledge.errors import ModeledgeError
from modeledge.recipes.tuning.classical import LatentSemantics, features, tfidf_logistic, tfidf_svd_logistic
from modeledge.seed import Noise

#: Words of two topics; which topic a word is of can be learned from the company it keeps.
TOPICS = [[f"{stem}{chr(97 + i)}" for i in range(20)] for stem in ("sea", "hill")]
Rows = list[dict[str, Any]]


def corpus(texts: int = 400) -> list[str]:
    """Texts without labels: ten words of one topic each."""
    draw = Noise(1).at("corpus").generator()
    return [" ".join(draw.choice(TOPICS[i % 2], 10)) for i in range(texts)]


def rows(count: int, words: slice, seed: int) -> Rows:
    """Labelled rows of three words, from a part of each topic's words only."""
    draw = Noise(seed).at("rows").generator()
    made = [
        {"text": " ".join(draw.choice(TOPICS[i % 2][words], 3)), "label": ("sea", "hill")[i % 2]} for i in range(count)
    ]
    return [{**row, "chapter": f"{seed}/{i // 4}"} for i, row in enumerate(made)]


def space(**fields: Any) -> LatentSemantics:
    return LatentSemantics(2, seed=0, **fields).fit(corpus())


def test_words_that_were_seen_with_labels_are_known() -> None:
    outcome = tfidf_logistic(rows(60, slice(0, 10), 1), rows(60, slice(0, 10), 2), 0)
    assert outcome.accuracy == 1.0
    assert outcome.classes == ("hill", "sea")


def test_unlabelled_text_makes_up_for_words_that_no_label_saw() -> None:
    """The reason for pre-training: the test rows have no word of the training rows."""
    train, test = rows(60, slice(0, 10), 1), rows(60, slice(10, 20), 2)
    assert tfidf_logistic(train, test, 0).accuracy == 0.5
    assert tfidf_svd_logistic([space()], train, test, 0).accuracy == 1.0


def test_an_outcome_is_consistent_and_the_same_each_time() -> None:
    train, test = rows(60, slice(0, 12), 1), rows(41, slice(8, 20), 2)
    for outcome, again in (
        (tfidf_logistic(train, test, 3), tfidf_logistic(train, test, 3)),
        (tfidf_svd_logistic([space()], train, test, 3), tfidf_svd_logistic([space()], train, test, 3)),
    ):
        assert outcome.probabilities.shape == (41, 2)
        assert np.allclose(outcome.probabilities.sum(1), 1)
        assert [outcome.classes[i] for i in outcome.probabilities.argmax(1)] == list(outcome.predictions)
        assert outcome.correct.tolist() == [
            float(p == row["label"]) for p, row in zip(outcome.predictions, test, strict=True)
        ]
        assert np.array_equal(outcome.probabilities, again.probabilities)
        assert outcome.seconds > 0


def test_the_training_rows_choose_the_space() -> None:
    useless = LatentSemantics(2, seed=0, name="useless").fit(["one two three", "one two four", "three four"] * 3)
    train, test = rows(60, slice(0, 10), 1), rows(60, slice(10, 20), 2)
    for spaces in ([useless, space(name="good")], [space(name="good"), useless]):
        outcome = tfidf_svd_logistic(spaces, train, test, 0)
        assert outcome.chosen.startswith("good, C=")
        assert outcome.accuracy == 1.0


def test_test_labels_change_nothing_but_the_marks() -> None:
    train, test = rows(60, slice(0, 10), 1), rows(60, slice(0, 10), 2)
    swapped = [{**row, "label": "sea" if row["label"] == "hill" else "hill"} for row in test]
    right, wrong = tfidf_logistic(train, test, 0), tfidf_logistic(train, swapped, 0)
    assert np.array_equal(right.probabilities, wrong.probabilities)
    assert (right.correct + wrong.correct == 1).all()


def test_vectors_have_unit_length_and_unknown_words_none() -> None:
    vectors = space().transform([*corpus(5), "nothing known"])
    assert vectors.shape == (6, 2)
    assert np.allclose(np.linalg.norm(vectors, axis=1), [1, 1, 1, 1, 1, 0])


@pytest.mark.parametrize("sparsely", [True, False])
def test_pair_features_are_difference_product_and_cosine(sparsely: bool) -> None:
    """Oracle: a loop in plain Python."""
    from scipy import sparse

    draw = Noise(0).generator()
    table = {name: row / np.linalg.norm(row) for name, row in zip("abcd", draw.random((4, 3)), strict=True)}

    def vectorize(texts: Any) -> Any:
        dense = np.array([table[text] for text in texts])
        return sparse.csr_matrix(dense) if sparsely else dense

    got = features([{"text": "a", "pair": "b"}, {"text": "c", "pair": "d"}], vectorize)
    got = got.toarray() if sparsely else got
    for row, (left, right) in zip(got, ["ab", "cd"], strict=True):
        a, b = table[left].tolist(), table[right].tolist()
        wanted = [abs(x - y) for x, y in zip(a, b, strict=True)] + [x * y for x, y in zip(a, b, strict=True)]
        wanted.append(math.fsum(x * y for x, y in zip(a, b, strict=True)))
        assert np.allclose(row, wanted, rtol=1e-15, atol=0)


def test_pairs_of_one_topic_are_told_from_mixed_ones() -> None:
    draw = Noise(5).at("pairs").generator()

    def pairs(count: int, part: slice) -> Rows:
        made: Rows = []
        for i in range(count):
            left, same = int(draw.integers(2)), i % 2
            right = left if same else 1 - left
            text, pair = (" ".join(draw.choice(TOPICS[t][part], 3)) for t in (left, right))
            made.append({"text": text, "pair": pair, "label": same})
        return made

    train, test = pairs(60, slice(0, 10)), pairs(60, slice(10, 20))
    outcome = tfidf_svd_logistic([space()], train, test, 0)
    assert outcome.classes == (0, 1)
    assert outcome.accuracy == 1.0


@pytest.mark.parametrize(
    ("train", "test", "code"),
    [
        ([], [{"text": "a", "label": "x"}], "E-EMPTY-SPLIT"),
        ([{"text": "a", "label": "x"}], [], "E-EMPTY-SPLIT"),
        ([{"text": "a b", "label": "x"}] * 4, [{"text": "a", "label": "x"}], "E-ONE-CLASS"),
        (
            [{"text": "a b", "label": "x"}] * 4 + [{"text": "c d", "label": "y"}] * 2,
            [{"text": "a", "label": "x"}],
            "E-CLASS-TOO-SMALL: class 'y' has 2",
        ),
    ],
)
def test_rows_that_cannot_be_learned_from_are_refused(train: Rows, test: Rows, code: str) -> None:
    with pytest.raises(ModeledgeError, match=code):
        tfidf_logistic(train, test, 0)
    with pytest.raises(ModeledgeError, match=code):
        tfidf_svd_logistic([space()], train, test, 0)


def test_more_components_than_words_are_refused() -> None:
    with pytest.raises(ModeledgeError, match="E-CONFIG-VALUE: 5 components of 3 texts with 2 words"):
        LatentSemantics(5, seed=0).fit(["aa bb", "aa bb", "aa cc"])


def test_folds_keep_chapters_whole_where_they_can() -> None:
    from modeledge.recipes.tuning.classical import FOLDS, _folds

    def parts(train: Rows) -> list[tuple[set[Any], set[Any]]]:
        folds = _folds(train, [row["label"] for row in train], Noise(0))
        assert sorted(i for _, held in folds for i in held) == list(range(len(train)))
        return [
            ({train[i].get("chapter") for i in kept}, {train[i].get("chapter") for i in held}) for kept, held in folds
        ]

    train = rows(60, slice(0, 10), 1)
    assert len(parts(train)) == FOLDS
    assert all(not kept & held for kept, held in parts(train))
    for bare in ([{**row, "chapter": row["label"]} for row in train], [{**row, "chapter": None} for row in train]):
        assert all(kept == held for kept, held in parts(bare)), "each class is in one chapter: whole chapters cannot do"
