"""The kernels for NumPy arrays, plain, recorded and compiled, against the generic ones."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from arraycnn import InvalidTypeError, InvalidValueError
from arraycnn.execution.thread_pool import ThreadPool
from arraycnn.ops import GENERIC, Window
from arraycnn.ops.conv2d import numpy_columns as columns
from arraycnn.ops.conv2d import numpy_winograd as winograd
from arraycnn.ops.numpy import record as plain
from numpy_records import RECORDS, records


@st.composite
def problems(draw):
    """A window and an image it fits into: odd sizes, strides, paddings, few and many channels."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(*[st.integers(0, 2)] * 4))
    height = draw(st.integers(max(1, kernel[0] - padding[0] - padding[1]), 9))
    width = draw(st.integers(max(1, kernel[1] - padding[2] - padding[3]), 9))
    images, channels = draw(st.integers(1, 5)), draw(st.sampled_from([1, 2, 3, 8, 16, 17]))
    dtype = draw(st.sampled_from(["float32", "float64"]))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    x = rng.standard_normal((images, height, width, channels)).astype(dtype)
    if draw(st.booleans()):
        x = np.asfortranarray(x)
    return Window(kernel, stride, padding), x, rng


def close(actual, expected):
    assert actual.dtype == expected.dtype
    bound = 1e-12 if expected.dtype == np.float64 else 2e-5
    np.testing.assert_allclose(actual, expected, rtol=bound, atol=bound * 10)


@records
@settings(max_examples=80, deadline=None)
@given(problem=problems())
def test_convolution(record, problem):
    window, x, rng = problem
    filters = rng.choice([3, 8, 11, 12, 16, 33])
    weight = rng.standard_normal((*window.kernel_size, x.shape[3], filters)).astype(x.dtype)
    bias = rng.standard_normal(filters).astype(x.dtype)
    np.testing.assert_array_equal(record.im2col(x, window), GENERIC.im2col(x, window))
    for b in (bias, None):
        y = record.conv2d(record, x, weight, b, window)
        close(y, GENERIC.conv2d(GENERIC, x, weight, b, window))
    dy = rng.standard_normal(y.shape).astype(x.dtype)
    for need_dx in (True, False):
        actual = record.conv2d_backward(record, x, weight, dy, window, need_dx)
        expected = GENERIC.conv2d_backward(GENERIC, x, weight, dy, window, need_dx)
        assert (actual[0] is None) == (expected[0] is None) == (not need_dx)
        for a, e in zip(actual, expected, strict=True):
            if e is not None:
                close(a, e)


@records
@pytest.mark.parametrize(
    "shape", [(3, 5, 7, 4), (2, 2, 2, 20), (2, 12, 11, 3), (2, 131, 1, 5), (1, 0, 3, 2)]
)
def test_convolutions_of_single_pixels(record, shape):
    """Whose pixels may lie in other rows than the image's."""
    rng, window = np.random.default_rng(5), Window((1, 1))
    x, weight = rng.standard_normal(shape), rng.standard_normal((1, 1, shape[3], 17))
    product = np.einsum("nhwc,cf->nhwf", x, weight[0, 0])
    dy = rng.standard_normal(product.shape)
    y = record.conv2d(record, x, weight, None, window)
    positive = record.conv2d_relu(record, x, weight, None, window)
    assert y.shape == positive.shape == product.shape
    close(y, product)
    close(positive, np.maximum(product, 0.0))
    for gradients, passed in (
        (record.conv2d_backward(record, x, weight, dy, window, True), dy),
        (
            record.conv2d_relu_backward(record, x, weight, positive, dy, window, True),
            np.where(product > 0.0, dy, 0.0),
        ),
    ):
        dx, dweight, dbias = gradients
        assert dx.shape == x.shape
        close(dx, np.einsum("nhwf,cf->nhwc", passed, weight[0, 0]))
        close(dweight[0, 0], np.einsum("nhwc,nhwf->cf", x, passed))
        close(dbias, passed.sum(axis=(0, 1, 2)))


