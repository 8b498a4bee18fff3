"""Launch code of elementwise.cu: the gradient of ReLU, where no product takes it along."""

from arraycnn.ops.arrays import Array
from arraycnn.ops.cuda.checks import check_shape
from arraycnn.ops.cuda.launcher import Launcher, blocks, c_name

THREADS = 256
PER_BLOCK = 4 * THREADS
"""Numbers that a block of THREADS takes in `for_each_element` of elements.cuh."""


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
