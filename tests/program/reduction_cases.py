"""Reductions as the tests of every renderer draw them."""

import numpy as np
from hypothesis import strategies as st

from arraycnn.ops import array_namespace
from arraycnn.program.interpret import interpret
from test_program_trace import traced

REDUCTIONS = ["sum", "prod", "max", "min", "any", "all", "argmax", "argmin"]


@st.composite
def reductions(draw):
    """A shape, axes, a function, an order of axes and a dtype."""
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 7, 16, 17, 40]), min_size=1, max_size=4)))
    axes = tuple(axis for axis in range(len(shape)) if draw(st.booleans()))
    name = draw(st.sampled_from(REDUCTIONS))
    turned = tuple(draw(st.permutations(range(len(shape)))))
    return shape, axes or (0,), name, turned, draw(st.sampled_from(["float64", "float32", "int32"]))


def reduced(case, of=lambda y, x: y):
    """(program, values, expected) of what `reductions` draws, ``of`` the turned array and ``x``."""
    shape, axes, name, turned, dtype = case
    axis = axes[0] if "arg" in name else axes
    x = np.random.default_rng(6).normal(size=shape) * 4
    x = np.where(np.abs(x) < 1, 1, x).astype(dtype)

    def function(x):
        xp = array_namespace(x)
        return getattr(xp, name)(of(xp.permute_dims(x, turned), x), axis=axis)

    program, values = traced(function, x)
    return program, values, interpret(program, values)["0"]


def check_reduced(got, expected, dtype):
    bound = 1e-12 if dtype == "float64" else 1e-5
    np.testing.assert_allclose(got, expected, rtol=bound, atol=bound * 100)


def with_nan():
    """(program, values, expected) of reductions that meet NaN, and numbers that are all alike."""
    x = np.array([[1.0, np.nan, 3.0, np.nan], [-np.inf, -np.inf, -np.inf, -np.inf]])

    def function(x):
        xp = array_namespace(x)
        names = ("max", "min", "argmax", "argmin", "sum")
        return tuple(getattr(xp, name)(x, axis=1) for name in names)

    program, values = traced(function, x)
    return program, values, interpret(program, values)
