"""Convolution and max-pool in one, on CUDA, against PyTorch's autograd in float64."""

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops import Window
from arraycnn.ops.conv2d import cuda_direct as direct_convolution
from arraycnn.ops.conv2d.cuda_direct import conv2d_max_pool2d, conv2d_max_pool2d_backward
from conftest import import_optional
from host_cuda import HostLauncher, check, lazy_zeros

POOL = Window((2, 2), (2, 2))
NO_OPS = None  # what suits asks no other kernel

# images, height, width, channels, filters, edge of the window, padding (top, bottom, left, right)
TABLE = [
    (1, 4, 4, 1, 1, 3, (0, 0, 0, 0)),
    (3, 9, 8, 1, 8, 3, (0, 0, 0, 0)),
    (2, 8, 11, 3, 6, 3, (1, 1, 1, 1)),
    (2, 6, 7, 4, 32, 3, (1, 0, 0, 2)),
    (1, 28, 28, 1, 8, 3, (0, 0, 0, 0)),
    (2, 3, 40, 1, 5, 3, (0, 1, 0, 0)),
    (2, 7, 5, 2, 4, 3, (4, 3, 3, 4)),  # some windows see nothing but padding
    (5, 6, 6, 1, 3, 5, (0, 0, 0, 0)),
    (2, 9, 7, 3, 9, 5, (2, 2, 2, 2)),
    (1, 5, 8, 4, 32, 5, (1, 2, 3, 0)),
    (0, 6, 6, 1, 8, 3, (0, 0, 0, 0)),
]


def random_shapes(count):
    rng = np.random.default_rng(20)
    for _ in range(count):
        edge = int(rng.choice((3, 5)))
        padding = tuple(int(p) for p in rng.integers(0, 3, 4))
        height = int(rng.integers(edge + 1, 14))
        width = int(rng.integers(edge + 1, 14))
        channels, filters = int(rng.integers(1, 5)), int(rng.integers(1, 33))
        yield (int(rng.integers(1, 5)), height, width, channels, filters, edge, padding)


SHAPES = [*TABLE, *random_shapes(6)]


def arrays(shape, dtype="float64", bias=True, seed=1):
    images, height, width, channels, filters, edge, padding = shape
    rng = np.random.default_rng([seed, *shape[:6]])
    return (
        rng.normal(size=(images, height, width, channels)).astype(dtype),
        rng.normal(size=(edge, edge, channels, filters)).astype(dtype),
        rng.normal(size=filters).astype(dtype) if bias else None,
        Window((edge, edge), (1, 1), padding),
    )


def by_autograd(x, weight, bias, window, relu, dy=None):
    """(y, winners, dx, dweight, dbias): the gradients of the sum of dy * y."""
    torch = import_optional("torch")
    functional = torch.nn.functional
    top, bottom, left, right = window.padding
    tensors = [torch.tensor(a.astype(float), requires_grad=True) for a in (x, weight)]
    zeros = np.zeros(weight.shape[3]) if bias is None else bias
    tensors.append(torch.tensor(zeros.astype(float), requires_grad=True))
    image, filters, added = tensors
    padded = functional.pad(image.permute(0, 3, 1, 2), (left, right, top, bottom))
    y = functional.conv2d(padded, filters.permute(3, 2, 0, 1), added)
    width = y.shape[3]
    y, places = functional.max_pool2d(y, 2, return_indices=True)
    winners = (places // width % 2 * 2 + places % width % 2).permute(0, 2, 3, 1)
    y = (functional.relu(y) if relu else y).permute(0, 2, 3, 1)
    if dy is not None:
        (y * torch.tensor(dy.astype(float))).sum().backward()
    gradients = [None if t.grad is None else t.grad.numpy() for t in tensors]
    return y.detach().numpy(), winners.numpy(), *gradients


def forward(cuda, x, weight, bias, window, relu, pool=POOL, ops=NO_OPS):
    return conv2d_max_pool2d(cuda, ops, x, weight, bias, window, relu, pool)


@pytest.fixture(params=[4, 8])
def group(request, monkeypatch):
    """How many filters a thread has: many where there is much work."""
    monkeypatch.setattr(direct_convolution, "_BUSY", 0 if request.param == 8 else 2**62)
    return request.param


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_forward(shape, dtype, group):
    relu, bias = sum(shape[:6]) % 2 == 0, sum(shape[:4]) % 3 > 0
    given = arrays(shape, dtype, bias)
    y, winners = check(lambda cuda: forward(cuda, *given, relu))
    expected, places, *_ = by_autograd(*given, relu)
    assert y.dtype == dtype
    assert winners.dtype == np.uint8
    tolerance = 1e-12 if dtype == "float64" else 3e-5
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    np.testing.assert_array_equal(winners, places)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_backward(shape, dtype):
    relu = sum(shape[:6]) % 2 == 1
    x, weight, bias, window = arrays(shape, dtype)
    y, winners = forward(HostLauncher(), x, weight, bias, window, relu)
    dy = np.random.default_rng(2).normal(size=y.shape).astype(dtype)
    actual = check(
        lambda cuda: conv2d_max_pool2d_backward(
            *(cuda, NO_OPS, x, weight, y, winners, dy, window, relu, POOL, True)
        )
    )
    _, _, *expected = by_autograd(x, weight, bias, window, relu, dy)
    tolerance = 1e-12 if dtype == "float64" else 1e-4
    for name, value, wanted in zip(("dx", "dweight", "dbias"), actual, expected, strict=True):
        assert value.dtype == dtype
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance, err_msg=name)


