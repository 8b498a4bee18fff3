"""Loops that a block does row by row, one after the other: which they are, and what they give."""

import numpy as np
import pytest

from arraycnn.ops import array_namespace
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.program.heads import HEADS
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.kernel_text import ending_text
from arraycnn.program.render.cuda.launches import CudaLaunches
from cuda_rendering import CHECKED, check_rendered, rendered
from host_cuda import HostLauncher
from test_program_trace import traced


def _softmax(xp, x):
    raised = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return raised / xp.sum(raised, axis=1, keepdims=True)


def _totals(xp, x, y):
    right = xp.argmax(x, axis=1) == xp.argmax(y, axis=1)
    return xp.sum(xp.log(_softmax(xp, x)) * y), xp.sum(right), xp.sum(_softmax(xp, x), axis=0) ** 2


def _shares(xp, x, y):
    raised = xp.exp(x - xp.max(x, axis=1, keepdims=True))
    return raised * y / xp.sum(raised)


def _further(xp, x, y):
    return xp.concat([_softmax(xp, x), y[:1, :]], axis=0)[1:, :] - y


def _twice(xp, x, y):
    return _softmax(xp, xp.flip(_softmax(xp, x), axis=0))


CASES = {
    "totals, and what follows": ((75, 10), 7, 1, _totals),
    "totals of long rows": ((3, 700), 7, 1, _totals),
    "parts of rows": ((64, 13), 3, 0, lambda xp, x, y: _softmax(xp, x[:, 1:]) * y[:, :-1]),
    "other rows": ((75, 10), 2, 1, lambda xp, x, y: xp.flip(_softmax(xp, x), axis=0) - y),
    "rows that begin later": ((75, 10), 2, 1, lambda xp, x, y: _softmax(xp, x)[1:, :] * y[1:, :]),
    "a row for all": ((64, 12), 2, 1, lambda xp, x, y: y - _softmax(xp, x)[0, :]),
    "a share of a total": ((75, 10), 2, 1, _shares),
    "rows of what is not": ((75, 10), 3, 3, _twice),
    "a row further": ((75, 10), 2, 3, _further),
    "other loops beside": ((75, 10), 0, 2, lambda xp, x, y: (xp.exp(y[1:, :]), _softmax(xp, x))),
    "other columns of what is read": ((64, 13), 3, 0, lambda xp, x, y: (
        _softmax(xp, x[:, 1:]) * x[:, :-1])),
    "turned rows": ((75, 10), 3, 0, lambda xp, x, y: xp.flip(_softmax(xp, x), axis=1) - y),
}  # fmt: skip
"""A shape, how many loops are done by rows, how many after them, and what they compute."""


@pytest.mark.parametrize("name", CASES)
def test_what_needs_its_own_rows_only_is_done_row_by_row(name):
    rng = np.random.default_rng(8)
    shape, by_rows, after, function = CASES[name]
    arrays = rng.normal(size=shape), rng.uniform(0.5, 1.0, size=shape)
    program, values = traced(lambda x, y: function(array_namespace(x), x, y), *arrays)
    schedule = scheduled(simplified(program))
    (group,) = CudaLaunches(schedule)._groups
    assert (len(group.rows), len(group.following)) == (by_rows, after)
    check_rendered(schedule, values, interpret(program, values))


def test_what_is_written_over_has_been_read_by_all_rows():
    rng = np.random.default_rng(9)

    def function(x, y):
        xp = array_namespace(x)
        mixed = _softmax(xp, xp.flip(x, axis=0) + y)
        return x - mixed, mixed

    program, values = traced(function, rng.normal(size=(75, 10)), rng.normal(size=(75, 10)))
    schedule = scheduled(simplified(program), {"0": "0"})
    assert schedule.memory_of[program.outputs["0"]] is program.inputs["0"]
    (group,) = CudaLaunches(schedule)._groups
    assert (len(group.rows), len(group.following)) == (2, 1)
    check_rendered(schedule, values, interpret(program, values))


