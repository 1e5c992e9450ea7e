"""The pictures at 4, 12 and 30 methods: every method named, no text over another, nothing cut
off; and how a method looks.
"""

import itertools

import pandas as pd
import pytest
from matplotlib import pyplot as plt

from eval.report.collect import find_runs
from eval.report.plots.forget_quality import plot_forget_quality
from eval.report.plots.gates import plot_gates, read_panels
from eval.report.plots.methods import OBJECTIVES, TUNERS, find_look, name_run
from eval.report.plots.style import PALETTE
from eval.report.plots.tradeoff import find_view, plot_tradeoff
from eval.report.plots.training import plot_training
from tests.eval.report.made_runs import make_run
from tests.eval.report.synthetic_runs import make_many_runs


def text_box(annotation):
    """The box of an annotation's text, without the line to its point."""
    line, annotation.arrow_patch = annotation.arrow_patch, None
    box = annotation.get_window_extent()
    annotation.arrow_patch = line
    return box


@pytest.mark.parametrize("count", [4, 12, 30])
def test_tradeoff_names_every_method_without_overlaps(tmp_path, count):
    """By name, or by a number that the legend explains; the target lies beyond the edge."""
    (axes,) = plot_tradeoff(find_runs(make_many_runs(tmp_path, count, rows=1))).axes
    axes.figure.draw_without_rendering()
    boxes = [text_box(text) for text in axes.texts]
    assert len(boxes) == count + 2
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    inside = axes.get_window_extent()
    assert all(inside.x0 <= box.x0 and box.x1 <= inside.x1 for box in boxes)
    legend = axes.get_legend()
    names = [text.get_text() for text in (legend.texts if legend else axes.texts)]
    assert (legend is None) == (count < 30)
    assert sum("target (ROUGE 0.99)" in name for name in names) == 1
    assert axes.get_xlim()[1] < 0.5 and axes.get_ylim()[0] > 0.5
    plt.close("all")


@pytest.fixture(scope="module")
def five(tmp_path_factory):
    """A folder of five methods, three of them gated."""
    return find_runs(make_many_runs(tmp_path_factory.mktemp("five"), 5, rows=8))


@pytest.mark.parametrize("plot", [plot_gates, plot_forget_quality, plot_training])
def test_pictures_have_a_panel_per_method_inside_the_page(five, plot):
    figure = plot(five)
    panels = [axes for axes in figure.axes if axes.get_title()]
    assert len(panels) == (3 if plot is plot_gates else 5)
    figure.draw_without_rendering()
    page = figure.bbox
    for axes in panels:
        box = axes.get_tightbbox()
        assert page.x0 <= box.x0 and box.x1 <= page.x1 and page.y0 <= box.y0 and box.y1 <= page.y1
        assert axes.bbox.width > 100 and axes.bbox.height > 80  # of 160 pixels an inch at saving
    plt.close("all")


def test_seeds_share_a_panel(tmp_path):
    runs = find_runs(make_many_runs(tmp_path, 2, seeds=3, rows=2))
    panels = read_panels(runs)
    assert [panel.heading for panel in panels] == ["idk-grun (3 seeds)", "npo-grun (3 seeds)"]
    assert panels[0].gates["forget"].shape == (6, 3)


def test_looks_depend_on_names_alone():
    """Every known pair of objective and tuner has a look of its own; an unknown name has one,
    too, and the same one each time.
    """
    looks = {find_look(objective, tuner) for objective in OBJECTIVES for tuner in TUNERS}
    assert len(looks) == len(OBJECTIVES) * len(TUNERS)
    assert {look.colour for look in looks} == set(PALETTE)
    assert find_look("hinge", "prefix") == find_look("hinge", "prefix")


def test_view_leaves_out_the_few_beyond_a_wide_gap():
    """One of six far away is left out, three of six are not; equal values get the least span."""
    low, high = find_view([0.0, 0.6, 0.61, 0.62, 0.6, 0.61], 0.05)
    assert 0.58 < low < 0.6 and 0.62 < high < 0.64
    low, high = find_view([0.0, 0.0, 0.0, 0.6, 0.6, 0.6], 0.05)
    assert low < 0 and high > 0.6
    assert find_view([0.5, 0.5], 0.1) == pytest.approx((0.45, 0.55))


def test_tradeoff_of_equal_points_names_all(tmp_path):
    """Methods at one and the same point have their names around it."""
    for objective in ("npo", "idk", "gd", "ga", "kl"):
        make_run(tmp_path, objective, "full", forget_rouge=0.1, model_utility=0.6)
    (axes,) = plot_tradeoff(find_runs(tmp_path)).axes
    assert sorted(text.get_text() for text in axes.texts) == [
        f"{name}-full" for name in ("ga", "gd", "idk", "kl", "npo")
    ]
    plt.close("all")


def test_names_of_runs_are_without_learning_rates():
    key = {"objective": "npo", "tuner": "lora", "variant": "rank=8,lr=0.01"}
    assert name_run(pd.Series(key)) == "npo-lora-rank=8"
    assert name_run(key | {"objective": "target"}) == "target"
