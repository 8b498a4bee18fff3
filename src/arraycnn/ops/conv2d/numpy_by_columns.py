"""A convolution's gradients by its columns: matrix products for some images."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.conv2d.numpy_columns import SINGLE, columns, images_a_tile
from arraycnn.ops.conv2d.numpy_protocol import Gradients
from arraycnn.ops.dense.numpy_products import add_product
from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.ops.numpy.tasks import cut
from arraycnn.ops.window import Window


class ByColumns:
    """Gradients of any convolution, and any pool whose windows do not overlap; see `Backward`."""

    def __init__(
        self, launcher: Launcher, image: tuple[int, ...], weight: np.ndarray, window: Window,
        pool: Window,
    ) -> None:  # fmt: skip
        self._launcher, self._image = launcher, image
        self._weight, self._window, self._pool = weight, window, pool
        self.sums: tuple[int, ...] = weight.size // max(weight.shape[3], 1), weight.shape[3]
        self.images = images_a_tile(image, weight.itemsize, window)

    def gradients(self, need_dx: bool) -> Gradients:
        to_image = None
        if need_dx:
            to_image = _ToImage(self._launcher, self._weight, self._window, self._image)

        def write(
            images: np.ndarray, dy: np.ndarray, total: np.ndarray, place: int,
            dx: np.ndarray | None,
        ) -> None:  # fmt: skip
            rows = columns(self._launcher, images, self._window, self._pool)
            add_product(self._launcher, rows.T, dy.reshape(-1, self._weight.shape[3]), total, place)
            if to_image is not None and dx is not None:
                to_image.write(dy, self._pool, dx)

        return write

    def dweight(self, total: np.ndarray) -> np.ndarray:
        return total.reshape(self._weight.shape)


class _ToImage:
    """Gradients of a convolution's output, brought back to the image that it read."""

    def __init__(
        self, launcher: Launcher, weight: np.ndarray, window: Window, image: tuple[int, ...]
    ) -> None:
        self._launcher, self._window = launcher, window
        tall, wide, self._channels, self._filters = weight.shape
        top, bottom, left, right = window.padding
        # A step of one pixel: the gradient is a convolution, too, of the output with zeros around
        # it and the filters turned round. That copies where the adjoint of the columns must add.
        around = (tall - 1 - top, tall - 1 - bottom, wide - 1 - left, wide - 1 - right)
        self._turns = window.stride == (1, 1) and min(around) >= 0
        self._around = around if self._turns else (0, 0, 0, 0)
        self._output = window.output_shape(image[0], image[1])
        if self._turns:
            turned = launcher.empty((tall, wide, self._filters, self._channels), weight.dtype)
            launcher.call(np.copyto, turned, weight[::-1, ::-1].transpose(0, 1, 3, 2))
            self._matrix = turned.reshape(-1, self._channels)
        else:
            self._matrix = weight.reshape(-1, self._filters).T

    def write(self, blocks: np.ndarray, pool: Window, dx: np.ndarray) -> None:
        """Write the gradient for a tile's images, (n, H, W, C), in a task."""
        (top, bottom, left, right), (rows, columns_) = self._around, self._output
        shape = (len(dx), top + rows + bottom, left + columns_ + right, self._filters)
        dy = self._launcher.scratch(shape, dx.dtype)
        inside = dy[:, top : top + rows, left : left + columns_]
        self._launcher.call(dy.fill, 0)
        for offset, block in zip(pool.offsets(), blocks, strict=True):
            self._launcher.call(np.copyto, inside[pool.pixels(offset, block.shape[1:3])], block)
        if self._turns:
            self._convolve(dy, dx)
        else:
            self._scatter(dy, dx)

    def _convolve(self, dy: np.ndarray, dx: np.ndarray) -> None:
        window = Window(self._window.kernel_size)
        for piece in cut(len(dx), -(-len(dx) // images_a_tile(dy.shape[1:], dy.itemsize, window))):
            with self._launcher.passing():
                rows = columns(self._launcher, dy[piece], window, SINGLE)
                out = dx[piece].reshape(-1, self._channels)
                self._launcher.call(np.matmul, rows, self._matrix, out=out)

    def _scatter(self, dy: np.ndarray, dx: np.ndarray) -> None:
        launcher, window = self._launcher, self._window
        images, height, width, channels = dx.shape
        total = launcher.scratch((images, *window.padded_shape(height, width), channels), dx.dtype)
        taps = launcher.scratch((dy.size // self._filters, self._matrix.shape[1]), dx.dtype)
        launcher.call(total.fill, 0)
        launcher.call(np.matmul, dy.reshape(-1, self._filters), self._matrix, out=taps)
        by_offset = taps.reshape(*dy.shape[:3], -1, channels)
        for number, offset in enumerate(window.offsets()):
            pixels = total[window.pixels(offset, self._output)]
            launcher.call(np.add, pixels, by_offset[:, :, :, number], out=pixels)
        top, _, left, _ = window.padding
        launcher.call(np.copyto, dx, total[:, top : top + height, left : left + width])