ENDINGS = {
    "as they are": ((75, 12, 20), ["matmul_and_ending"], lambda xp, y: _softmax(xp, y)),
    "of split sums": ((75, 600, 20), ["matmul_and_ending"], lambda xp, y: (
        _softmax(xp, y), xp.mean(xp.argmax(y, axis=1) * 1.0))),
    "of many parts": ((33, 1300, 20), ["matmul<", "sum_splits", "fused"], lambda xp, y: (
        _softmax(xp, y))),
    "behind an epilogue": ((75, 12, 20), ["matmul_and_ending"], lambda xp, y: (
        _softmax(xp, xp.tanh(y)), xp.exp(xp.mean(_softmax(xp, xp.tanh(y)) * y)))),
    "wide lines": ((75, 12, 70), ["matmul<", "fused"], lambda xp, y: _softmax(xp, y)),
    "other rows": ((75, 12, 20), ["matmul<", "fused"], lambda xp, y: (
        _softmax(xp, y) * xp.flip(y, axis=0))),
    "of few columns": ((75, 600, 10), ["few_columns_and_ending"], lambda xp, y: (
        _softmax(xp, y), xp.mean(xp.argmax(y, axis=1) * 1.0))),
    "of few columns, behind an epilogue": ((20, 12, 10), ["few_columns_and_ending"], lambda xp, y: (
        _softmax(xp, xp.tanh(y)), xp.exp(xp.mean(_softmax(xp, xp.tanh(y)) * y)))),
    "other rows of few columns": ((20, 12, 10), ["few_columns<", "fused"], lambda xp, y: (
        _softmax(xp, y) * xp.flip(y, axis=0))),
}  # fmt: skip
"""Rows, depth and columns, the kernels, and what is made of a dense layer's result."""


@pytest.mark.parametrize("name", ENDINGS)
def test_the_blocks_of_a_product_go_on_with_whole_lines(name):
    rng = np.random.default_rng(10)
    (rows, depth, columns), kernels, after = ENDINGS[name]
    arrays = [rng.normal(size=shape) for shape in ((rows, depth), (depth, columns), (columns,))]

    def function(x, weight, bias):
        return after(array_namespace(x), HEADS.dense(HEADS, x, weight, bias))

    program, values = traced(function, *arrays)
    schedule = scheduled(simplified(program))
    launcher, started = HostLauncher(), []
    launcher.start = lambda file, kernel, *rest: started.append(kernel)
    CudaLaunches(schedule)(launcher, cuda_kernels(launcher), values)
    assert all(one.startswith(kind) for one, kind in zip(started, kernels, strict=True)), started
    check_rendered(schedule, values, interpret(program, values))


@pytest.mark.parametrize("shifted", [0, 1])
def test_what_the_end_of_a_product_reads_may_lie_anywhere(shifted):
    """In packs where it begins at whole ones, number by number where it does not."""
    rng = np.random.default_rng(12)

    def function(x, weight, other):
        y = HEADS.dense(HEADS, x, weight, None)
        return _softmax(array_namespace(y), y * other)

    program, values = traced(
        function, *(rng.normal(size=s) for s in ((75, 12), (12, 20), (75, 20)))
    )
    schedule = scheduled(simplified(program))
    (product,) = CudaLaunches(schedule)._groups
    other = program.inputs["2"]
    packed = ending_text(product, schedule, wide=True, rows=32, threads=128)
    assert (other, 2 * 8) in packed.aligned
    found = rendered(schedule, values, CHECKED, shifted=shifted)["0"]
    np.testing.assert_allclose(found, interpret(program, values)["0"], rtol=1e-10, atol=1e-10)


def test_what_other_blocks_of_a_product_read_or_write_is_left_to_the_next_kernel():
    rng = np.random.default_rng(11)

    def function(x, weight):
        y = HEADS.dense(HEADS, x, weight, None)
        return y, weight - _softmax(array_namespace(y), y)

    program, _ = traced(function, rng.normal(size=(75, 75)), rng.normal(size=(75, 10)))
    schedule = scheduled(simplified(program), {"1": "1"})
    product, loops = CudaLaunches(schedule)._groups
    assert (product.ending, len(loops.rows)) == (None, 3)
    (product,) = CudaLaunches(scheduled(simplified(program)))._groups
    text = ending_text(product, schedule, wide=True, rows=32, threads=128)
    written = dict(zip(text.values, text.kinds, strict=True))
    assert "const" not in written[product.alone.head]  # which may be read past the caches
