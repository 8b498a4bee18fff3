"""The lines of a loop's code at a point of its space: loads, coordinates, numbers, operations."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from llvmlite import ir

from arraycnn.program.render.frame import Frame, place
from arraycnn.program.render.layout import UnsupportedError
from arraycnn.program.render.loop_code import Line, LoopCode, Reach, dtype_of

_INT64 = np.dtype(np.int64)


@dataclass
class Point:
    """Where the code stands.

    Attributes
    ----------
    row : integer of the code, or None before the rows
    rows : list of integers of the code
        The same as the index along each axis of rows.
    lane : integer of the code
        The first lane.
    mask, count : or None
        Which lanes count, and how many, where not all do.
    known : dict
        Values of lines.
    moved : dict
        How far places lie from their starts, by their strides.
    """

    row: Any
    rows: list[Any]
    lane: Any
    mask: Any
    count: Any
    known: dict[int, Any] = field(default_factory=dict)
    moved: dict[Any, Any] = field(default_factory=dict)


class Lines(Frame):
    """Writes the values of lines.

    Attributes
    ----------
    outer : list
        The index along each outer axis, where the code stands.
    steady : list of int
        Lines that are the same for all rows.
    """

    def __init__(self, code: LoopCode, name: str) -> None:
        super().__init__(name, code.width)
        self.code = code
        self.outer: list[Any] = []
        self.steady: list[int] = []
        for number, line in enumerate(code.lines):
            own = line.reach is None or not self._moves(line.reach)
            if own and all(value in self.steady for value in line.inputs):
                self.steady.append(number)

    def value(self, number: int, point: Point) -> Any:
        """The vector of a line."""
        if number not in point.known:
            point.known[number] = self._computed(number, self.code.lines[number], point)
        return point.known[number]

    def offset(self, name: str, reach: Reach, point: Point) -> Any:
        """How far the number of the first lane lies from an array's first."""
        return self.build.add(self._moved(reach, point), self.field(f"{name} start"))

    def _moved(self, reach: Reach, point: Point) -> Any:
        """How far that is from where the place has its start: once for all that move alike."""
        key = reach.strides, self._moves(reach)
        if key not in point.moved:
            build, name = self.build, f"strides {reach.strides}"
            offset = self.integer(0)
            if reach.outer:
                for axis, index in enumerate(self.outer):
                    offset = build.add(offset, build.mul(index, self.field(f"{name} outer {axis}")))
            if self._moves(reach):
                for axis, index in enumerate(point.rows):
                    offset = build.add(offset, build.mul(index, self.field(f"{name} row {axis}")))
            if reach.lane != 0:
                apart = reach.lane == "s"
                lane = build.mul(point.lane, self.field(f"{name} lane")) if apart else point.lane
                offset = build.add(offset, lane)
            point.moved[key] = offset
        return point.moved[key]

    def write(self, name: str, reach: Reach, value: Any, dtype: np.dtype, point: Point) -> None:
        """Write a vector where a result lies."""
        offset = self.offset(name, reach, point)
        pointer = self.build.gep(self.pointer(f"{name} address", dtype), [offset])
        if reach.lane == 1:
            self.store_vector(value, pointer, dtype, point.mask)
        else:
            stride = self.field(f"strides {reach.strides} lane")
            self.scattered(value, pointer, stride, dtype, point.count)

    def _moves(self, reach: Reach) -> bool:
        """Whether a place changes with the rows, which may be the last axis cut into vectors."""
        return reach.rows or (self.code.split and reach.lane != 0)

    def _computed(self, number: int, line: Line, point: Point) -> Any:
        name, dtype = f"line {number}", dtype_of(line)
        if line.op == "number":
            return self._number(name, line, dtype)
        if line.op == "coordinate":
            start = self._spread_lanes(line, self.offset(name, _reach(line), point))
            return self.values.converted(start, _INT64, dtype)
        if line.op in ("load", "gather"):
            return self._load(name, line, point)
        given = [self.value(value, point) for value in line.inputs]
        second = self.code.lines[line.inputs[-1]]
        if line.op == "pow":
            if second.number is None or dtype.kind != "f":
                raise UnsupportedError(f"a power of {dtype}, or one whose exponent is an array")
            return self.values.functions.power(given[0], float(literal(second.number)))
        if line.op in ("bitwise_left_shift", "bitwise_right_shift") and (
            second.number is None or not 0 <= literal(second.number) < 8 * dtype.itemsize
        ):
            raise UnsupportedError(f"a shift of {dtype} by an array, or beyond its bits")
        return self.values.apply(line.op, dtype, dtype_of(second), given)

    def _number(self, name: str, line: Line, dtype: np.dtype) -> Any:
        if line.number is not None:
            return self.values.constant(dtype, literal(line.number))
        number = self.build.bitcast(self.field(f"{name} number"), ir.DoubleType())
        if dtype.itemsize == 4:
            number = self.build.fptrunc(number, ir.FloatType())
        return self.values.spread(number)

    def _spread_lanes(self, line: Line, offset: Any) -> Any:
        """Where the number of each lane lies."""
        where = self.values.spread(offset)
        if _reach(line).lane == 0:
            return where
        stride = self.values.spread(self.field(f"strides {_reach(line).strides} lane"))
        return self.build.add(where, self.build.mul(self.values.lanes(), stride))

    def _load(self, name: str, line: Line, point: Point) -> Any:
        dtype, reach = dtype_of(line), _reach(line)
        offset = self.offset(name, reach, point)
        pointer = self.pointer(f"{name} address", dtype)
        if line.op == "gather":
            taken = self._taken(name, self.value(line.inputs[0], point))
            if not self._lanes_agree(line.inputs[0]):
                where = self.build.add(self._spread_lanes(line, offset), taken)
                return self.gathered(pointer, where, dtype, point.mask)
            offset = self.build.add(offset, self.build.extract_element(taken, place(0)))
        if reach.lane == 0:
            return self.values.spread(self.load(self.build.gep(pointer, [offset]), dtype))
        if reach.lane == "s":
            where = self._spread_lanes(line, offset)
            return self.gathered(pointer, where, dtype, point.mask)
        return self.load_vector(self.build.gep(pointer, [offset]), dtype, point.mask)

    def _lanes_agree(self, number: int) -> bool:
        line = self.code.lines[number]
        own = line.reach is None or line.reach.lane == 0
        return own and all(map(self._lanes_agree, line.inputs))

    def _taken(self, name: str, index: Any) -> Any:
        """Offsets of taken rows: one below 0 counts from the end; none reaches beyond the array."""
        build, values = self.build, self.values
        size = values.spread(self.field(f"{name} taken size"))
        zero, one = values.constant(_INT64, 0), values.constant(_INT64, 1)
        index = build.select(build.icmp_signed("<", index, zero), build.add(index, size), index)
        index = values.extreme("max", _INT64, index, zero)
        index = values.extreme("min", _INT64, index, build.sub(size, one))
        return build.mul(index, values.spread(self.field(f"{name} taken stride")))


def literal(text: str) -> Any:
    """A number from its repr, as `Line.number` holds it."""
    if text in ("True", "False"):
        return text == "True"
    return float(text) if any(sign in text for sign in ".einf") else int(text)


def _reach(line: Line) -> Reach:
    assert line.reach is not None
    return line.reach