@pytest.mark.parametrize("images", [1, 3, 40])
def test_sums_over_many_blocks_and_parts_of_images(images, monkeypatch):
    """More images than blocks, and more blocks than images."""
    monkeypatch.setattr(direct_convolution, "_FEW_SUMS", 7)
    monkeypatch.setattr(direct_convolution, "_MOST_SUMS", 9)
    monkeypatch.setattr(direct_convolution, "_MOST_WANTED", 5)
    x, weight, bias, window = arrays((images, 24, 13, 2, 12, 3, (1, 1, 1, 1)))
    y, winners = check(lambda cuda: forward(cuda, x, weight, bias, window, True))
    dy = np.random.default_rng(2).normal(size=y.shape)
    actual = check(
        lambda cuda: conv2d_max_pool2d_backward(
            *(cuda, NO_OPS, x, weight, y, winners, dy, window, True, POOL, True)
        )
    )
    expected, _, *gradients = by_autograd(x, weight, bias, window, True, dy)
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)
    for value, wanted in zip(actual, gradients, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-11, atol=1e-11)


def test_nobody_asks_for_the_gradient_of_the_image():
    x, weight, bias, window = arrays(TABLE[1])
    y, winners = forward(HostLauncher(), x, weight, bias, window, False)
    launcher = HostLauncher()
    dx, *rest = conv2d_max_pool2d_backward(
        *(launcher, NO_OPS, x, weight, y, winners, y, window, False, POOL, False)
    )
    assert dx is None
    assert launcher.last_kernel == "direct_convolution.sum_gradients<double, 3>"  # of few images
    expected = by_autograd(x, weight, bias, window, False, y)[3:]
    for value, wanted in zip(rest, expected, strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("images", [0, 3])
def test_gradients_in_parts(images):
    """Their sum is the gradient; of no image there is no part, but a gradient of zeros."""
    x, weight, bias, window = arrays((images, 9, 8, 2, 5, 3, (1, 1, 1, 1)))
    y, winners = forward(HostLauncher(), x, weight, bias, window, True)
    dy = np.random.default_rng(2).normal(size=y.shape)
    _, *actual = conv2d_max_pool2d_backward(
        *(HostLauncher(), NO_OPS, x, weight, y, winners, dy, window, True, POOL, False),
        in_parts=True,
    )
    expected = by_autograd(x, weight, bias, window, True, dy)[3:]
    for value, wanted in zip(actual, expected, strict=True):
        assert value.shape == ((images, *wanted.shape) if images else wanted.shape)
        whole = value.sum(axis=0) if images else value
        np.testing.assert_allclose(whole, wanted, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("relu", [False, True])
def test_the_first_of_equals_wins(relu, group):
    x, weight, bias, window = arrays((2, 7, 6, 2, 5, 3, (0, 0, 0, 0)), "float32")
    x[...] = 1.0  # every window of the convolution is the same
    _, winners = forward(HostLauncher(), x, weight, bias, window, relu)
    np.testing.assert_array_equal(winners, 0)
    x[0, 3, :, :] = 2.0  # the last row of windows differs from the first
    _, winners = forward(HostLauncher(), x, weight, bias, window, relu)
    _, places, *_ = by_autograd(x, weight.astype(float), bias, window, relu)
    np.testing.assert_array_equal(winners, places)
    assert set(winners.ravel()) == {0, 2}


@pytest.mark.parametrize("relu", [False, True])
def test_nan_reaches_every_window_that_holds_it(relu, group):
    given = arrays((2, 9, 9, 1, 8, 3, (1, 1, 1, 1)))
    given[0][1, 4, 3, 0] = np.nan
    y, _ = forward(HostLauncher(), *given, relu)
    expected = by_autograd(*given, relu)[0]
    assert np.isnan(expected).any()
    np.testing.assert_allclose(y, expected, rtol=1e-12)  # NaN equals NaN here


def test_no_gradient_flows_where_relu_is_at_zero():
    """y = 0 exactly is not above 0, and a NaN is not either."""
    x, weight = np.zeros((1, 4, 4, 1)), np.zeros((3, 3, 1, 2))
    x[...] = 3.0
    weight[1, 1, 0] = 1.0
    window, bias = Window((3, 3)), np.array([-3.0, np.nan])
    y, winners = forward(HostLauncher(), x, weight, bias, window, True)
    np.testing.assert_array_equal(y, [[[[0.0, np.nan]]]])
    gradients = conv2d_max_pool2d_backward(
        *(HostLauncher(), NO_OPS, x, weight, y, winners, np.ones_like(y)),
        *(window, True, POOL, True),
    )
    for gradient in gradients:
        np.testing.assert_array_equal(gradient, 0.0)


def test_views_are_taken_as_they_are():
    x, weight, bias, window = arrays(TABLE[2])
    dy = np.random.default_rng(2).normal(size=(2, 4, 5, 6))
    y, winners = forward(HostLauncher(), x, weight, bias, window, True)
    straight = conv2d_max_pool2d_backward(
        *(HostLauncher(), NO_OPS, x, weight, y, winners, dy, window, True, POOL, True)
    )
    turned = [np.asfortranarray(a) for a in (x, weight, y, winners, dy)]
    again, places = forward(
        *(HostLauncher(), turned[0], turned[1], np.repeat(bias, 2)[::2], window, True)
    )
    np.testing.assert_array_equal(again, y)
    np.testing.assert_array_equal(places, winners)
    turned_gradients = conv2d_max_pool2d_backward(
        HostLauncher(), NO_OPS, *turned, window, True, POOL, True
    )
    for a, b in zip(straight, turned_gradients, strict=True):
        np.testing.assert_array_equal(a, b)


# -- images that are computed where they are read -----------------------------------------------------

TEXT = """
struct HalvedPixels {
    const unsigned char* set;
    const int* rows;
    long long size;
    REAL factor;

    DEVICE auto image(long long n) const {
        const unsigned char* const first = set + rows[n] * size;
        return [first](int place) { return first[place]; };
    }
    DEVICE REAL value(unsigned char number) const { return factor * REAL(number) - REAL(1); }
};
"""


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", TABLE[1:5], ids=str)
def test_images_that_lie_nowhere(shape, dtype):
    """To the last bit as images that lie in memory; around them there are zeros, not what 0 becomes."""
    _, weight, bias, window = arrays(shape, dtype)
    rng, real = np.random.default_rng(5), np.dtype(dtype).type
    images = rng.integers(0, 256, (7, *shape[1:4]), dtype=np.uint8)
    rows = rng.integers(0, 7, shape[0]).astype(np.int32)
    x = real(0.5) * images[rows].astype(dtype) - real(1)
    text = TEXT.replace("REAL", {"float32": "float", "float64": "double"}[dtype])
    members = images, rows, images[0].size, real(0.5)
    source = direct_convolution.Source("HalvedPixels", text, members, x.shape, dtype)
    dy = rng.normal(size=forward(HostLauncher(), x, weight, bias, window, True)[0].shape).astype(
        dtype
    )

    def step(cuda, given):
        y, winners = forward(cuda, given, weight, bias, window, True)
        backward = given, weight, y, winners, dy, window, True, POOL, False
        return y, winners, conv2d_max_pool2d_backward(cuda, NO_OPS, *backward)

    y, winners, gradients = check(lambda cuda: step(cuda, source))
    expected, places, wanted = step(HostLauncher(), x)
    np.testing.assert_array_equal(y, expected)
    np.testing.assert_array_equal(winners, places)
    for gradient, other in zip(gradients[1:], wanted[1:], strict=True):
        np.testing.assert_array_equal(gradient, other)
    other = direct_convolution.Source("HalvedPixels", text, members, x.shape, "float16")
    with pytest.raises(
        InvalidTypeError, match=rf"x must be {dtype} as its weights are, got float16"
    ):
        forward(HostLauncher(), other, weight, bias, window, True)


# -- more than 2^31 numbers: memory is taken where it is touched, and the last blocks run -------------

MANY = 2**19 + 1024  # images of 64 x 64, the last of which is the last block's, too


def test_the_last_images_of_a_huge_batch():
    _, weight, bias, window = arrays((1, 64, 64, 1, 8, 3, (1, 1, 1, 1)), "float32")
    x = lazy_zeros((MANY, 64, 64, 1), "float32")
    x[-1] = np.random.default_rng(3).normal(size=x.shape[1:])
    expected, places, *_ = by_autograd(x[-1:], weight, bias, window, True)
    y, winners = forward(HostLauncher(blocks=slice(-1, None)), x, weight, bias, window, True)
    tail = slice(-8, None)  # of the rows: what the last block makes of an image
    np.testing.assert_allclose(y[-1, tail], expected[0, tail], rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(winners[-1, tail], places[0, tail])


class LastSums(HostLauncher):
    """Runs the last block of `sum_gradients`; the partial sums of the others are 0."""

    def empty(self, shape, dtype):
        array = super().empty(shape, dtype)
        array[...] = 0
        return array

    def start(self, file, kernel, *rest):
        self.blocks = slice(-1 if kernel.startswith("sum_gradients") else None, None)
        super().start(file, kernel, *rest)


def test_the_gradients_of_the_last_images_of_a_huge_batch(monkeypatch):
    monkeypatch.setattr(
        direct_convolution, "_MOST_BYTES_OF_ONE", 0
    )  # a kernel adds up what blocks leave
    _, weight, bias, window = arrays((1, 64, 64, 1, 8, 3, (1, 1, 1, 1)), "float32")
    x = lazy_zeros((MANY, 64, 64, 1), "float32")
    dy, y = (lazy_zeros((MANY, 32, 32, 8), "float32") for _ in range(2))
    winners = lazy_zeros(dy.shape, "uint8")
    rng = np.random.default_rng(3)
    x[-1], dy[-1] = rng.normal(size=x.shape[1:]), rng.normal(size=dy.shape[1:])
    y[-1:], winners[-1:] = forward(HostLauncher(), x[-1:], weight, bias, window, True)
    expected = by_autograd(x[-1:], weight, bias, window, True, dy[-1:])
    _, dweight, dbias = conv2d_max_pool2d_backward(
        *(LastSums(), NO_OPS, x, weight, y, winners, dy, window, True, POOL, False)
    )
    np.testing.assert_allclose(dweight, expected[3], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(dbias, expected[4], rtol=1e-3, atol=1e-3)
    # Only its last block makes dx, and it is there that a product of 32 bits would overflow.
    dx = lazy_zeros(x.shape, "float32")

    class LastBlock(HostLauncher):
        def empty(self, shape, dtype):
            return dx if shape == x.shape else super().empty(shape, dtype)

    conv2d_max_pool2d_backward(
        *(LastBlock(blocks=slice(-1, None)), NO_OPS, x, weight, y, winners, dy),
        *(window, True, POOL, True),
    )
    np.testing.assert_allclose(dx[-1, -4:], expected[2][0, -4:], rtol=1e-4, atol=1e-4)


# -- what does not suit, and what is refused ----------------------------------------------------------


class Ops:
    """The kernels that a convolution and a pool are made of, in PyTorch's float64."""

    def __init__(self):
        self.called = []

    def conv2d(self, ops, x, weight, bias, window):
        self.called.append("conv2d")
        return self._convolve(x, weight, bias, window)

    def conv2d_relu(self, ops, x, weight, bias, window):
        self.called.append("conv2d_relu")
        return np.maximum(self._convolve(x, weight, bias, window), 0.0)

    def _convolve(self, x, weight, bias, window):
        functional = import_optional("torch").nn.functional
        tensor = import_optional("torch").tensor
        top, bottom, left, right = window.padding
        padded = functional.pad(tensor(x).permute(0, 3, 1, 2), (left, right, top, bottom))
        y = functional.conv2d(
            padded, tensor(weight).permute(3, 2, 0, 1), tensor(bias), stride=window.stride
        )
        return y.permute(0, 2, 3, 1).contiguous().numpy()

    def max_pool2d(self, x, window, ties):
        self.called.append(f"max_pool2d {ties}")
        functional = import_optional("torch").nn.functional
        y, places = functional.max_pool2d(
            *(import_optional("torch").tensor(x).permute(0, 3, 1, 2), window.kernel_size),
            *(window.stride,),
            return_indices=True,
        )
        self.places = places.permute(0, 2, 3, 1).numpy()
        return y.permute(0, 2, 3, 1).contiguous().numpy(), self.places.astype(np.int32)

    def max_pool2d_backward(self, dy, winners, input_shape, window, ties, gate):
        self.called.append(f"max_pool2d_backward {ties}")
        dy = dy if gate is None else np.where(gate > 0.0, dy, 0.0)
        dx = np.zeros(input_shape)
        flat = dx.reshape(input_shape[0], -1, input_shape[3])
        for n, i, j, c in np.ndindex(dy.shape):
            flat[n, self.places[n, i, j, c], c] += dy[n, i, j, c]
        return dx

    def conv2d_backward(self, ops, x, weight, dy, window, need_dx):
        self.called.append(f"conv2d_backward {need_dx}")
        self.dy = dy
        return "dx", "dweight", "dbias"


UNSUITED = {  # x, weight, stride of the window, pool
    "a third of the rows": ((2, 9, 8, 1), (3, 3, 1, 4), (2, 1), POOL),
    "seven rows": ((2, 12, 12, 1), (7, 7, 1, 4), (1, 1), POOL),
    "a flat window": ((2, 8, 8, 1), (3, 5, 1, 4), (1, 1), POOL),
    "many channels": ((2, 8, 8, 5), (3, 3, 5, 4), (1, 1), POOL),
    "many filters": ((2, 8, 8, 1), (3, 3, 1, 33), (1, 1), POOL),
    "a large pool": ((2, 8, 8, 1), (3, 3, 1, 4), (1, 1), Window((3, 3), (3, 3))),
    "pools that overlap": ((2, 8, 8, 1), (3, 3, 1, 4), (1, 1), Window((2, 2), (1, 1))),
}


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("case", UNSUITED)
def test_what_does_not_suit_is_computed_in_steps(case, relu):
    x_shape, weight_shape, stride, pool = UNSUITED[case]
    rng = np.random.default_rng(4)
    x, weight, bias = (rng.normal(size=s) for s in (x_shape, weight_shape, weight_shape[3]))
    window, ops, cuda = Window(weight_shape[:2], stride), Ops(), HostLauncher()
    y, winners = forward(cuda, x, weight, bias, window, relu, pool, ops)
    assert ops.called == ["conv2d_relu" if relu else "conv2d", "max_pool2d first"]
    if relu:
        assert (y == 0.0).any()
    dy = rng.normal(size=y.shape)
    for need_dx in (True, False):
        ops.called.clear()
        result = conv2d_max_pool2d_backward(
            *(cuda, ops, x, weight, y, winners, dy, window, relu, pool, need_dx)
        )
        assert result == ("dx", "dweight", "dbias")
        assert ops.called == ["max_pool2d_backward first", f"conv2d_backward {need_dx}"]
        passed = np.where(y > 0.0, dy, 0.0) if relu else dy
        np.testing.assert_allclose(ops.dy.sum(axis=(1, 2)), passed.sum(axis=(1, 2)), atol=1e-12)


def test_what_is_refused():
    x, weight, bias, window = arrays(TABLE[1])
    cuda = HostLauncher()
    y, winners = forward(cuda, x, weight, bias, window, True)
    backward = (window, True, POOL, True)
    with pytest.raises(InvalidTypeError, match="all be float32 or all float64"):
        forward(cuda, x.astype("float32"), weight, bias, window, True)
    with pytest.raises(InvalidTypeError, match="lie on the backend's device"):
        forward(cuda, x, weight, bias.tolist(), window, True)
    with pytest.raises(InvalidValueError, match="bias must be of shape"):
        forward(cuda, x, weight, bias[1:], window, True)
    with pytest.raises(InvalidValueError, match="weight must be of shape"):
        forward(cuda, x, np.repeat(weight, 2, axis=2), bias, window, True)
    with pytest.raises(InvalidTypeError, match="takes uint8"):
        conv2d_max_pool2d_backward(
            cuda, NO_OPS, x, weight, y, winners.astype("int32"), y, *backward
        )
    with pytest.raises(InvalidValueError, match="dy must be of shape"):
        conv2d_max_pool2d_backward(cuda, NO_OPS, x, weight, y, winners, y[1:], *backward)
