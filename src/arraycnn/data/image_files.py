"""Pictures from files, in the size and channels that a network takes."""

from __future__ import annotations

import math
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.file_kinds import FileKind, kind_of, kind_of_bytes
from arraycnn.data.picture_values import Say, eight_bits, on_paper
from arraycnn.errors import DataError, DataFileError, one_line

if TYPE_CHECKING:
    from PIL.Image import Image

# Each decoder is a door for hostile files, so only these are opened.
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")
# Where Pillow was built with it.
_AVIF = "AVIF"
SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
    | {".pgm", ".ppm", ".pnm", ".pbm", ".avif"}
)
# A camera's pictures have up to 50 million pixels; a bomb's file of some kilobytes has billions.
MAX_PIXELS = 2**26
# Programs write tiles of up to 1024 x 1024, in small pictures as well.
_TILE_PIXELS = 2**22
_TILE_WIDTH, _TILE_LENGTH = 322, 323
# In the name of the decoder of a file with 16 bits a colour.
_SIXTEEN = ";16"
_STRETCHED = 2


def _to_nobody(_: str) -> None:
    """Where nobody wants to know."""


def read_image(
    path: str | Path,
    input_shape: tuple[int, int, int],
    invert: bool = False,
    say: Say = _to_nobody,
) -> npt.NDArray[np.uint8]:
    """A picture as (H, W, C) uint8, stretched to ``input_shape``.

    Rotated as its EXIF data say; what is transparent becomes white paper, or black where the ink is
    light; values of more than 8 bits are scaled by the bits that they use (`picture_values`).

    Parameters
    ----------
    path : path of a PNG, JPEG, BMP, GIF, WebP, TIFF (of these the first frame), PGM/PPM file, or of
        an AVIF file where Pillow reads those
    input_shape : (H, W, C)
        C is 1 (grey) or 3 (colour).
    invert : bool
        Whether to swap dark and light: MNIST's digits are white on black.
    say : callable
        Is told what had to be decided, such as a first frame taken; see `PictureNotes`.

    Raises
    ------
    DataError
        Pillow is missing, or C is neither 1 nor 3.
    DataFileError
        The file cannot be read as a picture, or has more than 2^26 pixels.
    """
    return _decoded(path, path, input_shape, invert, say)


def decode_image(
    content: bytes,
    name: str,
    input_shape: tuple[int, int, int],
    invert: bool = False,
    say: Say = _to_nobody,
) -> npt.NDArray[np.uint8]:
    """As `read_image`, from the bytes of a file; errors call it ``name``."""
    return _decoded(BytesIO(content), name, input_shape, invert, say)


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
    file: Any, name: object, input_shape: tuple[int, int, int], invert: bool, say: Say
) -> npt.NDArray[np.uint8]:
    height, width, channels = input_shape
    if channels not in (1, 3):
        message = f"image {name}: pictures have 1 or 3 channels, the network takes {channels}"
        raise DataError(message)

    def decode(picture: Image) -> npt.NDArray[np.uint8]:
        from PIL import Image, ImageOps

        if getattr(picture, "is_animated", False):
            say("the first of several frames or pages")
        deep = any(_SIXTEEN in str(tile[3]) for tile in picture.tile)
        upright = ImageOps.exif_transpose(picture)
        shown = on_paper(eight_bits(upright, deep, say), say)
        shown = _in_mode(shown, "L" if channels == 1 else "RGB")
        if shown.size != (width, height):
            across, down = width / shown.width, height / shown.height
            if max(across / down, down / across) > _STRETCHED:
                say(f"stretched more than {_STRETCHED} times as much one way as the other")
            shown = shown.resize((width, height), Image.Resampling.LANCZOS)
        return np.array(shown, dtype=np.uint8).reshape(height, width, channels)

    pixels = _opened(file, name, decode)
    return 255 - pixels if invert else pixels


def _in_mode(picture: Image, mode: str) -> Image:
    """``picture`` in grey or RGB, whatever its own colours are."""
    if picture.mode in ("1", "L", "RGB", "P"):
        return picture.convert(mode)
    return picture.convert("RGB").convert(mode)  # no other mode has every way


def _opened(file: Any, name: object, use: Any) -> Any:
    """``use(picture)`` for the picture in ``file``, all of Pillow's errors as our own."""
    try:
        from PIL import Image, UnidentifiedImageError

        # Pillow would load the decoders of all its formats to look for these.
        from PIL import TiffImagePlugin as _tiff  # noqa: F401
        from PIL import WebPImagePlugin as _webp  # noqa: F401
    except ModuleNotFoundError as error:
        message = 'image files: Pillow is not installed; pip install "arraycnn[images]"'
        raise DataError(message) from error
    try:
        with Image.open(file, formats=_formats()) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                reason = f"may have at most {MAX_PIXELS} pixels, its header says {width}x{height}"
                raise DataFileError(f"image {name}", reason, "make it smaller")
            if _tile_pixels(picture) > max(width * height, _TILE_PIXELS):
                reason = f"has tiles larger than itself, {width}x{height}"
                raise DataFileError(f"image {name}", reason, "save it without tiles")
            return use(picture)
    except DataFileError:
        raise
    except UnidentifiedImageError:
        kind = _kind(file)
        if kind is not None:
            reason = f"is {kind.with_article}, which is not read"
            raise DataFileError(f"image {name}", reason, kind.remedy(str(name))) from None
        reason = "is not a picture Pillow can read"
        raise DataFileError(f"image {name}", reason, "use PNG or JPEG") from None
    except Exception as error:  # a decoder raises whatever a damaged file leads it to
        reason = f"cannot be read ({one_line(getattr(error, 'strerror', None) or error)})"
        raise DataFileError(f"image {name}", reason, "check the file") from None


def _tile_pixels(picture: Image) -> int:
    """How many pixels the decoder allocates for a tile of a TIFF, which its header says."""
    tags = getattr(picture, "tag_v2", {})
    sides = (tags.get(tag, 0) for tag in (_TILE_WIDTH, _TILE_LENGTH))
    return math.prod(max(side) if isinstance(side, tuple) else int(side) for side in sides)


@cache
def _formats() -> tuple[str, ...]:
    from PIL import features

    if not features.check("avif"):
        return FORMATS
    from PIL import AvifImagePlugin as _avif  # noqa: F401

    return (*FORMATS, _AVIF)


def _kind(file: Any) -> FileKind | None:
    """What a file that is no picture is, by its first bytes."""
    if not isinstance(file, BytesIO):
        return kind_of(Path(file))
    content = file.getbuffer()
    return kind_of_bytes(bytes(content[:512]), len(content))


def _is_grey(picture: Image) -> bool:
    return picture.mode in ("1", "L", "LA", "La", "I", "F") or picture.mode.startswith("I;16")
