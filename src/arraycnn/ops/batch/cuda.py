"""Launch code of batch.cu: a batch from a data set. Contracts in `arraycnn.ops.generic`."""

import math

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape, of_dtype
from arraycnn.ops.cuda.launcher import MOST_BLOCKS, WARP, Launcher, Size, blocks, c_name

_THREADS = 256
_MOST_WANTED = 4096  # blocks: enough for every processor

_MOVED = ("uint8", "int32", "float32", "float64")
_UNITS = {16: "Words<4>", 4: "Words<1>", 1: "unsigned char"}  # bytes: C type


def gather(launcher: Launcher, images: Array, indices: Array) -> Array:
    (images,) = of_dtype(launcher, "gather", _MOVED, images)
    indices = _positions(launcher, "gather", indices)
    batch = launcher.empty((*indices.shape, *images.shape[1:]), images.dtype)
    row = math.prod(images.shape[1:]) * images.dtype.itemsize
    width = next(w for w in _UNITS if row % w == 0 and _aligned(launcher, w, images, batch))
    units = row // width
    launcher.launch(
        "batch",
        f"gather<{_UNITS[width]}>",
        *_grid_and_block(indices.size, units),
        (images, indices, batch, indices.size, units),
    )
    return batch


def rescale(launcher: Launcher, x: Array, dtype: str) -> Array:
    (x,) = of_dtype(launcher, "rescale", ("uint8",), x)
    y = launcher.empty(x.shape, dtype)
    _rescale(launcher, x, None, y, 1, x.size)
    return y


def gather_rescale(launcher: Launcher, images: Array, indices: Array, dtype: str) -> Array:
    """`rescale` of `gather`, for uint8 ``images``."""
    (images,) = of_dtype(launcher, "gather_rescale", ("uint8",), images)
    indices = _positions(launcher, "gather_rescale", indices)
    batch = launcher.empty((*indices.shape, *images.shape[1:]), dtype)
    _rescale(launcher, images, indices, batch, indices.size, math.prod(images.shape[1:]))
    return batch


def _rescale(
    launcher: Launcher, images: Array, indices: Array | None, batch: Array, rows: int, row: int
) -> None:
    launcher.floating("rescale", batch)
    by_4 = row % 4 == 0 and _aligned(launcher, 4, images) and _aligned(launcher, 16, batch)
    units = row // 4 if by_4 else row
    launcher.launch(
        "batch",
        f"gather_rescale{'_by_4' if by_4 else ''}<{c_name(batch)}>",
        *_grid_and_block(rows, units),
        (images, indices, batch, rows, units),
    )


def _positions(launcher: Launcher, owner: str, indices: Array) -> Array:
    (indices,) = of_dtype(launcher, owner, ("int32",), indices)
    check_shape(f"{owner}: indices", indices, (indices.size,))
    return indices


def _grid_and_block(rows: int, units: int) -> tuple[Size, Size]:
    """Short rows share a warp, long ones have several blocks, and one row alone has all threads."""
    wide = min(WARP if rows > 1 else _THREADS, 1 << max(units - 1, 0).bit_length())
    high = _THREADS // wide
    grid_rows = min(blocks(rows, high), MOST_BLOCKS[1])
    grid_units = min(blocks(units, wide), max(1, _MOST_WANTED // max(grid_rows, 1)))
    return (grid_units, grid_rows), (wide, high)


def _aligned(launcher: Launcher, width: int, *arrays: Array) -> bool:
    """Whether the addresses of ``arrays`` are multiples of ``width`` bytes."""
    return all(launcher.address(array) % width == 0 for array in arrays)
