"""The helpers of gradients in CUDA, against plain sums and comparisons."""

import math

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.cuda.elementwise import column_sum, relu_backward
from host_cuda import HostLauncher, check, lazy_zeros

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


@dtypes
@pytest.mark.parametrize(
    "shape", [(), (1,), (0, 4), (3, 5, 2), (1024,), (1025,), (7, 300)], ids=str
)
def test_relu_backward(shape, dtype):
    rng = np.random.default_rng(0)
    y = np.asarray(np.maximum(rng.normal(size=shape), 0), dtype)
    dy = np.where(y > 0, rng.normal(size=shape), np.nan).astype(dtype)
    dx = check(lambda cuda: relu_backward(cuda, y, dy))
    assert dx.dtype == dtype
    np.testing.assert_array_equal(dx, np.where(y > 0, dy, 0))


@dtypes
@pytest.mark.parametrize(
    "shape",
    [
        *[(0, 3), (1, 1), (5, 1), (3000, 1), (1000, 2), (77, 3), (4096, 8), (500, 10), (70, 31)],
        *[(33, 64), (300, 100), (17, 128), (200, 130), (9, 255), (9, 256), (40, 257), (100, 700)],
        *[(4, 0), (1, 5000), (9000, 5)],
    ],
    ids=str,
)
def test_column_sum(shape, dtype):
    x = np.random.default_rng(0).normal(size=shape).astype(dtype)
    sums = check(lambda cuda: column_sum(cuda, x))
    assert sums.dtype == dtype
    assert sums.shape == shape[1:]
    wanted = [math.fsum(column) for column in x.T.tolist()]
    bound = np.finfo(dtype).eps * max(1, shape[0]) ** 0.5 * 4
    np.testing.assert_allclose(sums, wanted, rtol=0, atol=bound)


@dtypes
def test_column_sum_of_whole_numbers_is_exact(dtype):
    x = np.random.default_rng(0).integers(-9, 10, (6000, 37)).astype(dtype)
    np.testing.assert_array_equal(check(lambda cuda: column_sum(cuda, x)), x.sum(axis=0))


def test_views_are_taken_as_they_are():
    x = np.random.default_rng(0).normal(size=(30, 8))
    np.testing.assert_array_equal(
        column_sum(HostLauncher(), np.asfortranarray(x)), column_sum(HostLauncher(), x)
    )
    np.testing.assert_array_equal(relu_backward(HostLauncher(), x.T, x.T), np.where(x > 0, x, 0).T)


def test_what_does_not_fit_is_refused():
    x = np.zeros((4, 3))
    with pytest.raises(InvalidTypeError, match=r"^column_sum on CUDA: .*got float16"):
        column_sum(HostLauncher(), x.astype("float16"))
    with pytest.raises(InvalidTypeError, match=r"^relu_backward on CUDA: .*got float64, float32"):
        relu_backward(HostLauncher(), x, x.astype("float32"))
    with pytest.raises(InvalidValueError, match=r"^relu_backward: dy must be of shape"):
        relu_backward(HostLauncher(), x, x[1:])


class LastBlock(HostLauncher):
    """Runs the last block of each launch, as if the others had written zeros."""

    def __init__(self):
        super().__init__(blocks=slice(-1, None))

    def empty(self, shape, dtype):
        return lazy_zeros(shape, dtype)


def test_beyond_2_to_the_31():
    cuda = LastBlock()
    x = lazy_zeros((2**22, 600), np.float32)
    x[-3:] = np.arange(1800).reshape(3, 600)
    np.testing.assert_array_equal(column_sum(cuda, x)[512:], x[-3:, 512:].sum(axis=0))
    dx = relu_backward(cuda, x, x)
    np.testing.assert_array_equal(dx[-1, -600:], x[-1])
