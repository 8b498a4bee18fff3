"""The gradient of ReLU in CUDA, against plain comparisons."""

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.relu.cuda import relu_backward
from host_cuda import HostLauncher, check, lazy_zeros


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "shape", [(), (1,), (0, 4), (3, 5, 2), (1024,), (1025,), (1724,), (7, 300)], ids=str
)
def test_relu_backward(shape, dtype):
    rng = np.random.default_rng(0)
    y = np.asarray(np.maximum(rng.normal(size=shape), 0), dtype)
    dy = np.where(y > 0, rng.normal(size=shape), np.nan).astype(dtype)
    dx = check(lambda cuda: relu_backward(cuda, y, dy))
    assert dx.dtype == dtype
    np.testing.assert_array_equal(dx, np.where(y > 0, dy, 0))


def test_views_are_taken_as_they_are():
    x = np.random.default_rng(0).normal(size=(30, 8))
    np.testing.assert_array_equal(relu_backward(HostLauncher(), x.T, x.T), np.where(x > 0, x, 0).T)


def test_what_does_not_fit_is_refused():
    x = np.zeros((4, 3))
    with pytest.raises(InvalidTypeError, match=r"^relu_backward on CUDA: .*got float16"):
        relu_backward(HostLauncher(), x.astype("float16"), x.astype("float16"))
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


def test_beyond_2_to_the_32():
    x = lazy_zeros((2**23, 600), np.float32)
    x[-1] = np.arange(600)
    np.testing.assert_array_equal(relu_backward(LastBlock(), x, x)[-1], x[-1])
