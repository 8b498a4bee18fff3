"""What kernels read and write begins with a line of the cache."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.execution import Task
from arraycnn.execution.thread_pool import thread_pool
from arraycnn.ops.aligned_memory import LINE, aligned_copy, aligned_empty
from arraycnn.ops.numpy.arena import Arena, Scratch
from arraycnn.training.step import Carry
from arraycnn.tree import leaves, map_leaves
from optional import needs

SHAPES = [(), (0,), (1,), (7,), (5, 3), (3, 0, 2), (100, 33), (1000, 333)]


def is_aligned(array):
    return not array.size or array.ctypes.data % LINE == 0


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_new_array_is_as_numpys_but_for_where_it_begins(shape, dtype):
    for _ in range(5):
        array = aligned_empty(shape, dtype)
        assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert is_aligned(array)
        array[...] = 1  # all of it is its own
        turned = np.arange(array.size, dtype=dtype).reshape(shape[::-1]).T
        copy = aligned_copy(turned)
        np.testing.assert_array_equal(copy, turned)
        assert copy.flags.c_contiguous
        assert is_aligned(copy)


def test_memory_that_is_handed_out_piece_by_piece():
    arena, scratch = Arena(), Scratch()
    for shape in [(3,), (70001,), (5, 5), (2**22,)]:
        assert is_aligned(arena.array(shape, np.dtype("float32")))
        assert is_aligned(scratch.array(shape, np.dtype("float64")))


@needs("llvmlite")
def test_arrays_and_scratch_of_compiled_kernels():
    from arraycnn.ops.compiled import launcher as compiled
    from arraycnn.ops.compiled.kernels.links import NO_LINKS

    launcher, found = compiled.Launcher(thread_pool(1)), []

    def work():
        found.extend(launcher.empty(shape, "float32") for shape in [(3,), (40000,), (9, 9)])
        launcher.launch_code(0, 1, NO_LINKS, points=1)

    found += [launcher.empty((3 + 1001 * n,), "float32") for n in range(20)]
    launcher.capture(work)
    found += [compiled._scratch(room, np.dtype("float64")) for room in (10, 5000, 70000)]
    found.append(launcher.asarray(np.ones((999, 99))))
    assert all(map(is_aligned, found))


@pytest.mark.parametrize("fast", [False, pytest.param(True, marks=needs("llvmlite"))])
def test_parameters_of_a_plan(fast):
    backend = cnn.NumPy(1, fast=fast)
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(300), cnn.Dense(3))
    model = cnn.Model(network, (20, 20, 1), backend)
    optimizer = cnn.Adam(0.1)
    params, state = model.trees
    carry = Carry(
        params, state, map_leaves(lambda x: np.asarray(x, "float32"), optimizer.init(params))
    )
    images, labels = np.zeros((4, 20, 20, 1), np.float32), np.zeros(4, np.int32)
    task = Task(model.network, optimizer, images, labels, 0, "float32")
    plan = backend.training_plan(task, carry)
    given = [*leaves(params), *leaves(carry.optimizer_state)]
    assert not all(map(is_aligned, given)), "NumPy's own memory does for this test"
    kept = plan.snapshot()
    assert all(is_aligned(array) for tree in kept for array in leaves(tree))
