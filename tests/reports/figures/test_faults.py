"""The checks find the faults that they are for, and no figure has one."""

import io

import matplotlib as mpl
import numpy as np
import pytest
from figure_faults import faults
from matplotlib.figure import Figure
from PIL import Image

from trilith.reports.figures.plots import FIGURES
from trilith.reports.figures.style import SETTINGS, WIDTH, finish, image


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_has_no_faults(name, kept_cycles):
    with mpl.rc_context(SETTINGS):
        drawing = FIGURES[name]()
        finish(drawing)
        # A cell of a layout has room for a color alone.
        assert faults(drawing.figure, color_alone=name == "gate_layout") == []
        # The pictures are part of the repository.
        assert len(image(drawing)) < 150_000
    assert drawing.figure.get_size_inches()[0] == WIDTH
    assert drawing.rows


@pytest.mark.parametrize("name", ["roofline", "pareto"])
def test_the_palette_of_a_picture_keeps_its_colors(name):
    with mpl.rc_context(SETTINGS):
        drawing, full = FIGURES[name](), io.BytesIO()
        png = image(drawing)
        drawing.figure.savefig(full, format="png", dpi=150)
    one, other = (
        np.asarray(Image.open(file).convert("RGB")).astype(int) for file in (full, io.BytesIO(png))
    )
    assert abs(one - other).max() < 16


def drawn():
    """A figure without faults: two lines with a legend."""
    figure = Figure(figsize=(WIDTH, 4), layout="constrained")
    axes = figure.add_subplot(xlabel="time (s)", ylabel="rate")
    axes.plot([0, 1], [0, 1], color="black", marker="o", label="one")
    axes.plot([0, 1], [1, 0], color="black", marker="s", label="other")
    axes.legend(loc="center left")
    return figure, axes


def test_a_clean_figure_has_no_faults():
    figure, _ = drawn()
    assert faults(figure) == []


def overlap(axes):
    axes.text(0.5, 0.8, "first")
    axes.text(0.5, 0.8, "second")


def doubled(axes):
    axes.plot([0, 1], [0.8, 0.8], color="black", marker="v", label="one")
    axes.legend(loc="center left")


def alike(axes):
    axes.plot([0, 1], [0.8, 0.8], color="#999999", marker="o", label="third")
    axes.legend(loc="center left")


def logarithmic(axes):
    axes.bar([0.2], [5], color="black", width=0.1)
    axes.set(yscale="log", ylim=(0.5, 10))


def cut(axes):
    axes.bar([0.2], [1], color="black", width=0.1)
    axes.set(ylim=(0.5, 1.5))


@pytest.mark.parametrize(
    ("spoil", "expected"),
    [
        (overlap, "'first' and 'second' overlap"),
        (lambda axes: axes.text(0.5, 0.8, "tiny", fontsize=6), "'tiny' has 6.0 points"),
        (lambda axes: axes.text(0.97, 0.8, "wide as this"), "'wide as this' crosses the edge"),
        (lambda axes: axes.figure.text(0.99, 0.5, "far"), "'far' leaves the figure"),
        (lambda axes: axes.text(-0.02, 0.98, "on it"), "'on it' covers the point"),
        (lambda axes: axes.legend(loc="lower left"), "legend covers the point"),
        (lambda axes: axes.text(0.05, 0.5, "under"), "the legend covers 'under'"),
        (doubled, "a legend has empty or doubled entries: ['one', 'other', 'one']"),
        (alike, "'one' and 'third' differ in color alone"),
        (logarithmic, "bars on a log axis"),
        (cut, "bars on an axis that does not start at zero"),
        (lambda axes: axes.plot([0, 1], [1, 1], color="#12FF34"), "is not one of the style's"),
        (lambda axes: axes.set_xlabel(""), "an axis has no label"),
    ],
)
def test_each_fault_is_found(spoil, expected):
    figure, axes = drawn()
    spoil(axes)
    assert any(expected in one for one in faults(figure)), faults(figure)
