"""Kernels of NumPy's own functions, as calls that write into arrays and can be recorded.

A training step is recorded as the list of calls that it makes, and run again and again. What costs
on a CPU besides arithmetic is left out of it: choosing kernels, cutting views, fresh memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from arraycnn.ops.conv2d import numpy as convolution
from arraycnn.ops.dense import numpy as dense
from arraycnn.ops.dense.numpy_products import matmul
from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.max_pool2d import numpy as pools
from arraycnn.ops.numpy.launcher import Launcher


def numpy_kernels(launcher: Launcher, *, need_winners: bool = True, late: bool = False) -> Kernels:
    """The record of kernels that make their calls by ``launcher``.

    All else of a step is pointwise or a reduction, and is called as the one expression has it that a
    layer, a loss or an optimizer is written as (`arraycnn.program`).

    Parameters
    ----------
    need_winners : bool
        Whether pools say which pixels they took, which only their backward reads.
    late : bool
        Whether a dense layer's gradient is a `Product`, which the update that takes it computes.
    """

    def plain(function: Callable) -> Callable:
        return partial(function, launcher)

    def pool(function: Callable) -> Callable:
        return partial(function, launcher, need_winners=need_winners)

    def backward(function: Callable) -> Callable:
        return partial(function, launcher, late=late)

    return replace(
        GENERIC,
        matmul=plain(matmul),
        dense=plain(dense.dense),
        dense_backward=backward(dense.dense_backward),
        dense_relu=plain(dense.dense_relu),
        dense_relu_backward=backward(dense.dense_relu_backward),
        conv2d=plain(convolution.conv2d),
        conv2d_backward=plain(convolution.conv2d_backward),
        conv2d_relu=plain(convolution.conv2d_relu),
        conv2d_relu_backward=plain(convolution.conv2d_relu_backward),
        conv2d_max_pool2d=pool(convolution.conv2d_max_pool2d),
        conv2d_max_pool2d_backward=plain(convolution.conv2d_max_pool2d_backward),
        max_pool2d=pool(pools.max_pool2d),
        max_pool2d_backward=plain(pools.max_pool2d_backward),
        at_winners=plain(pools.at_winners),
    )
