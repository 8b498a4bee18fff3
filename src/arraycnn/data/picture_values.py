"""What the values of a picture mean: its bits, and the paper that shows through where it is clear."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL.Image import Image

Say = Callable[[str], None]

# What cameras, scanners and microscopes put into 16 bits.
_DEPTHS = (8, 10, 12, 14, 16)
# Ink is laid on black where white paper would show less than this share of it.
_SHARE_SEEN = 0.5


class PictureNotes:
    """What had to be decided about pictures, counted by kind; may be told by several threads.

    ``at_once`` is called with a line for the first picture of each kind, where the pictures are read
    again and again and nobody asks for the counts.
    """

    def __init__(self, at_once: Say | None = None) -> None:
        self._at_once = at_once
        self._counts: Counter[str] = Counter()
        self._first: dict[str, str] = {}
        self._lock = Lock()

    def about(self, name: str) -> Say:
        """What takes down notes about the picture called ``name``."""

        def say(kind: str) -> None:
            with self._lock:
                self._counts[kind] += 1
                is_new = self._counts[kind] == 1
                self._first[kind] = min(name, self._first.get(kind, name))
            if is_new and self._at_once is not None:
                self._at_once(f"{name}, and perhaps others: {kind}")

        return say

    def take(self) -> list[str]:
        """A line for each kind, and none of it again."""
        with self._lock:
            lines = [
                f"{self._first[kind]}: {kind}"
                if count == 1
                else f"{count} pictures, {self._first[kind]} among them: {kind}"
                for kind, count in self._counts.items()
            ]
            self._counts.clear()
            self._first.clear()
        return lines


def eight_bits(picture: Image, deep: bool, say: Say) -> Image:
    """``picture`` in a mode of 8 bits, bright as its values span them.

    16-bit values that use 12 bits only are scaled as 12 bits: Pillow's own conversion cuts 16 bits off
    at 255, and dividing by 257 would leave them all but black. Floating numbers are 0 to 1, or else
    whole grey levels. ``deep`` is whether the file holds 16 bits a colour, of which Pillow reads the
    upper eight.

    Raises ValueError where a number is NaN or infinite.
    """
    from PIL import Image

    if deep and picture.mode in ("RGB", "RGBA", "LA", "L"):
        return _deep_colours(picture, say)
    if picture.mode != "F" and not picture.mode.startswith("I"):
        return picture
    values = np.asarray(picture)
    grey = Image.fromarray(_scaled(values, say))
    clear = picture.info.get("transparency")
    if isinstance(clear, int):  # the value that is not there, in the picture's own bits
        grey.putalpha(Image.fromarray(np.where(values == clear, np.uint8(0), np.uint8(255))))
    return grey


def on_paper(picture: Image, say: Say) -> Image:
    """``picture`` without transparency: on white paper, or on black where white would hide it."""
    from PIL import Image

    if not picture.has_transparency_data:
        return picture
    layer = picture.convert("RGBA")
    small = layer.reduce(max(1, min(layer.size) // 256))
    grey = np.asarray(small.convert("RGB").convert("L"), np.float32)
    ink = np.asarray(small.getchannel("A"), np.float32) / 255
    seen_on_white, seen_on_black = (255 - ink * (255 - grey)).std(), (ink * grey).std()
    is_light = bool(seen_on_white < _SHARE_SEEN * seen_on_black)
    if is_light:
        say("light ink on a transparent ground, laid on black")
    paper = Image.new("RGBA", layer.size, (0, 0, 0, 255) if is_light else (255, 255, 255, 255))
    return Image.alpha_composite(paper, layer).convert("RGB")


def _scaled(values: npt.NDArray[Any], say: Say) -> npt.NDArray[np.uint8]:
    numbers = values.astype(np.float64)
    low, high = float(numbers.min()), float(numbers.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        message = "its values must be finite, some are NaN or infinity"
        raise ValueError(message)
    floating = values.dtype.kind == "f"
    if low < 0 or high >= 2**16:
        say(f"values from {low:g} to {high:g}, which became 0 to 255")
        numbers, white = numbers - low, high - low
    elif floating and high <= 1:
        say("floating values, of which 1 is taken as white")
        white = 1.0
    else:
        bits = next(depth for depth in _DEPTHS if high < 2**depth)
        if floating or bits < 16:
            say(f"values that use {bits} bits, scaled as such")
        white = 2.0**bits - 1
    return np.rint(numbers * (255 / (white or 1.0))).astype(np.uint8)


def _deep_colours(picture: Image, say: Say) -> Image:
    """Colours of 16 bits, of which Pillow has read the upper 8."""
    from PIL import Image

    values = np.asarray(picture).copy()
    colours = values[..., :-1] if picture.mode in ("LA", "RGBA") else values
    bits = next(depth for depth in _DEPTHS if int(colours.max()) * 256 < 2**depth)
    if bits in (8, 16):
        return picture
    say(f"colours that use {bits} of 16 bits, of which the upper {bits - 8} are read")
    colours[...] = np.rint(colours * (255 / (2 ** (bits - 8) - 1)))
    turned = Image.fromarray(values, picture.mode)
    turned.info = picture.info
    return turned