@records
@settings(max_examples=80, deadline=None)
@given(problem=problems(), ties=st.sampled_from(["first", "all"]), whole=st.booleans())
def test_max_pool(record, problem, ties, whole):
    window, x, rng = problem
    window = Window(window.kernel_size, window.kernel_size if whole else window.stride)
    if window.output_shape(*x.shape[1:3])[0] < 1 or window.output_shape(*x.shape[1:3])[1] < 1:
        return
    x = np.round(x)  # so that there are ties
    y, winners = record.max_pool2d(x, window, ties)
    expected_y, expected_winners = GENERIC.max_pool2d(x, window, ties)
    np.testing.assert_array_equal(y, expected_y)
    np.testing.assert_array_equal(winners, expected_winners)
    if ties == "first":
        other, (n, i, j, c) = rng.standard_normal(x.shape), np.indices(y.shape)
        down, right = np.divmod(expected_winners, window.kernel_size[1])
        taken = other[n, i * window.stride[0] + down, j * window.stride[1] + right, c]
        np.testing.assert_array_equal(record.at_winners(other, winners, window), taken)
    dy = rng.standard_normal(y.shape).astype(x.dtype)
    # Where windows overlap, the order of the additions is each kernel's own.
    compare = np.testing.assert_array_equal if whole else close
    compare(
        record.max_pool2d_backward(dy, winners, x.shape, window, ties),
        GENERIC.max_pool2d_backward(dy, expected_winners, x.shape, window, ties),
    )


@records
@settings(max_examples=120, deadline=None)
@given(
    problem=problems(), relu=st.booleans(), filters=st.sampled_from([1, 15, 16, 40]), data=st.data()
)
def test_fused_runs_are_their_parts(record, problem, relu, filters, data):
    window, x, rng = problem
    weight = rng.standard_normal((*window.kernel_size, x.shape[3], filters)).astype(x.dtype)
    bias = rng.standard_normal(filters).astype(x.dtype) if data.draw(st.booleans()) else None
    conv = GENERIC.conv2d(GENERIC, x, weight, bias, window)
    active = np.maximum(conv, 0.0) if relu else conv

    def conv_gradients(dactive):
        dconv = np.where(conv > 0.0, dactive, 0.0) if relu else dactive
        return GENERIC.conv2d_backward(GENERIC, x, weight, dconv, window, True)

    if relu:
        y = record.conv2d_relu(record, x, weight, bias, window)
        close(y, active)
        dy = rng.standard_normal(y.shape).astype(x.dtype)
        actual = record.conv2d_relu_backward(record, x, weight, y, dy, window, True)
        for a, e in zip(actual, conv_gradients(dy), strict=True):
            close(a, e)
    size, stride = data.draw(st.just((2, 2)) | st.tuples(st.integers(1, 3), st.integers(1, 3)))
    pool = Window((size, size), (stride, stride))
    if min(pool.output_shape(*conv.shape[1:3])) < 1:
        return
    expected_y, expected_winners = GENERIC.max_pool2d(conv, pool, "first")
    y, winners = record.conv2d_max_pool2d(record, x, weight, bias, window, relu, pool)
    close(y, np.maximum(expected_y, 0.0) if relu else expected_y)
    # Of two pixels that differ by rounding alone, either may win.
    places = [conv[pool.pixels(offset, y.shape[1:3])] for offset in pool.offsets()]
    close(np.choose(winners, places), np.choose(expected_winners, places))
    dy = rng.standard_normal(y.shape).astype(x.dtype)
    dactive = GENERIC.max_pool2d_backward(dy, winners, conv.shape, pool, "first")
    for need_dx in (True, False):
        actual = record.conv2d_max_pool2d_backward(
            record, x, weight, y, winners, dy, window, relu, pool, need_dx
        )
        assert (actual[0] is None) == (not need_dx)
        for a, e in zip(actual, conv_gradients(dactive), strict=True):
            if a is not None:
                close(a, e)


@pytest.fixture
def winograd_everywhere(monkeypatch):
    """Winograd's algorithm where it is slower, too."""
    monkeypatch.setattr(winograd, "LEAST_TILES", 0)
    monkeypatch.setattr(winograd, "LEAST_FILTERS", 1)
    monkeypatch.setattr(winograd, "MOST_WASTE", 4)


