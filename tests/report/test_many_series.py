"""Pictures of many series: none looks like another, and their key leaves the picture its room."""

from __future__ import annotations

import pytest
from matplotlib.figure import Figure

from modeledge.report.plots import MARKERS, WIDTH, legend, marker_of
from modeledge.report.svg import SERIES, drawing


def test_no_two_series_of_a_picture_look_alike() -> None:
    looks = [(SERIES[n % len(SERIES)], marker_of(n)) for n in range(len(SERIES) * len(MARKERS))]
    assert len(set(looks)) == len(looks)


@pytest.mark.parametrize(("count", "word"), [(18, "Logistic regression on the mean of the"), (18, "LoRA"), (3, "a")])
def test_a_key_is_no_wider_than_its_picture(count: int, word: str) -> None:
    with drawing():
        figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
        axes = figure.subplots()
        for n in range(count):
            axes.plot([0, 1], [n, n], marker=marker_of(n), label=f"{word} {n}")
        legend(axes, columns=4)
        figure.draw_without_rendering()
        assert axes.get_legend().get_window_extent().width <= figure.bbox.width
        assert axes.get_window_extent().width > 0.85 * figure.bbox.width
        assert axes.get_window_extent().height > 0.6 * 4.0 * figure.dpi
