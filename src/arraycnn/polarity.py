"""Dark on light or light on dark? A network trained on the one does not know the other.

The background is judged by the outermost ring of pixels, which a centred figure leaves free.
"""

from collections.abc import Callable
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from arraycnn.data.image_source import ImageSource, as_source

Background: TypeAlias = Literal["dark", "light"]

# Between these grey values (of 255) a background is neither.
_DARK, _LIGHT = 64, 191
_AGREEING_PIXELS = 0.5
# A set counts as having one background where at least this share of its images does.
_AGREEING_IMAGES = 0.9
_MOST_LOOKED_AT = 1000
_AT_A_TIME = 16  # large images need not all be in memory


def backgrounds(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int8]:
    """-1 for a dark background, 1 for a light one, 0 for neither; (N,) for images (N, H, W, C).

    An image counts only where at least half of its outermost pixels agree, and what is inside is on
    average on the other side of them: a picture that is light all over is no figure. Of the images
    of MNIST, the digits and Fashion-MNIST none is taken for a light one, and of the inverted ones
    fewer than one in a thousand is not.
    """
    grey = images.mean(axis=3)
    ring = np.concatenate([grey[:, 0], grey[:, -1], grey[:, 1:-1, 0], grey[:, 1:-1, -1]], axis=1)
    inside = grey[:, 1:-1, 1:-1].reshape(len(grey), -1)
    middle = inside.mean(axis=1) if inside.size else ring.mean(axis=1)
    dark = (ring < _DARK).mean(axis=1) >= _AGREEING_PIXELS
    light = (ring > _LIGHT).mean(axis=1) >= _AGREEING_PIXELS
    outside = ring.mean(axis=1)
    return (light & (middle < outside)).astype(np.int8) - (dark & (middle > outside))


def background(
    images: Any, to_numpy: Callable[[Any], npt.NDArray[Any]] = np.asarray
) -> Background | None:
    """The background that nearly all of ``images`` have; None where they differ.

    ``images`` is an array or `ImageSource`, (N, H, W, C) or (N, H, W), of which up to 1000 are
    looked at; ``to_numpy`` brings some to the host. For floating images the answer is None.
    """
    images = as_source(images)
    if (
        not hasattr(images, "dtype")
        or not str(images.dtype).endswith("uint8")
        or not images.shape[0]
    ):
        return None
    step = -(-images.shape[0] // _MOST_LOOKED_AT)
    found = []
    for start in range(0, images.shape[0], step * _AT_A_TIME):
        part = slice(start, min(start + step * _AT_A_TIME, images.shape[0]), step)
        if isinstance(images, ImageSource):
            looked_at = images.read(np.arange(part.start, part.stop, step))
        else:
            looked_at = to_numpy(images[part, ...])
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