@records
@pytest.mark.usefixtures("winograd_everywhere")
@pytest.mark.parametrize("padding", [(0, 0, 0, 0), (1, 1, 1, 1), (2, 1, 0, 3)])
@pytest.mark.parametrize("channels", [1, 16])
@pytest.mark.parametrize("down", [1, 2])
def test_a_window_of_three_at_every_edge(record, padding, channels, down):
    """Tiles of two by two outputs that reach beyond the image, or do not reach its end."""
    window, pool = Window((3, 3), (down, 1), padding), Window((2, 2), (2, 2))
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((3, 3, channels, 33 if channels == 1 else 32))
    for height, width in itertools.product(range(3, 8), repeat=2):
        x = rng.standard_normal((2, height, width, channels))
        y = GENERIC.conv2d(GENERIC, x, weight, None, window)
        dy = rng.standard_normal(y.shape)
        actual = record.conv2d_backward(record, x, weight, dy, window, True)
        close(record.conv2d(record, x, weight, None, window), y)
        for a, e in zip(
            actual, GENERIC.conv2d_backward(GENERIC, x, weight, dy, window, True), strict=True
        ):
            close(a, e)
        if min(pool.output_shape(*y.shape[1:3])) < 1:
            continue
        pooled, winners = GENERIC.max_pool2d(y, pool, "first")
        arguments = (x, weight, None, window, False, pool)
        close(record.conv2d_max_pool2d(record, *arguments)[0], pooled)
        dy = rng.standard_normal(pooled.shape)
        dconv = GENERIC.max_pool2d_backward(dy, winners, y.shape, pool, "first")
        actual = record.conv2d_max_pool2d_backward(
            record, x, weight, pooled, winners.astype(np.uint8), dy, window, False, pool, True
        )
        for a, e in zip(
            actual, GENERIC.conv2d_backward(GENERIC, x, weight, dconv, window, True), strict=True
        ):
            close(a, e)


@settings(max_examples=60, deadline=None)
@given(problem=problems(), relu=st.booleans(), size=st.integers(1, 3), stride=st.integers(1, 3))
def test_pools_without_winners_give_the_same_to_the_bit(problem, relu, size, stride):
    window, x, rng = problem
    weight = rng.standard_normal((*window.kernel_size, x.shape[3], 5)).astype(x.dtype)
    x.flat[0] = np.nan
    pool = Window((size, size), (stride, stride))
    with_winners = RECORDS["plain"]
    without = plain.numpy_kernels(plain.Launcher(ThreadPool(3)), need_winners=False)
    if min(pool.output_shape(*window.output_shape(*x.shape[1:3]))) >= 1:
        (y, winners), (expected, _) = (
            record.conv2d_max_pool2d(record, x, weight, None, window, relu, pool)
            for record in (without, with_winners)
        )
        assert winners is None
        np.testing.assert_array_equal(y, expected)
    if min(pool.output_shape(*x.shape[1:3])) >= 1:
        y, winners = without.max_pool2d(x, pool, "first")
        assert winners is None
        np.testing.assert_array_equal(y, with_winners.max_pool2d(x, pool, "first")[0])


@records
def test_an_infinite_gradient_reaches_the_winner_alone(record):
    x, pool = np.array([[1.0, 4.0], [2.0, 3.0]]).reshape(1, 2, 2, 1), Window((2, 2), (2, 2))
    _, winners = record.max_pool2d(x, pool, "first")
    dx = record.max_pool2d_backward(np.full((1, 1, 1, 1), np.inf), winners, x.shape, pool, "first")
    np.testing.assert_array_equal(dx.ravel(), [0.0, np.inf, 0.0, 0.0])


@records
def test_a_window_with_nan_gives_nan(record):
    x = np.zeros((1, 4, 4, 1))
    x[0, 1, 2] = np.nan
    y, _ = record.max_pool2d(x, Window((2, 2), (2, 2)), "first")
    np.testing.assert_array_equal(np.isnan(y[0, :, :, 0]), [[False, True], [False, False]])


