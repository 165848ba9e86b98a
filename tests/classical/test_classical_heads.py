"""Every head against scikit-learn's own predictions, through the files and back; and files that are no heads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from sklearn.decomposition import PCA
from sklearn.ensemble import ExtraTreesClassifier, GradientBoostingClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from modeledge.classical import HEADS, Fit, Fitting, combined, compared, fit_head, read_fit, units, write_fit, written
from modeledge.classical.project import fit_projection
from modeledge.errors import ModeledgeError

WIDTH, ROWS = 12, 150
EXACT = {"forest", "boosting"}  # the same comparisons and the same sums in the same order


def world(classes: int, seed: int = 0) -> tuple[Any, Any]:
    """Rows that scatter about the centre of their class, or values that are a direction's."""
    random = np.random.default_rng(seed)
    x = random.normal(size=(ROWS, WIDTH))
    if not classes:
        return x, x[:, 0] - 2 * x[:, 1] + 0.1 * random.normal(size=ROWS)
    y = np.arange(ROWS) % classes
    return x + 1.5 * np.eye(WIDTH)[y], y


def whole(head: Any, width: int = WIDTH) -> Fit:
    classes = head.outputs if head.outputs > 1 else 0
    plain = fit_projection(np.ones((2, width)), "none", None, 0)
    return Fit(combined("concat", 1, width), plain, head, {}, tuple(range(classes)), classes)


def code_of(action: Any, *arguments: Any) -> str:
    with pytest.raises(ModeledgeError) as caught:
        action(*arguments)
    return caught.value.code


