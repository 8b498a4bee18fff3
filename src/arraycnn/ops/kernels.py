"""The record of kernels: the narrow waist between layers and array libraries.

A library with faster kernels of its own uses ``replace(GENERIC, conv2d=..., ...)``; what it
replaces shows at a glance, keeps the generic signature, and is tested against the generic one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from arraycnn.ops import batch_norm as batch_norms
from arraycnn.ops import generic, random_bits
from arraycnn.ops.conv2d import grouped


@dataclass(frozen=True)
class Kernels:
    """What a layer, the loss or an optimizer may call; the contracts are those of the generic ones."""

    matmul: Callable = generic.matmul
    dense: Callable = generic.dense
    dense_backward: Callable = generic.dense_backward
    gather: Callable = generic.gather
    rescale: Callable = generic.rescale
    im2col: Callable = generic.im2col
    col2im: Callable = generic.col2im
    conv2d: Callable = generic.conv2d
    conv2d_backward: Callable = generic.conv2d_backward
    grouped_conv2d: Callable = grouped.grouped_conv2d
    grouped_conv2d_backward: Callable = grouped.grouped_conv2d_backward
    max_pool2d: Callable = generic.max_pool2d
    max_pool2d_backward: Callable = generic.max_pool2d_backward
    at_winners: Callable = generic.at_winners
    avg_pool2d: Callable = generic.avg_pool2d
    avg_pool2d_backward: Callable = generic.avg_pool2d_backward
    relu: Callable = generic.relu
    relu_backward: Callable = generic.relu_backward
    batch_norm: Callable = batch_norms.batch_norm
    batch_norm_backward: Callable = batch_norms.batch_norm_backward
    dropout: Callable = generic.dropout
    dropout_backward: Callable = generic.dropout_backward
    softmax: Callable = generic.softmax
    softmax_cross_entropy: Callable = generic.softmax_cross_entropy
    sgd_update: Callable = generic.sgd_update
    adam_update: Callable = generic.adam_update
    random_bits: Callable = random_bits.random_bits
    # Heads with an epilogue (`arraycnn.program.passes.epilogues`): None where programs have none.
    dense_relu: Any = None
    dense_relu_backward: Any = None
    conv2d_relu: Any = None
    conv2d_relu_backward: Any = None
    conv2d_max_pool2d: Any = None
    conv2d_max_pool2d_backward: Any = None


GENERIC = Kernels()
"""Pure array API: runs on every library."""
