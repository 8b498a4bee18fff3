"""CUDA kernels that do the same with each number, at the counts around what threads and blocks take.

Every size is drawn around the constants of the launch code, which are imported from it.
"""

import itertools

import numpy as np
import pytest

from arraycnn.ops.cuda import products, tiles
from arraycnn.ops.cuda.launcher import WARP
from arraycnn.ops.max_pool2d import cuda as windows
from arraycnn.ops.window import Window
from host_cuda import HostLauncher, check
from kernel_cases import around

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@pytest.mark.parametrize("most", [1, 3, 5])
def test_blocks_that_take_turns(most, monkeypatch):
    """With few blocks allowed, each goes on to what no block has yet, along rows and across them."""
    monkeypatch.setattr(windows, "_MOST_WANTED", most)
    rng, cuda = np.random.default_rng(most), HostLauncher()
    x = rng.permutation(11 * 4 * 6 * 3).astype(float).reshape(11, 4, 6, 3)
    y, winners = windows.max_pool2d(cuda, x, Window((2, 2), (2, 2)), "first")
    quads = x.reshape(11, 2, 2, 3, 2, 3).transpose(0, 1, 3, 5, 2, 4).reshape(11, 2, 3, 3, 4)
    np.testing.assert_array_equal(y, quads.max(axis=4))
    np.testing.assert_array_equal(winners, quads.argmax(axis=4))
    dx = windows.max_pool2d_backward(cuda, y, winners, x.shape, Window((2, 2), (2, 2)), "first")
    where = np.repeat(np.repeat(y, 2, axis=1), 2, axis=2) == x
    np.testing.assert_array_equal(dx, np.where(where, x, 0))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_of_every_number_of_parts(dtype):
    """Eight threads add every eighth part: one each, a second, a third turn and more."""
    for splits, size in itertools.product(around(8, 16, 24, 40)[2:], (1, 31, 32, 33, 65)):
        rng = np.random.default_rng(splits)
        parts = rng.normal(size=(splits, size)).astype(dtype)
        columns = rng.normal(size=(splits, 5)).astype(dtype)

        def summed(cuda, parts=parts, columns=columns, splits=splits, size=size):
            result = tiles.Result(cuda.empty((size,), dtype), cuda.empty((5,), dtype))
            products.sum_splits(cuda, splits, tiles.Result(parts, columns), 5, result)
            return result.y, result.column_sums

        y, sums = check(summed, orders=("forward",), checked=size == 33)
        bound = 1e-13 if dtype == "float64" else 2e-5
        np.testing.assert_allclose(y, parts.sum(axis=0, dtype=float), rtol=0, atol=bound)
        np.testing.assert_allclose(sums, columns.sum(axis=0, dtype=float), rtol=0, atol=bound)


@pytest.mark.parametrize("count", [15, 16, 17, 18, 31, 33])
def test_products_of_many_parts(count):
    """So deep that the launch code itself cuts the sum into more than 16."""
    from arraycnn.ops.dense.cuda import dense_backward, matmul

    depth = count * tiles._LEAST_STEPS
    assert tiles.tiling("float64", 9, 7, depth).splits == count
    rng = np.random.default_rng(count)
    a, b = rng.normal(size=(9, depth)), rng.normal(size=(depth, 7))
    found = matmul(HostLauncher(), a, b, precision="fp32")
    np.testing.assert_allclose(found, a @ b, rtol=0, atol=1e-11)
    x, weight = np.ascontiguousarray(a.T), rng.normal(size=(9, 7))
    _, dweight, dbias = dense_backward(HostLauncher(), None, x, weight, b, False, precision="fp32")
    np.testing.assert_allclose(dweight, a @ b, rtol=0, atol=1e-11)
    np.testing.assert_allclose(dbias, b.sum(axis=0), rtol=0, atol=1e-11)


def test_pools_of_every_number_of_outputs():
    """Images of as many outputs as threads, and one more or less."""
    window = Window((2, 2), (2, 2))
    for outputs in around(WARP, windows._THREADS, 2 * windows._THREADS)[1:]:
        x = np.random.default_rng(outputs).permutation(8 * outputs).astype(float)
        x = x.reshape(2, 2, 2 * outputs, 1)
        y, winners = windows.max_pool2d(HostLauncher(), x, window, "first")
        quads = x.reshape(2, 2, outputs, 2).transpose(0, 2, 1, 3).reshape(2, outputs, 4)
        np.testing.assert_array_equal(y.reshape(2, outputs), quads.max(axis=2))
        np.testing.assert_array_equal(winners.reshape(2, outputs), quads.argmax(axis=2))
        dx = windows.max_pool2d_backward(HostLauncher(), y, winners, x.shape, window, "first")
        np.testing.assert_array_equal(dx, np.where(x == np.repeat(np.repeat(y, 2, 1), 2, 2), x, 0))
        mean = windows.avg_pool2d(HostLauncher(), x, window)
        np.testing.assert_allclose(mean.reshape(2, outputs), quads.mean(axis=2), rtol=1e-14)
