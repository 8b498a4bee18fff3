"""Loops that a block does row by row, one after the other: which they are, and what they give."""

import numpy as np
import pytest

from arraycnn.ops import array_namespace
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.launches import CudaLaunches
from cuda_rendering import check_rendered
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
