"""Plots, and reports of whole run folders."""

import json
import warnings

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_report_page import ATTACKS, Inspector

from modeledge.errors import ModeledgeError
from modeledge.report import (
    Result,
    budget_plot,
    compare_report,
    comparison_plot,
    loss_curves,
    progress_panels,
    read_run,
    run_report,
)
from modeledge.report.plots import BUCKETS, short, thinned
from modeledge.report.svg import VARIABLES

COUNT = {"records": 1, "bytes": 9, "tokens": 3}


def make_run(folder, steps=30, recipe='kind = "pretrain"\nseed = 3\n[train]\nlr = 0.1\n', word="accuracy", value=0.5):
    folder.mkdir(parents=True)
    (folder / "run.toml").write_text(recipe, encoding="utf-8")
    rows = [
        {"step": s, "loss": 5 / s, "lr": 0.1, "tokens_per_second": 1000 + s, "grad_norm": 1.0}
        for s in range(1, steps + 1)
    ]
    rows += [{"step": steps, "eval": {word: 0.25, "loss": 0.9}}]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    score = {"name": word, "value": value, "low": 0.4, "high": 0.6, "n": 50, "greater_is_better": True}
    results = {"scores": [score], "samples": [{"prompt": word, "continuation": "went"}], "seconds": 12.5}
    (folder / "results.json").write_text(json.dumps(results))
    (folder / "ledger.json").write_text(json.dumps({"read": COUNT, "kept": COUNT, "notes": [word]}))
    (folder / "environment.json").write_text(json.dumps({"versions": {"numpy": "2"}, "command": ["modeledge", word]}))
    return folder


def text_of(path):
    seen = Inspector(path.read_text(encoding="utf-8"))
    assert seen.wrong == []
    return " ".join("".join(seen.text).split())


def test_a_run_report_shows_what_the_folder_holds(tmp_path):
    path = run_report(make_run(tmp_path / "my-run"))
    assert path == tmp_path / "my-run" / "report.html"
    text = text_of(path)
    for words in (
        "my-run",
        "Pretrain run, seed 3",
        "Final loss",
        "0.5000",
        "0.4000 … 0.6000",
        "it balances",
        "lr = 0.1",
    ):
        assert words in text
    for words in (
        "modeledge pretrain run.toml --out again",
        "modeledge accuracy",
        "versions.numpy",
        "accuracy went",
        "12.5",
    ):
        assert words in text.replace("accuracywent", "accuracy went")
    before = path.read_bytes()
    assert run_report(tmp_path / "my-run").read_bytes() == before


def test_a_run_that_has_not_begun_gets_a_report(tmp_path):
    (tmp_path / "r").mkdir()
    (tmp_path / "r" / "run.toml").write_text('kind = "finetune"\n')
    text = text_of(run_report(tmp_path / "r"))
    assert "No training step was recorded" in text
    assert "finetune(load_config(FinetuneRecipe, Path('run.toml')), Path(\"again\"))" in text
    with pytest.raises(ModeledgeError, match="E-RUN-FOLDER"):
        loss_curves([read_run(tmp_path / "r")])
    assert progress_panels(read_run(tmp_path / "r")) is None


