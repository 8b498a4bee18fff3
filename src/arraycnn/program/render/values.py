"""Pointwise operations on vectors, as LLVM's instructions.

Nothing is contracted or reordered: an operation gives on every processor the bits that NumPy's
arithmetic gives, but for `exp` and its relatives (`arraycnn.program.render.functions`).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from arraycnn.program.render.functions import Functions
from arraycnn.program.render.layout import UnsupportedError

_INT = ir.IntType(64)
_SIGNS = {
    "equal": "==",
    "not_equal": "!=",
    "less": "<",
    "less_equal": "<=",
    "greater": ">",
    "greater_equal": ">=",
}
_ARITHMETIC = {"add": "add", "subtract": "sub", "multiply": "mul"}
_BITS = {
    "bitwise_and": "and_",
    "bitwise_or": "or_",
    "bitwise_xor": "xor",
    "bitwise_left_shift": "shl",
    "logical_and": "and_",
    "logical_or": "or_",
    "logical_xor": "xor",
}


def register(dtype: np.dtype) -> Any:
    """The type of a number in a register."""
    if dtype.kind == "b":
        return ir.IntType(1)
    if dtype.kind == "f":
        return ir.FloatType() if dtype.itemsize == 4 else ir.DoubleType()
    return ir.IntType(8 * dtype.itemsize)


def in_memory(dtype: np.dtype) -> Any:
    """The type of a number in memory: a bool takes a byte."""
    return ir.IntType(8) if dtype.kind == "b" else register(dtype)


class Values:
    """Writes the instructions for vectors of ``width`` lanes."""

    def __init__(self, builder: Any, width: int) -> None:
        self.builder, self.width = builder, width
        self.functions = Functions(builder, width)

    def vector(self, scalar: Any) -> Any:
        """The type of a vector of a type."""
        return ir.VectorType(scalar, self.width)

    def constant(self, dtype: np.dtype, number: float) -> Any:
        scalar = register(dtype)
        lane = ir.Constant(scalar, float(number) if dtype.kind == "f" else int(number))
        return ir.Constant(self.vector(scalar), [lane] * self.width)

    def spread(self, scalar: Any) -> Any:
        """A number in every lane."""
        kind = self.vector(scalar.type)
        one = self.builder.insert_element(
            ir.Constant(kind, ir.Undefined), scalar, ir.Constant(ir.IntType(32), 0)
        )
        places = ir.Constant(ir.VectorType(ir.IntType(32), self.width), None)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), places)

    def lanes(self) -> Any:
        """0, 1, 2, ... in the lanes, int64."""
        numbers = [ir.Constant(_INT, lane) for lane in range(self.width)]
        return ir.Constant(self.vector(_INT), numbers)

    def apply(self, op: str, dtype: np.dtype, given: np.dtype, values: list[Any]) -> Any:
        """``op`` of ``values``, all of the dtype ``given`` (but the condition of "where")."""
        build = self.builder
        if op == "where":
            return build.select(*values)
        if op == "astype":
            return self.converted(values[0], given, dtype)
        if op in _SIGNS:
            return self._compared(_SIGNS[op], given, *values)
        if op == "logical_not" or op == "bitwise_invert":
            return build.not_(values[0])
        if op in _BITS:
            return getattr(build, _BITS[op])(*values)
        if op == "bitwise_right_shift":
            return (build.ashr if given.kind == "i" else build.lshr)(*values)
        if given.kind == "b":
            return self._of_bools(op, values)
        if op in _ARITHMETIC:
            name = _ARITHMETIC[op]
            return getattr(build, f"f{name}" if given.kind == "f" else name)(*values)
        if op in ("maximum", "minimum"):
            return self.extreme(op, given, *values)
        if op == "square":
            return self.apply("multiply", dtype, given, [values[0], values[0]])
        if given.kind != "f":
            return self._of_integers(op, given, values)
        return self._of_reals(op, given, values)

    def converted(self, value: Any, given: np.dtype, dtype: np.dtype) -> Any:
        """``value`` in another dtype, as `astype` has it."""
        build, kind = self.builder, self.vector(register(dtype))
        if given == dtype:
            return value
        if dtype.kind == "b":
            return self._compared("!=", given, value, self.constant(given, 0))
        if given.kind == "f" and dtype.kind == "f":
            return (build.fpext if dtype.itemsize > given.itemsize else build.fptrunc)(value, kind)
        if dtype.kind == "f":
            return (build.sitofp if given.kind == "i" else build.uitofp)(value, kind)
        if given.kind == "f":  # the plain instruction is undefined beyond the range
            sign = "s" if dtype.kind == "i" else "u"
            name = f"llvm.fpto{sign}i.sat"
            return self.functions.intrinsic(name, kind, [value])
        if dtype.itemsize == given.itemsize and given.kind != "b":
            return value
        if dtype.itemsize < given.itemsize:
            return build.trunc(value, kind)
        return (build.sext if given.kind == "i" else build.zext)(value, kind)

    def extreme(self, op: str, dtype: np.dtype, a: Any, b: Any) -> Any:
        """The larger or the smaller; NaN where either is."""
        sign = ">" if op in ("maximum", "max") else "<"
        better = self._compared(sign, dtype, a, b)
        if dtype.kind == "f":
            better = self.builder.or_(better, self.builder.fcmp_unordered("uno", a, a))
        return self.builder.select(better, a, b)

    def reduced(self, op: str, dtype: np.dtype, a: Any, b: Any) -> Any:
        """Two partial results of a reduction as one."""
        if op in ("any", "all"):
            return self.builder.or_(a, b) if op == "any" else self.builder.and_(a, b)
        if op in ("max", "min"):
            if dtype.kind == "b":
                return self.builder.or_(a, b) if op == "max" else self.builder.and_(a, b)
            return self.extreme(op, dtype, a, b)
        return self.apply("add" if op == "sum" else "multiply", dtype, dtype, [a, b])

    def _compared(self, sign: str, given: np.dtype, a: Any, b: Any) -> Any:
        if given.kind == "f":
            if sign == "!=":
                return self.builder.fcmp_unordered(sign, a, b)
            return self.builder.fcmp_ordered(sign, a, b)
        if given.kind == "i":
            return self.builder.icmp_signed(sign, a, b)
        return self.builder.icmp_unsigned(sign, a, b)

    def _of_bools(self, op: str, values: list[Any]) -> Any:
        if op in ("add", "maximum"):
            return self.builder.or_(*values)
        if op in ("multiply", "minimum"):
            return self.builder.and_(*values)
        message = f"{op} of bool"
        raise UnsupportedError(message)

    def _of_integers(self, op: str, given: np.dtype, values: list[Any]) -> Any:
        zero, (value, *_) = self.constant(given, 0), values
        if op in ("floor", "ceil", "round", "trunc"):
            return value
        if op in ("remainder", "floor_divide"):
            return self._divided(op, given, *values)
        if op in ("isnan", "isinf", "isfinite"):
            return self.constant(np.dtype(bool), op == "isfinite")
        negative = self.builder.sub(zero, value)
        if op == "negative":
            return negative
        if op == "abs" and given.kind == "u":
            return value
        if op == "abs":
            return self.builder.select(self._compared("<", given, value, zero), negative, value)
        if op == "sign":
            return self._sign(given, value)
        message = f"{op} of {given}"
        raise UnsupportedError(message)

    def _divided(self, op: str, given: np.dtype, a: Any, b: Any) -> Any:
        """Rounded down, as NumPy has it: 0 where ``b`` is 0, for which processors stop."""
        build, zero, one = self.builder, self.constant(given, 0), self.constant(given, 1)
        is_zero = self._compared("==", given, b, zero)
        safe, minus = build.select(is_zero, one, b), None
        if given.kind == "i":  # nor does the least number have a negative
            minus = self._compared("==", given, b, self.constant(given, -1))
            safe = build.select(minus, one, safe)
        quotient = (build.sdiv if given.kind == "i" else build.udiv)(a, safe)
        rest = build.sub(a, build.mul(quotient, safe))
        if given.kind == "i":
            # Processors round towards 0: one too high where the rest has the other sign than b.
            signs = self._compared("<", given, build.xor(rest, safe), zero)
            down = build.and_(signs, self._compared("!=", given, rest, zero))
            quotient = build.select(down, build.sub(quotient, one), quotient)
            rest = build.select(down, build.add(rest, safe), rest)
            quotient = build.select(minus, build.sub(zero, a), quotient)
        return build.select(is_zero, zero, quotient if op == "floor_divide" else rest)

    def _sign(self, given: np.dtype, value: Any) -> Any:
        zero, one = self.constant(given, 0), self.constant(given, 1)
        positive = self.builder.select(self._compared(">", given, value, zero), one, zero)
        if given.kind == "u":
            return positive
        less = self._compared("<", given, value, zero)
        sign = self.builder.select(less, self.constant(given, -1), positive)
        if given.kind == "f":
            nan = self.builder.fcmp_unordered("uno", value, value)
            sign = self.builder.select(nan, value, sign)
        return sign

    def _of_reals(self, op: str, given: np.dtype, values: list[Any]) -> Any:
        build, call = self.builder, self.functions
        value = values[0]
        if op == "divide":
            return build.fdiv(*values)
        if op == "negative":
            return build.fneg(value)
        if op in ("abs", "floor", "ceil", "round", "trunc", "sqrt"):
            name = {"abs": "fabs", "round": "rint"}.get(op, op)
            return call.intrinsic(f"llvm.{name}", value.type, [value])
        if op == "sign":
            return self._sign(given, value)
        if op in ("remainder", "floor_divide"):  # of the exact quotient: no instruction has it
            sign = "%" if op == "remainder" else "//"
            instead = "x - y * xp.floor(x / y)" if op == "remainder" else "xp.floor(x / y)"
            message = f"x {sign} y of {given} has no code; write {instead}"
            raise UnsupportedError(message)
        if op == "isnan":
            return build.fcmp_unordered("uno", value, value)
        if op in ("isinf", "isfinite"):
            infinity = self.constant(given, float("inf"))
            size = call.intrinsic("llvm.fabs", value.type, [value])
            return build.fcmp_ordered("==" if op == "isinf" else "<", size, infinity)
        function = getattr(call, op, None)
        if function is None:
            message = f"{op} of {given}"
            raise UnsupportedError(message)
        return function(value)
