"""exp, log and their relatives, and powers, on vectors: LLVM's own are calls for every single lane.

Arguments are reduced as in W. J. Cody and W. Waite, "Software manual for the elementary functions",
1980; the polynomials are Taylor's, of as many terms as a half unit in the last place asks for on the
reduced interval. Errors are a few units in the last place (tests/program/test_program_render.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from llvmlite import ir

_MOST_FACTORS = 64


class Functions:
    """Writes the instructions for vectors of ``width`` lanes of float32 or float64."""

    def __init__(self, builder: Any, width: int) -> None:
        self.builder, self.width = builder, width

    def intrinsic(self, name: str, result: Any, values: Sequence[Any]) -> Any:
        """A call of LLVM's function ``name``, overloaded by result and, where they differ, operand."""
        kinds = [_suffix(result)]
        if values[0].type != result:
            kinds.append(_suffix(values[0].type))
        full = ".".join([name, *kinds])
        module = self.builder.module
        function = module.globals.get(full)
        if function is None:
            kind = ir.FunctionType(result, [value.type for value in values])
            function = ir.Function(module, kind, full)
        return self.builder.call(function, values)

    def exp(self, x: Any) -> Any:
        n, r = self._reduced(x)
        grown = self._scaled(self._plus(self._em1_polynomial(r), 1.0), n)
        grown = self._where(">", x, self._limits(x)[1], self._same(x, math.inf), grown)
        grown = self._where("<", x, self._limits(x)[0], self._same(x, 0.0), grown)
        return self._keep_nan(x, grown)

    def expm1(self, x: Any) -> Any:
        small = self._em1_polynomial(x)
        large = self.builder.fsub(self.exp(x), self._same(x, 1.0))
        size = self.intrinsic("llvm.fabs", x.type, [x])
        return self._where("<", size, self._same(x, 0.35), small, large)

    def tanh(self, x: Any) -> Any:
        """-m / (2 + m) for m = exp(-2 |x|) - 1, with the sign of x."""
        build = self.builder
        size = self.intrinsic("llvm.fabs", x.type, [x])
        m = self.expm1(build.fmul(size, self._same(x, -2.0)))
        ratio = build.fdiv(build.fneg(m), build.fadd(m, self._same(x, 2.0)))
        signed = self.intrinsic("llvm.copysign", x.type, [ratio, x])
        return self._keep_nan(x, signed)

    def log(self, x: Any) -> Any:
        """log(2^n m) = n log 2 + 2 artanh((m - 1) / (m + 1)), m within sqrt(1/2) and sqrt(2)."""
        build, wide = self.builder, self._is_wide(x)
        whole = ir.VectorType(ir.IntType(64 if wide else 32), self.width)
        digits = 52 if wide else 23
        tiny = 2.0**-1022 if wide else 2.0**-126
        below = build.fcmp_ordered("<", x, self._same(x, tiny))  # denormal
        lifted = build.select(below, build.fmul(x, self._same(x, 2.0**digits)), x)
        bits = build.bitcast(lifted, whole)
        exponent = build.ashr(build.sub(bits, _same(whole, _ROOT[wide])), _same(whole, digits))
        m = build.bitcast(build.sub(bits, build.shl(exponent, _same(whole, digits))), x.type)
        n = build.sitofp(exponent, x.type)
        n = build.fsub(n, build.select(below, self._same(x, digits), self._same(x, 0.0)))
        f = build.fsub(m, self._same(x, 1.0))
        s = build.fdiv(f, build.fadd(f, self._same(x, 2.0)))
        z = build.fmul(s, s)
        terms = 11 if wide else 5
        series = self._polynomial(z, [2.0 / (2 * k + 3) for k in range(terms)])
        # log(1 + f) = f - s (f - z series): the large part is exact.
        correction = build.fmul(s, build.fsub(f, build.fmul(z, series)))
        high, low = _LOG2[wide]
        below_one = build.fadd(build.fsub(f, correction), build.fmul(n, self._same(x, low)))
        result = build.fadd(build.fmul(n, self._same(x, high)), below_one)
        infinity, zero = self._same(x, math.inf), self._same(x, 0.0)
        result = self._where("==", x, infinity, infinity, result)
        result = self._where("==", x, zero, self._same(x, -math.inf), result)
        result = self._where("<", x, zero, self._same(x, math.nan), result)
        return self._keep_nan(x, result)

    def log1p(self, x: Any) -> Any:
        """log(1 + x), with what rounding 1 + x lost (Kahan): right also for tiny x."""
        build, one = self.builder, self._same(x, 1.0)
        u = build.fadd(one, x)
        lost = build.fdiv(build.fsub(x, build.fsub(u, one)), u)
        result = build.fadd(self.log(u), lost)
        finite = build.fcmp_ordered(
            "<", self.intrinsic("llvm.fabs", x.type, [u]), self._same(x, math.inf)
        )
        result = build.select(finite, result, self.log(u))
        nothing = build.fcmp_ordered("==", u, self._same(x, 0.0))
        result = build.select(nothing, self._same(x, -math.inf), result)
        return self._where("==", u, one, x, result)

    def power(self, x: Any, exponent: float) -> Any:
        """x to a power that the program knows."""
        build = self.builder
        if exponent == 0.5:
            return self.intrinsic("llvm.sqrt", x.type, [x])
        if exponent == int(exponent) and abs(exponent) <= _MOST_FACTORS:
            result = self._whole_power(x, abs(int(exponent)))
            if exponent < 0:
                result = build.fdiv(self._same(x, 1.0), result)
            return result
        # NaN for x below 0, as NumPy's.
        return self.exp(build.fmul(self.log(x), self._same(x, exponent)))

    def _whole_power(self, x: Any, exponent: int) -> Any:
        result = self._same(x, 1.0)
        factor = x
        while exponent:
            if exponent & 1:
                result = self.builder.fmul(result, factor)
            exponent >>= 1
            if exponent:
                factor = self.builder.fmul(factor, factor)
        return result

    def _reduced(self, x: Any) -> tuple[Any, Any]:
        """x = n log 2 + r with a whole n: (n as a real, r)."""
        build = self.builder
        low, high = self._limits(x)
        x = self._where("<", x, low, low, x)
        x = self._where(">", x, high, high, x)
        scaled = build.fmul(x, self._same(x, 1.0 / math.log(2.0)))
        n = self.intrinsic("llvm.roundeven", x.type, [scaled])
        upper, lower = _LOG2[self._is_wide(x)]
        r = build.fsub(x, build.fmul(n, self._same(x, upper)))
        return n, build.fsub(r, build.fmul(n, self._same(x, lower)))

    def _limits(self, x: Any) -> tuple[Any, Any]:
        """Below and above which exp is 0 and infinite."""
        low, high = (-745.2, 709.7827128933841) if self._is_wide(x) else (-104.0, 88.722831726)
        return self._same(x, low), self._same(x, high)

    def _em1_polynomial(self, r: Any) -> Any:
        """exp(r) - 1 near 0: r + r^2 (1/2 + r/6 + ...)."""
        last = 14 if self._is_wide(r) else 8
        series = self._polynomial(r, [1.0 / math.factorial(k) for k in range(2, last + 1)])
        return self.builder.fadd(r, self.builder.fmul(self.builder.fmul(r, r), series))

    def _scaled(self, x: Any, n: Any) -> Any:
        """x 2^n, in two steps: half of n may be as large as an exponent gets."""
        build, wide = self.builder, self._is_wide(x)
        whole = ir.VectorType(ir.IntType(64 if wide else 32), self.width)
        digits, bias = (52, 1023) if wide else (23, 127)
        exponent = build.fptosi(self._keep_number(n), whole)
        half = build.ashr(exponent, _same(whole, 1))
        for part in (half, build.sub(exponent, half)):
            biased = build.add(part, _same(whole, bias))
            factor = build.bitcast(build.shl(biased, _same(whole, digits)), x.type)
            x = build.fmul(x, factor)
        return x

    def _keep_number(self, n: Any) -> Any:
        """0 where n is NaN: the conversion of a NaN is undefined."""
        nan = self.builder.fcmp_unordered("uno", n, n)
        return self.builder.select(nan, self._same(n, 0.0), n)

    def _polynomial(self, x: Any, coefficients: Sequence[float]) -> Any:
        result = self._same(x, coefficients[-1])
        for coefficient in reversed(coefficients[:-1]):
            result = self._plus(self.builder.fmul(result, x), coefficient)
        return result

    def _plus(self, x: Any, number: float) -> Any:
        return self.builder.fadd(x, self._same(x, number))

    def _where(self, sign: str, a: Any, b: Any, then: Any, other: Any) -> Any:
        return self.builder.select(self.builder.fcmp_ordered(sign, a, b), then, other)

    def _keep_nan(self, x: Any, value: Any) -> Any:
        return self.builder.select(self.builder.fcmp_unordered("uno", x, x), x, value)

    def _is_wide(self, x: Any) -> bool:
        return isinstance(x.type.element, ir.DoubleType)

    def _same(self, x: Any, number: float) -> Any:
        return _same(x.type, number)


# log 2 in two parts: the product of the first with a whole number of up to 11 bits is exact.
_LOG2 = {
    True: (0.6931471803691238, 1.9082149292705877e-10),
    False: (0.693359375, -2.12194440e-4),
}

_ROOT = {
    True: int(np.float64(math.sqrt(0.5)).view(np.int64)),
    False: int(np.float32(math.sqrt(0.5)).view(np.int32)),
}
"""The bits of sqrt(1/2)."""


def _same(kind: Any, number: float) -> Any:
    lane = ir.Constant(kind.element, number)
    return ir.Constant(kind, [lane] * kind.count)


def _suffix(kind: Any) -> str:
    element = kind.element
    if isinstance(element, ir.IntType):
        return f"v{kind.count}i{element.width}"
    return f"v{kind.count}f{64 if isinstance(element, ir.DoubleType) else 32}"
