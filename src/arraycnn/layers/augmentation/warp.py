"""Warp: what layers that read images between their pixels have in common."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from arraycnn.layers.augmentation.filled import Filled
from arraycnn.ops import Array
from arraycnn.ops.pixels import pixels_between, pixels_between_added


class Warp(Filled):
    """Each pixel is read at a place between pixels, by straight lines between the four around it."""

    moves_pixels: ClassVar[bool] = True

    @abstractmethod
    def places(self, words: Array, height: int, width: int) -> tuple[Array, Array]:
        """Rows and columns that the pixels are read at, (N, height, width), int32.

        In 1 / 65536 of a pixel: whole numbers, so that every engine reads the same.
        """

    def augmented(self, x: Array, words: Array) -> tuple[Array, Any]:
        rows, columns = self.places(words, *x.shape[1:3])
        return pixels_between(x, rows, columns, self.fill_for(x)), (rows, columns)

    def gradient(self, residuals: Any, dy: Array) -> Array:
        rows, columns = residuals
        height, width = dy.shape[1:3]
        filled = not isinstance(self.fill, str)
        return pixels_between_added(dy, rows, columns, height, width, filled)
