"""Products of few columns on CUDA, a block for each row: against NumPy in float64."""

import numpy as np
import pytest

from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.dense.cuda import dense
from host_cuda import HostLauncher, check
from ops.test_cuda_epilogues import epilogue, expected
from ops.test_cuda_matmul import PRECISIONS, check_sums, normal
from ops.test_cuda_rounded import FORMATS, KINDS, kinds_of, stored, value

SHAPES = [
    (1, 1, 1),
    (3, 255, 10),
    (2, 257, 7),
    (5, 1352, 10),
    (2, 2600, 16),
    (40, 60, 3),
    (264, 9, 2),
]
"""Rows, depth and columns."""


@pytest.mark.parametrize(
    ("shape", "precision"),
    [
        (shape, precision)
        for shape in SHAPES
        for precision in PRECISIONS
        if shape[1] <= 2**10 or precision not in FORMATS  # else tensor cores take it
    ],
    ids=str,
)
def test_against_numpy(shape, precision):
    """What tensor cores would round is multiplied as it is, where the sums are short."""
    rows, depth, columns = shape
    x, weight = normal((rows, depth), precision), normal((depth, columns), precision, seed=1)
    bias = normal((columns,), precision, seed=2)

    def run(cuda):
        ops = cuda_kernels(cuda, "fp32" if precision == "float64" else precision)
        y = ops.dense_relu(ops, x, weight, bias)
        assert cuda.last_kernel.startswith("few_columns.few_columns<")
        return y, ops.dense(ops, x, weight, None)

    relu, plain = check(run)
    wanted = x.astype(float) @ weight.astype(float)
    unit = "fp32" if precision in FORMATS else precision
    check_sums(plain, wanted, depth, unit)
    check_sums(relu, np.maximum(wanted + bias, 0), depth, unit)


@pytest.mark.parametrize("columns", [10, 16])
@pytest.mark.parametrize("kinds", KINDS)
@pytest.mark.parametrize("precision", FORMATS)
def test_rounded_operands(precision, kinds, columns):
    kind_x, kind_weight = kinds_of(precision, kinds)
    x, weight = normal((5, 264), precision), normal((264, columns), precision, seed=1)
    x, weight, bias = kind_x(x), kind_weight(weight), normal((columns,), precision, seed=2)

    def run(cuda):
        y = dense(cuda, None, x, weight, bias, precision=precision, stored="float32")
        assert cuda.last_kernel.startswith("few_columns.few_columns<")
        return y

    sums = value(x).astype(float) @ value(weight).astype(float) + bias
    check_sums(check(run), sums, 264, "fp32")


def test_numbers_that_lie_anywhere_and_an_epilogue():
    """Rows of the weights that begin at no whole packs are read number by number."""
    x, other = normal((6, 300), "fp32"), normal((6, 8), "fp32", seed=2)
    memory = normal((300 * 8 + 1,), "fp32", seed=1)
    kernels = []
    for first in (0, 1):
        given = memory[first : first + 2400].reshape(300, 8)

        def run(cuda, first=first, given=given):
            place = cuda.empty((2401,), "float32")
            weight = place[first : first + 2400].reshape(300, 8)
            weight[...] = given
            y = cuda_kernels(cuda).dense_with_epilogue(x, weight, epilogue(other))
            kernels.append(cuda.last_kernel.partition("few_columns<")[2])
            return y

        y = check(run, orders=("random",))
        check_sums(y, expected(x.astype(float) @ given, other), 300, "fp32")
    assert [kernel[:19] for kernel in kernels[::2]] == [
        "float, float, 8, 4,",
        "float, float, 8, 1,",
    ]


def test_a_number_that_is_none_stays_in_its_row():
    x, weight = normal((4, 300), "fp32"), normal((300, 5), "fp32", seed=1)
    x[2, 7], weight[9, 3] = np.nan, np.inf
    ops = cuda_kernels(HostLauncher())
    y = ops.dense(ops, x, weight, None)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isfinite(y), np.isfinite(x.astype(float) @ weight))


OTHERS = {
    "many rows": ((265, 9), (9, 2), "fp32"),
    "many columns": ((4, 9), (9, 17), "fp32"),
    "long sums": ((4, 2**13 + 1), (2**13 + 1, 2), "fp32"),
    "long sums on tensor cores": ((4, 2**10 + 1), (2**10 + 1, 2), "tf32"),
    "no rows": ((0, 9), (9, 2), "fp32"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_others_are_made_of_tiles(name):
    x, weight, precision = OTHERS[name]
    launcher, started = HostLauncher(), []
    launcher.start = lambda file, *rest: started.append(file)
    ops = cuda_kernels(launcher, precision)
    ops.dense(ops, normal(x, "fp32"), normal(weight, "fp32"), None)
    written = stored("tf32", normal((9, 8), "fp32"))
    dense(launcher, None, written[:4, :8], written[1:], None, precision="tf32", stored="uint32")
    ops.dense(ops, normal((4, 9), "fp32"), normal((3, 9), "fp32").T, None)  # turned
    assert "few_columns" not in started
    assert started
