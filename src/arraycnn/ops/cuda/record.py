"""The record of kernels in CUDA C++: each .cu file lies with its op, beside the code that launches
it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from arraycnn.ops.conv2d import cuda as convolution
from arraycnn.ops.conv2d import cuda_direct as direct_convolution
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.dense import cuda as matmul
from arraycnn.ops.kernels import Kernels
from arraycnn.ops.max_pool2d import cuda as windows

PRECISIONS = ("fp32", "tf32", "bf16")


@dataclass(frozen=True)
class CudaKernels(Kernels):
    """Besides, what a program's renderer calls: products with an `Epilogue` that is made for them."""

    conv2d_with_epilogue: Callable = convolution.conv2d_with_epilogue
    dense_with_epilogue: Callable = matmul.dense_with_epilogue


def cuda_kernels(launcher: Launcher, precision: str = "fp32") -> CudaKernels:
    """The record of kernels that run where ``launcher`` starts them; all others are generic.

    Parameters
    ----------
    precision : "fp32", "tf32" or "bf16"
        What the matrix products of float32 arrays multiply with.
    """

    def plain(function: Callable) -> Callable:
        return partial(function, launcher)

    def product(function: Callable) -> Callable:
        return partial(function, launcher, precision=precision)

    return replace(
        CudaKernels(),
        conv2d_with_epilogue=product(convolution.conv2d_with_epilogue),
        dense_with_epilogue=product(matmul.dense_with_epilogue),
        matmul=product(matmul.matmul),
        dense=product(matmul.dense),
        dense_backward=product(matmul.dense_backward),
        dense_relu=product(matmul.dense_relu),
        dense_relu_backward=product(matmul.dense_relu_backward),
        im2col=plain(windows.im2col),
        col2im=plain(windows.col2im),
        conv2d=product(convolution.conv2d),
        conv2d_backward=product(convolution.conv2d_backward),
        conv2d_relu=product(convolution.conv2d_relu),
        conv2d_relu_backward=product(convolution.conv2d_relu_backward),
        conv2d_max_pool2d=plain(direct_convolution.conv2d_max_pool2d),
        conv2d_max_pool2d_backward=plain(direct_convolution.conv2d_max_pool2d_backward),
        at_winners=plain(windows.at_winners),
        max_pool2d=plain(windows.max_pool2d),
        max_pool2d_backward=plain(windows.max_pool2d_backward),
        avg_pool2d=plain(windows.avg_pool2d),
        avg_pool2d_backward=plain(windows.avg_pool2d_backward),
    )
