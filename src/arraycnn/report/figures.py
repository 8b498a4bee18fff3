"""matplotlib, as this package uses it: imported late, one style, PNG and SVG."""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from types import ModuleType
from typing import TYPE_CHECKING, ParamSpec
from xml.etree import ElementTree

import numpy as np

from arraycnn.errors import MissingPackageError
from arraycnn.escaping import printable
from arraycnn.report.names import families

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_P = ParamSpec("_P")

INK, MUTED, RULE = "#1b1f24", "#59626d", "#d0d5db"
# Okabe and Ito, "Color universal design", 2008: told apart by colour-blind readers, too.
BLUE, ORANGE, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#b0629a"
YELLOW, SKY = "#e69f00", "#56b4e9"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, YELLOW, SKY)
# What the page calls these colours, so that it can change them in the dark.
_VARIABLES = {
    INK: "ink",
    MUTED: "muted",
    RULE: "rule",
    BLUE: "blue",
    ORANGE: "orange",
    GREEN: "green",
    PURPLE: "purple",
    YELLOW: "yellow",
    SKY: "sky",
}
_SAVED_DPI = 160
_STYLE = {
    "figure.dpi": 100,
    "savefig.dpi": _SAVED_DPI,
    "figure.constrained_layout.use": True,
    "font.size": 8.5,
    "font.family": "sans-serif",
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.titlepad": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "xtick.minor.size": 0,
    "lines.linewidth": 1.6,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8.5,
    "legend.handlelength": 1.6,
    "image.interpolation": "nearest",
    "text.parse_math": False,  # names are names, whatever signs are in them
    "svg.fonttype": "none",
    "svg.hashsalt": "arraycnn",
}


def require_matplotlib() -> ModuleType:
    """matplotlib, or MissingPackageError with the line that installs it."""
    try:
        import matplotlib
    except ImportError as error:
        message = 'report: matplotlib is not installed; pip install "arraycnn[plot]"'
        raise MissingPackageError(message) from error
    return matplotlib


@contextmanager
def style() -> Iterator[None]:
    """Within the block, figures are drawn in this package's style; the user's is left alone."""
    matplotlib = require_matplotlib()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(_STYLE)
        yield


def new_figure(width: float, height: float) -> "Figure":
    """An empty figure, in inches, that notebooks show, and pyplot does not know."""
    return _figure_class()(figsize=(width, height))


@cache
def _figure_class() -> "type[Figure]":
    require_matplotlib()
    from matplotlib.figure import Figure

    class NotebookFigure(Figure):
        """Shown by a notebook as the value of a cell, whether or not it imported pyplot."""

        def _repr_png_(self) -> bytes:
            return to_png(self)

    return NotebookFigure


def to_png(figure: "Figure") -> bytes:
    """The figure as a PNG, on white."""
    return _saved(figure, "png", {"Software": None})


def to_svg(figure: "Figure") -> bytes:
    """The figure as an SVG with its text as text, on white; the same bytes every time."""
    return _saved(figure, "svg", {"Date": None, "Creator": None})


def to_inline_svg(figure: "Figure", name: str, description: str) -> str:
    """The figure as an <svg> element for the page, whose colours are the page's variables.

    ``name`` must be unique on the page; ``description`` is what a screen reader says.
    """
    root = ElementTree.fromstring(_saved(figure, "svg", {"Date": None, "Creator": None}, True))
    _, _, width, height = root.get("viewBox", "0 0 1 1").split()
    for element in root.iter():
        # HTML knows svg without namespaces. What matplotlib sets for all elements would, inside
        # HTML, be set for all of the page: the page's own style sheet does it for charts.
        element.tag = element.tag.rpartition("}")[2]
        for key in [key for key in element.attrib if "}" in key]:
            element.set(key.rpartition("}")[2], element.attrib.pop(key))
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in ("style", "metadata"):
                parent.remove(child)
    _rename_ids(root, name)
    points = 4 / 3  # CSS pixels
    root.attrib = {
        "class": "chart",
        "role": "img",
        "aria-label": printable(description),
        "viewBox": f"0 0 {width} {height}",
        "width": f"{float(width) * points:.0f}",
        "height": f"{float(height) * points:.0f}",
    }
    for element in root.iter():  # and not in the texts, which may be names of any kind
        for key, value in element.attrib.items():
            if key != "aria-label":
                element.set(key, _as_the_page_has_it(value))
    return ElementTree.tostring(root, encoding="unicode")


