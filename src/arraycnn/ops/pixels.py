"""Pixels read at places that differ from image to image, and the adjoint.

Places are rows and columns, int32, (N, OH, OW) or what broadcasts to it: output pixel (i, j) of image n
is read at row ``rows[n, i, j]`` and column ``columns[n, i, j]`` of that image. One beyond the image is
its nearest pixel, so that nothing else is ever read; who wants another number there asks `inside`.
"""

from __future__ import annotations

from arraycnn.errors import InvalidValueError
from arraycnn.ops.arrays import Array, array_namespace, device

FRACTION = 16
"""Bits behind the point of a place between pixels: whole numbers are the same on every engine."""

_WEIGHT = 8
"""Bits of a weight of whole numbers: two of them and a byte fit into 31."""


def pixels_at(x: Array, rows: Array, columns: Array) -> Array:
    """``x``, (N, H, W, C), of any dtype, at the places: (N, OH, OW, C)."""
    return _taken(x, _in_image(rows, columns, *x.shape[1:3]))


def _taken(x: Array, places: Array) -> Array:
    """The pixels of numbers ``places``, (N, OH, OW), within each image."""
    xp = array_namespace(x)
    images, height, width, channels = x.shape
    if images * height * width >= 2**31:
        message = (
            f"pixels_at: a batch must have less than 2^31 pixels, got shape {tuple(x.shape)}; "
            "use a smaller batch_size"
        )
        raise InvalidValueError(message)
    first = xp.arange(images, dtype=xp.int32, device=device(x)) * (height * width)
    places = xp.reshape(first, (images, 1, 1)) + places
    pixels = xp.reshape(x, (images * height * width, channels))
    taken = xp.take(pixels, xp.reshape(places, (-1,)), axis=0)
    return xp.reshape(taken, (*places.shape, channels))


def pixels_added(dy: Array, rows: Array, columns: Array, height: int, width: int) -> Array:
    """The adjoint of `pixels_at`: each of ``dy``, (N, OH, OW, C), added to where it was read.

    (N, height, width, C). It compares each pixel of the output with each of the input: no op of the
    standard adds up at places that are computed.
    """
    xp = array_namespace(dy)
    images, channels = dy.shape[0], dy.shape[3]
    read = xp.broadcast_to(_in_image(rows, columns, height, width), tuple(dy.shape[:3]))
    read = xp.reshape(read, (images, 1, -1, 1))
    pixel = xp.arange(height * width, dtype=xp.int32, device=device(dy))[None, :, None, None]
    numbers = xp.reshape(dy, (images, 1, dy.shape[1] * dy.shape[2], channels))
    dx = xp.sum(xp.where(read == pixel, numbers, 0.0), axis=2)
    return xp.reshape(dx, (images, height, width, channels))


def inside(rows: Array, columns: Array, height: int, width: int) -> Array:
    """Whether the places are pixels of an image, bool, (N, OH, OW)."""
    tall, wide = (rows >= 0) & (rows < height), (columns >= 0) & (columns < width)
    return tall & wide


def pixels_between(x: Array, rows: Array, columns: Array, fill: float | None) -> Array:
    """``x`` at places between pixels, of which the four nearest are weighted (bilinear).

    Places are in 1 / 65536 of a pixel, (N, OH, OW). ``fill`` is what is beyond the image; None its
    nearest pixel. Bytes stay bytes: their weights are of 8 bits, and the sum is rounded.
    """
    xp = array_namespace(x)
    height, width = x.shape[1:3]
    is_whole = xp.isdtype(x.dtype, "integral")
    dtype = xp.int32 if is_whole else x.dtype
    # Where nothing but the rim is left to read, all four are of the rim: the clamp is that of one.
    rim = 1 if fill is None else 2
    padded = _rimmed(x, rim, fill)
    tall, wide = height + 2 * rim, width + 2 * rim
    row = xp.minimum(xp.maximum((rows >> FRACTION) + rim, 0), tall - 2)
    column = xp.minimum(xp.maximum((columns >> FRACTION) + rim, 0), wide - 2)
    corners = [
        xp.astype(_taken(padded, row * wide + (column + (i * wide + j))), dtype)
        for i, j in _CORNERS
    ]
    down, right = (_share(xp, place, dtype, is_whole) for place in (rows, columns))
    whole = 2**_WEIGHT if is_whole else 1.0
    upper = (whole - right) * corners[0] + right * corners[1]
    lower = (whole - right) * corners[2] + right * corners[3]
    y = (whole - down) * upper + down * lower
    return xp.astype((y + 2 ** (2 * _WEIGHT - 1)) >> (2 * _WEIGHT), x.dtype) if is_whole else y


def pixels_between_added(
    dy: Array, rows: Array, columns: Array, height: int, width: int, filled: bool
) -> Array:
    """The adjoint of `pixels_between`, for floating numbers; ``filled`` where it had a ``fill``."""
    xp = array_namespace(dy)
    dx: Array = 0.0
    down, right = (_share(xp, place, dy.dtype, False) for place in (rows, columns))
    for i, j in _CORNERS:
        row, column = (rows >> FRACTION) + i, (columns >> FRACTION) + j
        part = (down if i else 1.0 - down) * (right if j else 1.0 - right) * dy
        if filled:
            part = xp.where(inside(row, column, height, width)[..., None], part, 0.0)
        dx = dx + pixels_added(part, row, column, height, width)
    return dx


def _rimmed(x: Array, rim: int, fill: float | None) -> Array:
    """``x`` with ``rim`` rows and columns more on each side: of ``fill``, or as the nearest pixel."""
    xp = array_namespace(x)
    for axis in (1, 2):
        begin, end = ([slice(None)] * 4 for _ in range(2))
        begin[axis], end[axis] = slice(0, rim), slice(-rim, None)
        sides = [x[tuple(begin)], x[tuple(end)]]
        if fill is not None:
            shape = tuple(rim if one == axis else size for one, size in enumerate(x.shape))
            sides = [xp.full(shape, fill, dtype=x.dtype, device=device(x))] * 2
        x = xp.concat([sides[0], x, sides[1]], axis=axis)
    return x


_CORNERS = ((0, 0), (0, 1), (1, 0), (1, 1))


def _share(xp: Array, places: Array, dtype: Array, is_whole: bool) -> Array:
    """How far a place is behind its pixel, (..., 1): of 1, or of 256 in whole numbers."""
    behind = (places & (2**FRACTION - 1))[..., None]
    if is_whole:
        return behind >> (FRACTION - _WEIGHT)
    return xp.astype(behind, dtype) / float(2**FRACTION)


def _in_image(rows: Array, columns: Array, height: int, width: int) -> Array:
    """The number of each place's pixel in its image, in rows from the top left."""
    xp = array_namespace(rows)
    tall = xp.minimum(xp.maximum(rows, 0), height - 1)
    wide = xp.minimum(xp.maximum(columns, 0), width - 1)
    return tall * width + wide