@records
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 10), (64, 10), (7, 3)])
@pytest.mark.parametrize("scale", [1.0, 1e4])
def test_softmax_cross_entropy(record, dtype, shape, scale):
    rng = np.random.default_rng(0)
    logits = (scale * rng.standard_normal(shape)).astype(dtype)
    logits[0] = logits[0, 0]  # equal logits: the first counts as the prediction
    labels = rng.integers(0, shape[1], shape[0]).astype(np.int32)
    for batch_size in (shape[0], 100):
        actual = record.softmax_cross_entropy(logits, labels, batch_size)
        expected = GENERIC.softmax_cross_entropy(logits, labels, batch_size)
        close(np.asarray(actual[0]), np.asarray(expected[0]))
        close(actual[1], expected[1])
        assert actual[2] == expected[2]
        assert actual[2].dtype == expected[2].dtype
    logits[-1, -1] = np.nan
    loss, dlogits, _ = record.softmax_cross_entropy(logits, labels, shape[0])
    assert np.isnan(loss)
    assert np.isnan(dlogits[-1]).all()


@pytest.mark.parametrize("shape", [(3, 5, 2), (700, 300, 40), (64, 9216, 128), (33, 64, 4000)])
def test_products_on_the_pool(shape):
    rows, inner, columns = shape
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((rows, inner)), rng.standard_normal((inner, columns))
    record = RECORDS["plain"]
    np.testing.assert_allclose(record.matmul(a, b), a @ b, rtol=0, atol=1e-10)
    np.testing.assert_allclose(record.matmul(b.T, a.T), (a @ b).T, rtol=0, atol=1e-10)


SETTINGS = [
    ("sgd_update", {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}),
    ("sgd_update", {"momentum": 0.9, "nesterov": True, "weight_decay": 0.1}),
    ("adam_update", {"weight_decay": 0.1, "decoupled": True}),
    ("adam_update", {"weight_decay": 0.1, "decoupled": False}),
]


@pytest.mark.parametrize("kind", ["plain", "recorded"])
@pytest.mark.parametrize(("name", "chosen"), SETTINGS)
def test_updates_are_the_generic_ones_to_the_bit(name, chosen, kind):
    rng = np.random.default_rng(0)
    shapes = [(3, 3, 1, 8), (70_000,), (300, 200), ()]
    p, g, v, m = ([rng.random(shape) for shape in shapes] for _ in range(4))
    p[2], g[2] = np.asfortranarray(p[2]), np.asfortranarray(g[2])
    rate = np.asarray(0.1)
    if name == "sgd_update":
        inputs = (p, g, v if chosen["momentum"] else [], rate)
    else:
        inputs = (p, g, m, v, (np.asarray(0.9), np.asarray(0.99)), rate)
        chosen = {**chosen, "betas": (0.9, 0.99), "epsilon": 1e-8}
    expected = getattr(GENERIC, name)(*inputs, **chosen)
    actual = getattr(RECORDS[kind], name)(*inputs, **chosen)
    assert len(actual) == len(expected)
    for a_list, e_list in zip(actual, expected, strict=True):
        for a, e in zip(a_list, e_list, strict=True):
            np.testing.assert_array_equal(a, e)


def test_arrays_of_another_library_are_refused():
    strict = pytest.importorskip("array_api_strict")
    x = strict.zeros((1, 4, 4, 1))
    for record in RECORDS.values():
        with pytest.raises(InvalidTypeError, match="NumPy's kernels take NumPy arrays"):
            record.max_pool2d(x, Window((2, 2)), "first")


@records
@pytest.mark.usefixtures("winograd_everywhere")
@pytest.mark.parametrize("channels", [3, 16])
def test_no_images_have_no_gradients(record, channels):
    window, pool = Window((3, 3)), Window((2, 2), (2, 2))
    x, weight = np.zeros((0, 8, 8, channels)), np.ones((3, 3, channels, 32))
    y = record.conv2d(record, x, weight, None, window)
    pooled, winners = record.conv2d_max_pool2d(record, x, weight, None, window, True, pool)
    assert (y.shape, pooled.shape) == ((0, 6, 6, 32), (0, 3, 3, 32))
    for dx, dweight, dbias in (
        record.conv2d_backward(record, x, weight, y, window, True),
        record.conv2d_max_pool2d_backward(
            record, x, weight, pooled, winners, pooled, window, True, pool, True
        ),
    ):
        assert dx.shape == x.shape
        np.testing.assert_array_equal(dweight, np.zeros(weight.shape))
        np.testing.assert_array_equal(dbias, np.zeros(32))


