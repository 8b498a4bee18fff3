"""Convolution in CUDA: against sums over the window in float64, of operands rounded likewise."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import Window
from arraycnn.ops.conv2d import cuda as convolution
from arraycnn.ops.cuda import tiles
from cases import convolution_by_loops
from host_cuda import HostLauncher, check, lazy_zeros
from test_cuda_matmul import (
    LastSplit,
    check_sums,
    normal,
    precisions,
    rounded,
    short_splits,
    tiles_of,
    turned,
    unaligned,
)
from test_ops import images_and_windows

__all__ = ["short_splits", "tiles_of"]  # fixtures

# Name: (N, H, W, C), F, window.
TABLE = {
    "3x3": ((2, 6, 7, 4), 8, Window((3, 3))),
    "one pixel": ((1, 1, 1, 1), 1, Window((1, 1))),
    "one channel": ((3, 9, 8, 1), 12, Window((3, 3))),
    "three channels, padded": ((2, 7, 6, 3), 5, Window((5, 5), (1, 1), (2, 2, 2, 2))),
    "uneven padding": ((2, 5, 4, 8), 4, Window((2, 3), (1, 1), (0, 2, 1, 3))),
    "padding beyond the window": ((2, 3, 3, 4), 4, Window((2, 2), (1, 1), (3, 4, 5, 2))),
    "stride": ((2, 8, 9, 4), 3, Window((3, 2), (2, 3), (1, 0, 0, 2))),
    "stride, padded": ((2, 9, 8, 4), 36, Window((4, 5), (3, 2), (2, 3, 4, 1))),
    "stride beyond the window": ((2, 9, 10, 3), 4, Window((2, 1), (3, 4))),
    "a phase without pixels": ((3, 1, 2, 4), 4, Window((3, 4), (3, 4), (1, 1, 1, 1))),
    "1x1": ((2, 4, 5, 36), 9, Window((1, 1))),
    "whole image": ((5, 6, 5, 2), 7, Window((6, 5))),
    "split": ((2, 3, 3, 152), 4, Window((3, 3))),
    "split phases": ((1, 5, 5, 4), 520, Window((3, 3), (2, 2))),
    "many pixels": ((3, 24, 23, 4), 4, Window((3, 3))),
}


def arrays(shape, filters, window, precision):
    """x, weight, bias, dy."""
    output = (shape[0], *window.output_shape(*shape[1:3]), filters)
    shapes = (shape, (*window.kernel_size, shape[3], filters), (filters,), output)
    return [normal(s, precision, seed) for seed, s in enumerate(shapes)]


def padded(x, window):
    top, bottom, left, right = window.padding
    return np.pad(x, ((0, 0), (top, bottom), (left, right), (0, 0)))


def places(window, output):
    """Each place of the window, and the slices of a padded image that it meets."""
    (down, right), (_, rows, columns, _) = window.stride, output
    for i, j in np.ndindex(*window.kernel_size):
        yield (
            (i, j),
            np.s_[
                :, i : i + down * (rows - 1) + 1 : down, j : j + right * (columns - 1) + 1 : right
            ],
        )


def forward(x, weight, window):
    """In float64."""
    y = np.zeros((x.shape[0], *window.output_shape(x.shape[1], x.shape[2]), weight.shape[3]))
    for place, pixels in places(window, y.shape):
        y += padded(x, window)[pixels] @ weight[place]
    return y


def dweight_of(x, dy, window):
    dweight = np.zeros((*window.kernel_size, x.shape[3], dy.shape[3]))
    for place, pixels in places(window, dy.shape):
        dweight[place] = np.einsum("nijc,nijf->cf", padded(x, window)[pixels], dy)
    return dweight


def dx_of(dy, weight, window, shape):
    dx = padded(np.zeros(shape), window)
    for place, pixels in places(window, dy.shape):
        dx[pixels] += dy @ weight[place].T
    top, _, left, _ = window.padding
    return dx[:, top : top + shape[1], left : left + shape[2]]


def test_the_reference_equals_loops():
    for shape, filters, window in list(TABLE.values())[:8]:
        x, weight, bias, dy = arrays(shape, filters, window, "float64")
        expected = convolution_by_loops(x, weight, bias, window.stride, window.padding)
        np.testing.assert_allclose(forward(x, weight, window) + bias, expected, atol=1e-12)
        # Both gradients are adjoint to the forward product.
        total = np.sum((expected - bias) * dy)
        assert math.isclose(np.sum(dweight_of(x, dy, window) * weight), total, abs_tol=1e-9)
        assert math.isclose(np.sum(dx_of(dy, weight, window, shape) * x), total, abs_tol=1e-9)


def check_forward(shape, filters, window, precision, *, checked=False):
    x, weight, bias, _ = arrays(shape, filters, window, precision)
    expected = forward(rounded(x, precision), rounded(weight, precision), window)

    def run(cuda):
        given = (cuda, None, x, weight)
        return (
            convolution.conv2d(*given, bias, window, precision=precision),
            convolution.conv2d(*given, None, window, precision=precision),
            convolution.conv2d_relu(*given, bias, window, precision=precision),
            convolution.conv2d_relu(*given, None, window, precision=precision),
        )

    terms, ys = math.prod(weight.shape[:3]), check(run, checked=checked)
    check_sums(ys[0], expected + bias, terms, precision)
    check_sums(ys[1], expected, terms, precision)
    check_sums(ys[2], np.maximum(expected + bias, 0), terms, precision)
    check_sums(ys[3], np.maximum(expected, 0), terms, precision)


def check_backward(shape, filters, window, precision, gated, *, checked=False):
    x, weight, _, dy = arrays(shape, filters, window, precision)
    # Zeros and NaN let nothing pass, nor do negative zeros.
    y = np.maximum(normal(dy.shape, precision, seed=9), 0)
    y.ravel()[:3] = [np.nan, -0.0, 1.0][: y.size]

    def run(cuda, need_dx=True):
        if gated:
            return convolution.conv2d_relu_backward(
                cuda, None, x, weight, y, dy, window, need_dx, precision=precision
            )
        return convolution.conv2d_backward(
            cuda, None, x, weight, dy, window, need_dx, precision=precision
        )

    dx, dweight, dbias = check(run, checked=checked)
    passed = np.where(y > 0, dy, 0) if gated else dy
    in_dy, in_weight = rounded(passed, precision), rounded(weight, precision)
    terms = weight[..., 0, :].size
    check_sums(dx, dx_of(in_dy, in_weight, window, shape), terms, precision)
    pixels = math.prod(dy.shape[:3])
    check_sums(dweight, dweight_of(rounded(x, precision), in_dy, window), pixels, precision)
    exact = "fp32" if precision in ("tf32", "bf16") else precision  # not rounded
    check_sums(dbias, passed.sum(axis=(0, 1, 2), dtype=np.float64), pixels, exact)
    none, *same = run(HostLauncher(), need_dx=False)
    assert none is None
    np.testing.assert_array_equal(same[0], dweight)
    np.testing.assert_array_equal(same[1], dbias)


@pytest.mark.parametrize("name", TABLE)
def test_forward(name):
    check_forward(*TABLE[name], "fp32", checked=True)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("name", TABLE)
def test_backward(name, gated):
    check_backward(*TABLE[name], "fp32", gated, checked=True)


@precisions
@pytest.mark.parametrize("name", ["3x3", "three channels, padded", "split", "stride, padded"])
def test_precisions(name, precision):
    check_forward(*TABLE[name], precision)
    check_backward(*TABLE[name], precision, gated=name == "3x3")


@st.composite
def convolutions(draw):
    shape, window = draw(images_and_windows())
    widened = draw(st.sampled_from([1, 4]))
    return (*shape[:3], shape[3] * widened), draw(st.sampled_from([1, 3, 4, 8])), window


@settings(max_examples=60)
@given(convolutions(), st.booleans())
def test_random_shapes(convolved, gated):
    check_forward(*convolved, "fp32")
    check_backward(*convolved, "fp32", gated)


@pytest.mark.parametrize(
    ("precision", "tile"),
    [(precision, tile) for precision in ("fp32", "tf32") for tile in tiles.TILES[precision]],
    ids=lambda value: getattr(value, "math", value),
)
def test_every_tile(precision, tile, tiles_of):
    """More pixels and filters than a tile has rows and columns."""
    tiles_of(precision, tile)
    height = tile.rows // 10 + 2
    window = Window((3, 2), (1, 1), (1, 0, 0, 1))
    wide = ((1, height, 10, tile.columns // 6 // 4 * 4 + 4), tile.columns + 4, window)
    check_forward(*wide, precision)
    check_backward(*wide, precision, tile.gated)


def test_no_image():
    shape, filters, window = TABLE["stride, padded"]
    x, weight, bias, dy = arrays((0, *shape[1:]), filters, window, "fp32")
    y = check(
        lambda cuda: convolution.conv2d(cuda, None, x, weight, bias, window, precision="fp32")
    )
    assert y.shape == dy.shape
    dx, dweight, dbias = check(
        lambda cuda: convolution.conv2d_relu_backward(
            cuda, None, x, weight, y, dy, window, True, precision="fp32"
        )
    )
    assert dx.shape == x.shape
    np.testing.assert_array_equal(dweight, np.zeros(weight.shape))
    np.testing.assert_array_equal(dbias, np.zeros(filters))


def test_no_channel_is_refused():
    given_arrays = arrays((2, 3, 3, 0), 4, Window((2, 2)), "fp32")
    for call in calls(*given_arrays, given_arrays[-1], Window((2, 2))).values():
        with pytest.raises(InvalidValueError, match="must have a channel at least"):
            call()


def test_relu_keeps_nan():
    x = np.array([np.nan, -1.0, 1.0]).reshape(1, 3, 1, 1)
    y = convolution.conv2d_relu(
        HostLauncher(), None, x, np.ones((1, 1, 1, 1)), None, Window((1, 1)), precision="fp32"
    )
    np.testing.assert_array_equal(y.ravel(), [np.nan, 0.0, 1.0])


@pytest.mark.parametrize("name", ["3x3", "three channels, padded", "stride, padded", "split"])
def test_nan_goes_where_a_window_meets_it(name):
    """And nowhere else: what lies beyond the last step of a sum is 0, not NaN times 0."""
    shape, filters, window = TABLE[name]
    x, weight, _, dy = arrays(shape, filters, window, "float64")
    x[-1, -1, -1, -1] = dy[0, -1, -1, -1] = np.nan
    y = check(
        lambda cuda: convolution.conv2d(cuda, None, x, weight, None, window, precision="fp32")
    )
    np.testing.assert_array_equal(np.isnan(y), np.isnan(forward(x, weight, window)))
    gradients = check(
        lambda cuda: convolution.conv2d_backward(
            cuda, None, x, weight, dy, window, True, precision="fp32"
        )
    )
    expected = (dx_of(dy, weight, window, shape), dweight_of(x, dy, window), dy.sum((0, 1, 2)))
    for gradient, numbers in zip(gradients, expected, strict=True):
        np.testing.assert_array_equal(np.isnan(gradient), np.isnan(numbers))


def calls(x, weight, bias, y, dy, window):
    """Every function on these arrays."""
    cuda, one = HostLauncher(), {"precision": "fp32"}
    return {
        "conv2d": lambda: convolution.conv2d(cuda, None, x, weight, bias, window, **one),
        "conv2d_relu": lambda: convolution.conv2d_relu(cuda, None, x, weight, bias, window, **one),
        "conv2d_backward": lambda: convolution.conv2d_backward(
            cuda, None, x, weight, dy, window, True, **one
        ),
        "conv2d_relu_backward": lambda: convolution.conv2d_relu_backward(
            cuda, None, x, weight, y, dy, window, True, **one
        ),
    }


def arguments(dtype="float32"):
    shape, filters, window = TABLE["3x3"]
    x, weight, bias, dy = (a.astype(dtype) for a in arrays(shape, filters, window, "fp32"))
    return x, weight, bias, dy, dy[::-1], window


KERNELS = list(calls(*arguments()))


@pytest.mark.parametrize("kernel", KERNELS)
def test_views_are_taken_as_they_are(kernel):
    *given_arrays, window = arguments()
    straight = calls(*given_arrays, window)[kernel]()
    for change in (turned, unaligned):
        changed = calls(*map(change, given_arrays), window)[kernel]()
        for a, b in zip(straight, changed, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", ["x", "weight", "y", "dy"])
def test_one_of_the_arrays_is_not_aligned(name):
    """Be it the gate: a device cannot read 16 bytes at any address."""
    x, weight, _, y, dy, window = arguments()
    given = {"x": x, "weight": weight, "y": y, "dy": np.ascontiguousarray(dy)}
    passed, shape = np.where(y > 0, dy, 0), x.shape
    given[name] = unaligned(given[name])
    dx, dweight, dbias = check(
        lambda cuda: convolution.conv2d_relu_backward(
            cuda, None, *given.values(), window, True, precision="fp32"
        ),
        orders=("random",),
    )
    check_sums(dx, dx_of(passed, weight, window, shape), weight[..., 0, :].size, "fp32")
    terms = math.prod(dy.shape[:3])
    check_sums(dweight, dweight_of(x, passed, window), terms, "fp32")
    check_sums(dbias, passed.sum(axis=(0, 1, 2), dtype=np.float64), terms, "fp32")


@pytest.mark.parametrize("kernel", KERNELS)
def test_what_is_refused(kernel, torch):
    for dtype in ("float16", "int32", "complex64"):
        with pytest.raises(InvalidTypeError, match=rf"^{kernel} on CUDA: arrays must all be float"):
            calls(*arguments(dtype))[kernel]()
    *given_arrays, window = arguments()
    others = [torch.asarray(np.ascontiguousarray(array)) for array in given_arrays]
    with pytest.raises(InvalidTypeError, match=rf"^{kernel} on CUDA: arrays must lie on"):
        calls(*others, window)[kernel]()
    with pytest.raises(InvalidTypeError, match=rf"^{kernel} on CUDA: arrays must all be float"):
        calls(given_arrays[0].astype("float64"), *given_arrays[1:], window)[kernel]()
    x, weight, bias, y, dy = given_arrays
    with pytest.raises(InvalidValueError, match=rf"^{kernel} on CUDA: weight must be of shape"):
        calls(x, weight[:, :, 1:], bias, y, dy, window)[kernel]()
    with pytest.raises(InvalidValueError, match=rf"^{kernel} on CUDA: takes \(N, H, W, C\)"):
        calls(x[0], weight, bias, y, dy, window)[kernel]()
    with pytest.raises(InvalidValueError, match=rf"^{kernel} on CUDA: (bias|dy) must be of shape"):
        calls(x, weight, bias[1:], y, dy[1:], window)[kernel]()


def test_a_gate_of_another_shape_is_refused():
    x, weight, bias, y, dy, window = arguments()
    with pytest.raises(InvalidValueError, match="y must be of shape"):
        calls(x, weight, bias, y[1:], dy, window)["conv2d_relu_backward"]()


@pytest.mark.parametrize(
    ("shape", "window"),
    [
        ((1, 2**16, 2**15, 1), Window((1, 1))),
        ((1, 2, 2, 1), Window((1, 1), (1, 1), (2**16, 2**16, 2**15, 0))),
        ((2**31, 1, 1, 1), Window((1, 1))),
    ],
)
def test_one_image_beyond_2_to_the_31_is_refused(shape, window):
    x, weight = lazy_zeros(shape, np.float32), np.ones((1, 1, 1, 1), np.float32)
    no_blocks = HostLauncher(blocks=slice(0))  # so that a missing check shows at once
    with pytest.raises(InvalidValueError, match=r"less than 2\^31 numbers"):
        convolution.conv2d(no_blocks, None, x, weight, None, window, precision="fp32")


# More than 2^31 pixels, and with a stride of 1 than 2^32: only the last blocks run, and only what
# they touch takes memory. So many images that the last split is short.

LAST = 4  # images that hold anything


@pytest.mark.parametrize(("stride", "many"), [((1, 1), 358_066_675), ((2, 3), 300_000_000)])
@pytest.mark.usefixtures("short_splits")
def test_many_images(stride, many):
    window, launcher = Window((2, 2), stride, (1, 0, 0, 0)), LastSplit(blocks=slice(-1, None))
    rows, columns = window.output_shape(4, 4)
    x, dy = (lazy_zeros((many, *shape, 1), np.float32) for shape in ((4, 4), (rows, columns)))
    x[-LAST:] = normal((LAST, 4, 4, 1), "fp32")
    dy[-LAST:] = normal((LAST, rows, columns, 1), "fp32", seed=1)
    weight = normal((2, 2, 1, 1), "fp32", seed=2)
    y = convolution.conv2d(launcher, None, x, weight, None, window, precision="fp32")
    check_sums(y[-2:], forward(x[-2:], weight, window), 4, "fp32")
    dx, _, _ = convolution.conv2d_backward(
        launcher, None, x, weight, dy, window, True, precision="fp32"
    )
    expected = dx_of(dy[-2:], weight, window, (2, 4, 4, 1))
    # The last block is one of the last phase.
    phase = np.s_[:, stride[0] - 2 :: stride[0], stride[1] - 1 :: stride[1]]
    if stride == (1, 1):
        phase = np.s_[:]
    check_sums(dx[-2:][phase], expected[phase], 4, "fp32")
    parts, sums = launcher.parts
    expected = dweight_of(x[-LAST:].astype("float64"), dy[-LAST:].astype("float64"), window)
    check_sums(parts[-1].reshape(weight.shape), expected, 36, "fp32")
    check_sums(sums[-1], dy[-LAST:].sum(axis=(0, 1, 2), dtype=np.float64), 36, "fp32")
