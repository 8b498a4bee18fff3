"""The kernels around a recorded step, against plain indexing."""

import numpy as np
import pytest

from arraycnn.ops.cuda.steps import StepTables, begin_step, finish_step
from host_cuda import HostLauncher, check


def tables(batch, steps, dtype, cursor, host):
    """Tables on the host, so that a kernel that writes where it should not is seen."""
    rng = np.random.default_rng(batch * 10 + steps)

    def made(array):
        copy = host.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    return StepTables(
        order=made(rng.integers(0, 50, steps * batch).astype(np.int32)),
        rows=made(rng.integers(0, 50, steps * batch).astype(np.int32)),
        steps=made(np.arange(70, 70 + steps, dtype=np.int32)),
        rates=made(rng.random(steps).astype(dtype)),
        cursor=made(np.array([cursor], np.int32)),
        losses=made(np.full(steps, -1, dtype)),
        correct_counts=made(np.full(steps, -1, np.int32)),
        batch=batch,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("batch", "steps", "cursor"), [(1, 1, 0), (3, 5, 4), (256, 2, 1), (257, 3, 0), (600, 2, 1)]
)
def test_a_step_finds_what_is_its_own(batch, steps, cursor, dtype):
    labels = np.random.default_rng(1).integers(0, 10, 50).astype(np.int32)

    def run(cuda):
        given = tables(batch, steps, dtype, cursor, cuda)
        return *begin_step(cuda, given, labels), given.cursor

    indices, rows, batch_labels, step, rate, after = check(run)
    given = tables(batch, steps, dtype, cursor, HostLauncher())
    part = slice(cursor * batch, (cursor + 1) * batch)
    np.testing.assert_array_equal(indices, given.order[part])
    np.testing.assert_array_equal(rows, given.rows[part])
    np.testing.assert_array_equal(batch_labels, labels[given.order[part]])
    np.testing.assert_array_equal(step, [70 + cursor])
    np.testing.assert_array_equal(rate, given.rates[cursor])
    assert rate.dtype == dtype
    assert after[0] == cursor


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_results_go_to_the_step_and_the_cursor_moves_on(dtype):
    def run(cuda):
        given = tables(3, 4, dtype, 2, cuda)
        loss, correct = cuda.empty((), dtype), cuda.empty((), "int32")
        loss[...], correct[...] = 1.5, 2
        finish_step(cuda, given, loss, correct)
        return given.losses, given.correct_counts, given.cursor

    losses, correct_counts, cursor = check(run)
    np.testing.assert_array_equal(losses, [-1, -1, 0.5, -1])
    np.testing.assert_array_equal(correct_counts, [-1, -1, 2, -1])
    np.testing.assert_array_equal(cursor, [3])
