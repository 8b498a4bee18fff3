"""Pictures from files, in the size and channels that a network takes."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from arraycnn.errors import DataError, DataFileError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

# Each decoder is a door for hostile files, so only these are opened.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".pgm", ".ppm", ".pnm", ".pbm"}
)
# A camera's pictures have up to 50 million pixels; a bomb's file of some kilobytes has billions.
MAX_PIXELS = 2**26
_WHITE = 255


def read_image(
    path: str | Path, input_shape: tuple[int, int, int], invert: bool = False
) -> npt.NDArray[np.uint8]:
    """A picture as (H, W, C) uint8, stretched to ``input_shape``.

    Rotated as its EXIF data say; what is transparent becomes white; 16-bit grey is scaled to 8.

    Parameters
    ----------
    path : path of a PNG, JPEG, BMP, GIF (first frame), WebP or PGM/PPM file
    input_shape : (H, W, C)
        C is 1 (grey) or 3 (colour).
    invert : bool
        Whether to swap dark and light: MNIST's digits are white on black.

    Raises
    ------
    DataError
        Pillow is missing, or C is neither 1 nor 3.
    DataFileError
        The file cannot be read as a picture, or has more than 2^26 pixels.
    """
    return _decoded(path, path, input_shape, invert)


def decode_image(
    content: bytes, name: str, input_shape: tuple[int, int, int], invert: bool = False
) -> npt.NDArray[np.uint8]:
    """As `read_image`, from the bytes of a file; errors call it ``name``."""
    return _decoded(BytesIO(content), name, input_shape, invert)


def image_shape(path: str | Path) -> tuple[int, int, int]:
    """(H, W, C) of a picture from its first bytes, C being 1 where it is grey, else 3.

    Raises as `read_image`, but does not notice what is wrong after the header.
    """

    def measure(picture: Image) -> tuple[int, int, int]:
        turned = picture.getexif().get(0x0112, 1) >= 5  # on its side
        width, height = picture.size[::-1] if turned else picture.size
        return height, width, 1 if _is_grey(picture) else 3

    return _opened(path, path, measure)


def _decoded(
    file: Any, name: object, input_shape: tuple[int, int, int], invert: bool
) -> npt.NDArray[np.uint8]:
    height, width, channels = input_shape
    if channels not in (1, 3):
        message = f"image {name}: pictures have 1 or 3 channels, the network takes {channels}"
        raise DataError(message)

    def decode(picture: Image) -> npt.NDArray[np.uint8]:
        from PIL import Image, ImageOps

        shown = _on_white(ImageOps.exif_transpose(_eight_bits(picture)))
        shown = shown.convert("L" if channels == 1 else "RGB")
        if shown.size != (width, height):
            shown = shown.resize((width, height), Image.Resampling.LANCZOS)
        return np.array(shown, dtype=np.uint8).reshape(height, width, channels)

    pixels = _opened(file, name, decode)
    return 255 - pixels if invert else pixels


def _opened(file: Any, name: object, use: Any) -> Any:
    """``use(picture)`` for the picture in ``file``, all of Pillow's errors as our own."""
    try:
        from PIL import Image, UnidentifiedImageError

        # Pillow would load the decoders of all its formats to look for this one.
        from PIL import WebPImagePlugin as _  # noqa: F401
    except ModuleNotFoundError as error:
        message = 'image files: Pillow is not installed; pip install "arraycnn[images]"'
        raise DataError(message) from error
    try:
        with Image.open(file, formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                reason = f"may have at most {MAX_PIXELS} pixels, its header says {width}x{height}"
                raise DataFileError(f"image {name}", reason, "make it smaller")
            return use(picture)
    except DataFileError:
        raise
    except UnidentifiedImageError:
        reason = "is not a picture Pillow can read"
        raise DataFileError(f"image {name}", reason, "use PNG or JPEG") from None
    except Exception as error:  # a decoder raises whatever a damaged file leads it to
        reason = f"cannot be read ({one_line(getattr(error, 'strerror', None) or error)})"
        raise DataFileError(f"image {name}", reason, "check the file") from None


def _is_grey(picture: Image) -> bool:
    return picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")


def _eight_bits(picture: Image) -> Image:
    """``picture`` in a mode of 8 bits: Pillow's own conversion cuts 16 bits off at 255."""
    from PIL import Image

    if not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture).astype(np.int64).clip(0, 2**16 - 1) // 257
    turned = Image.fromarray(values.astype(np.uint8))
    turned.info = picture.info
    return turned


def _on_white(picture: Image) -> Image:
    """``picture`` without transparency, as it looks on white paper."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    layer = picture.convert("RGBA")
    paper = Image.new("RGBA", layer.size, (_WHITE, _WHITE, _WHITE, 255))
    return Image.alpha_composite(paper, layer).convert("RGB")
