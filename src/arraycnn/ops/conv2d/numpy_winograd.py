"""The gradients of a 3x3 convolution with 2.25 times fewer multiplications: Winograd's F(2x2, 3x3).

Lavin and Gray, "Fast algorithms for convolutional neural networks", 2016, section 4.1: a tile of
2x2 outputs is A' [(G g G') * (B' d B)] A for a 4x4 patch d of the image and a 3x3 filter g, where
* multiplies number by number. Over many tiles, channels and filters, each of the 16 places of the
products is a matrix product: tiles x channels times channels x filters.

Backward is the exact adjoint, step by step. With dM = A dy A' the gradient of the products,

    dU = V' dM, and dg = G' dU G;    dV = dM U', and the patch's gradient is B dV B'.

Images are taken apart into planes of their even and odd rows and columns, so that B' d B adds and
subtracts whole planes, some of them moved by a pixel. Columns of patches are worked on one after the
other: what is between two products then stays in the cache. Forward has one product, not two, and is
as fast by columns of pixels.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arraycnn.ops.conv2d.numpy_columns import MOST_IMAGES, SINGLE
from arraycnn.ops.conv2d.numpy_protocol import Gradients
from arraycnn.ops.dense.numpy_products import add_product
from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.ops.window import Window

TILE_BYTES = 2**22
"""Of all transformed patches of the images computed at once, and of their gradients.