def test_torn_and_resumed_records_are_said(tmp_path):
    folder = make_run(tmp_path / "r")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"step": 28, "loss": 0.1}\n{"step": 29, "lo')
    text = text_of(run_report(folder))
    assert "was cut off" in text
    assert "4 recorded rows were computed again" in text


@pytest.mark.parametrize("attack", ATTACKS[:12:3] + ATTACKS[44:52])
def test_nothing_in_a_run_folder_becomes_markup(tmp_path, attack):
    word = attack.encode("utf-8", "replace").decode()
    recipe = "name = " + json.dumps(word) + "\n"
    first, second = (make_run(tmp_path / n, 3, recipe, word, v) for n, v in (("a&<b>", 0.4), ("c", 0.5)))
    text_of(run_report(first))
    text_of(compare_report([first, second]))


@pytest.mark.parametrize(
    "results",
    [
        {"scores": 3},
        {"scores": [3]},
        {"scores": [{"name": "a"}]},
        {"scores": [{"value": 1}]},
        {"scores": {"a": "b"}},
        {"scores": [{"name": "a", "value": 1, "low": "x"}]},
        {"samples": 3},
        {"samples": [{"prompt": "a"}]},
    ],
)
def test_broken_results_are_refused_and_leave_no_page(tmp_path, results):
    folder = make_run(tmp_path / "r")
    (folder / "results.json").write_text(json.dumps(results))
    with pytest.raises(ModeledgeError, match=r"E-RUN-FOLDER.*results\.json"):
        run_report(folder)
    assert not (folder / "report.html").exists()


def test_scores_may_be_a_mapping(tmp_path):
    folder = make_run(tmp_path / "r")
    (folder / "results.json").write_text(json.dumps({"scores": {"f1": 0.25, "mse": {"value": 2, "low": 1, "high": 3}}}))
    text = text_of(run_report(folder))
    assert "f1" in text
    assert "1.000 … 3.000" in text


def test_a_comparison_marks_the_best_and_names_what_differs(tmp_path):
    one = make_run(tmp_path / "x" / "one", recipe="seed = 1\n[train]\nlr = 0.1\nsteps = 5\n", value=0.4)
    two = make_run(tmp_path / "x" / "two", recipe="seed = 1\n[train]\nlr = 0.25\nsteps = 5\n", value=0.5)
    path = compare_report([one, two])
    assert path == tmp_path / "x" / "report.html"
    html = path.read_text(encoding="utf-8")
    assert html.count("best") - html.count("td.best") == 1
    assert '<td class="right best">0.5000 [0.4000 … 0.6000]</td>' in html
    assert '<td class="left">train.lr</td><td class="left">0.1</td><td class="left">0.25</td>' in html
    assert "train.steps</td>" not in html
    assert compare_report([one, two], tmp_path / "out") == tmp_path / "out" / "report.html"


def test_a_comparison_that_cannot_be_is_refused(tmp_path):
    one, two = make_run(tmp_path / "a" / "r"), make_run(tmp_path / "b" / "r")
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*at least two"):
        compare_report([one])
    with pytest.raises(ModeledgeError, match="E-DUP-INPUT"):
        compare_report([one, one / ".." / "r"], tmp_path)
    with pytest.raises(ModeledgeError, match=r"E-USAGE.*output folder"):
        compare_report([one, two])
    text = text_of(compare_report([one, two], tmp_path / "out"))
    assert "a/r, b/r" in text
    assert "The recipes are the same" in text


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_thinning_keeps_mean_and_extremes(length, seed):
    values = np.random.default_rng(seed).normal(size=length).tolist()
    steps = np.arange(len(values))
    x, mean, low, high = thinned(list(steps), values)
    assert len(x) == min(len(values), BUCKETS)
    assert (low.min(), high.max()) == (min(values), max(values))
    assert np.all((low - 1e-9 <= mean) & (mean <= high + 1e-9))
    assert np.all(np.diff(x) > 0)
    if len(values) <= BUCKETS:
        assert mean.tolist() == values


def test_a_plot_carries_no_colour_that_ignores_the_page(tmp_path):
    svg = loss_curves([read_run(make_run(tmp_path / "r", 500))])
    assert "var(--series-1, " in svg
    assert "var(--muted, " in svg
    for stand_in in VARIABLES:
        assert stand_in not in svg
    assert "font-family" not in svg
    assert "<style" not in svg
    assert len(svg) < 60_000


def test_plots_do_not_depend_on_the_users_matplotlib_settings(tmp_path):
    rows = [Result("a", 1, 0.5, 0.4, 0.6), Result("b_1 $x$ 漢字 😀", 1000, 0.6, 0.5, 0.7)]
    run = read_run(make_run(tmp_path / "r"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plain = comparison_plot(rows), budget_plot(rows), loss_curves([run]), progress_panels(run)
        with matplotlib.rc_context({"font.size": 30, "axes.labelsize": 40, "svg.fonttype": "path"}):
            assert plain == (comparison_plot(rows), budget_plot(rows), loss_curves([run]), progress_panels(run))
    assert ">b_1 $x$ 漢字 😀</text>" in plain[0]
    assert matplotlib.rcParams["svg.hashsalt"] is None


def test_plots_take_any_order_of_value_and_interval():
    comparison_plot([Result("a", 0, 0.5, 0.6, 0.7)], chance=0.1)
    budget_plot([Result(str(i), n, 0.5, 0.5, 0.5) for i in range(9) for n in (0, 10, 10_000)])


@pytest.mark.parametrize("plot", [comparison_plot, budget_plot])
def test_plots_of_nothing_or_of_nan_are_refused(plot):
    with pytest.raises(ModeledgeError, match="E-EMPTY-SPLIT"):
        plot([])
    with pytest.raises(ModeledgeError, match=r"E-NOT-FINITE: a at 3 labels: high is nan"):
        plot([Result("a", 3, 0.5, 0.4, float("nan"))])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1200, "1,200"),
        (12_000, "12k"),
        (2.5e6, "2.5M"),
        (3e-4, "3e−4"),
        (-0.25, "−0.25"),
        (1.5e-12, "1.5e−12"),
    ],
)
def test_ticks_are_short(value, text):
    assert short(value) == text


def test_what_does_not_read_on_stands_below(tmp_path):
    """An encoder's text with its gaps filled is no continuation of the text with the gaps."""
    folder = make_run(tmp_path / "r")
    rows = [{"step": 1, "prompt": "the [MASK] dog", "answer": "the old dog"}]
    (folder / "samples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = run_report(folder).read_text()
    assert '<div class="prompt">the [MASK] dog</div><div class="answer">the old dog</div>' in page
    (folder / "samples.jsonl").write_text(json.dumps({"step": 1, "prompt": "the", "continuation": " old dog"}) + "\n")
    page = run_report(folder).read_text()
    assert '<span class="prompt">the</span><span class="continuation"> old dog</span>' in page
