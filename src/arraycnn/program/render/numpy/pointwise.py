"""Pointwise operations as calls of NumPy's functions, each of which writes into an array."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

NAMES = {
    "abs": "absolute",
    "bitwise_left_shift": "left_shift",
    "bitwise_right_shift": "right_shift",
    "bitwise_invert": "invert",
    "pow": "power",
    "round": "rint",
}
_TO_WHOLE = ("floor", "ceil", "round", "trunc")
_POWERS = {2: np.square, 0.5: np.sqrt, -1: np.reciprocal}
"""What NumPy's operator takes for a power, too."""

_INTEGERS = {1: np.int8, 2: np.int16, 4: np.int32, 8: np.int64}

Call = Callable[..., None]


class Memory(Protocol):
    """Where values in between lie."""

    def take(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray: ...

    def give(self, array: np.ndarray) -> None: ...


def apply(
    call: Call,
    memory: Memory,
    op: str,
    inputs: list[np.ndarray],
    last: Any,
    out: np.ndarray,
) -> None:
    """Make the calls that write ``op`` of ``inputs`` into ``out``, which may be one of them.

    ``last`` : the last input, where it is a number of the program, else None.
    """
    if op == "astype" or (op in _TO_WHOLE and out.dtype.kind != "f"):
        call(np.copyto, out, inputs[0], casting="unsafe")
    elif op == "where":
        is_zero = last is not None and repr(last) in ("0", "0.0", "False")  # and not -0.0
        _where(call, memory, inputs, is_zero, out)
    elif op == "pow":
        _power(call, inputs, last, out)
    else:
        call(getattr(np, NAMES.get(op, op)), *inputs, out=out)


def _power(call: Call, inputs: list[np.ndarray], number: Any, out: np.ndarray) -> None:
    function = _POWERS.get(number) if out.dtype.kind == "f" else None
    if function is None:
        call(np.power, *inputs, out=out)
    else:
        call(function, inputs[0], out=out)


def _where(
    call: Call, memory: Memory, inputs: list[np.ndarray], y_is_zero: bool, out: np.ndarray
) -> None:
    """By their bits, times 1 or 0: NumPy's own choice of numbers takes ten times as long."""
    condition, x, y = inputs
    integer = _INTEGERS[out.itemsize]
    x, y, bits = x.view(integer), y.view(integer), out.view(integer)
    ones = condition.view(np.int8)
    if y_is_zero:
        call(np.multiply, x, ones, out=bits)
    else:
        both = memory.take(out.shape, integer)
        call(np.bitwise_xor, x, y, out=both)
        call(np.multiply, both, ones, out=both)
        call(np.bitwise_xor, both, y, out=bits)
        memory.give(both)


def constant(value: Any, dtype: np.dtype) -> np.ndarray:
    """A number of the program, which nobody may write."""
    array = np.asarray(value, dtype)
    array.flags.writeable = False
    return array


def reduction(op: str) -> np.ufunc:
    """The function whose ``reduce`` is a reduction."""
    return _REDUCTIONS[op]


_REDUCTIONS = {
    "sum": np.add,
    "prod": np.multiply,
    "max": np.maximum,
    "min": np.minimum,
    "any": np.logical_or,
    "all": np.logical_and,
}
