"""Pointwise operations as expressions of CUDA C++; what they call is in ops/cuda/pointwise.cuh."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from arraycnn.program.nodes import BFLOAT16, ROUNDED, TENSOR_FLOAT32
from arraycnn.program.render.layout import UnsupportedError

_C_TYPES = {
    "bool": "bool",
    "int8": "signed char",
    "uint8": "unsigned char",
    "int32": "int",
    "uint32": "unsigned",
    "int64": "long long",
    "uint64": "unsigned long long",
    "float32": "float",
    "float64": "double",
}
_C_TYPES_OF_ROUNDED = {BFLOAT16: "Bfloat16", TENSOR_FLOAT32: "TensorFloat32"}

_SIGNS = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
    "logical_and": "&&",
    "logical_or": "||",
    "logical_xor": "!=",
}
_BITS = {"bitwise_and": "&", "bitwise_or": "|", "bitwise_xor": "^"}
_OF_WHOLE = {"add": "plus", "subtract": "minus", "multiply": "times"}
_OF_REAL = {"add": "+", "subtract": "-", "multiply": "*", "divide": "/"}
_OF_BOOL = {"add": "||", "maximum": "||", "multiply": "&&", "minimum": "&&"}
_FUNCTIONS = {
    **{name: name for name in ("sqrt", "exp", "expm1", "log", "log1p", "tanh")},
    **{name: name for name in ("floor", "ceil", "trunc", "isnan", "isinf", "isfinite")},
    "abs": "fabs",
    "round": "rint",
    "sign": "sign_of",
    "pow": "pow",
}
_MOST_FACTORS = 64
_MOST_DIVISOR = 2.0**100


def c_type(dtype: np.dtype) -> str:
    """The C++ type of numbers of ``dtype``; UnsupportedError where a device has none."""
    name = _C_TYPES_OF_ROUNDED.get(dtype) or _C_TYPES.get(dtype.name)
    if name is None:
        message = f"numbers of {dtype}"
        raise UnsupportedError(message)
    return name


def computing(dtype: np.dtype) -> np.dtype:
    """The dtype of the arithmetic on what lies in memory as ``dtype``."""
    return np.dtype("float32") if dtype in ROUNDED else dtype


def literal(value: bool | int, dtype: np.dtype) -> str:
    """A number that is no floating one as part of the text."""
    if dtype.kind == "b":
        return str(bool(value)).lower()
    if value == np.iinfo(np.int64).min:  # whose size no literal can say
        return f"(({c_type(dtype)})({value + 1}ll - 1))"
    return f"(({c_type(dtype)}){value}{'ull' if value >= 2**63 else 'll'})"


def expression(op: str, dtype: np.dtype, given: np.dtype, values: Sequence[str]) -> str:
    """``op`` of ``values``, all of the dtype ``given`` (but the condition of "where"), as ``dtype``."""
    a = values[0]
    if op == "where":
        return f"({a} ? {values[1]} : {values[2]})"
    if op == "astype":
        return converted(a, given, dtype)
    if op in _SIGNS:
        return f"({a} {_SIGNS[op]} {values[1]})"
    if op == "logical_not" or (op == "bitwise_invert" and given.kind == "b"):
        return f"(!{a})"
    if op in _BITS:
        return f"(({c_type(given)})({a} {_BITS[op]} {values[1]}))"
    if op == "bitwise_invert":
        return f"(({c_type(given)})~{a})"
    if op in ("bitwise_left_shift", "bitwise_right_shift"):
        return f"shifted_{op.split('_')[1]}({', '.join(values)})"
    if given.kind == "b":
        if op not in _OF_BOOL:
            message = f"{op} of bool"
            raise UnsupportedError(message)
        return f"({a} {_OF_BOOL[op]} {values[1]})"
    if op in ("maximum", "minimum"):
        return f"{'larger' if op == 'maximum' else 'smaller'}({a}, {values[1]})"
    if op == "square":
        return expression("multiply", dtype, given, [a, a])
    return _real(op, given, values) if given.kind == "f" else _whole(op, given, values)


def power(base: str, exponent: float) -> str:
    """A floating number to a power that the program knows."""
    if exponent == 0.5:
        return f"sqrt({base})"
    if exponent == int(exponent) and abs(exponent) <= _MOST_FACTORS:
        whole = f"to_power<{abs(int(exponent))}>({base})"
        return f"(1 / {whole})" if exponent < 0 else whole
    return f"pow({base}, decltype({base})({exponent!r}))"


def is_divided(divisor: float, dtype: np.dtype) -> bool:
    """Whether numbers of ``dtype`` are divided by a known one with `divided` of pointwise.cuh."""
    return dtype.kind == "f" and 1 <= abs(divisor) <= _MOST_DIVISOR


def converted(value: str, given: np.dtype, dtype: np.dtype) -> str:
    """``value`` in another dtype, as `astype` has it."""
    if given == dtype:
        return value
    kind = c_type(dtype)
    if dtype.kind == "b":
        return f"({value} != 0)"
    if given.kind == "f" and dtype.kind != "f" and dtype not in ROUNDED:
        ends = np.iinfo(dtype)
        most, least = literal(int(ends.max), dtype), literal(int(ends.min), dtype)
        return f"cut_to<{kind}>({value}, {least}, {most})"
    return f"(({kind}){value})"


def _real(op: str, given: np.dtype, values: Sequence[str]) -> str:
    if op in _OF_REAL:
        return f"({values[0]} {_OF_REAL[op]} {values[1]})"
    if op == "negative":
        return f"(-{values[0]})"
    if op in ("remainder", "floor_divide"):  # of the exact quotient: no instruction has it
        sign = "%" if op == "remainder" else "//"
        instead = "x - y * xp.floor(x / y)" if op == "remainder" else "xp.floor(x / y)"
        message = f"x {sign} y of {given} has no code; write {instead}"
        raise UnsupportedError(message)
    if op not in _FUNCTIONS:
        message = f"{op} of {given}"
        raise UnsupportedError(message)
    return f"{_FUNCTIONS[op]}({', '.join(values)})"


def _whole(op: str, given: np.dtype, values: Sequence[str]) -> str:
    a = values[0]
    if op in _OF_WHOLE:
        return f"{_OF_WHOLE[op]}({a}, {values[1]})"
    if op in ("floor", "ceil", "round", "trunc"):
        return a
    if op == "floor_divide":
        return f"floor_divided({a}, {values[1]})"
    if op == "remainder":
        return f"remainder_of({a}, {values[1]})"
    if op in ("isnan", "isinf", "isfinite"):
        return "true" if op == "isfinite" else "false"
    if op == "negative":
        return f"minus(({c_type(given)})0, {a})"
    if op == "abs":
        return f"size_of({a})"
    if op == "sign":
        return f"sign_of({a})"
    message = f"{op} of {given}"
    raise UnsupportedError(message)