A quarter of them is there at a time: twice as much leaves the cache, half of it makes more calls than
threads can share."""

LEAST_CHANNELS, LEAST_FILTERS = 16, 32
"""Below, the products are too slim to be fast."""

LEAST_TILES = 128
"""Below, the filters take longer to transform than the products save."""

MOST_WASTE = 11 / 8
"""At most so many outputs of tiles for one of the convolution: what is beyond its edges is waste."""

_A_T = np.array([[1, 1, 1, 0], [0, 1, -1, -1]], np.float64)
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]], np.float64)
# On both axes at once, of numbers in C order; but the places of a tile stand column by column.
_OUTPUT = np.kron(_A_T, _A_T).reshape(4, 4, 4).transpose(0, 2, 1)
_FILTER = np.kron(_G, _G).reshape(4, 4, 9).transpose(1, 0, 2)


class Winograd:
    """Gradients of a convolution that `suits`; see `Backward`."""

    def __init__(
        self, launcher: Launcher, image: tuple[int, ...], weight: np.ndarray, window: Window,
        pool: Window,
    ) -> None:  # fmt: skip
        self._launcher, self._weight = launcher, launcher.contiguous(weight)
        self._image, self._window, self._pooled = image, window, pool is not SINGLE
        self._channels, self._filters = weight.shape[2:]
        self._tiles = down, across = _tiles(image, window, pool)
        self._output, self._filter = (np.asarray(a, weight.dtype) for a in (_OUTPUT, _FILTER))
        self.sums: tuple[int, ...] = (4, 4, self._channels, self._filters)
        size = 16 * down * across * (self._channels + self._filters) * weight.itemsize
        self.images = min(max(TILE_BYTES // max(size, 1), 1), MOST_IMAGES)

    @staticmethod
    def suits(x: np.ndarray, weight: np.ndarray, window: Window, pool: Window) -> bool:
        """Whether this is a convolution whose gradients are faster so than by its columns."""
        if window.kernel_size != (3, 3) or window.stride != (1, 1):
            return False
        if pool is not SINGLE and pool != Window((2, 2), (2, 2)):
            return False
        channels, filters = weight.shape[2:]
        down, across = _tiles(x.shape[1:], window, pool)
        outputs = math.prod(window.output_shape(x.shape[1], x.shape[2]))
        return (
            filters >= max(channels, LEAST_FILTERS)
            and channels >= LEAST_CHANNELS
            and x.shape[0] * down * across >= LEAST_TILES
            and 4 * down * across <= MOST_WASTE * outputs
        )

    def gradients(self, need_dx: bool) -> Gradients:
        u_transposed = self._filters_transformed() if need_dx else None

        def write(
            images: np.ndarray, blocks: np.ndarray, total: np.ndarray, place: int,
            dx: np.ndarray | None,
        ) -> None:  # fmt: skip
            rows = self._rows_transformed(images)
            if not self._pooled:
                blocks = self._apart(blocks[0])
            drows = self._scratch(*rows.shape) if need_dx else None
            v = self._scratch(4, len(images), *self._tiles, self._channels)
            v_transposed = _flat(v).swapaxes(1, 2)
            dm = self._scratch(*_flat(v).shape[:2], self._filters)
            for column in range(4):
                self._difference(column, rows[:, 0], rows[:, 1], 3, v)
                self._combine(self._output[:, column].T, blocks, dm)
                with self._launcher.passing():
                    add_product(self._launcher, v_transposed, dm, total[column], place)
                if u_transposed is not None and drows is not None:
                    self._launcher.call(np.matmul, dm, u_transposed[column], out=_flat(v))
                    self._difference_back(column, v, drows[:, 0], drows[:, 1], 3)
            if drows is not None and dx is not None:
                self._to_image(drows, dx)

        return write

    def dweight(self, total: np.ndarray) -> np.ndarray:
        dweight = self._launcher.empty(self._weight.shape, total.dtype)
        by_tap = dweight.reshape(9, *dweight.shape[2:])
        self._combine(self._filter.reshape(16, 9).T, total.reshape(16, *total.shape[2:]), by_tap)
        return dweight

    def _filters_transformed(self) -> np.ndarray:
        """G g G' of every filter, (4, 4, F, C)."""
        shape = self._filters, self._channels
        taps = self._launcher.empty((9, *shape), self._weight.dtype)
        by_tap = self._weight.reshape(9, *self._weight.shape[2:])
        self._launcher.call(np.copyto, taps, by_tap.swapaxes(1, 2))
        u = self._launcher.empty((16, *shape), self._weight.dtype)
        self._combine(self._filter.reshape(16, 9), taps, u)
        return u.reshape(4, 4, *shape)

    def _combine(self, weights: np.ndarray, parts: np.ndarray, out: np.ndarray) -> None:
        """Each of ``out`` along its first axis is a sum of ``parts`` by a row of ``weights``."""
        rows, parts = out.reshape(len(out), -1), parts.reshape(len(parts), -1)
        self._launcher.call(np.matmul, weights, parts, out=rows)

    def _rows_transformed(self, images: np.ndarray) -> np.ndarray:
        """B' d of every patch: the four, each in planes of the even and the odd columns."""
        planes = self._planes(len(images))
        inside = self._planes_in(images, planes)
        if sum(plane.size for plane, _ in inside) != planes.size:
            self._launcher.call(planes.fill, 0)
        for plane, pixels in inside:
            self._launcher.call(np.copyto, plane, pixels)
        down, across = self._tiles
        rows = self._scratch(4, 2, len(images), down, across + 1, self._channels)
        for row in range(4):
            self._difference(row, planes[0], planes[1], 2, rows[row])
        return rows

    def _to_image(self, drows: np.ndarray, dx: np.ndarray) -> None:
        """The adjoint of `_rows_transformed`: writes ``dx``."""
        planes = self._planes(len(dx))
        for row in range(4):
            self._difference_back(row, drows[row], planes[0], planes[1], 2)
        inside = self._planes_in(dx, planes)
        if sum(pixels.size for _, pixels in inside) != dx.size:
            self._launcher.call(dx.fill, 0)
        for plane, pixels in inside:
            self._launcher.call(np.copyto, pixels, plane)

    def _planes(self, images: int) -> np.ndarray:
        """Memory for the even and odd rows of images, and of each the even and odd columns."""
        down, across = self._tiles
        return self._scratch(2, 2, images, down + 1, across + 1, self._channels)

    def _planes_in(
        self, images: np.ndarray, planes: np.ndarray
    ) -> list[tuple[np.ndarray, np.ndarray]]:
        """The parts of ``planes`` that lie in ``images``, and the pixels there."""
        height, width, _ = self._image
        top, _, left, _ = self._window.padding
        if top == left == 0 and 2 * planes.shape[3] <= height and 2 * planes.shape[4] <= width:
            image, row, column, number = images.strides
            steps = (row, column, image, 2 * row, 2 * column, number)
            return [(planes, as_strided(images, planes.shape, steps))]
        found = []
        for odd_row in range(2):
            for odd_column in range(2):
                i, x_i = _every_other(height, top, odd_row, planes.shape[3])
                j, x_j = _every_other(width, left, odd_column, planes.shape[4])
                found.append((planes[odd_row, odd_column][:, i, j], images[:, x_i, x_j]))
        return found

    def _apart(self, dy: np.ndarray) -> np.ndarray:
        """``dy`` by the places of the tiles, zero where a tile reaches beyond it."""
        blocks = self._scratch(4, len(dy), *self._tiles, self._filters)
        if blocks.size != dy.size:
            self._launcher.call(blocks.fill, 0)
        places = [dy[:, i::2, j::2] for i in range(2) for j in range(2)]
        for block, numbers in zip(blocks, places, strict=True):
            inside = block[:, : numbers.shape[1], : numbers.shape[2]]
            self._launcher.call(np.copyto, inside, numbers)
        return blocks

    def _difference(
        self, number: int, even: np.ndarray, odd: np.ndarray, axis: int, out: np.ndarray
    ) -> None:
        """One of the four of B' d, along an axis of which ``even`` and ``odd`` have every other
        number: d is one of each, and the next of each."""
        (e, next_e), (o, next_o) = _neighbours(even, axis), _neighbours(odd, axis)
        function, a, b = (
            (np.subtract, e, next_e),
            (np.add, o, next_e),
            (np.subtract, next_e, o),
            (np.subtract, o, next_o),
        )[number]
        self._launcher.call(function, a, b, out=out)

    def _difference_back(
        self, number: int, part: np.ndarray, even: np.ndarray, odd: np.ndarray, axis: int
    ) -> None:
        """The adjoint of `_difference`, to be called for 0, 1, 2, 3 in this order: 0 and 1 begin
        ``even`` and ``odd``, the others add to them."""
        call = self._launcher.call
        (e, next_e), (o, next_o) = _neighbours(even, axis), _neighbours(odd, axis)
        if number == 0:
            call(np.copyto, e, part)
            call(_end(even, axis).fill, 0)
            call(np.subtract, next_e, part, out=next_e)
        elif number == 1:
            call(np.add, next_e, part, out=next_e)
            call(np.copyto, o, part)
            call(_end(odd, axis).fill, 0)
        elif number == 2:
            call(np.add, next_e, part, out=next_e)
            call(np.subtract, o, part, out=o)
        else:
            call(np.add, o, part, out=o)
            call(np.subtract, next_o, part, out=next_o)

    def _scratch(self, *shape: int) -> np.ndarray:
        return self._launcher.scratch(shape, self._weight.dtype)