@pytest.mark.parametrize("classes", [2, 4, 0])
@pytest.mark.parametrize("name", HEADS)
def test_a_saved_head_says_what_scikit_learn_says(name: str, classes: int, tmp_path: Path) -> None:
    kind = HEADS[name]
    x, y = world(classes)
    asked = world(classes, seed=1)[0]
    estimator = kind.made(kind.default, classes > 0, 3, 1).fit(x, y)
    write_fit(whole(written(estimator)), tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["head.json", "head.safetensors"]
    told = read_fit(tmp_path).told(asked[:, None, :])
    if not classes:
        expected = estimator.predict(asked)[:, None]
    elif name == "svm":  # it has no probabilities: the order of its margins is what must stay
        assert np.array_equal(told.argmax(1), estimator.predict(asked))
        margins = estimator.decision_function(asked)
        expected = np.stack([-margins / 2, margins / 2], 1) if classes == 2 else margins
        expected = np.exp(expected) / np.exp(expected).sum(1, keepdims=True)
    else:
        expected = estimator.predict_proba(asked)
        assert np.array_equal(told.argmax(1), estimator.predict(asked))
    assert told.shape == (ROWS, classes or 1)
    assert np.abs(told - expected).max() <= (0 if name in EXACT else 1e-9)


def test_deep_trees_and_other_forests_are_walked_to_their_leaves() -> None:
    x, y = world(3)
    estimator = ExtraTreesClassifier(7, random_state=0).fit(x, y)
    assert np.array_equal(written(estimator).told(x), estimator.predict_proba(x))


def test_a_deep_network_is_all_its_layers() -> None:
    x, y = world(3)
    estimator = MLPClassifier((9, 5), max_iter=30, random_state=0).fit(x, y)
    assert np.abs(written(estimator).told(x) - estimator.predict_proba(x)).max() <= 1e-12


def test_the_projection_is_scikit_learns() -> None:
    x, asked = world(2)[0], world(2, seed=1)[0]
    scaler = StandardScaler().fit(x)
    pca = PCA(5, random_state=0).fit(scaler.transform(x))
    mine = fit_projection(x, "standard", 5, 0)
    assert mine.outputs == 5
    assert np.abs(mine.told(asked) - pca.transform(scaler.transform(asked))).max() <= 1e-9
    same = np.hstack([x, np.full((ROWS, 1), 7.0)])  # a feature that never changes is left at 0
    assert np.array_equal(fit_projection(same, "standard", None, 0).told(same)[:, -1], np.zeros(ROWS))
    assert code_of(fit_projection, x, "none", WIDTH + 1, 0) == "E-CONFIG-VALUE"


def test_two_texts_are_compared_at_length_one() -> None:
    states = np.array([[[3.0, 4.0]], [[0.0, 2.0]], [[6.0, 8.0]], [[2.0, 0.0]]])
    features = combined("concat", 1, 2, apart=True).features(states)
    assert np.allclose(features, [[0, 0, 0.36, 0.64, 1], [1, 1, 0, 0, 0]])
    a, b = units(states[:2, 0]), units(states[2:, 0])
    assert np.array_equal(features, compared(a, b))


@pytest.mark.parametrize(("how", "expected"), [("concat", [1, 2, 10, 20]), ("mean", [5.5, 11]), ("sum", [11, 22])])
def test_layers_are_combined(how: str, expected: list[float]) -> None:
    states = np.array([[[1.0, 2.0], [10.0, 20.0]]])
    combine = combined(how, 2, 2)
    assert combine.features(states).tolist() == [expected]
    assert combine.outputs == len(expected)
    assert code_of(combine.features, states[:, :1]) == "E-FEATURES"


@pytest.mark.parametrize(
    "estimator",
    [
        SVC(),
        GradientBoostingClassifier(),
        KNeighborsClassifier(weights="distance"),
        KNeighborsClassifier(metric="cosine", algorithm="brute"),
        MLPClassifier(activation="tanh", max_iter=5),
        StandardScaler(),
    ],
)
def test_what_has_no_writer_is_refused(estimator: Any) -> None:
    x, y = world(2)
    assert code_of(written, estimator.fit(x, y)) == "E-CONFIG-VALUE"


def test_heads_that_cannot_be_fitted_are_refused() -> None:
    x, y = world(2)
    assert code_of(fit_head, "logistic", 1.0, x, np.zeros(ROWS, int), 2, Fitting()) == "E-ONE-CLASS"
    assert code_of(fit_head, "logistik", 1.0, x, y, 2, Fitting()) == "E-CONFIG-VALUE"
    assert code_of(fit_head, "knn", ROWS + 1, x, y, 2, Fitting()) == "E-CONFIG-VALUE"
    assert code_of(fit_head, "knn", 2.5, x, y, 2, Fitting()) == "E-CONFIG-VALUE"
    assert code_of(fit_head, "forest", 0, x, y, 2, Fitting()) == "E-CONFIG-VALUE"


def test_a_fitting_that_did_not_come_to_its_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = world(4)
    heard: list[str] = []
    monkeypatch.setattr("modeledge.classical.table.STEPS", 1)
    fit_head("logistic", 1000.0, x, y, 4, Fitting(say=heard.append))
    assert len(heard) == 1
    assert "logistic" in heard[0]


def edited(folder: Path, change: Any) -> Path:
    arrays, said = load_file(folder / "head.safetensors"), json.loads((folder / "head.json").read_text())
    change(arrays, said)
    save_file(arrays, folder / "head.safetensors")
    (folder / "head.json").write_text(json.dumps(said))
    return folder


def first_to_itself(arrays: Any, said: Any) -> None:
    arrays["head.left"][0] = 0


def far_feature(arrays: Any, said: Any) -> None:
    arrays["head.feature"][:] = WIDTH


BROKEN: dict[str, tuple[Any, str]] = {
    "a tree that turns back": (first_to_itself, "E-KEYS"),
    "a feature that is not there": (far_feature, "E-KEYS"),
    "an unknown kind": (lambda a, s: s["head"].update(kind="oracle"), "E-CONFIG-VALUE"),
    "a kind of another part": (lambda a, s: s["head"].update(kind="projection"), "E-CONFIG-VALUE"),
    "an array too few": (lambda a, s: a.pop("head.values"), "E-KEYS"),
    "an array too many": (lambda a, s: a.update({"head.more": np.zeros(1)}), "E-KEYS"),
    "an array of nobody": (lambda a, s: a.update({"tail": np.zeros(1)}), "E-KEYS"),
    "another dtype": (lambda a, s: a.update({"head.values": a["head.values"].astype(np.float32)}), "E-KEYS"),
    "not a number": (lambda a, s: a["head.threshold"].fill(np.nan), "E-KEYS"),
    "parts that do not fit": (lambda a, s: s["combine"].update(width=WIDTH + 1), "E-KEYS"),
    "no part": (lambda a, s: s.pop("head"), "E-RUN-FOLDER"),
    "another schema": (lambda a, s: s.update(schema=99), "E-CONFIG-VALUE"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_files_that_are_no_head_are_refused(name: str, tmp_path: Path) -> None:
    x, y = world(2)
    write_fit(whole(fit_head("forest", 1, x, y, 2, Fitting())), tmp_path)
    change, code = BROKEN[name]
    assert code_of(read_fit, edited(tmp_path, change)) == code


def test_files_that_are_torn_are_refused(tmp_path: Path) -> None:
    x, y = world(2)
    write_fit(whole(fit_head("logistic", 1.0, x, y, 2, Fitting())), tmp_path)
    whole_file = (tmp_path / "head.safetensors").read_bytes()
    (tmp_path / "head.safetensors").write_bytes(whole_file[:-8])
    assert code_of(read_fit, tmp_path) == "E-SAFETENSORS"
    (tmp_path / "head.safetensors").write_bytes(whole_file)
    (tmp_path / "head.json").write_text("{")
    assert code_of(read_fit, tmp_path) == "E-RUN-FOLDER"
    (tmp_path / "head.json").unlink()
    assert code_of(read_fit, tmp_path) == "E-NO-FILE"
