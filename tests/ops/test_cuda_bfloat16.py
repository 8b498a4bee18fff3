"""Products of arrays that lie in memory as bfloat16: against NumPy in float64, of rounded numbers.

Their results in bfloat16 are the float32 ones, rounded once, to the last bit.
"""

import math

import numpy as np
import pytest

import test_cuda_convolution
from arraycnn.errors import InvalidTypeError
from arraycnn.ops import GENERIC, Window
from arraycnn.ops.conv2d import cuda as convolution
from arraycnn.ops.cuda import tiles
from arraycnn.ops.cuda.launcher import BFLOAT16
from arraycnn.ops.dense import cuda as matmul
from arraycnn.ops.max_pool2d import cuda as windows
from host_cuda import HostLauncher, check
from test_cuda_convolution import TABLE, dweight_of, dx_of, forward
from test_cuda_matmul import FORMS, check_sums, normal, tiles_of, unaligned

__all__ = ["tiles_of"]  # a fixture


def stored(array):
    """``array`` as bfloat16 in memory: its upper 16 bits, to nearest, ties to even; NaN stays NaN."""
    bits = np.asarray(array, np.float32).view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16
    return np.where(np.isnan(array), 0x7FFF, rounded).astype(BFLOAT16)


def value(array):
    """Of an array in memory, in float32."""
    if array.dtype != BFLOAT16:
        return array
    return (array.astype(np.uint32) << 16).view(np.float32)


def multiplied(array):
    """What an operand is multiplied as, in float64."""
    return value(stored(value(array))).astype(np.float64)


def check_both(run, expected, terms, checked=False):
    """``run(launcher, dtype)`` gives the sums ``expected`` in float32, and rounded in bfloat16."""
    y = check(lambda cuda: run(cuda, "float32"), orders=("random", "reverse"), checked=checked)
    check_sums(y, expected, terms, "bf16")
    rounded = check(lambda cuda: run(cuda, BFLOAT16), orders=("random",), checked=checked)
    assert rounded.dtype == BFLOAT16
    np.testing.assert_array_equal(rounded, stored(y))


KINDS = [(stored, stored), (stored, np.asarray), (np.asarray, stored)]
KIND_IDS = ["both", "first", "second"]


@pytest.mark.parametrize("number", range(4), ids=["NN", "NT", "TN", "TT"])
def test_products(number):
    """Of bfloat16 in each form; those with a float32 operand in two."""
    form_a, form_b = FORMS[number]
    for kind_a, kind_b in [KINDS[0], KINDS[1 + number % 2]]:
        for rows, depth, columns in [(40, 56, 48), (36, 75, 20), (40, 1000, 16)]:
            a = form_a(kind_a(normal((rows, depth), "bf16")))
            b = form_b(kind_b(normal((depth, columns), "bf16", seed=1)))
            check_both(
                lambda cuda, dtype, a=a, b=b: matmul.matmul(
                    cuda, a, b, precision="bf16", stored=dtype
                ),
                multiplied(a) @ multiplied(b),
                depth,
                checked=depth == 56 and kind_a is kind_b,
            )


@pytest.mark.parametrize("tile", tiles.TILES["bfloat16"], ids=lambda tile: tile.math)
def test_every_tile(tile, tiles_of):
    """Two tiles down and two across, of which the last are not whole; and more than three stages."""
    tiles_of("bfloat16", tile)
    a = stored(normal((tile.rows + 5, 136), "bf16"))
    b = stored(normal((136, tile.columns + 8), "bf16", seed=1))
    check_both(
        lambda cuda, dtype: matmul.matmul(cuda, a, b, precision="bf16", stored=dtype),
        multiplied(a) @ multiplied(b),
        136,
        checked=True,
    )


def test_what_is_not_finite_stays_so():
    odd = [0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001, 0x7F800000, 0xFF800000, 0x7F7FFFFF]
    a = np.zeros((len(odd), 8), np.float32)
    a[:, 0] = np.array(odd, np.uint32).view(np.float32)
    with np.errstate(over="ignore"):
        expected = np.array([np.nan] * 4 + [np.inf, -np.inf, np.inf], np.float32)
    for kind in (stored, np.asarray):
        y = matmul.matmul(
            HostLauncher(), kind(a), stored(np.eye(8)), precision="bf16", stored=BFLOAT16
        )
        np.testing.assert_array_equal(value(y)[:, 0], expected)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize(("kind_x", "kind_dy"), KINDS, ids=KIND_IDS)
def test_dense_layers(kind_x, kind_dy, gated):
    x, weight = (kind_x(normal(s, "bf16", i)) for i, s in enumerate([(33, 40), (40, 24)]))
    bias, dy = normal((24,), "bf16", 2), kind_dy(normal((33, 24), "bf16", 3))
    sums = multiplied(x) @ multiplied(weight) + bias
    y = kind_dy(np.maximum(sums, 0).astype(np.float32))
    for kernel, expected in ((matmul.dense, sums), (matmul.dense_relu, np.maximum(sums, 0))):
        check_both(
            lambda cuda, dtype, kernel=kernel: kernel(
                cuda, None, x, weight, bias, precision="bf16", stored=dtype
            ),
            expected,
            40,
        )
    backward, given = matmul.dense_backward, (x, weight)
    if gated:
        backward, given = matmul.dense_relu_backward, (x, weight, y)

    def gradients(cuda, dtype):
        return backward(cuda, None, *given, dy, True, precision="bf16", stored=dtype)

    passed = np.where(value(y) > 0, multiplied(dy), 0) if gated else multiplied(dy)
    check_both(lambda *how: gradients(*how)[0], passed @ multiplied(weight).T, 24)
    _, dweight, dbias = check(lambda cuda: gradients(cuda, BFLOAT16), checked=gated)
    check_sums(dweight, multiplied(x).T @ passed, 33, "bf16")
    check_sums(dbias, passed.sum(axis=0), 33, "bf16")


