"""Filled: what layers that write a number into images have in common."""

from __future__ import annotations

from arraycnn.layers.augmentation.augmentation import Augmentation, Fill, byte_of, number_of
from arraycnn.ops import Array


class Filled(Augmentation):
    """What is not of an image is one number, or what a word says of it."""

    fill: Fill

    def check_use(self, on_bytes: bool) -> None:
        if on_bytes and not isinstance(self.fill, str):
            byte_of(type(self).__name__, self.fill)

    def fill_for(self, x: Array) -> float | None:
        """The number as one of ``x``, a whole one beside bytes; None where a word stands for it."""
        if isinstance(self.fill, str):
            return None
        return number_of(type(self).__name__, self.fill, x)
