"""A launch that notes the time: between two others, it tells what the first has taken."""

from __future__ import annotations

import sys
import time

from llvmlite import ir

from arraycnn.ops.compiled.launch_struct import Int64s, LaunchStruct
from arraycnn.ops.compiled.translation.functions import compiled, instruction
from arraycnn.ops.compiled.translation.values import Arithmetic, Pointer

_INT = ir.IntType(64)


@instruction
def _look(code: Arithmetic, place: Pointer) -> None:
    """Write the time at ``place``: seconds and nanoseconds; on Windows nothing, and ticks."""
    number = ir.IntType(32)
    if sys.platform == "win32":
        kind = ir.FunctionType(number, [_INT.as_pointer()])
        code.builder.call(
            code.declared("QueryPerformanceCounter", kind), [code.after(place, 1).value]
        )
        return
    kind = ir.FunctionType(number, [number, _INT.as_pointer()])
    clock = ir.Constant(number, int(time.CLOCK_MONOTONIC))
    code.builder.call(code.declared("clock_gettime", kind), [clock, place.value])


class LookAtClock(LaunchStruct):
    place: Int64s


@compiled
def look_at_clock(block, launch: LookAtClock, scratch):  # type: ignore[no-untyped-def]
    """Write the time at ``place``."""
    _look(launch.place)
