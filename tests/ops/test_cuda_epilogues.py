"""Epilogues of products on CUDA: structs that lie in no file, as a generator would write them."""

import math

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import GENERIC, Window
from arraycnn.ops.conv2d import cuda as convolution
from arraycnn.ops.cuda.launcher import Struct
from arraycnn.ops.cuda.tiles import Epilogue
from arraycnn.ops.dense import cuda as matmul
from host_cuda import HostLauncher, KernelFault, check
from ops.test_cuda_matmul import check_sums, normal, of_a_dense_layer, precisions, product

TEXT = """
template <typename T>
struct ScaleAndAdd {
    T factor;  // 4 bytes or 8, before what begins at a multiple of 8
    const T* other;
    const int* rank;
    long long columns;

    DEVICE T operator()(T value, long long line, long long column) const {
        return factor * value + other[line * columns + column] + T(1000) * T(rank[column]);
    }
};
"""


def epilogue(other):
    """factor value + other + 1000 column, other of y's shape."""
    real = other.dtype.type
    name = {"float32": "float", "float64": "double"}[str(other.dtype)]
    columns = other.shape[-1]
    members = (real(3.0), other, np.arange(columns, dtype="int32"), columns)
    return Epilogue(f"ScaleAndAdd<{name}>", members, TEXT)


def expected(y, other):
    return 3.0 * y + other + 1000.0 * np.arange(other.shape[-1])


SHAPES = {
    "whole packs": (36, 60, 44),
    "single numbers": (35, 17, 21),
    "several blocks": (140, 20, 72),
    "a split sum": (5, 1100, 21),
    "one column": (40, 9, 1),
}


@precisions
@pytest.mark.parametrize("name", SHAPES)
def test_of_a_product(name, precision):
    rows, depth, columns = SHAPES[name]
    a, b = normal((rows, depth), precision), normal((depth, columns), precision, seed=1)
    other = normal((rows, columns), precision, seed=2)
    y = check(
        lambda cuda: matmul.dense_with_epilogue(cuda, a, b, epilogue(other), precision=precision),
        checked=precision == "fp32",
    )
    sums = product(a, b, of_a_dense_layer(columns, precision))
    check_sums(y, expected(sums, other), depth, precision)


CONVOLUTIONS = {
    "one block": ((2, 7, 6, 4), (3, 3, 4, 5), Window((3, 3), (1, 1), (1, 1, 1, 1))),
    "strides": ((3, 9, 8, 3), (2, 3, 3, 8), Window((2, 3), (2, 1), (0, 1, 0, 0))),
    "a split sum": ((1, 4, 4, 128), (3, 3, 128, 6), Window((3, 3), (1, 1), (0, 0, 0, 0))),
}


@pytest.mark.parametrize("precision", ["fp32", "float64"])
@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_of_a_convolution(name, precision):
    shape, filters, window = CONVOLUTIONS[name]
    x, weight = normal(shape, precision), normal(filters, precision, seed=1)
    wide = x.astype("float64"), weight.astype("float64")
    y = GENERIC.conv2d(GENERIC, *wide, None, window)
    other = normal(y.shape, precision, seed=2)
    result = check(
        lambda cuda: convolution.conv2d_with_epilogue(
            cuda, x, weight, window, epilogue(other), precision=precision
        )
    )
    check_sums(result, expected(y, other), math.prod(filters[:3]), precision)


def test_texts_do_not_meet():
    """The same name with another text is another kernel."""
    a, b, other = (normal((8, 8), "fp32", seed) for seed in range(3))
    first = epilogue(other)
    second = Epilogue(first.name, first.members, TEXT.replace("factor * value", "value"))
    y, z = (
        matmul.dense_with_epilogue(HostLauncher(), a, b, each, precision="fp32")
        for each in (first, second)
    )
    np.testing.assert_allclose(y - z, 2 * (a @ b), rtol=0, atol=1e-3)


def test_bad_members():
    a, other = normal((8, 8), "fp32"), normal((8, 8), "fp32", seed=1)
    factor, _, rank, columns = epilogue(other).members

    def run(*members):
        given = Epilogue("ScaleAndAdd<float>", members, TEXT)
        matmul.dense_with_epilogue(HostLauncher(), a, a, given, precision="fp32")

    with pytest.raises(InvalidValueError, match="arrays must lie in C order"):
        run(factor, other.T, rank, columns)
    with pytest.raises(KernelFault, match="has members of 24 bytes, the kernel takes 32"):
        run(factor, other, rank)
    with pytest.raises(InvalidTypeError, match="an epilogue on CUDA: arrays must lie on the back"):
        run(factor, memoryview(other), rank, columns)
    with pytest.raises(InvalidValueError, match="a struct needs a member at least"):
        Struct(())
