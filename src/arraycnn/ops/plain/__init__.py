"""Kernels of NumPy's own functions, as calls that write into arrays and can be recorded.

A training step is recorded as the list of calls that it makes, and run again and again. What costs
on a CPU besides arithmetic is left out of it: choosing kernels, cutting views, fresh memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from arraycnn.ops.kernels import GENERIC, Kernels
from arraycnn.ops.plain import batch, convolution, dense, loss, optimizers, pools, random_bits
from arraycnn.ops.plain.launcher import Launcher
from arraycnn.ops.plain.products import matmul


def plain_kernels(
    launcher: Launcher, *, in_place: bool = False, need_winners: bool = True, late: bool = False
) -> Kernels:
    """The record of kernels that make their calls by ``launcher``.

    ``in_place`` : whether the optimizers' updates change the arrays they are given. Gradients then
    go from dense layers to the update and nowhere else, which computes them.

    ``late`` : whether dense layers leave gradients so without that.

    ``need_winners`` : whether pools say which pixels they took, which only their backward reads.
    """

    def plain(function: Callable) -> Callable:
        return partial(function, launcher)

    def pool(function: Callable) -> Callable:
        return partial(function, launcher, need_winners=need_winners)

    def update(function: Callable) -> Callable:
        return partial(function, launcher, in_place=in_place)

    def backward(function: Callable) -> Callable:
        return partial(function, launcher, postpone=in_place or late)

    return replace(
        GENERIC,
        matmul=plain(matmul),
        dense=plain(dense.dense),
        dense_backward=backward(dense.dense_backward),
        dense_relu=plain(dense.dense_relu),
        dense_relu_backward=backward(dense.dense_relu_backward),
        gather=plain(batch.gather),
        rescale=plain(batch.rescale),
        gather_rescale=plain(batch.gather_rescale),
        conv2d=plain(convolution.conv2d),
        conv2d_backward=plain(convolution.conv2d_backward),
        conv2d_relu=plain(convolution.conv2d_relu),
        conv2d_relu_backward=plain(convolution.conv2d_relu_backward),
        conv2d_max_pool2d=pool(convolution.conv2d_max_pool2d),
        conv2d_max_pool2d_backward=plain(convolution.conv2d_max_pool2d_backward),
        max_pool2d=pool(pools.max_pool2d),
        max_pool2d_backward=plain(pools.max_pool2d_backward),
        dropout=plain(random_bits.dropout),
        dropout_backward=plain(random_bits.dropout_backward),
        softmax=plain(loss.softmax),
        softmax_cross_entropy=plain(loss.softmax_cross_entropy),
        sgd_update=update(optimizers.sgd_update),
        adam_update=update(optimizers.adam_update),
    )
