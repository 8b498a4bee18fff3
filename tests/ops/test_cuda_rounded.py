"""Products of arrays that lie rounded in memory: against NumPy in float64, of rounded numbers.

Their rounded results are the float32 ones, rounded once, to the last bit.
"""

import math
from functools import partial

import numpy as np
import pytest

import test_cuda_convolution
from arraycnn.errors import InvalidTypeError
from arraycnn.ops import GENERIC, Window
from arraycnn.ops.conv2d import cuda as convolution
from arraycnn.ops.cuda import tiles
from arraycnn.ops.dense import cuda as matmul
from arraycnn.ops.max_pool2d import cuda as windows
from arraycnn.ops.rounded import BFLOAT16_BITS, TENSOR_FLOAT32_BITS
from host_cuda import HostLauncher, check
from test_cuda_convolution import TABLE, dweight_of, dx_of, forward
from test_cuda_matmul import FORMS, check_sums, normal, tiles_of, unaligned

__all__ = ["tiles_of"]  # a fixture


FORMATS = {"tf32": TENSOR_FLOAT32_BITS, "bf16": BFLOAT16_BITS}
"""What the products of a precision have in memory."""

formats = pytest.mark.parametrize("precision", FORMATS)


def stored(precision, array):
    """``array`` rounded to nearest, as bits: of bfloat16 the upper 16, ties to even; of TensorFloat32
    all but the lower 13, ties away from zero. NaN stays NaN."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    if precision == "tf32":
        rounded, nan = (bits + 0x1000) & 0xFFFFE000, 0x7FFFE000
    else:
        rounded, nan = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16, 0x7FFF
    return np.where(np.isnan(array), nan, rounded).astype(FORMATS[precision])


def value(array):
    """Of an array in memory, in float32."""
    if array.dtype == TENSOR_FLOAT32_BITS:
        return array.view(np.float32)
    if array.dtype == BFLOAT16_BITS:
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def multiplied(precision, array):
    """What an operand is multiplied as, in float64."""
    return value(stored(precision, value(array))).astype(np.float64)


def check_rounded(precision, actual, expected):
    """``actual`` is ``expected``, of float32, rounded: to the last bit, but for those of a NaN."""
    assert actual.dtype == FORMATS[precision]
    np.testing.assert_array_equal(value(actual), value(stored(precision, expected)))


def check_both(precision, run, expected, terms, checked=False):
    """``run(launcher, dtype)`` gives the sums ``expected`` in float32, and rounded."""
    y = check(lambda cuda: run(cuda, "float32"), orders=("random", "reverse"), checked=checked)
    check_sums(y, expected, terms, precision)
    rounded = partial(run, dtype=FORMATS[precision])
    check_rounded(precision, check(rounded, orders=("random",), checked=checked), y)


KINDS = {"both": (True, True), "first": (True, False), "second": (False, True)}
"""Which of two operands is rounded in memory; the other is float32."""


def kinds_of(precision, name):
    """For each of two operands, what makes of an array that which a kernel is given."""
    return [partial(stored, precision) if rounded else np.asarray for rounded in KINDS[name]]


@formats
@pytest.mark.parametrize("number", range(4), ids=["NN", "NT", "TN", "TT"])
def test_products(number, precision):
    """Of rounded ones in each form; those with a float32 operand in two."""
    form_a, form_b = FORMS[number]
    for name in ("both", ("first", "second")[number % 2]):
        kind_a, kind_b = kinds_of(precision, name)
        for rows, depth, columns in [(40, 56, 48), (36, 75, 20), (40, 1000, 16)]:
            a = form_a(kind_a(normal((rows, depth), precision)))
            b = form_b(kind_b(normal((depth, columns), precision, seed=1)))
            check_both(
                precision,
                lambda cuda, dtype, a=a, b=b: matmul.matmul(
                    cuda, a, b, precision=precision, stored=dtype
                ),
                multiplied(precision, a) @ multiplied(precision, b),
                depth,
                checked=depth == 56 and name == "both",
            )


ROUNDED_TILES = [
    (precision, tile)
    for precision, key in (("tf32", "tensorfloat32"), ("bf16", "bfloat16"))
    for tile in tiles.TILES[key]
]


@pytest.mark.parametrize(
    ("precision", "tile"), ROUNDED_TILES, ids=lambda one: getattr(one, "math", one)
)
@pytest.mark.parametrize(("form_a", "form_b"), [FORMS[0], FORMS[3]], ids=["NN", "TT"])
def test_every_tile(precision, tile, form_a, form_b, tiles_of):
    """Two tiles down and two across, of which the last are not whole; and more than three stages."""
    tiles_of("tensorfloat32" if precision == "tf32" else "bfloat16", tile)
    a = form_a(stored(precision, normal((tile.rows + 8, 136), precision)))
    b = form_b(stored(precision, normal((136, tile.columns + 8), precision, seed=1)))
    check_both(
        precision,
        lambda cuda, dtype: matmul.matmul(cuda, a, b, precision=precision, stored=dtype),
        multiplied(precision, a) @ multiplied(precision, b),
        136,
        checked=form_a is FORMS[0][0],
    )


def test_an_operand_copied_number_by_number_takes_a_tile_that_has_registers_for_it():
    """Of TensorFloat32 one is enough: the largest tile would spill some."""
    exact = np.zeros((4096, 1024), np.float32)
    rounded, weight = stored("tf32", exact), stored("tf32", exact.T)
    cases = [(exact, 1023, "128, 64, 64, 32"), (rounded, 1023, "128, 64, 64, 32")]
    for x, depth, tile in [*cases, (rounded, 1024, "128, 128, 64, 64")]:
        cuda, x = HostLauncher(blocks=slice(0)), np.ascontiguousarray(x[:, :depth])
        matmul.matmul(cuda, x, weight[:depth], precision="tf32", stored="float32")
        width = 4 if depth == 1024 else 1
        begins = f"matmul.matmul<Mma<RoundedTf32, {tile}>, Form<true, {width}"
        assert cuda.last_kernel.startswith(begins)


@formats
def test_what_is_not_finite_stays_so(precision):
    odd = [0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000, 0xFF800000, 0x7F7FFFFF]
    a = np.zeros((len(odd), 8), np.float32)
    a[:, 0] = np.array(odd, np.uint32).view(np.float32)
    expected = np.array([np.nan] * 4 + [np.inf, -np.inf, np.inf], np.float32)
    eye = stored(precision, np.eye(8))
    for kind in kinds_of(precision, "first"):
        y = matmul.matmul(
            HostLauncher(), kind(a), eye, precision=precision, stored=FORMATS[precision]
        )
        np.testing.assert_array_equal(value(y)[:, 0], expected)


@formats
@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("kinds", KINDS)
def test_dense_layers(kinds, gated, precision):
    kind_x, kind_dy = kinds_of(precision, kinds)
    x, weight = (kind_x(normal(s, precision, i)) for i, s in enumerate([(33, 40), (40, 24)]))
    bias, dy = normal((24,), precision, 2), kind_dy(normal((33, 24), precision, 3))
    exact = partial(multiplied, precision)
    sums = exact(x) @ exact(weight) + bias
    y = kind_dy(np.maximum(sums, 0).astype(np.float32))
    for kernel, expected in ((matmul.dense, sums), (matmul.dense_relu, np.maximum(sums, 0))):
        check_both(
            precision,
            lambda cuda, dtype, kernel=kernel: kernel(
                cuda, None, x, weight, bias, precision=precision, stored=dtype
            ),
            expected,
            40,
        )
    backward, given = matmul.dense_backward, (x, weight)
    if gated:
        backward, given = matmul.dense_relu_backward, (x, weight, y)

    def gradients(cuda, dtype):
        return backward(cuda, None, *given, dy, True, precision=precision, stored=dtype)

    passed = np.where(value(y) > 0, exact(dy), 0) if gated else exact(dy)
    check_both(
        precision, lambda cuda, dtype: gradients(cuda, dtype)[0], passed @ exact(weight).T, 24
    )
    rounded = FORMATS[precision]
    _, dweight, dbias = check(lambda cuda: gradients(cuda, rounded), checked=gated)
    check_sums(dweight, exact(x).T @ passed, 33, precision)
    check_sums(dbias, passed.sum(axis=0), 33, precision)


CONVOLUTIONS = {
    "stride, padded": TABLE["stride, padded"],
    "16 channels": ((3, 7, 9, 16), 24, Window((3, 3), (1, 1), (1, 1, 1, 1))),
    "strides": ((2, 9, 8, 8), 40, Window((3, 2), (2, 2), (1, 0, 1, 1))),
    "split": ((2, 4, 4, 120), 8, Window((3, 3), (1, 1), (1, 1, 1, 1))),
}


@formats
@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        *((name, "both") for name in CONVOLUTIONS),
        *(("16 channels", name) for name in ("first", "second")),
    ],
)
def test_convolutions(name, kinds, precision):
    shape, filters, window = CONVOLUTIONS[name]
    x, weight, bias, dy = test_cuda_convolution.arrays(shape, filters, window, precision)
    kind_x, kind_weight = kinds_of(precision, kinds)
    x, weight, dy = kind_x(x), kind_weight(weight), kind_weight(dy)
    exact = partial(multiplied, precision)
    check_both(
        precision,
        lambda cuda, dtype: convolution.conv2d_relu(
            cuda, None, x, weight, bias, window, precision=precision, stored=dtype
        ),
        np.maximum(forward(exact(x), exact(weight), window) + bias, 0),
        math.prod(weight.shape[:3]),
        checked=name == "16 channels",
    )
    # Zeros and NaN let nothing pass, nor do negative zeros.
    y = np.maximum(normal(dy.shape, precision, seed=9), 0)
    y.ravel()[:4] = [np.nan, -0.0, 1e-40, 1.0]
    y = kind_weight(y)

    def gradients(cuda, dtype):
        return convolution.conv2d_relu_backward(
            cuda, None, x, weight, y, dy, window, True, precision=precision, stored=dtype
        )

    passed = np.where(value(y) > 0, exact(dy), 0)
    check_both(
        precision,
        lambda cuda, dtype: gradients(cuda, dtype)[0],
        dx_of(passed, exact(weight), window, shape),
        weight[..., 0, :].size,
    )
    rounded = FORMATS[precision]
    _, dweight, dbias = check(lambda cuda: gradients(cuda, rounded), checked=name == "strides")
    pixels = math.prod(dy.shape[:3])
    check_sums(dweight, dweight_of(exact(x), passed, window), pixels, precision)
    check_sums(dbias, passed.sum(axis=(0, 1, 2)), pixels, precision)


@formats
def test_lines_that_begin_at_odd_addresses(precision):
    a, b = (unaligned(stored(precision, normal((32, 32), precision, seed))) for seed in (0, 1))
    check_both(
        precision,
        lambda cuda, dtype: matmul.matmul(cuda, a, b, precision=precision, stored=dtype),
        multiplied(precision, a) @ multiplied(precision, b),
        32,
        checked=True,
    )


@formats
@pytest.mark.parametrize("edge", [2, 3])
@pytest.mark.parametrize(("reads_rounded", "rounds"), [(True, True), (False, True), (True, False)])
def test_pools_pick_numbers_and_round_them_once(reads_rounded, rounds, edge, precision):
    shape, window = (2, 7, 6, 16), Window((edge, edge), (2, 2))
    kind = partial(stored, precision) if reads_rounded else np.asarray
    dtype = FORMATS[precision] if rounds else "float32"
    x = kind(normal(shape, precision))
    x[0, 0, 0, 0], x[1, 2, 2, 1] = kind(np.float32(np.nan)), kind(np.float32(np.inf))
    x[0, 3, 3, 5] = kind(np.float32(np.nan))  # the last of its window
    y, winners = check(
        lambda cuda: windows.max_pool2d(cuda, x, window, "first", stored=dtype), checked=edge == 2
    )
    found, places = GENERIC.max_pool2d(value(x), window, "first")
    np.testing.assert_array_equal(winners, places)
    same = partial(check_rounded, precision) if rounds else np.testing.assert_array_equal
    same(y, found)
    dy = kind(normal(y.shape, precision, seed=1))
    gate = kind(np.where(normal(y.shape, precision, seed=2) > 0, 1e-40, np.nan).astype(np.float32))
    dx = check(
        lambda cuda: windows.max_pool2d_backward(
            cuda, dy, winners, shape, window, "first", gate, stored=dtype
        ),
        checked=edge == 2,
    )
    passed = np.where(value(gate) > 0, value(dy), 0)
    found = GENERIC.max_pool2d_backward(passed, places, shape, window, "first")
    same(dx, found)
    at = windows.at_winners(HostLauncher(), x, winners, window, stored=dtype)
    is_number = ~np.isnan(value(y))  # a NaN is the largest, and wins where it is the first only
    np.testing.assert_array_equal(value(at)[is_number], value(y)[is_number])


@formats
def test_bits_are_no_numbers_unless_a_program_says_so(precision):
    a = np.ones((8, 8), FORMATS[precision])
    with pytest.raises(InvalidTypeError, match="must all be float32 or all float64"):
        matmul.matmul(HostLauncher(), a, a, precision=precision)
    x, weight, window = (
        np.ones((1, 3, 3, 8), np.float32),
        np.ones((1, 1, 8, 8), np.float32),
        Window((1, 1)),
    )
    given = HostLauncher(), None, stored(precision, x), weight
    with pytest.raises(InvalidTypeError, match="must all be float32 or all float64"):
        convolution.conv2d(*given, None, window, precision=precision)
    how = {"precision": precision, "stored": FORMATS[precision]}
    with pytest.raises(InvalidTypeError, match=r"takes uint(16|32) here, got float32"):
        convolution.conv2d_relu_backward(*given, x, stored(precision, x), window, True, **how)


def test_one_product_rounds_to_one_format():
    a, b = (stored(precision, np.eye(8)) for precision in FORMATS)
    with pytest.raises(InvalidTypeError, match="takes float32 or uint16 here, got uint32"):
        matmul.matmul(HostLauncher(), a, b, precision="bf16", stored="float32")
