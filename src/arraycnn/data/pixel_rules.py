"""What pixels may be, and the bytes they mean."""

from collections.abc import Iterator
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from arraycnn.data.array_rules import BrokenRule

Scale: TypeAlias = Literal["byte", "unit", "truth"]
"""How bright white is: 255, 1, or true."""

_AT_A_TIME = 2**20
# Floating numbers below this are no grey values with fractions but scaled ones.
_LITTLE = 50


def pixel_scale(pixels: npt.NDArray[Any]) -> Scale:
    """Which scale ``pixels`` have, judged by all of them.

    "byte" for whole numbers 0 to 255 of any dtype, floating ones among them; "unit" for floating
    numbers 0 to 1; "truth" for truth values.

    Raises `BrokenRule` for all else, with the way to bytes where there is one.
    """
    kind = pixels.dtype.kind
    if kind == "b":
        return "truth"
    if kind not in "iuf":
        reason = f"must be uint8 or floating, got {pixels.dtype}"
        raise BrokenRule(reason, "pass grey values as numbers 0 to 255", of_kind=True)
    if pixels.dtype == np.uint8:
        return "byte"
    low, high = _range(pixels)
    if not np.isfinite(low) or not np.isfinite(high):
        reason = "must be finite, got NaN or infinity"
        raise BrokenRule(reason, "remove or repair those images")
    if kind == "f" and low >= 0 and high <= 1:
        return "unit"
    whole = low >= 0 and high <= 255 and all(_is_whole(part) for part in _parts(pixels))
    if not whole:
        raise _no_bytes(pixels.dtype, low, high)
    return "byte"


def doubt_of_bits(highest: float) -> str:
    """What to say of a set of bytes that reaches ``highest``: it may be one of bits. Else ""."""
    if highest != 1:
        return ""
    return "the grey values are 0 and 1 only, of 255; where 1 is white, multiply them by 255"


def as_bytes(pixels: npt.NDArray[Any], scale: Scale) -> npt.NDArray[np.uint8]:
    """``pixels`` as uint8, 0 to 255; raises `BrokenRule` where they are not of that ``scale``."""
    if pixels.dtype == np.uint8 and scale == "byte":
        return pixels
    if scale != "unit" or pixels.dtype.kind != "f" or not _range(pixels)[1] > 1:
        found = pixel_scale(pixels)
        fits = found == scale or _is_both(pixels, found, scale)
    else:
        fits = False
    if not fits:
        low, high = _range(pixels)
        reason = f"must all have one scale, {_SCALES[scale]}, got some from {low:g} to {high:g}"
        raise BrokenRule(reason, "scale all of them alike")
    made = np.empty(pixels.shape, np.uint8)
    for part, target in zip(_parts(pixels), _parts(made), strict=True):
        target[...] = part if scale == "byte" else np.rint(part * np.float64(255))
    return made


_SCALES = {"byte": "whole numbers 0 to 255", "unit": "0 to 1", "truth": "truth values"}


def _is_both(pixels: npt.NDArray[Any], found: Scale, scale: Scale) -> bool:
    """Whether pixels that look like one scale may be of the other: a picture of 0 and 1 only."""
    dark = scale == "byte" and found == "unit"
    return dark and all(_is_whole(part) for part in _parts(pixels))


def _no_bytes(dtype: np.dtype[Any], low: float, high: float) -> BrokenRule:
    reason = f"must be grey values 0 to 255, got {dtype} from {low:g} to {high:g}"
    if dtype.kind == "f" and low > -1 and _LITTLE < high < 256:
        reason = f"must be whole numbers 0 to 255, got {dtype} with fractions"
        remedy = "take numpy.clip(numpy.round(images), 0, 255).astype('uint8')"
    elif low < 0 or high <= 255:
        remedy = "pass them as they were before they were scaled, 0 to 255"
    elif dtype.kind in "iu" and high < 2**16:
        bits = int(high).bit_length()
        remedy = f"they have {bits} bits: take (images >> {bits - 8}).astype('uint8')"
    else:
        remedy = f"where {high:g} is white, take (images / {high:g} * 255).astype('uint8')"
    return BrokenRule(reason, remedy)


def _range(pixels: npt.NDArray[Any]) -> tuple[float, float]:
    """Lowest and highest value; NaN where there is one."""
    if not pixels.size:
        return 0.0, 0.0
    parts = [(float(part.min()), float(part.max())) for part in _parts(pixels)]
    lows, highs = zip(*parts, strict=True)
    return float(np.min(lows)), float(np.max(highs))


def _is_whole(pixels: npt.NDArray[Any]) -> bool:
    return pixels.dtype.kind in "iu" or bool((pixels == np.trunc(pixels)).all())


def _parts(pixels: npt.NDArray[Any]) -> Iterator[npt.NDArray[Any]]:
    """``pixels`` in parts, so that what is computed of each is small."""
    if pixels.ndim == 0:
        yield pixels
        return
    count = max(1, _AT_A_TIME // max(1, pixels[:1].size))
    for start in range(0, len(pixels), count):
        yield pixels[start : start + count]
