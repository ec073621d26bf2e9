"""Faults of a figure that a reader would stumble over, found from its drawn parts."""

from itertools import combinations

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.container import BarContainer
from matplotlib.legend import Legend
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from trilith.reports.figures.style import COLORS

#: Width of a figure in a README, in inches of 96 pixels, and the smallest text there, in points.
README, POINTS = 800 / 96, 8.0

#: Colors that every reader can distinguish: those of the style, white and grays.
_KNOWN = [to_rgb(color) for color in COLORS.values()]


def faults(figure, *, color_alone=False):
    """List the faults of a figure that has its title and caption.

    ``color_alone`` allows entries of a legend that differ in color only.
    """
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw(renderer)
    return [
        *_small_texts(figure),
        *_overlaps(figure, renderer),
        *_covered_points(figure, renderer),
        *_log_bars(figure),
        *_legends(figure, color_alone),
        *_colors(figure),
        *_axes(figure),
    ]


def _texts(figure):
    """List the visible texts; tick labels outside the limits are not drawn."""
    found = []
    for text in figure.findobj(Text):
        if text.get_visible() and text.get_text().strip():
            found.append(text)
    hidden = {
        id(label)
        for axes in figure.axes
        for axis, (low, high) in (
            (axes.xaxis, sorted(axes.get_xlim())),
            (axes.yaxis, sorted(axes.get_ylim())),
        )
        for tick in (*axis.majorTicks, *axis.minorTicks)
        for label in (tick.label1, tick.label2)
        if not low * (1 - 1e-9) - 1e-9 <= tick.get_loc() <= high * (1 + 1e-9) + 1e-9
    }
    return [text for text in found if id(text) not in hidden]


def _box(text, renderer):
    """Box of a text in pixels, without its arrow."""
    return Text.get_window_extent(text, renderer)


def _small_texts(figure):
    scale = README / figure.get_size_inches()[0]
    for text in _texts(figure):
        if text.get_fontsize() * scale < POINTS:
            yield f"{text.get_text()!r} has {text.get_fontsize() * scale:.1f} points in a README"


def _overlaps(figure, renderer):
    texts = [(text.get_text(), _box(text, renderer)) for text in _texts(figure)]
    whole = figure.bbox.padded(1)
    for words, box in texts:
        if not _holds(whole, box):
            yield f"{words!r} leaves the figure"
    for axes in figure.axes:
        for text in axes.texts:
            box = _box(text, renderer)
            if box.overlaps(axes.bbox) and not _holds(axes.bbox.padded(1), box):
                yield f"{text.get_text()!r} crosses the edge of its axes"
    for (one, box), (other, another) in combinations(texts, 2):
        # Boxes have space above and below their letters, and nothing beside them.
        wide = Bbox.from_extents(box.x0 - 3, box.y0 + 1, box.x1 + 3, box.y1 - 1)
        if wide.overlaps(another):
            yield f"{one!r} and {other!r} overlap"


def _holds(outer, inner):
    """Whether a box is inside another one."""
    return (
        outer.x0 <= inner.x0
        and inner.x1 <= outer.x1
        and outer.y0 <= inner.y0
        and inner.y1 <= outer.y1
    )


def _points(axes):
    """List the places of lines' and scatters' points inside the axes, in pixels."""
    low, high = sorted(axes.get_xlim())
    bottom, top = sorted(axes.get_ylim())
    for line in axes.lines:
        if line.get_transform() == axes.transData:
            yield from _inside(line.get_xydata(), low, high, bottom, top)
    for some in axes.collections:
        if len(some.get_offsets()) > 1:
            yield from _inside(some.get_offsets(), low, high, bottom, top)


def _inside(points, low, high, bottom, top):
    for x, y in np.asarray(points, dtype=float):
        if low <= x <= high and bottom <= y <= top:
            yield x, y


def _covered_points(figure, renderer):
    legends = [one for one in figure.findobj(Legend) if one.get_visible()]
    boxes = [("legend", one.get_window_extent(renderer)) for one in legends]
    for axes in figure.axes:
        for one in axes.texts:
            boxes.append((repr(one.get_text()), _box(one, renderer)))
        for words, box in boxes:
            for point in _points(axes):
                x, y = axes.transData.transform(point)
                if box.x0 + 1 < x < box.x1 - 1 and box.y0 + 1 < y < box.y1 - 1:
                    yield f"{words} covers the point {point}"
                    break
        boxes = boxes[: len(legends)]
    for legend, (_, box) in zip(legends, boxes, strict=True):
        own = {id(text) for text in legend.findobj(Text)}
        for text in _texts(figure):
            if id(text) not in own and _box(text, renderer).overlaps(box):
                yield f"the legend covers {text.get_text()!r}"


def _log_bars(figure):
    for axes in figure.axes:
        for bars in axes.containers:
            if isinstance(bars, BarContainer):
                scale = axes.get_xscale() if bars.orientation == "horizontal" else axes.get_yscale()
                start = axes.get_xlim() if bars.orientation == "horizontal" else axes.get_ylim()
                if scale != "linear":
                    yield f"bars on a {scale} axis"
                if min(start) > 0:
                    yield "bars on an axis that does not start at zero"


def _lightness(color):
    red, green, blue = to_rgb(color)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def _legends(figure, color_alone):
    for legend in figure.findobj(Legend):
        words = [text.get_text() for text in legend.get_texts()]
        if not words or not all(one.strip() for one in words) or len(set(words)) < len(words):
            yield f"a legend has empty or doubled entries: {words}"
        pairs = combinations(zip(words, legend.legend_handles, strict=True), 2)
        for (word, one), (another, other) in pairs:
            if not color_alone and _looks_like(one, other):
                yield f"{word!r} and {another!r} differ in color alone"


def _looks_like(one, other):
    """Whether two handles look the same in gray."""
    if type(one) is not type(other):
        return False
    if isinstance(one, Line2D):
        looks = [
            (
                line.get_marker(),
                line.get_linestyle(),
                line.get_markerfacecolor() == "none",
                line.get_markersize(),
            )
            for line in (one, other)
        ]
        return looks[0] == looks[1]
    if isinstance(one, Patch):
        if one.get_hatch() != other.get_hatch():
            return False
        return abs(_lightness(one.get_facecolor()) - _lightness(other.get_facecolor())) < 0.08
    return False


def _colors(figure):
    for axes in figure.axes:
        for line in axes.lines:
            yield from _unknown(line.get_color())
        for patch in filter(Patch.get_fill, axes.patches):
            yield from _unknown(patch.get_facecolor())


def _unknown(color):
    color = to_rgb(color)
    if color not in _KNOWN and max(color) - min(color) > 0.01:
        yield f"the color {color} is not one of the style's"


def _axes(figure):
    for axes in figure.axes:
        shared = axes.get_shared_x_axes().get_siblings(axes)
        below = [
            one
            for one in figure.axes
            if one.get_subplotspec().colspan == axes.get_subplotspec().colspan
        ]
        if not any(one.get_xlabel() for one in (axes, *shared, *below)) and axes.get_xticks().size:
            yield "an axis has no label"
