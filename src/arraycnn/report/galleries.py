"""Pictures of images, filters and feature maps, each a matplotlib figure."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from arraycnn.data.image_source import ImageSource, rows
from arraycnn.report import thumbnails as tiles
from arraycnn.report.figures import new_figure, styled
from arraycnn.report.internals import Activation
from arraycnn.report.names import in_pictures
from arraycnn.report.sentences import percent

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_MAPS = 64
"""How many maps or filters of one layer are shown."""
_COLUMNS = 8
_SHEET, _SINGLE = 320, 160
_LINE = 0.15  # inches a line of a title


@styled
def plot_mistakes(
    images: np.ndarray | ImageSource,
    labels: np.ndarray,
    probabilities: np.ndarray,
    positions: np.ndarray,
    class_names: Sequence[str],
) -> "Figure":
    """The images at ``positions``, each with its true class, its predicted class, how sure.

    ``images`` is (N, H, W, C), an array or a source, ``labels`` (N,), ``probabilities`` (N, K).
    """
    items, names = [], in_pictures(class_names)
    for place in positions:
        image = rows(images, np.array([place]))[0]  # one at a time: they may be large
        row = probabilities[place]
        kind = f"{names[labels[place]]} → {names[row.argmax()]}"
        title = f"{kind}\n{percent(float(row.max()))} sure"
        items.append((tiles.grey_or_colour(image), title))
    return wall(items, columns=6, width=1.05)


@styled
def plot_filters(weight: np.ndarray, input_shape: tuple[int, int, int]) -> "Figure":
    """A layer's filters: orange above zero, blue below, all on one scale.

    ``weight`` is (KH, KW, C, F), or (H * W * C, outputs) of a dense layer on the whole image.
    """
    return wall([(filter_sheet(weight, input_shape), "")], columns=1, width=3.3)


@styled
def plot_feature_maps(maps: Sequence[Activation], image: int = 0) -> "Figure":
    """What each layer puts out for one image, that at ``image`` among those given to `activations`.

    Orange is above zero, blue below; each layer on its own scale.
    """
    items = [(feature_sheet(layer.output[image]), f"{layer.path}  {layer.layer}") for layer in maps]
    return wall(items, columns=3, width=3.0)


@styled
def plot_saliency(
    images: np.ndarray, gradients: np.ndarray, titles: Sequence[str] | None = None
) -> "Figure":
    """Each image and, beside it, the gradient of its class's score, from `saliency`.

    Orange: a brighter pixel there would raise the score; blue: lower it. Both are (N, H, W, C).
    """
    sheets = [saliency_sheet(*pair) for pair in zip(images, gradients, strict=True)]
    return wall(list(zip(sheets, titles or [""] * len(sheets), strict=True)), columns=4, width=1.9)


@styled
def plot_augmented(images: np.ndarray, augmented: np.ndarray) -> "Figure":
    """Each image, (N, H, W, C), and beside it what `augmented` gives, (draws, N, H, W, C)."""
    sheets = [augmented_sheet(image, augmented[:, n]) for n, image in enumerate(images)]
    return wall([(sheet, "") for sheet in sheets], columns=2, width=4.0)


def augmented_sheet(image: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """An image and augmented copies of it, (draws, H, W, C), side by side as one RGBA picture."""
    return tiles.montage(
        [tiles.grey_or_colour(one) for one in (image, *draws)], 1 + len(draws), 480
    )


def filter_sheet(weight: np.ndarray, input_shape: tuple[int, int, int]) -> np.ndarray:
    """The filters of `plot_filters` as one RGBA picture."""
    pictures = tiles.filter_tiles(weight, input_shape, MOST_MAPS)
    return tiles.montage(pictures, _COLUMNS, _SHEET, gap=5)


def feature_sheet(output: np.ndarray) -> np.ndarray:
    """One layer's output for one image, (H, W, C) or (K,), as one RGBA picture."""
    pictures = tiles.feature_tiles(output, MOST_MAPS)
    single = output.ndim == 3 and len(pictures) == 1
    columns = _COLUMNS if len(pictures) > _COLUMNS else _COLUMNS // 2
    return tiles.montage(pictures, columns, _SINGLE if single else _SHEET)


def saliency_sheet(image: np.ndarray, gradient: np.ndarray) -> np.ndarray:
    """An image and its gradient, summed over channels, side by side as one RGBA picture."""
    pair = [tiles.grey_or_colour(image), tiles.signed(gradient.sum(axis=2))]
    return tiles.montage(pair, 2, 192)


def image_sheet(image: np.ndarray) -> np.ndarray:
    """An image (H, W, C) as an RGBA picture of the size of a single map."""
    return tiles.montage([tiles.grey_or_colour(image)], 1, _SINGLE)


def wall(items: Sequence[tuple[np.ndarray, str]], columns: int, width: float) -> "Figure":
    """Pictures with titles above, in rows; the widest is ``width`` inches wide.

    One pair of axes for all, in inches: a pair for each would take far longer to draw.
    """
    columns = max(1, min(columns, len(items)))
    gap, lines = 0.15, max((title.count("\n") + 1 if title else 0 for _, title in items), default=0)
    scale = width / max((pixels.shape[1] for pixels, _ in items), default=1)
    heights = [pixels.shape[0] * scale for pixels, _ in items]
    rows = [slice(start, start + columns) for start in range(0, len(items), columns)]
    tall = [max(heights[row]) + lines * _LINE + gap for row in rows]
    whole = (columns * (width + gap) + gap, sum(tall) + gap)
    figure = new_figure(*whole)
    figure.set_layout_engine("none")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    for number, (pixels, title) in enumerate(items):
        row, column = divmod(number, columns)
        left, top = gap + column * (width + gap), gap + sum(tall[:row])
        if title:
            axes.text(left, top, title, va="top", fontsize=7.5, linespacing=1.15)
        top += lines * _LINE
        right, bottom = left + pixels.shape[1] * scale, top + pixels.shape[0] * scale
        axes.imshow(pixels, extent=(left, right, bottom, top), aspect="auto")
    axes.set_xlim(0, whole[0])
    axes.set_ylim(whole[1], 0)
    return figure
