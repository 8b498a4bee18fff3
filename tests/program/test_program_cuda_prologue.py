"""Images that a direct convolution computes where it reads them: which it does, and what they give."""

import numpy as np
import pytest

from arraycnn.ops import Window, array_namespace
from arraycnn.program.heads import HEADS
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.epilogues import with_epilogues
from arraycnn.program.passes.schedule import scheduled
from arraycnn.program.passes.simplify import simplified
from arraycnn.program.render.cuda.launches import CudaLaunches
from cuda_rendering import check_rendered
from test_program_trace import traced

WINDOW, POOL = Window((3, 3), (1, 1), (1, 1, 0, 1)), Window((2, 2), (2, 2))
SHAPE = 9, 8, 2


def _pooled(x, weight):
    y = HEADS.conv2d(HEADS, x, weight, None, WINDOW)
    return HEADS.max_pool2d(y, POOL, "first"), y.shape


def _step(x, weight, dy):
    """What is pooled, and the gradient of the weights."""
    (y, winners), shape = _pooled(x, weight)
    spread = HEADS.max_pool2d_backward(dy, winners, shape, POOL, "first")
    return y, HEADS.conv2d_backward(HEADS, x, weight, spread, WINDOW, False)[1]


def _picked(xp, images, rows):
    return xp.take(images, rows, axis=0)


def _sums(xp, images):
    return xp.sum(xp.astype(images[:5, 0, :, 0], "int32"), axis=1, dtype="int32") % 11


def _scaled(xp, x):
    return xp.astype(x, "float64") / 255.0 - 0.25


TAKEN = {
    "picked and scaled": lambda xp, images, rows: _scaled(xp, _picked(xp, images, rows)),
    "a batch": lambda xp, images, rows: _scaled(xp, images[2:7, :, :, :]),
    "every other pixel": lambda xp, images, rows: _scaled(
        xp, xp.flip(_picked(xp, images, rows), axis=2)
    ),
    "of rows that are picked": lambda xp, images, rows: _scaled(
        xp, _picked(xp, images, xp.take(rows, rows % 5, axis=0))
    ),
}


def _programs(make, also=lambda xp, x, images: ()):
    rng = np.random.default_rng(6)
    images = rng.integers(0, 256, (11, *SHAPE), dtype=np.uint8)
    rows, scales = rng.integers(-11, 11, 5).astype(np.int32), rng.normal(size=11)
    weight, dy = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(5, 4, 3, 4))

    def function(images, rows, weight, dy, scales):
        xp = array_namespace(images)
        x = (
            make(xp, images, rows)
            if make.__code__.co_argcount == 3
            else make(xp, images, rows, scales)
        )
        return (*_step(x, weight, dy), *also(xp, x, images))

    program, values = traced(function, images, rows, weight, dy, scales)
    return with_epilogues(simplified(program)), values


@pytest.mark.parametrize("name", TAKEN)
def test_what_makes_images_alone_is_no_loop_of_its_own(name):
    program, values = _programs(TAKEN[name])
    schedule = scheduled(program)
    groups = CudaLaunches(schedule)._groups
    assert [group.prologue is not None for group in groups] == [True, True]
    check_rendered(schedule, values, interpret(program, values))


LEFT = {
    "what is put out": (TAKEN["a batch"], lambda xp, x, images: (x,)),
    "what a loop reads": (TAKEN["a batch"], lambda xp, x, images: (xp.sum(x, axis=3),)),
    "what another kernel reads": (TAKEN["a batch"], lambda xp, x, images: (
        HEADS.max_pool2d(x, POOL, "first")[0],)),
    "two numbers": (lambda xp, images, rows: (
        _scaled(xp, _picked(xp, images, rows)) - _scaled(xp, images[:5, :, :, :])), lambda *given: ()),
    "a number of the image": (lambda xp, images, rows, scales: (
        _scaled(xp, _picked(xp, images, rows)) * scales[:5, None, None, None]), lambda *given: ()),
    "sums": (lambda xp, images, rows, scales: (
        _scaled(xp, _picked(xp, images, rows)) * xp.sum(scales)), lambda *given: ()),
    "places that are sums": (lambda xp, images, rows: (
        _scaled(xp, _picked(xp, images, _sums(xp, images)))), lambda *given: ()),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_what_others_read_or_needs_more_lies_in_memory(name):
    program, values = _programs(*LEFT[name])
    schedule = scheduled(program)
    assert not any(group.prologue for group in CudaLaunches(schedule)._groups)
    check_rendered(schedule, values, interpret(program, values))


def test_what_is_written_over_before_it_is_read_is_computed_before():
    rng = np.random.default_rng(7)

    def function(images, weight):
        x = images[:3, :, :, :] * 2.0
        return images + 1.0, _pooled(x, weight)[0][0]

    program, values = traced(function, rng.normal(size=(4, *SHAPE)), rng.normal(size=(3, 3, 2, 4)))
    program = with_epilogues(simplified(program))
    schedule = scheduled(program, {"0": "0"})
    assert schedule.memory_of[program.outputs["0"]] is program.inputs["0"]
    assert [step.head is not None for step in schedule.steps] == [False, False, True]
    assert CudaLaunches(schedule)._groups[-1].prologue is None
    check_rendered(schedule, values, interpret(program, values))
