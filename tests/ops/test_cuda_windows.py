"""Columns and pools in CUDA: against plain loops, and to the bit as the generic kernels."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import GENERIC, Window
from arraycnn.ops.max_pool2d import cuda as windows
from cases import max_pool_gradient_by_loops, pool_by_loops
from host_cuda import HostLauncher, check, lazy_zeros
from test_cuda_matmul import unaligned
from test_ops import im2col_by_loops, images_and_windows, whole_numbers

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

# Beyond what is drawn: more than one block, windows of many places.
MORE = [
    ((2, 23, 19, 5), Window((3, 3), (1, 1), (1, 1, 1, 1))),
    ((1, 26, 26, 8), Window((2, 2), (2, 2))),
    ((3, 27, 25, 3), Window((2, 2), (2, 2))),
    ((2, 9, 9, 70), Window((3, 3), (2, 2))),
    ((1, 17, 33, 1), Window((16, 16))),
    ((2, 1, 300, 1), Window((1, 257), (1, 3))),
]


@st.composite
def drawn(draw):
    """An image without padding around it for pools, or with, and the window."""
    shape, window = draw(images_and_windows())
    if draw(st.booleans()):  # windows side by side, and the plain pool
        edge = draw(st.sampled_from([1, 2, 2, 3]))
        window = Window((edge, edge), (edge, edge), window.padding)
        smallest = (edge - sum(window.padding[:2]), edge - sum(window.padding[2:]))
        height, width = (max(a, b) for a, b in zip(shape[1:3], smallest, strict=True))
        shape = (shape[0], height, width, shape[3])
    return shape, window


def unpadded(shape, window):
    """The image as large as it was with its padding, and a window without."""
    return (shape[0], *window.padded_shape(*shape[1:3]), shape[3]), Window(
        window.kernel_size, window.stride
    )


def rough(shape, dtype, seed=0):
    """Numbers whose sums depend on the order of the additions."""
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


def scattered_by_loops(parts, input_shape, window):
    """Add parts[place, n, i, j, c] to its pixel; what falls into the padding is lost."""
    x = np.zeros(input_shape)
    top, _, left, _ = window.padding
    for place, n, i, j, c in np.ndindex(parts.shape):
        row = i * window.stride[0] + place // window.kernel_size[1] - top
        column = j * window.stride[1] + place % window.kernel_size[1] - left
        if 0 <= row < input_shape[1] and 0 <= column < input_shape[2]:
            x[n, row, column, c] += parts[place, n, i, j, c]
    return x


def check_columns(shape, window, dtype):
    x = whole_numbers(shape).astype(dtype)
    columns = check(lambda cuda: windows.im2col(cuda, x, window))
    assert columns.dtype == dtype
    np.testing.assert_array_equal(columns, im2col_by_loops(x, window))
    given_columns = whole_numbers(columns.shape, seed=1).astype(dtype)
    image = check(lambda cuda: windows.col2im(cuda, given_columns, shape, window))
    assert image.dtype == dtype
    output = window.output_shape(*shape[1:3])
    places = math.prod(window.kernel_size)
    parts = given_columns.reshape(shape[0], *output, places, shape[3]).transpose(3, 0, 1, 2, 4)
    np.testing.assert_array_equal(image, scattered_by_loops(parts, shape, window))
    given_columns = rough(columns.shape, dtype)
    np.testing.assert_array_equal(
        windows.col2im(HostLauncher(), given_columns, shape, window),
        GENERIC.col2im(given_columns, shape, window),
    )


@dtypes
@settings(max_examples=25)
@given(shape_and_window=drawn())
def test_columns(shape_and_window, dtype):
    check_columns(*shape_and_window, dtype)


@dtypes
@pytest.mark.parametrize(("shape", "window"), MORE[:4], ids=str)
def test_columns_of_more_shapes(shape, window, dtype):
    check_columns(shape, window, dtype)


def check_max_pool(shape, window, ties, dtype):
    shape, bare = unpadded(shape, window)
    x = whole_numbers(shape).astype(dtype) // 3  # so that there are ties
    y, winners = check(lambda cuda: windows.max_pool2d(cuda, x, bare, ties))
    np.testing.assert_array_equal(y, pool_by_loops(x, *_kernel_and_stride(bare), np.max))
    assert y.dtype == dtype
    np.testing.assert_array_equal(winners, GENERIC.max_pool2d(x, bare, ties)[1])
    if (ties, dtype, winners.dtype) == ("first", "float32", "uint8"):
        taken = check(lambda cuda: windows.at_winners(cuda, x, winners, bare))
        np.testing.assert_array_equal(taken, y)
    dy = whole_numbers(y.shape, seed=1).astype(dtype)
    dx = check(lambda cuda: windows.max_pool2d_backward(cuda, dy, winners, shape, bare, ties))
    assert dx.dtype == dtype
    np.testing.assert_array_equal(
        dx, max_pool_gradient_by_loops(x, dy, *_kernel_and_stride(bare), ties)
    )


def check_padded_gradients(shape, window, ties, dtype):
    """Overlapping windows, and some that end in the padding: any winners, not those of an image."""
    output_shape = (shape[0], *window.output_shape(*shape[1:3]), shape[3])
    places, rng = math.prod(window.kernel_size), np.random.default_rng(2)
    if ties == "first":
        winners = rng.integers(0, places, output_shape).astype("uint8")
        wins = winners == np.arange(places).reshape(-1, 1, 1, 1, 1)
    else:
        wins = winners = rng.random((places, *output_shape)) < 0.4
    dy = whole_numbers(output_shape).astype(dtype)

    def backward(cuda):
        return windows.max_pool2d_backward(cuda, dy, winners, shape, window, ties)

    np.testing.assert_array_equal(
        check(backward), scattered_by_loops(np.where(wins, dy, 0), shape, window)
    )
    gate = np.where(rng.random(output_shape) < 0.5, whole_numbers(output_shape, seed=4), np.nan)
    gate = gate.astype(dtype)

    def gated(cuda):
        return windows.max_pool2d_backward(cuda, dy, winners, shape, window, ties, gate)

    np.testing.assert_array_equal(
        check(gated), scattered_by_loops(np.where(wins & (gate > 0), dy, 0), shape, window)
    )
    dy = rough(output_shape, dtype)
    np.testing.assert_array_equal(
        backward(HostLauncher()), GENERIC.max_pool2d_backward(dy, winners, shape, window, ties)
    )
    np.testing.assert_array_equal(
        check(lambda cuda: windows.avg_pool2d_backward(cuda, dy, shape, window)),
        GENERIC.avg_pool2d_backward(dy, shape, window),
    )
    dy = (whole_numbers(output_shape) * places).astype(dtype)
    np.testing.assert_array_equal(
        windows.avg_pool2d_backward(HostLauncher(), dy, shape, window),
        scattered_by_loops(np.stack([dy / places] * places), shape, window),
    )


def _kernel_and_stride(window):
    return window.kernel_size, window.stride


@dtypes
@pytest.mark.parametrize("ties", ["first", "all"])
@settings(max_examples=25)
@given(shape_and_window=drawn())
def test_max_pool(shape_and_window, ties, dtype):
    check_max_pool(*shape_and_window, ties, dtype)
    check_padded_gradients(*shape_and_window, ties, dtype)


@dtypes
@pytest.mark.parametrize("ties", ["first", "all"])
@pytest.mark.parametrize(("shape", "window"), MORE[1:4], ids=str)
def test_max_pool_of_more_shapes(shape, window, ties, dtype):
    check_max_pool(shape, window, ties, dtype)


@dtypes
@pytest.mark.parametrize("ties", ["first", "all"])
@pytest.mark.parametrize(("shape", "window"), MORE[4:], ids=str)
def test_winners_of_large_windows(shape, window, ties, dtype):
    check_max_pool(shape, window, ties, dtype)


@pytest.mark.parametrize(
    ("kernel", "dtype"), [((16, 16), "uint8"), ((1, 256), "uint8"), ((1, 257), "int32")]
)
def test_winners_are_as_small_as_they_can_be(kernel, dtype):
    x = np.zeros((1, *kernel, 1))
    x[0, -1, -1] = 1.0
    _, winners = check(lambda cuda: windows.max_pool2d(cuda, x, Window(kernel), "first"))
    assert winners.dtype == dtype
    assert winners.ravel() == math.prod(kernel) - 1
    dx = windows.max_pool2d_backward(
        HostLauncher(), np.ones((1, 1, 1, 1)), winners, x.shape, Window(kernel), "first"
    )
    np.testing.assert_array_equal(dx, x)


@pytest.mark.parametrize("edge", [2, 3])
@pytest.mark.parametrize("place", range(4))
@pytest.mark.parametrize("ties", ["first", "all"])
def test_nan_is_the_maximum(ties, place, edge):
    x = whole_numbers((1, edge, edge, 1))
    x.ravel()[place] = np.nan
    window = Window((edge, edge), (edge, edge))
    y, winners = check(lambda cuda: windows.max_pool2d(cuda, x, window, ties))
    assert np.isnan(y).all()
    np.testing.assert_array_equal(winners, GENERIC.max_pool2d(x, window, ties)[1])


@pytest.mark.parametrize("edge", [2, 3])
@pytest.mark.parametrize("ties", ["first", "all"])
def test_an_infinite_gradient_reaches_the_winner_alone(ties, edge):
    x = np.arange(edge * edge, dtype=float).reshape(1, edge, edge, 1)
    window, dy = Window((edge, edge), (edge, edge)), np.full((1, 1, 1, 1), np.inf)
    _, winners = windows.max_pool2d(HostLauncher(), x, window, ties)
    dx = windows.max_pool2d_backward(HostLauncher(), dy, winners, x.shape, window, ties)
    np.testing.assert_array_equal(dx.ravel(), [*[0.0] * (edge * edge - 1), np.inf])


@dtypes
@settings(max_examples=25)
@given(shape_and_window=drawn())
def test_avg_pool(shape_and_window, dtype):
    shape, window = unpadded(*shape_and_window)
    x = rough(shape, dtype)
    y = check(lambda cuda: windows.avg_pool2d(cuda, x, window))
    np.testing.assert_array_equal(y, GENERIC.avg_pool2d(x, window))
    np.testing.assert_allclose(
        y, pool_by_loops(x, *_kernel_and_stride(window), np.mean), rtol=1e-5, atol=1e-6
    )


@dtypes
@pytest.mark.parametrize(("shape", "window"), MORE[1:], ids=str)
def test_avg_pool_of_more_shapes(shape, window, dtype):
    x = rough(shape, dtype)
    y = check(lambda cuda: windows.avg_pool2d(cuda, x, window))
    np.testing.assert_array_equal(y, GENERIC.avg_pool2d(x, window))
    dx = check(lambda cuda: windows.avg_pool2d_backward(cuda, y, shape, window))
    np.testing.assert_array_equal(dx, GENERIC.avg_pool2d_backward(y, shape, window))


def calls(x, columns, dy, winners, window):
    """Every kernel on these arrays."""
    cuda, shape = HostLauncher(), x.shape
    return {
        "im2col": lambda: windows.im2col(cuda, x, window),
        "col2im": lambda: windows.col2im(cuda, columns, shape, window),
        "max_pool2d": lambda: windows.max_pool2d(cuda, x, window, "first"),
        "max_pool2d_backward": lambda: windows.max_pool2d_backward(
            cuda, dy, winners, shape, window, "first"
        ),
        "avg_pool2d": lambda: windows.avg_pool2d(cuda, x, window),
        "avg_pool2d_backward": lambda: windows.avg_pool2d_backward(cuda, dy, shape, window),
    }


KERNELS = list(calls(np.zeros(()), None, None, None, None))


def arguments(dtype="float64"):
    window, x = Window((2, 3), (1, 2)), rough((3, 5, 7, 2), dtype)
    _, winners = GENERIC.max_pool2d(x, window, "first")
    output = (3, 4, 3, 2)
    return x, rough((36, 12), dtype), rough(output, dtype), winners.astype("uint8"), window


def as_list(result):
    return list(result) if isinstance(result, tuple) else [result]


def strided(array):
    """The same numbers, none beside the next."""
    return np.repeat(np.asfortranarray(array), 2, axis=0)[::2]


@pytest.mark.parametrize("kernel", KERNELS)
def test_views_are_taken_as_they_are(kernel):
    given_arrays = arguments()
    straight = calls(*given_arrays)[kernel]()
    turned = calls(*map(strided, given_arrays[:-1]), given_arrays[-1])[kernel]()
    for a, b in zip(as_list(straight), as_list(turned), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("lies", ["aligned", "x", "dy", "winners", "gate"])
def test_packs_of_channels_are_taken_where_they_begin_at_whole_addresses(lies):
    """Whichever of the arrays does not: a device cannot read 16 bytes at any other."""
    shape, window = (2, 5, 6, 8), Window((2, 2), (2, 2))
    x = whole_numbers(shape).astype("float32")
    y, winners = GENERIC.max_pool2d(x, window, "first")
    dy, gate = (whole_numbers(y.shape, seed=seed).astype("float32") for seed in (1, 2))
    arrays = {"x": x, "dy": dy, "winners": winners.astype("uint8"), "gate": gate}
    files = set()

    def run(cuda):
        given = {name: cuda.asarray(array) for name, array in arrays.items()}
        if lies in given:
            given[lies] = unaligned(given[lies])
        x, *others = given.values()
        pooled = windows.max_pool2d(cuda, x, window, "first")
        file = cuda.last_kernel.partition(".")[0]
        dx = windows.max_pool2d_backward(cuda, *others[:2], shape, window, "first", others[2])
        files.add((file, cuda.last_kernel.partition(".")[0]))
        return *pooled, dx

    pooled, places, dx = check(run)
    np.testing.assert_array_equal(pooled, pool_by_loops(x, (2, 2), (2, 2), np.max))
    np.testing.assert_array_equal(places, winners)
    passed = np.where(gate > 0, dy, 0)
    np.testing.assert_array_equal(
        dx, max_pool_gradient_by_loops(x, passed, (2, 2), (2, 2), "first")
    )
    forward = "windows" if lies == "x" else "packed_pools"
    backward = "packed_pools" if lies in ("aligned", "x") else "windows"
    assert files == {(forward, backward)}


@pytest.mark.parametrize("kernel", KERNELS)
def test_more_images_than_blocks_take_turns(kernel):
    x, window = rough((4200, 2, 3, 1), "float32"), Window((1, 2), (1, 1))
    columns, y = GENERIC.im2col(x, window), GENERIC.avg_pool2d(x, window)
    largest, winners = GENERIC.max_pool2d(x, window, "first")
    expected = {
        "im2col": columns,
        "col2im": GENERIC.col2im(columns, x.shape, window),
        "max_pool2d": largest,
        "max_pool2d_backward": GENERIC.max_pool2d_backward(y, winners, x.shape, window, "first"),
        "avg_pool2d": y,
        "avg_pool2d_backward": GENERIC.avg_pool2d_backward(y, x.shape, window),
    }
    results = calls(x, columns, y, winners.astype("uint8"), window)[kernel]()
    np.testing.assert_array_equal(as_list(results)[0], expected[kernel])


@pytest.mark.parametrize("kernel", KERNELS)
def test_no_image_gives_none(kernel):
    x, columns, dy, winners, window = arguments()
    results = calls(x[:0], columns[:0], dy[:0], winners[:0], window)[kernel]()
    expected = calls(x, columns, dy, winners, window)[kernel]()
    for a, e in zip(as_list(results), as_list(expected), strict=True):
        assert a.shape == (0, *e.shape[1:])
        assert a.dtype == e.dtype


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("dtype", ["float16", "int32", "complex64"])
def test_other_dtypes_are_refused(kernel, dtype):
    with pytest.raises(InvalidTypeError, match=rf"^{kernel} on CUDA: arrays must all be float32"):
        calls(*arguments(dtype))[kernel]()


@pytest.mark.parametrize("kernel", KERNELS)
def test_arrays_of_another_library_are_refused(kernel, torch):
    *arrays, window = arguments()
    with pytest.raises(InvalidTypeError, match=rf"^{kernel} on CUDA: arrays must lie on"):
        calls(*map(torch.asarray, arrays), window)[kernel]()


@pytest.mark.parametrize(
    ("ties", "dtype"), [("first", "bool"), ("first", "int64"), ("all", "uint8")]
)
def test_winners_of_another_kind_are_refused(ties, dtype):
    x, _, dy, winners, window = arguments()
    winners = winners if ties == "first" else np.stack([winners] * 6)
    with pytest.raises(InvalidTypeError, match=rf"^max_pool2d_backward on CUDA: .*got {dtype}"):
        windows.max_pool2d_backward(
            HostLauncher(), dy, winners.astype(dtype), x.shape, window, ties
        )


def test_shapes_that_do_not_fit_are_refused():
    x, columns, dy, winners, window = arguments()
    short = (columns[1:], dy[:, 1:], winners[:, :, 1:])
    for name, what in (
        ("col2im", "columns"),
        ("max_pool2d_backward", "dy"),
        ("avg_pool2d_backward", "dy"),
    ):
        with pytest.raises(InvalidValueError, match=rf"^{name}: {what} must be of shape"):
            calls(x, *short, window)[name]()
    with pytest.raises(InvalidValueError, match="winners must be of shape"):
        calls(x, columns, dy, short[2], window)["max_pool2d_backward"]()


@pytest.mark.parametrize("kernel", ["max_pool2d", "avg_pool2d"])
def test_pools_have_no_padding(kernel):
    x, _, _, _, _ = arguments()
    with pytest.raises(InvalidValueError, match=rf"^{kernel} on CUDA: .* no padding"):
        calls(x, None, None, None, Window((2, 2), (1, 1), (1, 0, 0, 0)))[kernel]()


# Arrays of more than 2^31 numbers: only the last blocks run, and only what they touch takes memory.

LARGE = (2100, 1024, 1024, 1)
LAST = slice(-2, None)  # blocks


@pytest.fixture
def large():
    x = lazy_zeros(LARGE, np.float32)
    x[:, -2:] = rough((2100, 2, 1024, 1), np.float32)
    return x


def test_columns_beyond_2_to_the_31(large):
    columns = windows.im2col(HostLauncher(blocks=LAST), large, Window((1, 1)))
    np.testing.assert_array_equal(columns.reshape(2100, -1)[:, -512:], large[:, -1, -512:, 0])
    x = windows.col2im(HostLauncher(blocks=LAST), columns, LARGE, Window((1, 1)))
    np.testing.assert_array_equal(x[:, -1, -512:], large[:, -1, -512:])


@pytest.mark.parametrize("ties", ["first", "all"])
def test_max_pool_beyond_2_to_the_31(large, ties):
    window = Window((1, 2))
    expected, places = GENERIC.max_pool2d(large[:, -2:], window, ties)
    y, winners = windows.max_pool2d(HostLauncher(blocks=LAST), large, window, ties)
    last = np.s_[..., -1, -512:, :]
    np.testing.assert_array_equal(y[last], expected[last])
    np.testing.assert_array_equal(winners[last], places[last])
    dx = windows.max_pool2d_backward(HostLauncher(blocks=LAST), y, winners, LARGE, window, ties)
    expected = GENERIC.max_pool2d_backward(expected, places, (2100, 2, 1024, 1), window, ties)
    np.testing.assert_array_equal(dx[last], expected[last])


def test_avg_pool_beyond_2_to_the_31(large):
    window = Window((1, 1))
    y = windows.avg_pool2d(HostLauncher(blocks=LAST), large, window)
    np.testing.assert_array_equal(y[:, -1, -512:], large[:, -1, -512:])
    dx = windows.avg_pool2d_backward(HostLauncher(blocks=LAST), y, LARGE, window)
    np.testing.assert_array_equal(dx[:, -1, -512:], large[:, -1, -512:])


@pytest.mark.parametrize(
    ("kernel", "shape", "window"),
    [
        ("im2col", (1, 2**15, 2**15, 1), Window((2, 2))),
        ("im2col", (1, 2, 2, 1), Window((1, 1), (1, 1), (2**16, 2**16, 2**16, 0))),
        ("max_pool2d", (1, 2**16, 2**15, 1), Window((2, 2))),
        ("avg_pool2d", (1, 2**16, 2**15, 1), Window((2**16, 2**15))),
    ],
)
def test_one_image_beyond_2_to_the_31_is_refused(kernel, shape, window):
    with pytest.raises(InvalidValueError, match=rf"^{kernel} on CUDA: .* fewer than 2\^31"):
        calls(lazy_zeros(shape, np.float32), None, None, None, window)[kernel]()