def _tiles(image: tuple[int, ...], window: Window, pool: Window) -> tuple[int, int]:
    """Rows and columns of tiles that have all outputs, or all that a pool takes."""
    rows, columns = window.output_shape(image[0], image[1])
    if pool is SINGLE:
        return -(-rows // 2), -(-columns // 2)
    return pool.output_shape(rows, columns)


def _every_other(size: int, before: int, odd: int, count: int) -> tuple[slice, slice]:
    """Which of ``count`` even or odd places, of an axis with ``before`` zeros ahead of ``size``
    numbers, have a number; and these numbers."""
    first = max(0, -(-(before - odd) // 2))
    last = max(first, min(count, -(-(size + before - odd) // 2)))
    start = 2 * first + odd - before
    return slice(first, last), slice(start, start + 2 * (last - first), 2)


def _flat(patches: np.ndarray) -> np.ndarray:
    """Patches, (4, n, down, across, C), as matrices."""
    return patches.reshape(4, -1, patches.shape[-1])


def _neighbours(array: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """All but the last along an axis, and all but the first."""
    ahead = (slice(None),) * axis
    return array[(*ahead, slice(None, -1))], array[(*ahead, slice(1, None))]


def _end(array: np.ndarray, axis: int) -> np.ndarray:
    return array[(*(slice(None),) * axis, slice(-1, None))]
