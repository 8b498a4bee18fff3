"""Arrays as small pictures: uint8 RGBA, which figures and the page show enlarged.

A signed value is a colour and how much of it: orange above zero, blue below, nothing at zero. So
zero is the paper, white or black, and the pictures serve a light page and a dark one.
"""

import math

import numpy as np

POSITIVE = (0xD5, 0x5E, 0x00)  # vermillion and blue of Okabe and Ito's colour-blind-safe palette
NEGATIVE = (0x1F, 0x83, 0xCB)
_FRAME = (0x80, 0x80, 0x80, 0x50)


def grey_or_colour(image: np.ndarray) -> np.ndarray:
    """An image (H, W, C) as RGBA (H, W, 4): three channels in colour, else the first in grey.

    uint8 is shown as it is; floating values are stretched from their least to their greatest.
    """
    shown = image if image.shape[2] == 3 else np.repeat(image[:, :, :1], 3, axis=2)
    if shown.dtype != np.uint8:
        low, high = float(shown.min()), float(shown.max())
        shown = np.rint(255 * (shown - low) / ((high - low) or 1.0))
    opaque = np.full((*shown.shape[:2], 1), 255)
    return np.concatenate([shown, opaque], axis=2).astype(np.uint8)


def signed(values: np.ndarray, scale: float | None = None) -> np.ndarray:
    """Values (H, W) as RGBA (H, W, 4), full colour at +-``scale``, by default the greatest."""
    strength = np.abs(values.astype(np.float64))
    scale = (float(strength.max()) if scale is None else scale) or 1.0
    colours = np.where((values >= 0)[..., np.newaxis], POSITIVE, NEGATIVE)
    alpha = np.rint(255 * np.clip(strength / scale, 0.0, 1.0))
    return np.concatenate([colours, alpha[..., np.newaxis]], axis=2).astype(np.uint8)


def montage(tiles: list[np.ndarray], columns: int, width: int, gap: int = 0) -> np.ndarray:
    """RGBA pictures of one size in rows of ``columns``, thin frames around them, gaps between.

    Each pixel is repeated so often that a full row is about ``width`` wide.
    """
    columns = min(columns, len(tiles))
    space = 1 + gap + (gap > 0)  # a frame shared with the neighbour, or two and the gap
    tiles = [_enlarged(tile, (width - 2 + space) // columns - space) for tile in tiles]
    height, width = tiles[0].shape[:2]
    rows = math.ceil(len(tiles) / columns)
    down, across = height + space, width + space
    sheet = np.zeros((rows * down - space + 2, columns * across - space + 2, 4), np.uint8)
    for number, tile in enumerate(tiles):
        top, left = number // columns * down, number % columns * across
        sheet[top : top + height + 2, left : left + width + 2] = _FRAME
        sheet[top + 1 : top + height + 1, left + 1 : left + width + 1] = tile
    return sheet


def feature_tiles(output: np.ndarray, limit: int) -> list[np.ndarray]:
    """One layer's output for one image as pictures, all on one scale.

    Maps (H, W, C) become C pictures, of which the first ``limit``; a vector (K,) becomes one, row
    by row, of one row where it is short, else about twice as wide as high.
    """
    strengths = np.abs(output[output != 0])
    # A few numbers far above all others would leave those nearly invisible.
    scale = float(np.percentile(strengths, 99)) if strengths.size else 1.0
    if output.ndim == 1:
        columns = len(output) if len(output) <= 16 else math.ceil(math.sqrt(2 * len(output)))
        rows = np.zeros(math.ceil(len(output) / columns) * columns)
        rows[: len(output)] = output
        return [signed(rows.reshape(-1, columns), scale)]
    return [signed(output[:, :, channel], scale) for channel in range(output.shape[2])][:limit]


def filter_tiles(
    weight: np.ndarray, input_shape: tuple[int, int, int], limit: int
) -> list[np.ndarray]:
    """A layer's filters as pictures, the first ``limit``, all on one scale.

    ``weight`` is (KH, KW, C, F), or (H * W * C, outputs) of a dense layer that sees the whole
    image. Three channels are shown in colour, grey being zero; otherwise their sum.
    """
    if weight.ndim == 2:
        weight = weight.reshape(*input_shape, weight.shape[1])
    if weight.shape[2] == 3:
        scale = float(np.abs(weight).max()) or 1.0
        shades = np.rint(127.5 + 127.5 * weight / scale).astype(np.uint8)
        return [grey_or_colour(shades[..., number]) for number in range(weight.shape[3])][:limit]
    flat = weight.sum(axis=2)
    scale = float(np.abs(flat).max())
    return [signed(flat[:, :, number], scale) for number in range(flat.shape[2])][:limit]


def _enlarged(tile: np.ndarray, width: int) -> np.ndarray:
    """The picture, ``width`` pixels wide where that is more than it has, each pixel repeated."""
    height, own = tile.shape[:2]
    width = max(width, own)
    rows = np.arange(max(1, round(height * width / own))) * own // width
    return tile[np.minimum(rows, height - 1)][:, np.arange(width) * own // width]
