"""Pictures from files, in the size and channels that a network takes."""

from pathlib import Path

import numpy as np

from arraycnn.errors import DataError


def read_image(path: str | Path, input_shape: tuple[int, int, int], invert: bool) -> np.ndarray:
    """A PNG or JPEG as (H, W, C) uint8, resized to ``input_shape``.

    Parameters
    ----------
    input_shape : (H, W, C)
        C is 1 (grey) or 3 (colour).
    invert : bool
        Whether to swap dark and light: MNIST's digits are white on black.

    Raises
    ------
    DataError
        Pillow is missing, the file cannot be read as an image, or C is neither 1 nor 3.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ModuleNotFoundError as error:
        message = 'image files: Pillow is not installed; pip install "arraycnn[images]"'
        raise DataError(message) from error
    height, width, channels = input_shape
    if channels not in (1, 3):
        message = f"image {path}: pictures have 1 or 3 channels, the network takes {channels}"
        raise DataError(message)
    try:
        with Image.open(path) as picture:
            shown = picture.convert("L" if channels == 1 else "RGB")
            if shown.size != (width, height):
                shown = shown.resize((width, height), Image.Resampling.LANCZOS)
            pixels = np.asarray(shown, dtype=np.uint8).reshape(height, width, channels)
    except UnidentifiedImageError as error:
        message = f"image {path}: is not a picture Pillow can read; use PNG or JPEG"
        raise DataError(message) from error
    except (OSError, Image.DecompressionBombError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        message = f"image {path}: cannot be read ({reason}); check the file"
        raise DataError(message) from error
    return 255 - pixels if invert else pixels
