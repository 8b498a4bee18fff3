"""Kernels compiled by LLVM for NumPy arrays (the extra ``fast``), and the code that launches them.

As for CUDA, a launch is a number of blocks that do not depend on each other, whose threads take them
as they come, and a training step may be recorded as a list of launches and run again and again by
one call. The products are the library's own: no BLAS, whose threads and rounding are not ours.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.conv2d import compiled as convolution
from arraycnn.ops.dense import compiled as dense
from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.max_pool2d import compiled as pools


def compiled_kernels(launcher: Launcher) -> Kernels:
    """The record of kernels that run where ``launcher`` runs them.

    All else of a step is pointwise or a reduction, and is compiled from the one expression that a
    layer, a loss or an optimizer is written as (`arraycnn.program`).
    """

    def plain(function: Callable) -> Callable:
        return partial(function, launcher)

    return replace(
        GENERIC,
        matmul=plain(dense.matmul),
        dense=plain(dense.dense),
        dense_backward=plain(dense.dense_backward),
        dense_relu=plain(dense.dense_relu),
        dense_relu_backward=plain(dense.dense_relu_backward),
        conv2d=plain(convolution.conv2d),
        conv2d_backward=plain(convolution.conv2d_backward),
        conv2d_relu=plain(convolution.conv2d_relu),
        conv2d_relu_backward=plain(convolution.conv2d_relu_backward),
        conv2d_max_pool2d=plain(convolution.conv2d_max_pool2d),
        conv2d_max_pool2d_backward=plain(convolution.conv2d_max_pool2d_backward),
        max_pool2d=plain(pools.max_pool2d),
        max_pool2d_backward=plain(pools.max_pool2d_backward),
        at_winners=plain(pools.at_winners),
    )
