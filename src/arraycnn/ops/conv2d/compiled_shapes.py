"""The shapes of a compiled convolution: which way it goes, and in which parts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from arraycnn.ops.aligned_memory import LINE
from arraycnn.ops.compiled.kernels.vectors import BYTES
from arraycnn.ops.conv2d import compiled_few_channels as few_channels
from arraycnn.ops.conv2d.compiled_phases import Sizes
from arraycnn.ops.conv2d.compiled_winograd import TileSizes
from arraycnn.ops.max_pool2d.compiled import NO_POOL, pool_window
from arraycnn.ops.max_pool2d.compiled_kernels import PoolWindow
from arraycnn.ops.window import Window

MOST_GROUPS = 16
"""Into so many groups of images a batch is cut whose gradients are summed afterwards."""

BAND_BYTES = 256 * 1024
"""What the transformed tiles of a band may take: they are to stay in a core's second cache."""

ONE_PIXEL = Window((1, 1))

_ROW = 128
"""Pixels, at the most, of a row in which pixels of several rows lie: they stay in the nearest cache."""

_CACHED_FILTERS = 2**21
"""So many numbers of transformed filters stay in a cache that is read for each image."""

_NEAR_BYTES = 2**15
"""Of the nearest cache, for what is read again for each filter."""


@dataclass(frozen=True)
class Convolution:
    """One convolution's shapes, and a pool's that may follow."""

    x: np.ndarray
    weight: np.ndarray
    window: Window
    pool: Window | None

    @property
    def images(self) -> int:
        return self.x.shape[0]

    @property
    def channels(self) -> int:
        return self.weight.shape[2]

    @property
    def filters(self) -> int:
        return self.weight.shape[3]

    @property
    def lanes(self) -> int:
        """How many numbers a vector has."""
        return BYTES // self.x.itemsize

    @property
    def outputs(self) -> tuple[int, int]:
        """Rows and columns of the convolution's own output."""
        return self.window.output_shape(self.x.shape[1], self.x.shape[2])

    @property
    def y_shape(self) -> tuple[int, ...]:
        rows, columns = self.pool.output_shape(*self.outputs) if self.pool else self.outputs
        return self.images, rows, columns, self.filters

    @property
    def suits_winograd(self) -> bool:
        whole_vectors = self.channels % self.lanes == 0 and self.filters % self.lanes == 0
        pools_tiles = self.pool is None or self.pool == Window((2, 2), (2, 2))
        return (
            self.window.kernel_size == (3, 3)
            and self.window.stride == (1, 1)
            and whole_vectors
            and min(self.channels, self.filters) >= 16
            and pools_tiles
        )

    def has_rows_of_images(self, way: Literal["forward", "backward"]) -> bool:
        """Whether products have the images as rows: an image has few outputs for its filters.

        The larger the filters, the more it matters that they are read once for all images; of
        Winograd's forward pass, which multiplies less, this is so from fewer outputs on.
        """
        wasted = 2 * self.channels <= self.lanes
        if self.pool is not None or wasted or not self.images:
            return False
        few = 9 if way == "forward" and self.suits_winograd else 16
        if self.suits_winograd and 16 * self.channels * self.filters > _CACHED_FILTERS:
            few *= 4
        return math.prod(self.outputs) <= few

    @property
    def has_few_channels(self) -> bool:
        """Whether a vector of one pixel's channels would be half empty at least, and those of the
        window's next pixels could fill it."""
        return 2 * self.channels <= self.lanes and self.window != ONE_PIXEL

    @property
    def has_nine_taps(self) -> bool:
        """Whether an output's window is 3x3 numbers, and its neighbour's begins a number later."""
        kernel_size, (_, stride_width) = self.window.kernel_size, self.window.stride
        return self.channels == 1 and kernel_size == (3, 3) and stride_width == 1

    @property
    def sums_over_winners(self) -> bool:
        """Whether the gradient for the filters is a sum over winners, a quarter of the outputs.

        Of many filters whole vectors are multiplied faster, and winners that leave the nearest
        cache are read anew for each filter.
        """
        most = self.lanes // 2 if self.channels == 1 else self.lanes
        return (
            self.pool == Window((2, 2), (2, 2))
            and self.has_few_channels
            and self.filters <= most
            and self.window.kernel_size[1] > 1
            and not self.has_nine_taps
            and 2 * math.prod(self.y_shape[1:]) * self.x.itemsize <= _NEAR_BYTES
        )

    @property
    def row_size(self) -> int:
        """Numbers next to each other that a window has of a row."""
        return self.window.kernel_size[1] * self.channels

    @property
    def taps_in_rows(self) -> int:
        """What the taps and channels of a filter take, each row of the window in whole vectors."""
        return self.window.kernel_size[0] * self._in_vectors(self.row_size)

    def rooms_of_few(self, need_dx: bool) -> dict[str, int]:
        """The parts of the scratch of gradients of few channels, in whole vectors."""
        (rows, columns), size = self.outputs, math.prod(self.y_shape[1:])
        padded = math.prod(self.window.padded_shape(*self.x.shape[1:3])) * self.channels
        return {
            "image": self._in_vectors(padded + self._in_vectors(self.row_size)),
            "outputs": self._in_vectors(rows * columns * self.filters),
            "winners": 3 * self._in_vectors(size),  # gradients, and where patches begin
            "patches": max(few_channels.NEAR, columns * self.taps_in_rows) if need_dx else 0,
        }

    def _in_vectors(self, numbers: int) -> int:
        return -(-numbers // self.lanes) * self.lanes

    @cached_property
    def tiles(self) -> tuple[int, int, int]:
        """Winograd's rows and columns of tiles, and how many rows make a band."""
        _, rows, columns, _ = self.y_shape
        if not self.pool:
            rows, columns = -(-rows // 2), -(-columns // 2)
        a_row = 16 * columns * (self.channels + self.filters) * self.x.itemsize
        bands = -(-rows // max(1, BAND_BYTES // a_row))
        return rows, columns, -(-rows // bands)

    def place_stride(self, count: int) -> int:
        """How far apart a tile's 16 places lie in a band, of ``count`` channels: of odd cache lines.

        A cache has room for but a few numbers whose addresses differ by a power of two.
        """
        _, tile_columns, band_rows = self.tiles
        return odd_lines(band_rows * tile_columns * count, self.x.itemsize)

    @property
    def groups(self) -> int:
        return max(1, min(self.images, MOST_GROUPS))

    @property
    def parts(self) -> int:
        """Into so many parts the channels are cut where there are too few images to share."""
        parts = max(1, min(self.channels // (2 * self.lanes), 8 // self.groups))
        return parts if self.channels % (parts * self.lanes) == 0 else 1

    @property
    def sizes(self) -> Sizes:
        """What the kernels for any window are told."""
        _, height, width, channels = self.x.shape
        padded_height, padded_width = self.window.padded_shape(height, width)
        output_height, output_width = self.outputs
        return Sizes(
            height=height, width=width, channels=channels, filters=self.filters,
            kernel_height=self.window.kernel_size[0], kernel_width=self.window.kernel_size[1],
            stride_height=self.window.stride[0], stride_width=self.window.stride[1],
            padding_top=self.window.padding[0], padding_left=self.window.padding[2],
            padded_height=padded_height, padded_width=padded_width,
            output_height=output_height, output_width=output_width,
            has_few_channels=self.has_few_channels, has_nine_taps=self.has_nine_taps,
        )  # fmt: skip

    @property
    def tile_sizes(self) -> TileSizes:
        """What Winograd's kernels are told."""
        _, height, width, channels = self.x.shape
        _, output_height, output_width, filters = self.y_shape
        tile_rows, tile_columns, band_rows = self.tiles
        return TileSizes(
            height=height, width=width, channels=channels, filters=filters,
            padding_top=self.window.padding[0], padding_left=self.window.padding[2],
            output_height=output_height, output_width=output_width,
            tile_rows=tile_rows, tile_columns=tile_columns, band_rows=band_rows,
        )  # fmt: skip

    @property
    def pool_window(self) -> PoolWindow:
        return NO_POOL if self.pool is None else pool_window(self.pool, *self.outputs)


def pixels_in_rows(x: np.ndarray, window: Window, pool: Window | None) -> np.ndarray:
    """``x``, (N, H, W, C), or where outputs are made of one pixel each, its images cut into other rows.

    The pixels of a row are the rows of a product: those of a small image are too few by themselves.
    So rows become as long as `_ROW` lets them be.
    """
    images, height, width, channels = x.shape
    if window != ONE_PIXEL or pool is not None:
        return x
    pixels = height * width
    row = max((n for n in range(1, min(pixels, _ROW) + 1) if pixels % n == 0), default=0)
    return x if row <= width else x.reshape(images, pixels // row, row, channels)


def odd_lines(count: int, size: int) -> int:
    """At least ``count`` numbers of ``size`` bytes, in an odd number of cache lines."""
    line = LINE // size
    return (-(-count // line) | 1) * line
