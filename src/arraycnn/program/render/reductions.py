"""Reductions of a loop, in a fixed order: what they begin with, and two partial results as one."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from arraycnn.program.render.frame import Frame, place
from arraycnn.program.render.loop_code import Result, dtype_of
from arraycnn.program.render.values import register


def is_place(result: Result) -> bool:
    """Whether a reduction finds a place, not a number."""
    return result.op in ("argmax", "argmin")


def identity(result: Result) -> float:
    """The number that changes no other."""
    dtype, largest_wins = dtype_of(result), result.op == "max"
    if result.op in ("sum", "any"):
        return 0
    if result.op in ("prod", "all"):
        return 1
    if dtype.kind == "f":
        return float("-inf") if largest_wins else float("inf")
    if dtype.kind == "b":
        return 0 if largest_wins else 1
    return int(np.iinfo(dtype).min if largest_wins else np.iinfo(dtype).max)


def scalar_start(result: Result) -> Any:
    """`identity` as one number of the code."""
    dtype, number = dtype_of(result), identity(result)
    return ir.Constant(register(dtype), float(number) if dtype.kind == "f" else int(number))


def start(frame: Frame, result: Result, given: np.dtype) -> Any:
    """What the sum of a row's lanes begins with; a place begins with (-1, any number)."""
    if not is_place(result):
        return frame.values.constant(dtype_of(result), identity(result))
    none = frame.values.constant(np.dtype(np.int64), -1)
    return ir.Constant.literal_struct([none, frame.values.constant(given, 0)])


def added(frame: Frame, result: Result, given: np.dtype, held: Any, value: Any, row: Any) -> Any:
    """``held`` with the value of one more row."""
    if not is_place(result):
        return frame.values.reduced(result.op, dtype_of(result), held, value)
    build, values = frame.build, frame.values
    where, best = (build.extract_value(held, part) for part in (0, 1))
    op = "greater" if result.op == "argmax" else "less"
    better = values.apply(op, np.dtype(bool), given, [value, best])
    if given.kind == "f":  # the first NaN wins
        nan, was = (build.fcmp_unordered("uno", v, v) for v in (value, best))
        better = build.and_(build.or_(better, nan), build.not_(was))
    none = build.icmp_signed("<", where, values.constant(np.dtype(np.int64), 0))
    better = build.or_(better, none)
    held = build.insert_value(held, build.select(better, values.spread(row), where), 0)
    return build.insert_value(held, build.select(better, value, best), 1)


def of_lanes(frame: Frame, result: Result, value: Any) -> Any:
    """The lanes of a vector as one number: halves are added until one is left."""
    lanes, build = frame.width, frame.build
    while lanes > 1:
        lanes //= 2
        halves = [build.shuffle_vector(value, value, _places(first, lanes)) for first in (0, lanes)]
        value = frame.values.reduced(result.op, dtype_of(result), *halves)
    return build.extract_element(value, place(0))


def of_numbers(frame: Frame, result: Result, a: Any, b: Any) -> Any:
    """Two numbers of a reduction as one."""
    kind = ir.VectorType(a.type, 1)
    nothing = ir.Constant(kind, ir.Undefined)
    one, other = (frame.build.insert_element(nothing, number, place(0)) for number in (a, b))
    total = frame.values.reduced(result.op, dtype_of(result), one, other)
    return frame.build.extract_element(total, place(0))


def _places(first: int, count: int) -> Any:
    places = [place(lane) for lane in range(first, first + count)]
    return ir.Constant(ir.VectorType(ir.IntType(32), count), places)
