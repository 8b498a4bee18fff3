"""Convolution whose images lie in shared memory as patches, in CUDA: against sums over the window in
float64, of operands rounded likewise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraycnn.ops import Window
from arraycnn.ops.conv2d import cuda as convolution
from arraycnn.ops.conv2d import cuda_patches
from host_cuda import HostLauncher, check, lazy_zeros
from test_cuda_convolution import arrays, dx_of, forward
from test_cuda_matmul import check_sums, normal, rounded, unaligned
from test_cuda_rounded import FORMATS, check_rounded, multiplied, stored

TILES = [(precision, tile) for precision, tiles in cuda_patches._TILES.items() for tile in tiles]

BESIDE = {"together": True, "in_parts": True}
"""So that the gradient of the images is in the last launch; alone it is in one before."""

SAME = Window((3, 3), (1, 1), (1, 1, 1, 1))
# Name: (N, H, W, C), F, window.
TABLE = {
    "3x3": ((2, 9, 8, 32), 16, Window((3, 3))),
    "padded": ((3, 7, 9, 32), 64, SAME),
    "uneven": ((2, 5, 12, 32), 32, Window((2, 3), (1, 1), (0, 1, 2, 0))),
    "lines beyond a tile": ((1, 3, 129, 32), 32, SAME),
    "images of one output": ((70, 3, 2, 32), 32, Window((3, 2))),
    "images of two outputs": ((71, 1, 2, 32), 32, Window((3, 1), (1, 1), (1, 1, 0, 0))),
    "outputs as tiles": ((3, 8, 16, 32), 32, SAME),
    "a tile of images": ((5, 8, 8, 32), 32, SAME),
    "padding within the window": ((2, 4, 3, 32), 32, Window((4, 5), (1, 1), (3, 2, 4, 1))),
    "several chunks": ((2, 6, 5, 96), 96, Window((2, 2))),
}


@pytest.fixture
def tile_of(monkeypatch):
    """A function that leaves one tile to a precision, or all, for however few outputs."""

    def leave(precision=None, tile=None):
        monkeypatch.setattr(cuda_patches, "_FEWEST_BLOCKS", 1)
        if tile is not None:
            monkeypatch.setitem(cuda_patches._TILES, precision, (tile,))
        cuda_patches._plan.cache_clear()

    yield leave
    cuda_patches._plan.cache_clear()


ROUNDED = {"bfloat16": "bf16", "tensorfloat32": "tf32"}
"""The precision of a key of tiles whose operands are rounded in memory."""


def given_as(precision, *operands):
    """(What a kernel is given, in float64 what it multiplies) of each operand."""
    if precision in ROUNDED:
        unit = ROUNDED[precision]
        return [(stored(unit, array), multiplied(unit, array)) for array in operands]
    return [(array, rounded(array, precision)) for array in operands]


def how(precision, dtype=None):
    """The arguments that say it to `convolution.conv2d`."""
    if precision not in ROUNDED:
        return {"precision": precision}
    return {"precision": ROUNDED[precision], "stored": dtype or np.dtype("float32")}


def check_forward(shape, filters, window, precision, *, checked=True):
    x, weight, bias, _ = arrays(shape, filters, window, "fp32")
    (x, in_x), (weight, in_weight) = given_as(precision, x, weight)
    sums, terms = forward(in_x, in_weight, window), math.prod(weight.shape[:3])

    def run(cuda, dtype=None):
        call = (cuda, None, x, weight, bias, window)
        y = convolution.conv2d_relu(*call, **how(precision, dtype))
        assert cuda.last_kernel.startswith("patch_convolution.conv2d_patch<")
        return y

    y = check(run, checked=checked)
    unit = ROUNDED.get(precision, precision)
    check_sums(y, np.maximum(sums + bias, 0), terms, unit)
    if precision in ROUNDED:
        check_rounded(unit, run(HostLauncher(), FORMATS[unit]), y)
        plain = convolution.conv2d(HostLauncher(), None, x, weight, None, window, **how(precision))
        check_sums(plain, sums, terms, unit)


def check_backward(shape, filters, window, precision, *, checked=True):
    """The gradient of the images; `convolution` makes the others as it always does."""
    x, weight, _, dy = arrays(shape, filters, window, "fp32")
    (x, _), (weight, in_weight), (dy, in_dy) = given_as(precision, x, weight, dy)

    def run(cuda, dtype=None, **beside):
        call = (cuda, None, x, weight, dy, window, True)
        dx, _, _ = convolution.conv2d_backward(*call, **beside, **how(precision, dtype))
        assert ("conv2d_patch" in cuda.last_kernel) == bool(beside)
        return dx

    dx = check(lambda cuda: run(cuda, **BESIDE), checked=checked)
    unit = ROUNDED.get(precision, precision)
    check_sums(dx, dx_of(in_dy, in_weight, window, shape), weight[..., 0, :].size, unit)
    if precision in ROUNDED:
        check_rounded(unit, run(HostLauncher(), FORMATS[unit]), dx)


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("name", TABLE)
def test_forward(name, precision, tile_of):
    tile_of()
    check_forward(*TABLE[name], precision)


@pytest.mark.parametrize("precision", ROUNDED)
@pytest.mark.parametrize("name", TABLE)
def test_backward(name, precision, tile_of):
    tile_of()
    check_backward(*TABLE[name], precision)


@pytest.mark.parametrize(("precision", "tile"), TILES, ids=lambda one: getattr(one, "math", one))
def test_every_tile(precision, tile, tile_of):
    """More outputs and filters than a tile has rows and columns, and two chunks of channels."""
    tile_of(precision, tile)
    shape = (3, tile.rows // 16 + 1, 9, 2 * tile.depth)
    check_forward(shape, tile.columns + 8, SAME, precision)
    shape = (3, tile.rows // 16 + 1, 9, tile.columns + 8)
    check_backward(shape, 2 * tile.depth, SAME, precision)


@st.composite
def convolutions(draw):
    """Of stride 1, padded by less than the window, so that both directions suit."""
    size = draw(
        st.tuples(st.integers(1, 4), st.integers(1, 4)).filter(lambda one: math.prod(one) > 1)
    )
    edges = [draw(st.integers(0, size[axis] - 1)) for axis in (0, 0, 1, 1)]
    least = [size[axis] - edges[2 * axis] - edges[2 * axis + 1] for axis in (0, 1)]
    height, width = (draw(st.integers(max(1, one), max(1, one) + 9)) for one in least)
    shape = draw(st.integers(1, 4)), height, width, 16 * draw(st.integers(1, 3))
    return shape, 16 * draw(st.integers(1, 3)), Window(size, (1, 1), tuple(edges))


@settings(max_examples=40)
@given(convolutions(), st.sampled_from(["bfloat16", "tensorfloat32", "tf32"]))
def test_random_shapes(convolved, precision):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cuda_patches, "_FEWEST_BLOCKS", 1)
        cuda_patches._plan.cache_clear()
        check_forward(*convolved, precision, checked=False)
        check_backward(*convolved, precision, checked=False)
    cuda_patches._plan.cache_clear()


@pytest.mark.parametrize("precision", ROUNDED)
def test_nan_goes_where_a_window_meets_it(precision, tile_of):
    tile_of()
    shape, filters, window = TABLE["padded"]
    x, weight, _, _ = arrays(shape, filters, window, "fp32")
    x[1, -1, -1, -1] = np.nan
    (x, in_x), (weight, in_weight) = given_as(precision, x, weight)
    y = convolution.conv2d(HostLauncher(), None, x, weight, None, window, **how(precision))
    expected = forward(in_x, in_weight, window)
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))


def kernel_of(shape, filters, window, precision, change=lambda array: array, gated=False):
    """Those that started for a gradient of the images."""
    x, weight, _, dy = arrays(shape, filters, window, "fp32")
    (x, _), (weight, _), (dy, _) = given_as(precision, x, weight, dy)
    cuda, call = HostLauncher(), (change(x), weight, *([dy] if gated else []), change(dy))
    backward = convolution.conv2d_relu_backward if gated else convolution.conv2d_backward
    backward(cuda, None, *call, window, True, **BESIDE, **how(precision))
    return cuda.last_kernel


def test_what_suits(tile_of):
    tile_of()
    shape, filters, window = TABLE["padded"]
    assert "conv2d_patch" in kernel_of(shape, filters, window, "bfloat16")
    others = {
        "a stride": (shape, filters, Window((3, 3), (1, 2), (1, 1, 1, 1)), "bfloat16"),
        "one place": (shape, filters, Window((1, 1)), "bfloat16"),
        "half a chunk": (shape, 24, window, "bfloat16"),
        "no tensor cores": (shape, filters, window, "fp32"),
        "padding beyond the window": (shape, filters, Window((2, 2), (1, 1), (2, 0, 0, 0)), "tf32"),
    }
    for name, row in others.items():
        assert "conv2d_patch" not in kernel_of(*row), name
    assert "conv2d_patch" not in kernel_of(shape, filters, window, "bfloat16", gated=True)
    assert "conv2d_patch" not in kernel_of(shape, filters, window, "tf32", change=unaligned)


def test_few_blocks_share_out_a_sum():
    """The planner itself: 66 blocks and more are on patches."""
    for images, suits in ((32, False), (33, True)):
        x, weight, _, _ = arrays((images, 1, 64, 32), 32, SAME, "fp32")
        (x, _), (weight, _) = given_as("bfloat16", x, weight)
        cuda = HostLauncher(blocks=slice(0))
        convolution.conv2d(cuda, None, x, weight, None, SAME, **how("bfloat16"))
        assert ("conv2d_patch" in cuda.last_kernel) == suits, images


def test_patches_that_do_not_fit_are_left_to_others():
    windows = cuda_patches.Windows((64, 9, 4000, 64), (9, 4000), 32, (3, 3), (1, 1))
    assert cuda_patches._plan("bfloat16", windows, False) is None


# More than 2^31 numbers: only the last block runs, and only what it touches takes memory.
def test_many_images():
    many, last = 2**20 + 3, 4
    launcher = HostLauncher(blocks=slice(-1, None))
    x = lazy_zeros((many, 8, 8, 32), np.float32)
    x[-last:] = normal((last, 8, 8, 32), "fp32")
    window, weight = Window((3, 3)), normal((3, 3, 32, 64), "fp32", seed=2)
    y = convolution.conv2d(launcher, None, x, weight, None, window, precision="tf32")
    assert "conv2d_patch" in launcher.last_kernel
    expected = forward(rounded(x[-1:], "tf32"), rounded(weight, "tf32"), window)
    check_sums(y[-1:], expected, 288, "tf32")


@given(st.integers(1, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_divisors(number, of):
    """As `quotient` divides."""
    by = cuda_patches.divisor(number)
    for n in (of, of // number * number, max(0, of // number * number - 1), 2**31 - 1):
        assert (2 * n * (by & 0xFFFFFFFF) >> 32) >> (by >> 32) == n // number
    assert 0 < by < 2**63