CONVOLUTIONS = {
    "stride, padded": TABLE["stride, padded"],
    "16 channels": ((3, 7, 9, 16), 24, Window((3, 3), (1, 1), (1, 1, 1, 1))),
    "strides": ((2, 9, 8, 8), 40, Window((3, 2), (2, 2), (1, 0, 1, 1))),
    "split": ((2, 4, 4, 120), 8, Window((3, 3), (1, 1), (1, 1, 1, 1))),
}


@pytest.mark.parametrize(
    ("name", "kinds"),
    [*((name, KINDS[0]) for name in CONVOLUTIONS), *(("16 channels", one) for one in KINDS[1:])],
    ids=[*CONVOLUTIONS, "first", "second"],
)
def test_convolutions(name, kinds):
    shape, filters, window = CONVOLUTIONS[name]
    x, weight, bias, dy = test_cuda_convolution.arrays(shape, filters, window, "bf16")
    x, weight, dy = kinds[0](x), kinds[1](weight), kinds[1](dy)
    check_both(
        lambda cuda, dtype: convolution.conv2d_relu(
            cuda, None, x, weight, bias, window, precision="bf16", stored=dtype
        ),
        np.maximum(forward(multiplied(x), multiplied(weight), window) + bias, 0),
        math.prod(weight.shape[:3]),
        checked=name == "16 channels",
    )
    # Zeros and NaN let nothing pass, nor do negative zeros.
    y = np.maximum(normal(dy.shape, "bf16", seed=9), 0)
    y.ravel()[:4] = [np.nan, -0.0, 1e-40, 1.0]
    y = kinds[1](y)

    def gradients(cuda, dtype):
        return convolution.conv2d_relu_backward(
            cuda, None, x, weight, y, dy, window, True, precision="bf16", stored=dtype
        )

    passed = np.where(value(y) > 0, multiplied(dy), 0)
    check_both(
        lambda *how: gradients(*how)[0],
        dx_of(passed, multiplied(weight), window, shape),
        weight[..., 0, :].size,
    )
    _, dweight, dbias = check(lambda cuda: gradients(cuda, BFLOAT16), checked=name == "strides")
    check_sums(dweight, dweight_of(multiplied(x), passed, window), math.prod(dy.shape[:3]), "bf16")
    check_sums(dbias, passed.sum(axis=(0, 1, 2)), math.prod(dy.shape[:3]), "bf16")


def test_lines_that_begin_at_odd_addresses():
    a, b = (unaligned(stored(normal((32, 32), "bf16", seed))) for seed in (0, 1))
    check_both(
        lambda cuda, dtype: matmul.matmul(cuda, a, b, precision="bf16", stored=dtype),
        multiplied(a) @ multiplied(b),
        32,
        checked=True,
    )


@pytest.mark.parametrize("edge", [2, 3])
@pytest.mark.parametrize(
    ("kind", "dtype"), [(stored, BFLOAT16), (np.asarray, BFLOAT16), (stored, "float32")]
)
def test_pools_pick_numbers_and_round_them_once(kind, dtype, edge):
    shape, window = (2, 7, 6, 16), Window((edge, edge), (2, 2))
    x = kind(normal(shape, "bf16"))
    x[0, 0, 0, 0], x[1, 2, 2, 1] = kind(np.float32(np.nan)), kind(np.float32(np.inf))
    x[0, 3, 3, 5] = kind(np.float32(np.nan))  # the last of its window
    y, winners = check(
        lambda cuda: windows.max_pool2d(cuda, x, window, "first", stored=dtype), checked=edge == 2
    )
    found, places = GENERIC.max_pool2d(value(x), window, "first")
    np.testing.assert_array_equal(winners, places)
    np.testing.assert_array_equal(y, found if dtype == "float32" else stored(found))
    dy = kind(normal(y.shape, "bf16", seed=1))
    gate = kind(np.where(normal(y.shape, "bf16", seed=2) > 0, 1e-40, np.nan).astype(np.float32))
    dx = check(
        lambda cuda: windows.max_pool2d_backward(
            cuda, dy, winners, shape, window, "first", gate, stored=dtype
        ),
        checked=edge == 2,
    )
    passed = np.where(value(gate) > 0, value(dy), 0)
    found = GENERIC.max_pool2d_backward(passed, places, shape, window, "first")
    np.testing.assert_array_equal(dx, found if dtype == "float32" else stored(found))
    at = windows.at_winners(HostLauncher(), x, winners, window, stored=dtype)
    is_number = ~np.isnan(value(y))  # a NaN is the largest, and wins where it is the first only
    np.testing.assert_array_equal(at[is_number], y[is_number])


def test_bits_are_no_numbers_unless_a_program_says_so():
    a = np.ones((8, 8), BFLOAT16)
    with pytest.raises(InvalidTypeError, match="must all be float32 or all float64"):
        matmul.matmul(HostLauncher(), a, a, precision="bf16")
    x, weight, window = (
        np.ones((1, 3, 3, 8), np.float32),
        np.ones((1, 1, 8, 8), np.float32),
        Window((1, 1)),
    )
    given = HostLauncher(), None, stored(x), weight
    with pytest.raises(InvalidTypeError, match="must all be float32 or all float64"):
        convolution.conv2d(*given, None, window, precision="bf16")
    with pytest.raises(InvalidTypeError, match="y on CUDA: takes uint16 here, got float32"):
        convolution.conv2d_relu_backward(
            *given, x, stored(x), window, True, precision="bf16", stored=BFLOAT16
        )
