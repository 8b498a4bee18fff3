"""Dark on light or light on dark? A network trained on the one does not know the other.

The background is judged by the outermost ring of pixels, which a centred figure leaves free, and by
nothing absolute: grey paper is light where its ink is darker, unevenly lit or not.
"""

from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from arraycnn.data.image_source import as_source

Background: TypeAlias = Literal["dark", "light"]

# Shares of an image's own contrast, found on the real sets: how far the ring may vary where it is
# background, and how much of it must be; and how far figure must outweigh its opposite.
_VARIATION, _AGREEING_PIXELS, _ONE_SIDED = 0.3, 0.5, 0.85
# A slope of light across the ring counts where it leaves this share of the variation or less.
_LEFT_BY_SLOPE = 0.8
# Less of 255 cannot be told from noise.
_LEAST_CONTRAST = 8
# A set counts as having one background where at least this share of its images does.
_AGREEING_IMAGES = 0.9
_MOST_LOOKED_AT = 1000
_AT_A_TIME = 16  # large images need not all be in memory


def backgrounds(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """-1 for a dark background, 1 for a light one, 0 for neither; (N,) for images (N, H, W, C).

    The background is the median of the outermost pixels, or a plane through them where the light is
    uneven. An image counts where at least half of these pixels keep to it, and nearly all of what does
    not keep to it lies on one side: brighter, so that the background is dark, or darker. Of the images
    of MNIST, the digits and Fashion-MNIST none is taken for a light one, and of the inverted ones
    fewer than one in a thousand is not.
    """
    count, height, width, _ = images.shape
    grey = images.mean(axis=3, dtype=np.float32).reshape(count, -1)
    places = np.arange(height * width).reshape(height, width)
    ring = np.unique(np.concatenate([places[0], places[-1], places[:, 0], places[:, -1]]))
    differences = grey - _lighting(grey, ring, height, width)
    low, high = np.percentile(differences, [1, 99], axis=1)
    contrast = (high - low)[:, np.newaxis]
    figure = np.abs(differences) > _VARIATION * contrast
    is_background = 1 - figure[:, ring].mean(axis=1) >= _AGREEING_PIXELS
    differences *= figure
    one_sided = differences.sum(axis=1) / np.maximum(np.abs(differences).sum(axis=1), 1e-9)
    clear = is_background & (contrast[:, 0] >= _LEAST_CONTRAST)
    dark, light = one_sided > _ONE_SIDED, one_sided < -_ONE_SIDED
    return (clear & light).astype(np.int8) - (clear & dark)


def blank(images: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Which images (N, H, W, C) have no contrast: less than 8 of 255 grey levels, (N,).

    Floating images, of which nobody knows what white is, are blank where all is one number.
    """
    flat = images.reshape(len(images), -1, images.shape[-1])
    spread = (flat.max(axis=1) - flat.min(axis=1)).max(axis=1)
    found: npt.NDArray[np.bool_] = spread < (_LEAST_CONTRAST if images.dtype == np.uint8 else 1e-6)
    return found


def _lighting(
    grey: npt.NDArray[np.float32], ring: npt.NDArray[np.intp], height: int, width: int
) -> npt.NDArray[np.float32]:
    """What the pixels, (N, H * W), would be if all were background: one number, or a plane."""
    y, x = np.divmod(np.arange(height * width), width)
    plane = np.stack([np.ones_like(y), y - (height - 1) / 2, x - (width - 1) / 2])
    level = np.median(grey[:, ring], axis=1)[:, np.newaxis]
    slope = (grey[:, ring] @ np.linalg.pinv(plane[:, ring]) @ plane).astype(np.float32)
    varies = np.median(np.abs(grey[:, ring] - level), axis=1)
    left = np.median(np.abs(grey[:, ring] - slope[:, ring]), axis=1)
    return np.where((left < _LEFT_BY_SLOPE * varies)[:, np.newaxis], slope, level)


def background(images: Any) -> Background | None:
    """The background that nearly all of ``images`` have; None where they differ.

    ``images`` is an array or `ImageSource`, (N, H, W, C) or (N, H, W), of which up to 1000 are
    looked at. For floating images the answer is None.
    """
    if not hasattr(images, "dtype") or not str(images.dtype).endswith("uint8"):
        return None
    images = as_source(images)
    if not images.shape[0]:
        return None
    step = -(-images.shape[0] // _MOST_LOOKED_AT)
    found = []
    for start in range(0, images.shape[0], step * _AT_A_TIME):
        stop = min(start + step * _AT_A_TIME, images.shape[0])
        looked_at = images.read_part(slice(start, stop, step))
        found.append(backgrounds(looked_at.reshape(len(looked_at), *images.shape[1:3], -1)))
    which = np.concatenate(found)
    if (which == -1).mean() >= _AGREEING_IMAGES:
        return "dark"
    return "light" if (which == 1).mean() >= _AGREEING_IMAGES else None


def check_background(value: Any) -> Background | None:
    """``value`` as it stands in a file, or ValueError."""
    if value not in (None, "dark", "light"):
        message = f"background must be dark, light or null, got {value!r}"
        raise ValueError(message)
    found: Background | None = value
    return found


def inverted(
    images: npt.NDArray[np.uint8], expected: Background | None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.bool_]]:
    """``images`` with those on the opposite of the ``expected`` background inverted, and which."""
    if expected is None:
        return images, np.zeros(len(images), np.bool_)
    opposite = backgrounds(images) == (1 if expected == "dark" else -1)
    return np.where(opposite[:, None, None, None], 255 - images, images), opposite
