"""Compiled convolutions of few outputs, whose products have the images of the batch as rows.

All numbers are small integers, so every sum is exact, and results are equal or wrong.
"""

import numpy as np
import pytest

from arraycnn.ops import GENERIC, Window
from numpy_records import RECORDS
from optional import Late
from test_kernel_sizes import LANES, convolution_by_windows, gradients_by_windows, needs_llvm

pytestmark = needs_llvm
Convolution = Late("arraycnn.ops.conv2d.compiled_shapes", "Convolution")

CASES = 48


def drawn(number):
    """(x, weight, bias, window): a third suits Winograd's way, too; a few pad beyond a window."""
    rng = np.random.default_rng(number)
    dtype = ("float32", "float64")[number % 2]
    lanes = LANES // (1 + number % 2)
    kernel, stride = ([int(n) for n in rng.integers(1, most, 2)] for most in (6, 4))
    padding = [int(n) for n in rng.integers(0, 4, 4)]
    channels, filters = (int(n) for n in rng.choice([lanes // 2 + 1, lanes, 2 * lanes + 3, 70], 2))
    outputs = [int(n) for n in rng.integers(1, 5, 2)]
    if number % 3 == 0:  # of 4x4 outputs the gradients alone go this way
        kernel, stride, padding = [3, 3], [1, 1], [1, 1, 1, 1]
        outputs = [4, 4] if number % 12 == 0 else [2, 1 + number // 3 % 4]
        channels, filters = (max(16, int(n) * lanes) for n in rng.integers(1, 5, 2))
    around = (sum(padding[:2]), sum(padding[2:]))
    parts = zip(outputs, stride, kernel, around, strict=True)
    size = [max(1, (o - 1) * s + k - p) for o, s, k, p in parts]
    images = int(rng.choice([1, 2, 5, 12, 13, 33]))
    x = rng.integers(-3, 4, (images, *size, channels)).astype(dtype)
    weight = rng.integers(-3, 4, (*kernel, channels, filters)).astype(dtype)
    window = Window(tuple(kernel), tuple(stride), tuple(padding))
    bias = rng.integers(-9, 10, filters).astype(dtype)
    return x, weight, bias, window


def gradient(shape, like, number):
    return np.random.default_rng(number).integers(-3, 4, shape).astype(like.dtype)


@pytest.mark.parametrize("number", range(CASES))
def test_a_convolution_and_its_gradients(number):
    x, weight, bias, window = drawn(number)
    shape = Convolution(x, weight, window, None)
    record = RECORDS["compiled"]
    y = convolution_by_windows(x, weight, window)
    assert shape.has_rows_of_images("backward")
    np.testing.assert_array_equal(record.conv2d(record, x, weight, bias, window), y + bias)
    dy = gradient(y.shape, x, number)
    for need_dx in (True, False):
        found = record.conv2d_backward(record, x, weight, dy, window, need_dx)
        expected = gradients_by_windows(x, weight, dy, window)
        assert (found[0] is not None) == need_dx
        for array, wanted in zip(found, expected, strict=True):
            if array is not None:
                np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("number", range(0, CASES, 2))
def test_a_relu_and_a_pool_after_it(number):
    x, weight, bias, window = drawn(number)
    record = RECORDS["compiled"]
    outputs = convolution_by_windows(x, weight, window) + bias
    y = record.conv2d_relu(record, x, weight, bias, window)
    np.testing.assert_array_equal(y, np.maximum(outputs, 0))
    dy = gradient(y.shape, x, number)
    found = record.conv2d_relu_backward(record, x, weight, y, dy, window, True)
    expected = gradients_by_windows(x, weight, np.where(outputs > 0, dy, 0), window)
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(array, wanted)
    # Of a window of one place, which any output has, all are winners; of two, where there are two.
    size = tuple(min(2, n) for n in outputs.shape[1:3])
    pool = Window(size, size)
    for relu in (True, False):
        pooled, winners = record.conv2d_max_pool2d(record, x, weight, bias, window, relu, pool)
        before = np.maximum(outputs, 0) if relu else outputs
        wanted, places = GENERIC.max_pool2d(before, pool, "first")
        np.testing.assert_array_equal(pooled, wanted)
        dy = gradient(pooled.shape, x, number)
        let_through = np.where(pooled > 0, dy, x.dtype.type(0)) if relu else dy
        spread = GENERIC.max_pool2d_backward(let_through, places, before.shape, pool, "first")
        expected = gradients_by_windows(x, weight, spread, window)
        found = record.conv2d_max_pool2d_backward(
            record, x, weight, pooled, winners, dy, window, relu, pool, True
        )
        for array, wanted in zip(found, expected, strict=True):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("number", range(0, CASES, 5))
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_what_is_not_finite_reaches_what_saw_it_and_nothing_else(number, bad):
    x, weight, bias, window = drawn(number)
    record, rng = RECORDS["compiled"], np.random.default_rng(number)
    weight[weight == 0] = 1
    x[tuple(rng.integers(0, x.shape))] = bad
    with np.errstate(invalid="ignore"):
        expected = convolution_by_windows(x, weight, window)
    found = record.conv2d(record, x, weight, bias, window)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(expected))


def test_which_way_goes_by_the_outputs_and_by_how_many_filters_are_read():
    def ways(size, channels, filters, stride=1, pool=None, images=32):
        x = np.zeros((images, size, size, channels), np.float32)
        weight = np.zeros((3, 3, channels, filters), np.float32)
        shape = Convolution(x, weight, Window((3, 3), (stride, stride), (1, 1, 1, 1)), pool)
        return shape.has_rows_of_images("forward"), shape.has_rows_of_images("backward")

    assert ways(2, 512, 512) == ways(3, 64, 64) == (True, True)
    assert ways(4, 256, 256) == (False, True)  # Winograd's multiplies less, for all but gradients
    assert ways(4, 512, 512) == (True, True)  # 16 MB of transformed filters are too many
    assert ways(8, 128, 128) == (False, False)
    assert ways(8, 128, 256, stride=2) == (True, True)
    assert ways(4, 3, 64) == (False, False)  # vectors of three channels are mostly empty
    assert ways(4, 64, 64, pool=Window((2, 2), (2, 2))) == (False, False)
    assert ways(2, 64, 64, images=0) == (False, False)
