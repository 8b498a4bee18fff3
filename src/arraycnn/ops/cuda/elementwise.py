"""Launch code of elementwise.cu: helpers of gradients that are no op of their own."""

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape
from arraycnn.ops.cuda.launcher import Launcher, blocks, c_name

THREADS = 256
PER_BLOCK = 4 * THREADS
"""Numbers that a block of THREADS takes in `for_each_element` of elements.cuh."""

_ROWS_A_LANE = 16
_MOST_BLOCKS = 512


def relu_backward(launcher: Launcher, y: Array, dy: Array) -> Array:
    """``dy`` where ``y``, of the same shape, is above 0, else 0."""
    y, dy = launcher.floating("relu_backward", y, dy)
    check_shape("relu_backward: dy", dy, y.shape)
    dx = launcher.empty(dy.shape, dy.dtype)
    launcher.launch(
        "elementwise",
        f"relu_backward<{c_name(dx)}>",
        (blocks(dx.size, PER_BLOCK),),
        (THREADS,),
        (y, dy, dx, dx.size),
    )
    return dx


def column_sum(launcher: Launcher, x: Array) -> Array:
    """The sums over the rows of ``x``, (M, N): (N,). Always added in the same order."""
    (x,) = launcher.floating("column_sum", x)
    rows, columns = x.shape
    wide = blocks(columns, THREADS)
    lanes = THREADS // max(1, min(columns, THREADS))
    slices = max(1, min(blocks(rows, lanes * _ROWS_A_LANE), _MOST_BLOCKS // max(wide, 1)))
    parts = launcher.empty((slices, columns), x.dtype)
    _sum_slices(launcher, x, parts)
    if slices == 1:
        return parts.reshape((columns,))
    total = launcher.empty((1, columns), x.dtype)
    _sum_slices(launcher, parts, total)
    return total.reshape((columns,))


def _sum_slices(launcher: Launcher, x: Array, sums: Array) -> None:
    (rows, columns), slices = x.shape, sums.shape[0]
    launcher.launch(
        "elementwise",
        f"column_sums<{c_name(x)}>",
        (blocks(columns, THREADS), slices),
        (THREADS,),
        (x, sums, rows, columns, blocks(rows, slices)),
    )
