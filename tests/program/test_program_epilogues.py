"""Heads that take a ReLU and a pool into themselves: which, and to the last bit the same program."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.ops import Window, array_namespace
from arraycnn.program.heads import HEADS
from arraycnn.program.interpret import interpret
from arraycnn.program.passes.epilogues import with_epilogues
from arraycnn.program.passes.simplify import simplified
from test_program_trace import traced

WINDOW, POOL = Window((3, 3), (1, 1)), Window((2, 2), (2, 2))
OVERLAPPING, WIDE = Window((2, 2), (1, 1)), Window((1, 2), (1, 2))
X, WEIGHT, BIAS = (2, 7, 8, 2), (3, 3, 2, 4), (4,)
FULL, SMALL, FLAT, MATRIX = (2, 5, 6, 4), (2, 2, 3, 4), (5, 6), (6, 4)


class Step:
    """The kernels as a step calls them, on the arrays of a case."""

    def __init__(self, x, weight, bias, dy, full, flat, matrix, levels):
        self.x, self.weight, self.bias, self.dy, self.full = x, weight, bias, dy, full
        self.flat, self.matrix, self.levels = flat, matrix, levels
        self.xp = array_namespace(x)

    def conv(self, bias=True):
        return HEADS.conv2d(HEADS, self.x, self.weight, self.bias if bias else None, WINDOW)

    def relu(self, x, least=0.0):
        return self.xp.maximum(x, least)

    def pool(self, x):
        return HEADS.max_pool2d(x, POOL, "first")

    def masked(self, y, dy, other=0.0):
        return self.xp.where(y > 0.0, dy, other)

    def unpooled(self, dy, winners):
        return HEADS.max_pool2d_backward(dy, winners, FULL, POOL, "first")

    def back(self, dy, need_dx=True):
        dx, *rest = HEADS.conv2d_backward(HEADS, self.x, self.weight, dy, WINDOW, need_dx)
        return (*([dx] if need_dx else []), *rest)

    def trained(self, relu, need_dx=True):
        """A convolution, a ReLU or none, and a pool, forward and backward."""
        y = self.relu(self.conv()) if relu else self.conv()
        pooled, winners = self.pool(y)
        dy = self.unpooled(self.dy, winners)
        return pooled, *self.back(self.masked(y, dy) if relu else dy, need_dx)

    def activated(self, derivative, pool=POOL, also=False):
        """A convolution, an activation of which only ``derivative`` matters, and a pool."""
        y = self.conv()
        z = self.xp.tanh(y)
        pooled, winners = HEADS.max_pool2d(z, pool, "first")
        spread = HEADS.max_pool2d_backward(2.0 * pooled + 1.0, winners, FULL, pool, "first")
        dy = derivative(y, z, spread)
        return pooled, *self.back(dy), *([spread * y] if also else [])

    def trained_and(self, more):
        """The same with a ReLU, and what ``more`` makes of what lies between."""
        y = self.relu(self.conv())
        pooled, winners = self.pool(y)
        spread = self.unpooled(self.dy, winners)
        dy = self.masked(y, spread)
        return pooled, *self.back(dy), more(y, spread, dy, winners)


PLACED = ["conv2d", "max_pool2d", "at_winners", "conv2d_max_pool2d_backward"]
PLACED_WITHOUT = ["conv2d", "max_pool2d", "conv2d_max_pool2d_backward"]
UNPLACED = ["conv2d", "max_pool2d", "max_pool2d_backward", "conv2d_backward"]
JOINED = ["conv2d_max_pool2d", "conv2d_max_pool2d_backward"]
APART = ["conv2d_relu", "max_pool2d", "max_pool2d_backward", "conv2d_relu_backward"]
CASES = [
    (lambda s: s.relu(s.conv()), ["conv2d_relu"]),
    (lambda s: s.relu(s.conv(bias=False)), ["conv2d_relu"]),
    (lambda s: s.relu(s.conv(), 1.0), ["conv2d"]),
    (lambda s: (s.relu(s.conv()), s.conv()), ["conv2d"]),
    (lambda s: (s.relu(s.conv()), s.conv() * 2.0), ["conv2d"]),
    (lambda s: s.relu(HEADS.dense(HEADS, s.flat, s.matrix, None)), ["dense_relu"]),
    (lambda s: s.pool(s.conv()), ["conv2d_max_pool2d"]),
    (lambda s: s.pool(s.relu(s.conv(bias=False))), ["conv2d_max_pool2d"]),
    (lambda s: s.pool(s.relu(s.conv(), 1.0)), ["conv2d", "max_pool2d"]),
    (lambda s: s.pool(s.xp.tanh(s.conv())), ["conv2d", "max_pool2d"]),
    (lambda s: (s.pool(s.conv())[0], s.conv()), ["conv2d", "max_pool2d"]),
    (lambda s: (s.pool(s.relu(s.conv()))[0], s.relu(s.conv())), ["conv2d_relu", "max_pool2d"]),
    (lambda s: (s.pool(s.relu(s.conv()))[0], s.conv()), ["conv2d", "max_pool2d"]),
    (lambda s: s.back(s.masked(s.full, s.full * 3.0)), ["conv2d_relu_backward"]),
    (lambda s: s.back(s.masked(s.full, s.full), need_dx=False), ["conv2d_relu_backward"]),
    (lambda s: s.back(s.masked(s.full, s.full * 3.0, 1.0)), ["conv2d_backward"]),
    (lambda s: s.back(s.xp.where(s.full > 1.0, s.full, 0.0)), ["conv2d_backward"]),
    (lambda s: s.back(s.xp.where(s.full < 0.0, s.full, 0.0)), ["conv2d_backward"]),
    (lambda s: s.back(s.masked(s.full[:, :, :1, :], s.full)), ["conv2d_backward"]),
    (lambda s: (*s.back(s.masked(s.full, s.full)), s.masked(s.full, s.full)), ["conv2d_backward"]),
    (lambda s: s.trained(relu=True), JOINED),
    (lambda s: s.trained(relu=False), JOINED),
    (lambda s: s.trained(relu=True, need_dx=False), JOINED),
    (
        lambda s: (*s.trained(relu=False), s.conv() * 2.0),
        ["conv2d", "max_pool2d", "conv2d_max_pool2d_backward"],
    ),
    (lambda s: s.trained_and(lambda y, spread, dy, winners: y * 2.0), APART),
    (lambda s: s.trained_and(lambda y, spread, dy, winners: y), APART),
    (lambda s: s.trained_and(lambda y, spread, dy, winners: spread + 1.0), APART),
    (lambda s: s.trained_and(lambda y, spread, dy, winners: spread), APART),
    (
        lambda s: s.trained_and(lambda y, spread, dy, winners: dy * 2.0),
        [*APART[:3], "conv2d_backward"],
    ),
    (
        lambda s: s.trained_and(lambda y, spread, dy, winners: s.unpooled(s.dy * 2.0, winners)),
        [*APART[:3], "max_pool2d_backward", "conv2d_relu_backward"],
    ),
    (lambda s: s.trained_and(lambda y, spread, dy, winners: winners), JOINED),
    # An activation between a convolution and a pool
    (lambda s: s.activated(lambda y, z, dy: dy * (y * y - 1.0)), PLACED),
    (lambda s: s.activated(lambda y, z, dy: (1.0 - z * z) * dy), PLACED_WITHOUT),
    (lambda s: s.activated(lambda y, z, dy: dy / (y * y + s.bias**2 + 1.0) * 3.0), PLACED),
    (lambda s: s.activated(lambda y, z, dy: dy * s.xp.where(y > 0.0, 1.0, 0.5)), PLACED),
    (lambda s: s.activated(lambda y, z, dy: dy * s.full), PLACED),
    (lambda s: s.activated(lambda y, z, dy: dy * y * s.full), [*PLACED, "at_winners"]),
    # ... of which the whole is needed, or is no multiple of dy
    (lambda s: s.activated(lambda y, z, dy: dy * 3.0), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: y / dy), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: dy * dy), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: (dy + 9.0) / (dy + 9.0)), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: dy / dy), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: dy + y), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: dy * (y * s.full[:, :, :1, :])), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: dy * s.conv(bias=False)), [*UNPLACED, "conv2d"]),
    # ... which no kernel reads at the winners: integers
    (lambda s: s.activated(lambda y, z, dy: dy * s.xp.astype(s.levels, dy.dtype)), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: dy * y, OVERLAPPING), UNPLACED),
    (lambda s: s.activated(lambda y, z, dy: dy * y, WIDE), [*PLACED[:3], *UNPLACED[2:]]),
    (lambda s: s.activated(lambda y, z, dy: dy * y, also=True), [*PLACED[:3], *UNPLACED[2:]]),
    (lambda s: s.activated(lambda y, z, dy: dy * y * 3.0, also=True), [*PLACED[:3], *UNPLACED[2:]]),
]


@pytest.mark.parametrize("number", range(len(CASES)))
def test_heads_join_what_nothing_else_needs(number):
    function, heads = CASES[number]
    rng = np.random.default_rng(number)
    shapes = (X, WEIGHT, BIAS, SMALL, FULL, FLAT, MATRIX)
    arrays = [np.round(2.0 * rng.normal(size=shape)) for shape in shapes]  # with ties
    arrays.append(rng.integers(0, 3, FULL, np.uint8))

    def run(*inputs):
        results = function(Step(*inputs))
        return results if isinstance(results, tuple) else (results,)

    program, values = traced(run, *arrays)
    program = simplified(program)
    joined = with_epilogues(program)
    joined.check()
    found = [node.op for node in joined.nodes if node.kind == "head"]
    assert sorted(found) == sorted(heads)
    expected, got = interpret(program, values), interpret(joined, values)
    assert got.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(got[name], array)


def test_the_program_names_all_layers_of_a_head():
    network = cnn.Sequential(
        *(cnn.Conv2d(4, 3), cnn.ReLU(), cnn.MaxPool2d(2)),
        *(cnn.Flatten(), cnn.Dense(5), cnn.ReLU(), cnn.Dense(3)),
    )
    text = str(cnn.Model(network, (8, 8, 1)).program())
    (forward,) = [line for line in text.splitlines() if "head conv2d_max_pool2d (" in line]
    assert forward.endswith("0 Conv2d, forward, 1 ReLU, forward, 2 MaxPool2d, forward")
    (backward,) = [line for line in text.splitlines() if "head dense_relu_backward" in line]
    assert backward.endswith("4 Dense, backward, 5 ReLU, backward")
