"""Sums of parts in the kernel of the loops that read them."""

import numpy as np
import pytest

from arraycnn.ops import Window, array_namespace
from arraycnn.ops.cuda.record import cuda_kernels
from arraycnn.ops.cuda.sources import source
from arraycnn.program.heads import HEADS
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.launches import CudaLaunches
from cuda_rendering import check_rendered
from host_cuda import HostLauncher
from test_program_trace import traced

WINDOW = Window((3, 3), (1, 1))
CASES = {
    "an update": (1, lambda xp, w, one, other: w - 0.5 * one),
    "a sum that is an output, too": (1, lambda xp, w, one, other: (w - 0.5 * one, one)),
    "neighbours": (1, lambda xp, w, one, other: (w - one, xp.flip(one, axis=0) + xp.exp(w))),
    "a sum of it": (1, lambda xp, w, one, other: (w - one, xp.sum(one * one, axis=(0, 1)))),
    "a sum and neighbours of another": (1, lambda xp, w, one, other: w - one * xp.flip(other, axis=0)),
    "loops of their own": (1, lambda xp, w, one, other: (w - one, one, xp.sum(other, axis=(0, 1)))),
    "what is free before it": (2, lambda xp, w, one, other: w - one * xp.sum(w * w, axis=(0, 1, 2))),
    "two sums, one by one": (2, lambda xp, w, one, other: w - one * other),
    "many places of it": (2, lambda xp, w, one, other: xp.flip(one, axis=0) * xp.exp(_many(xp, w))),
}  # fmt: skip
"""How many kernels are loops, and what is made of the gradients of two convolutions."""


def _many(xp, w):
    return xp.reshape(xp.arange(90, dtype=w.dtype) / 90.0, (90, 1, 1, 1, 1))


def _scheduled(after):
    """A program of the gradients of two convolutions and what is made of them, and its values."""
    rng = np.random.default_rng(4)
    x, dy = rng.normal(size=(6, 12, 11, 3)), rng.normal(size=(6, 10, 9, 4))
    arrays = x, rng.normal(size=(3, 3, 3, 4)), dy, x[::-1] + 1.0

    def function(x, weight, dy, again):
        one, other = (
            HEADS.conv2d_backward(HEADS, images, weight, dy, WINDOW, False)[1]
            for images in (x, again)
        )
        return after(array_namespace(x), weight, one, other)

    program, values = traced(function, *arrays)
    return program, scheduled(simplified(program)), values


def _started(schedule, values):
    """(file, name) of the kernels of loops."""
    launcher, started = HostLauncher(), []
    launcher.start = lambda file, kernel, *rest: started.append((file, kernel))
    CudaLaunches(schedule)(launcher, cuda_kernels(launcher), values)
    return [(file, kernel) for file, kernel in started if kernel.startswith("fused_")]


@pytest.mark.parametrize("name", CASES)
def test_what_follows_a_sum_is_in_its_kernel(name):
    kernels, after = CASES[name]
    program, schedule, values = _scheduled(after)
    check_rendered(schedule, values, interpret(program, values))
    assert len(_started(schedule, values)) == kernels


def test_no_code_adds_up_parts_of_a_sum_that_blocks_do_not_share():
    _, after = CASES["an update"]
    _, schedule, values = _scheduled(after)
    ((file, _),) = _started(schedule, values)
    text = source(file)
    assert "reduce_over_threads<Sum" in text
    assert "combine<" not in text
    assert "if (!is_last_block" not in text