@pytest.mark.parametrize("tile", ["as it is", "one image"])
def test_a_convolution_large_enough_for_several_pieces(tile, monkeypatch):
    if tile == "one image":  # 40 of them, in 16 tasks
        monkeypatch.setattr(columns, "TILE_BYTES", 1)
        monkeypatch.setattr(winograd, "TILE_BYTES", 1)
    rng = np.random.default_rng(0)
    x, weight = rng.standard_normal((40, 20, 20, 16)), rng.standard_normal((3, 3, 16, 32))
    bias, window, record = rng.standard_normal(32), Window((3, 3)), RECORDS["plain"]
    y = record.conv2d(record, x, weight, bias, window)
    np.testing.assert_allclose(
        y, GENERIC.conv2d(GENERIC, x, weight, bias, window), rtol=0, atol=1e-10
    )
    actual = record.conv2d_backward(record, x, weight, y, window, True)
    expected = GENERIC.conv2d_backward(GENERIC, x, weight, y, window, True)
    for a, e in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, e, rtol=0, atol=1e-7)


@records
@pytest.mark.usefixtures("winograd_everywhere")
@pytest.mark.parametrize("shape", [(2, 26, 32, 64), (2, 9, 16, 16), (1, 14, 128, 128)])
def test_winograd_is_nearly_as_exact_as_the_direct_method(record, shape):
    """Root mean square errors in float32, against float64; the generic kernel is direct."""
    images, size, channels, filters = shape
    window, rng = Window((3, 3), (1, 1), (1, 1, 1, 1)), np.random.default_rng(0)
    x = rng.standard_normal((images, size, size, channels), dtype=np.float32)
    weight = rng.standard_normal((3, 3, channels, filters), dtype=np.float32)
    dy = rng.standard_normal((images, size, size, filters), dtype=np.float32)

    def results(record, *arrays):
        x, weight, dy = arrays
        y = record.conv2d(record, x, weight, None, window)
        return y, *record.conv2d_backward(record, x, weight, dy, window, True)

    exact = results(GENERIC, *(array.astype(np.float64) for array in (x, weight, dy)))
    errors = [
        [
            np.sqrt(np.mean((found - right) ** 2))
            for found, right in zip(results(kernels, x, weight, dy), exact, strict=True)
        ]
        for kernels in (record, GENERIC)
    ]
    for error, direct in zip(*errors, strict=True):
        assert error <= 4 * direct


@pytest.mark.skipif("compiled" not in RECORDS, reason="llvmlite is not installed")
def test_compiled_kernels_refuse_what_they_would_misread():
    record = RECORDS["compiled"]
    x, weight = np.ones((2, 5), np.float32), np.ones((5, 3), np.float32)
    bias = np.zeros(3)
    for call in (
        lambda: record.dense(record, x, weight, bias),
        lambda: record.matmul(x.astype(">f4"), weight),
        lambda: record.conv2d(
            record,
            x.reshape(1, 2, 5, 1),
            weight.reshape(1, 1, 5, 3)[:, :, :1],
            bias,
            Window((1, 1)),
        ),
    ):
        with pytest.raises(InvalidTypeError):
            call()
    with pytest.raises(InvalidValueError, match="do not fit"):
        record.matmul(x, np.ones((4, 3), np.float32))


@records
@pytest.mark.parametrize(("images", "inputs"), [(0, 5), (2, 0)])
def test_dense_layers_of_nothing(record, images, inputs):
    x, weight, dy = np.ones((images, inputs)), np.ones((inputs, 3)), np.ones((images, 3))
    bias = np.arange(3.0)
    found, expected = (
        (r.dense(r, x, weight, bias), *r.dense_backward(r, x, weight, dy, True))
        for r in (record, GENERIC)
    )
    for a, e in zip(found, expected, strict=True):
        np.testing.assert_array_equal(a, e)
