"""Reductions as CUDA C++: over threads, blocks and lanes, with what follows them in the same kernel."""

import numpy as np
import pytest
from hypothesis import given, settings

from arraycnn.ops import array_namespace
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.grouping import groups
from arraycnn.program.render.cuda.walk import walked
from cuda_rendering import CHECKED, check_rendered, rendered
from reduction_cases import check_reduced, reduced, reductions, with_nan
from test_program_trace import traced


@given(reductions())
@settings(max_examples=12, deadline=None, derandomize=True, database=None)
def test_reductions_of_every_shape(case):
    program, values, expected = reduced(case)
    check_reduced(rendered(scheduled(program), values, CHECKED)["0"], expected, case[-1])


def test_reductions_meet_nan_as_numpy_does():
    program, values, expected = with_nan()
    for name, array in rendered(scheduled(program), values, CHECKED).items():
        np.testing.assert_array_equal(array, expected[name])


def test_the_first_of_equal_numbers_is_the_largest():
    """Whichever lane or thread has found another one."""
    x = np.arange(600) > np.array([[0], [1], [2], [30], [31], [32], [33], [598]])
    numbers = np.where(x, 1.0, 0.0)

    def function(x):
        xp = array_namespace(x)
        return xp.argmax(x, axis=1), xp.argmin(-x, axis=1), xp.argmax(x.T, axis=0)

    program, values = traced(function, numbers)
    for found in rendered(scheduled(program), values, CHECKED).values():
        np.testing.assert_array_equal(found, [1, 2, 3, 31, 32, 33, 34, 599])


@pytest.mark.parametrize("shape", [(10**6 + 3,), (3, 10**6 + 3), (33 * 1024 + 1, 8), (7,)])
@pytest.mark.parametrize("axis", [0, -1])
def test_blocks_that_share_a_sum_are_no_more_than_a_device_runs_at_once(shape, axis):
    program, _ = traced(lambda x: array_namespace(x).sum(x, axis=axis), np.zeros(shape, np.float32))
    (step,) = scheduled(program).steps
    walk = walked(step.roots, scheduled(program).held, wide=True)
    splits, rows = walk.splits(512)
    assert splits * rows >= walk.reduced_units > (splits - 1) * rows
    assert walk.blocks(512) <= max(264, walk.tiles(512))


@pytest.mark.parametrize("shape", [(1, 1), (20000, 2), (70000, 3), (3, 70000), (300, 16, 40)])
def test_loops_of_many_blocks(shape):
    x = np.random.default_rng(7).normal(size=shape)

    def function(x):
        xp = array_namespace(x)
        total = xp.sum(x, axis=0)
        return x - total, total, xp.sum(x), xp.max(x, axis=-1), xp.argmax(x, axis=0)

    program, values = traced(function, x)
    check_rendered(
        scheduled(program), values, interpret(program, values), 1e-9, orders=("reverse", "random")
    )


@pytest.mark.parametrize("shape", [(700, 8, 8, 16), (3, 2, 1, 3), (1, 1, 1, 4)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_mean_and_variance_are_taken_in_one_pass(shape, dtype):
    """Far from 0, where a sum of squares less the square of the sum has no digit left."""
    x = (np.random.default_rng(8).normal(size=shape) + 1000.0).astype(dtype)

    def function(x):
        xp = array_namespace(x)
        mean = xp.mean(x, axis=(0, 1, 2))
        return mean, xp.mean((x - mean) * (x - mean), axis=(0, 1, 2))

    program, values = traced(function, x)
    schedule = scheduled(simplified(program))
    both = [group for group in groups(schedule) if group.covered]
    assert len(both) == (x.size > 2**14)  # as of small loops, which one block runs
    exact = x.astype(np.longdouble)
    found = rendered(schedule, values, "random")
    eps = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(found["0"], exact.mean((0, 1, 2)), rtol=8 * eps)
    np.testing.assert_allclose(found["1"], exact.var((0, 1, 2)), rtol=2000 * eps, atol=1e-30)


@pytest.mark.parametrize(
    ("keepdims", "centre"),
    [
        (True, lambda xp, x: 0.5 * xp.mean(x, axis=1, keepdims=True)),  # not the mean
        (True, lambda xp, x: xp.sum(x, axis=1, keepdims=True) * 0.006),  # of 160 it is 0.00625
        (False, lambda xp, x: xp.mean(x, axis=0)),  # not along these
        (False, lambda xp, x: xp.mean(x, axis=1)),  # of as many, and along the others
    ],
)
def test_squares_around_something_else_are_summed_as_they_are(keepdims, centre):
    x = np.random.default_rng(9).normal(size=(160, 160))

    def function(x):
        xp = array_namespace(x)
        away = x - centre(xp, x)
        return tuple(xp.sum(one, axis=1, keepdims=keepdims) for one in (x, away * away))

    program, values = traced(function, x)
    schedule = scheduled(simplified(program))
    assert not any(group.covered for group in groups(schedule))
    check_rendered(schedule, values, interpret(program, values), 1e-10, orders=("random",))


def test_squares_around_the_mean_of_other_numbers_are_summed_as_they_are():
    rng = np.random.default_rng(10)

    def function(x, others):
        xp = array_namespace(x)
        total = xp.sum(x, axis=0)
        mean = (total + others) / 160.0
        away = x - mean
        return mean, total, xp.sum(away * away, axis=0)

    program, values = traced(function, rng.normal(size=(160, 130)), rng.normal(size=130))
    schedule = scheduled(simplified(program))
    assert not any(group.covered for group in groups(schedule))
    check_rendered(schedule, values, interpret(program, values), 1e-10, orders=("random",))


def test_loops_that_follow_a_sum_run_in_its_last_block():
    x = np.random.default_rng(3).normal(size=(4000, 12))

    def function(x):
        xp = array_namespace(x)
        total = xp.sum(x, axis=0)
        scaled = xp.exp(-total * total / 4000.0)
        return total, xp.sum(scaled), xp.max(scaled) * scaled

    program, values = traced(function, x)
    schedule = scheduled(simplified(program))
    (group,) = groups(schedule)
    assert (len(group.beside), len(group.following) > 0) == (1, True)
    check_rendered(schedule, values, interpret(program, values))
