"""Charts of labels and numbers, and sheets of images out, each a matplotlib figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from arraycnn.report import thumbnails as tiles
from arraycnn.report.figures import BLUE, GREEN, MUTED, ORANGE, RULE, new_figure, styled
from arraycnn.report.galleries import wall
from arraycnn.report.names import in_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_NUMBERS = 6
"""Of how many numbers an image the errors are drawn."""
_MOST_POINTS = 2000
# Dark grey for the first class, mostly the background; then the colours of Okabe and Ito.
_SHADES = np.array(
    [
        *[(0x30, 0x30, 0x30), (0xE6, 0x9F, 0x00), (0x56, 0xB4, 0xE9), (0x00, 0x9E, 0x73)],
        *[(0xF0, 0xE4, 0x42), (0x00, 0x72, 0xB2), (0xD5, 0x5E, 0x00), (0xCC, 0x79, 0xA7)],
    ],
    np.uint8,
)


@styled
def plot_thresholds(
    thresholds: np.ndarray, best_f1: np.ndarray, f1: np.ndarray, names: Sequence[str]
) -> "Figure":
    """F1 of each label at 0.5 and at its best threshold, by the threshold: four arrays (K,)."""
    figure = new_figure(3.35, 2.6)
    axes = figure.add_subplot()
    axes.axvline(0.5, color=MUTED, lw=0.9, ls=(0, (4, 3)))
    for label, name in enumerate(in_pictures(names)):
        if not np.isfinite(thresholds[label]):
            continue
        ends = [f1[label] if np.isfinite(f1[label]) else 0.0, best_f1[label]]
        axes.plot([0.5, thresholds[label]], ends, color=RULE, lw=1.2, zorder=1)
        axes.plot(thresholds[label], best_f1[label], "o", color=GREEN, ms=4.5)
        axes.plot(0.5, ends[0], "o", color=BLUE, ms=3.5)
        if len(names) <= 10:
            axes.annotate(f" {name}", (thresholds[label], best_f1[label]), fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.05)
    axes.grid(axis="y")
    axes.set_title("F1")
    axes.set_xlabel("threshold")
    return figure


@styled
def plot_residuals(labels: np.ndarray, outputs: np.ndarray, names: Sequence[str]) -> "Figure":
    """What the network gives against the label, and the difference below: a column each number.

    Both are (N, K); at most `MOST_NUMBERS` of the K and 2000 of the images are drawn.
    """
    shown = list(enumerate(in_pictures(names, "number")))[:MOST_NUMBERS]
    figure = new_figure(0.5 + 2.85 * len(shown), 4.2)
    rows = figure.subplots(2, len(shown), squeeze=False, height_ratios=[2, 1], sharex="col")
    every = slice(None, None, -(-len(labels) // _MOST_POINTS))
    for number, name in shown:
        true, told = labels[every, number], outputs[every, number]
        low, high = float(min(true.min(), told.min())), float(max(true.max(), told.max()))
        upper, lower = rows[0][number], rows[1][number]
        upper.plot([low, high], [low, high], color=MUTED, lw=0.9, ls=(0, (4, 3)))
        upper.plot(true, told, "o", color=BLUE, ms=3, mew=0, alpha=0.5)
        upper.set_title(name)
        lower.axhline(0, color=MUTED, lw=0.9, ls=(0, (4, 3)))
        lower.plot(true, told - true, "o", color=ORANGE, ms=3, mew=0, alpha=0.5)
        lower.set_xlabel("label")
        if number == 0:
            upper.set_ylabel("output")
            lower.set_ylabel("output - label")
    return figure


@styled
def plot_images_out(sheets: Sequence[np.ndarray], titles: Sequence[str]) -> "Figure":
    """Sheets of `triple`, with a title each."""
    return wall(list(zip(sheets, titles, strict=True)), columns=2, width=3.4)


def triple(
    image: np.ndarray,
    label: np.ndarray,
    output: np.ndarray,
    kind: str,
    scale: tuple[float, float] = (0.0, 1.0),
) -> np.ndarray:
    """An image, its label and what the network gives, side by side as one RGBA picture.

    ``image`` is (H, W, C); ``label`` and ``output`` are, by ``kind``, classes of pixels, (h, w), and
    probabilities, (h, w, K), or both (h, w, K): "labels" of 0 to 1, or "numbers", of which
    ``scale`` are black and white.
    """
    if kind == "pixels":
        pair = [_of_classes(label), _of_classes(output.argmax(axis=-1))]
    elif kind == "labels":
        pair = [_grey(one.max(axis=-1), 0.0, 1.0) for one in (label, output)]
    else:
        pair = [
            _colour(one, *scale) if one.shape[-1] == 3 else _grey(one[..., 0], *scale)
            for one in (label, output)
        ]
    shown = [tiles.grey_or_colour(image), *pair]
    height = max(one.shape[0] for one in shown)
    width = max(one.shape[1] for one in shown)
    return tiles.montage([_stretched(one, height, width) for one in shown], 3, 384)


def _of_classes(classes: np.ndarray) -> np.ndarray:
    """Classes of pixels, (h, w), as RGBA: a colour each, which come again after eight."""
    return _opaque(_SHADES[classes % len(_SHADES)])


def _grey(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return _opaque(np.repeat(_bytes(values, low, high)[..., np.newaxis], 3, axis=2))


def _colour(values: np.ndarray, low: float, high: float) -> np.ndarray:
    return _opaque(_bytes(values, low, high))


def _bytes(values: np.ndarray, low: float, high: float) -> np.ndarray:
    scaled = (values.astype(np.float64) - low) / ((high - low) or 1.0)
    return np.asarray(np.rint(255 * np.clip(scaled, 0.0, 1.0)), np.uint8)


def _opaque(colours: np.ndarray) -> np.ndarray:
    alpha = np.full((*colours.shape[:2], 1), 255, np.uint8)
    return np.concatenate([colours, alpha], axis=2)


def _stretched(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    rows = np.arange(height) * picture.shape[0] // height
    return picture[rows][:, np.arange(width) * picture.shape[1] // width]
