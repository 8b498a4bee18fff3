"""Boxes: rectangles of images that are written over while training."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from arraycnn.layers.augmentation.filled import Filled
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import device


class Boxes(Filled):
    """In each image one box, or none, becomes one number."""

    @abstractmethod
    def hidden(self, words: Array, height: int, width: int) -> Array:
        """Which pixels are written over, bool, (N, height, width)."""

    def augmented(self, x: Array, words: Array) -> tuple[Array, Any]:
        hidden = self.hidden(words, *x.shape[1:3])
        return array_namespace(x).where(hidden[..., None], self.fill_for(x), x), (hidden,)

    def gradient(self, residuals: Any, dy: Array) -> Array:
        (hidden,) = residuals
        return array_namespace(dy).where(hidden[..., None], 0.0, dy)


def in_box(
    tops: Array, lefts: Array, tall: Array | int, wide: Array | int, height: int, width: int
) -> Array:
    """Whether pixels lie in each image's box, bool, (N, height, width); tops and sizes are (N,)."""
    xp, place = array_namespace(tops), device(tops)
    sides = []
    for first, extent, size in ((tops, tall, height), (lefts, wide, width)):
        pixel, first = xp.arange(size, dtype=xp.int32, device=place)[None, :], first[:, None]
        extent = extent if isinstance(extent, int) else extent[:, None]
        sides.append((pixel >= first) & (pixel < first + extent))
    return sides[0][:, :, None] & sides[1][:, None, :]