def _as_the_page_has_it(value: str) -> str:
    for colour, variable in _VARIABLES.items():
        value = value.replace(colour, f"var(--{variable})")
    return re.sub(r"(font: [^;\"]*?px) [^;]*", r"\1 var(--sans)", value)


def to_picture(pixels: np.ndarray) -> bytes:
    """RGBA pixels, (H, W, 4) uint8, as a PNG of that size."""
    require_matplotlib()
    from matplotlib.image import imsave

    buffer = io.BytesIO()
    imsave(buffer, np.ascontiguousarray(pixels), format="png")
    return buffer.getvalue()


def styled(plot: "Callable[_P, Figure]") -> "Callable[_P, Figure]":
    """A function that draws in this package's style."""

    @wraps(plot)
    def draw(*arguments: _P.args, **options: _P.kwargs) -> "Figure":
        with style():
            figure = plot(*arguments, **options)
            _choose_fonts(figure)
            # Once: laying out takes longer than drawing, and every file would do it again.
            if figure.get_layout_engine() is not None:
                figure.draw_without_rendering()
                figure.set_layout_engine("none")
            return figure

    return draw


def _choose_fonts(figure: "Figure") -> None:
    """Give texts the fonts that have their letters, beside the usual one."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        words = text.get_text() if isinstance(text, Text) else ""
        if not words.isascii() and (more := families([words])):
            text.set_fontfamily(["sans-serif", *more])


def _saved(
    figure: "Figure", kind: str, metadata: dict[str, None], transparent: bool = False
) -> bytes:
    """What ``figure.savefig`` writes, which draws twice, once to lay out what is laid out already."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    buffer = io.BytesIO()
    with style(), _as_saved(figure, transparent):
        if kind == "png":
            FigureCanvasAgg(figure).print_png(buffer, metadata=metadata)
        else:
            FigureCanvasSVG(figure).print_svg(buffer, metadata=metadata)
    return buffer.getvalue()


@contextmanager
def _as_saved(figure: "Figure", transparent: bool) -> Iterator[None]:
    """Within the block the figure has the resolution of files, and no ground if it is transparent."""
    dpi, canvas = figure.dpi, figure.canvas
    grounds = [figure.patch, *(axes.patch for axes in figure.axes)] if transparent else []
    colours = [(ground.get_facecolor(), ground.get_edgecolor()) for ground in grounds]
    figure.dpi = _SAVED_DPI
    for ground in grounds:
        ground.set(facecolor="none", edgecolor="none")
    try:
        yield
    finally:
        figure.dpi = dpi
        figure.set_canvas(canvas)
        for ground, (face, edge) in zip(grounds, colours, strict=True):
            ground.set(facecolor=face, edgecolor=edge)


def _rename_ids(root: ElementTree.Element, name: str) -> None:
    """Keep the ids that something refers to, and make them this figure's own."""
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r"(?:url\(#|href=\"#)([^)\"]+)", text))
    for element in root.iter():
        own = element.attrib.pop("id", None)
        if own in used:
            element.set("id", f"{name}-{own}")
        for key, value in element.attrib.items():
            if "url(#" in value:
                element.set(key, value.replace("url(#", f"url(#{name}-"))
            elif key == "href" and value.startswith("#"):
                element.set(key, f"#{name}-{value[1:]}")
