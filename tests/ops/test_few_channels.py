"""Gradients of compiled convolutions whose channels fill half a vector at most, pooled or not.

All numbers are small integers, so every sum is exact in float32, and results are equal or wrong.
"""

import itertools
import subprocess
import sys

import numpy as np
import pytest

from arraycnn.ops import GENERIC, Window
from numpy_records import RECORDS
from test_kernel_sizes import LANES, convolution_by_windows, gradients_by_windows, needs_llvm

pytestmark = needs_llvm

POOL = Window((2, 2), (2, 2))
CASES = 60


def drawn(number):
    """A convolution: (x, weight, bias, window), integers in float32 or float64."""
    rng = np.random.default_rng(number)
    dtype = ("float32", "float64")[number % 2]
    lanes = LANES // (1 + number % 2)
    kernel = tuple(int(n) for n in rng.integers(1, 7, 2))
    stride = tuple(int(n) for n in rng.choice([1, 1, 2, 3], 2))
    padding = tuple(int(n) for n in rng.integers(0, 3, 4)) if number % 3 else (0, 0, 0, 0)
    channels = int(rng.integers(1, lanes // 2 + 2))  # one more has too many
    many = [lanes + 1, 2 * lanes + 3]  # of so many winners are not summed
    filters = int(rng.choice([1, 2, 3, 5, lanes // 2, lanes - 1, lanes, *many]))
    images = int(rng.choice([1, 2, 5, 16, 17, 33]))
    extra = [int(n) for n in rng.integers(0, 12, 2)]  # besides two outputs
    if number % 10 == 0:  # so wide that the patches of one row are more than many take together
        images, extra[1] = 1, extra[1] + 40
    size = [sum(numbers) for numbers in zip(kernel, stride, extra, strict=True)]
    x = rng.integers(-3, 4, (images, *size, channels)).astype(dtype)
    weight = rng.integers(-3, 4, (*kernel, channels, filters)).astype(dtype)
    return x, weight, rng.integers(-9, 10, filters).astype(dtype), Window(kernel, stride, padding)


@pytest.mark.parametrize("number", range(CASES))
def test_gradients_of_a_convolution(number):
    x, weight, _, window = drawn(number)
    record, rng = RECORDS["compiled"], np.random.default_rng(number)
    y = convolution_by_windows(x, weight, window)
    dy = rng.integers(-3, 4, y.shape).astype(x.dtype)
    found = record.conv2d_backward(record, x, weight, dy, window, True)
    for array, expected in zip(found, gradients_by_windows(x, weight, dy, window), strict=True):
        np.testing.assert_array_equal(array, expected)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
@pytest.mark.parametrize("number", range(0, CASES, 3))
def test_a_gradient_that_is_not_finite_reaches_what_its_window_saw(number, bad):
    x, weight, _, window = drawn(number)
    record, rng = RECORDS["compiled"], np.random.default_rng(number)
    dy = rng.integers(-3, 4, convolution_by_windows(x, weight, window).shape).astype(x.dtype)
    dy[tuple(rng.integers(0, dy.shape))] = bad
    found = record.conv2d_backward(record, x, weight, dy, window, True)
    with np.errstate(invalid="ignore"):
        expected = gradients_by_windows(x, weight, dy, window)
    for array, wanted in zip(found, expected, strict=True):
        np.testing.assert_array_equal(np.isfinite(array), np.isfinite(wanted))


def test_a_padded_pool_has_no_kernel():
    """No program joins one to a convolution; whoever calls for it is given what is right."""
    x, weight, bias, _ = drawn(3)
    window, pool = Window((1, 1), (1, 1)), Window((2, 2), (2, 2), (1, 0, 1, 1))
    weight = weight[:1, :1].copy()
    record, y = RECORDS["compiled"], GENERIC.conv2d(GENERIC, x, weight, bias, window)
    found = record.conv2d_max_pool2d(record, x, weight, bias, window, False, pool)
    expected = GENERIC.max_pool2d(y, pool, "first")
    np.testing.assert_array_equal(found[0], expected[0])
    dy = np.ones(found[0].shape, x.dtype)
    gradients = record.conv2d_max_pool2d_backward(
        *(record, x, weight, *found, dy, window, False, pool, True)
    )
    dconv = GENERIC.max_pool2d_backward(dy, expected[1], y.shape, pool, "first")
    for array, wanted in zip(
        gradients, gradients_by_windows(x, weight, dconv, window), strict=True
    ):
        np.testing.assert_array_equal(array, wanted)


def pooled(y):
    """The largest of each 2x2 numbers, and the place of the first that is."""
    rows, columns = y.shape[1] // 2, y.shape[2] // 2
    fours = np.stack(
        [
            y[:, i : 2 * rows : 2, j : 2 * columns : 2]
            for i, j in itertools.product(range(2), range(2))
        ]
    )
    return fours.max(axis=0), fours.argmax(axis=0)


@pytest.mark.parametrize("number", range(CASES))
@pytest.mark.parametrize("relu", [False, True])
def test_gradients_of_a_convolution_with_a_pool(number, relu):
    x, weight, bias, window = drawn(number)
    record, rng = RECORDS["compiled"], np.random.default_rng(number)
    before = convolution_by_windows(x, weight, window) + bias
    active = np.maximum(before, 0) if relu else before
    largest, places = pooled(active)
    y, winners = record.conv2d_max_pool2d(record, x, weight, bias, window, relu, POOL)
    np.testing.assert_array_equal(y, largest)
    dy = rng.integers(-3, 4, y.shape).astype(x.dtype)
    passed = np.where(largest > 0, dy, 0) if relu else dy
    dbefore = np.zeros(before.shape)
    rows, columns = largest.shape[1:3]
    for place, (i, j) in enumerate(itertools.product(range(2), range(2))):
        dbefore[:, i : 2 * rows : 2, j : 2 * columns : 2] = np.where(places == place, passed, 0)
    expected = gradients_by_windows(x, weight, dbefore, window)
    for need_dx in (True, False):
        dx, *others = record.conv2d_max_pool2d_backward(
            *(record, x, weight, y, winners, dy, window, relu, POOL, need_dx)
        )
        for array, wanted in zip([dx, *others], expected, strict=True):
            if array is not dx or need_dx:
                np.testing.assert_array_equal(array, wanted)
        assert (dx is None) != need_dx


BEFORE_A_WALL = """
import ctypes, mmap
import numpy as np
from arraycnn.execution.thread_pool import ThreadPool
from arraycnn.ops import Window
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.compiled.record import compiled_kernels

shape, filters, kernel = {shape}, {filters}, {kernel}
page, size = mmap.PAGESIZE, int(np.prod(shape)) * 4
whole = -(-size // page) * page
memory = mmap.mmap(-1, whole + page)
start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(start + whole), page, 0) == 0
x = np.frombuffer(memory, np.float32, size // 4, whole - size).reshape(shape)
rng, record = np.random.default_rng(0), compiled_kernels(Launcher(ThreadPool(1)))
weight = rng.normal(size=(*kernel, shape[3], filters)).astype(np.float32)
window, pool = Window(kernel, (1, 1)), Window((2, 2), (2, 2))
bias = np.zeros(filters, np.float32)
y, winners = record.conv2d_max_pool2d(record, x, weight, bias, window, False, pool)
winners[...] = 3  # of every window the last pixel, whose patch may end with the image
record.conv2d_max_pool2d_backward(
    record, x, weight, y, winners, np.ones_like(y), window, False, pool, False
)
print("done")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs mprotect")
@pytest.mark.parametrize(
    ("shape", "filters", "kernel"),
    [((2, 12, 12, 1), 6, (5, 5)), ((2, 10, 12, 6), 4, (5, 5)), ((1, 8, 8, 3), 2, (3, 3))],
)
def test_nothing_is_read_behind_the_last_image(shape, filters, kernel):
    """It ends where a page does that nobody may touch."""
    program = BEFORE_A_WALL.format(shape=shape, filters=filters, kernel=kernel)
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr
