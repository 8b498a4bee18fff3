"""The code of a loop as LLVM's, in explicit vectors.

For every point of the outer axes and every vector of lanes, what does not change with the rows is
computed before their loop; the rows of a reduction go to four interleaved sums (`layout`).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from arraycnn.program.render import reductions
from arraycnn.program.render.lines import Lines, Point
from arraycnn.program.render.loop_code import LoopCode, Result, dtype_of

_SUMS = 4
"""Interleaved sums of a reduction."""

_LONG = 40
"""Lines from which on a body is not repeated for them: the code would be long in compiling."""


class LoopKernel(Lines):
    """Writes the kernel of one loop."""

    def __init__(self, code: LoopCode, name: str) -> None:
        super().__init__(code, name)
        self._reductions = [result for result in code.results if result.op != "write"]
        self._totals: list[Any] = []
        self._emit()
        self.build.ret_void()

    def _emit(self) -> None:
        build, code, zero = self.build, self.code, self.integer(0)
        first = build.mul(self.block, self.field("per block"))
        beyond = build.add(first, self.field("per block"))
        if code.blocks_of_rows:
            self._mine = self.block  # where this block leaves results of reductions
            self._tiles(first, self.smaller(beyond, self.field("rows")))
            return
        with self.repeat(first, self.smaller(beyond, self.field("outer points"))) as point:
            self._mine = point
            self.outer = self.indices(point, "outer", code.outer_axes)
            self._tiles(zero, self.field("rows"))

    def _tiles(self, first: Any, last: Any) -> None:
        """All of the rows from ``first`` to ``last``: where none is reduced, some at a time, so that
        those stay in the nearest cache while their lanes are walked vector by vector."""
        if self._reductions or self.code.split:
            self._across(first, last)
            return
        with self.repeat_by(first, last, self.field("tile")) as (begin, end):
            self._across(begin, end)

    def _across(self, first: Any, last: Any) -> None:
        """All lanes of the rows from ``first`` to ``last``."""
        build, code, zero = self.build, self.code, self.integer(0)
        if code.lanes_reduced:
            self._totals = [self.cell(reductions.scalar_start(r)) for r in self._reductions]
        with self.repeat(zero, self.field("vectors")) as vector:
            self._strip(first, last, build.mul(vector, self.integer(code.width)), None)
        tail = self.field("tail")
        wanted = build.icmp_signed(">", tail, zero)
        lane = build.mul(self.field("vectors"), self.integer(code.width))
        if code.split:  # what is left over is one row more
            first, lane = self.field("rows"), zero
            last = build.add(first, self.integer(1))
            if code.blocks_of_rows:
                final = build.sub(self.field("blocks"), self.integer(1))
                wanted = build.and_(wanted, build.icmp_signed("==", self.block, final))
        with build.if_then(wanted):
            self._strip(first, last, lane, tail)
        if code.lanes_reduced:
            for number, cell in enumerate(self._totals):
                self.store(build.load(cell), self._place(number, None), self._dtype(number))

    def _strip(self, first: Any, last: Any, lane: Any, count: Any) -> None:
        """The rows of one vector of lanes; of fewer lanes where ``count`` says so."""
        build = self.build
        steady = Point(None, [], lane, None if count is None else self.first_lanes(count), count)
        for number in self.steady:
            self.value(number, steady)
        ways = self._ways()
        sums = [[self.cell(self._start(r)) for r in self._reductions] for _ in range(ways)]
        with self._runs(first, last) as (begin, end, outer, back):
            rest = build.and_(build.sub(end, begin), self.integer(ways - 1))
            whole = build.sub(end, rest)
            if ways > 1:
                with self.repeat(begin, whole, ways) as row:
                    for way in range(ways):
                        self._row(build.add(row, self.integer(way)), outer, back, steady, sums[way])
            else:
                whole = begin
            with self.repeat(whole, end) as row:
                self._row(row, outer, back, steady, sums[0])
        for number, result in enumerate(self._reductions):
            parts = [build.load(cells[number]) for cells in sums]
            while len(parts) > 1:
                pairs = zip(parts[::2], parts[1::2], strict=True)
                parts = [self.values.reduced(result.op, dtype_of(result), a, b) for a, b in pairs]
            self._keep(number, result, parts[0], steady)

    @contextmanager
    def _runs(self, first: Any, last: Any) -> Iterator[tuple[Any, Any, list[Any], Any]]:
        """The rows from ``first`` to ``last`` in runs along the last of their axes.

        What is emitted inside gets where a run begins and ends, the index along each axis but the last,
        and what a row's number is less than that along the last. So nothing is divided for a row.
        """
        build, axes = self.build, self.code.row_axes
        if axes < 2:
            yield first, last, [], self.integer(0)
            return
        size = self.field(f"row {axes - 1}")
        with self.repeat_to(first, last) as (begin, goes_to):
            *outer, index = self.indices(begin, "row", axes)
            back = build.sub(begin, index)
            end = self.smaller(build.add(back, size), last)
            yield begin, end, outer, back
            goes_to(end)

    def _ways(self) -> int:
        """How many interleaved sums each reduction has: all of them are to stay in registers."""
        count = len(self._reductions)
        if not count or any(map(reductions.is_place, self._reductions)):
            return 1
        if len(self.code.lines) > _LONG or count > 2 * _SUMS:
            return 1
        return _SUMS if count <= _SUMS else _SUMS // 2

    def _row(self, row: Any, outer: list[Any], back: Any, steady: Point, sums: list[Any]) -> None:
        indices = [*outer, self.build.sub(row, back)] if self.code.row_axes else []
        point = Point(row, indices, steady.lane, steady.mask, steady.count, dict(steady.known))
        # All is read before anything is written: a result may lie where an operand does.
        values = [self.value(result.line, point) for result in self.code.results]
        cells = iter(sums)
        for number, (result, value) in enumerate(zip(self.code.results, values, strict=True)):
            if result.op == "write":
                assert result.reach is not None
                dtype = dtype_of(result)
                self.write(f"result {number}", result.reach, value, dtype, point)
                continue
            if steady.mask is not None and not reductions.is_place(result):
                value = self.build.select(steady.mask, value, self._start(result))
            cell, given = next(cells), self._given(result)
            held = self.build.load(cell)
            self.build.store(reductions.added(self, result, given, held, value, row), cell)

    def _keep(self, number: int, result: Result, value: Any, point: Point) -> None:
        """A vector of reduced lanes: written, or added to the total where lanes are reduced."""
        if reductions.is_place(result):
            value = self.build.extract_value(value, 0)
        if not self.code.lanes_reduced:
            where = self._place(number, point.lane)
            self.store_vector(value, where, dtype_of(result), point.mask)
            return
        cell = self._totals[number]
        scalar = reductions.of_lanes(self, result, value)
        total = reductions.of_numbers(self, result, self.build.load(cell), scalar)
        self.build.store(total, cell)

    def _place(self, number: int, lane: Any) -> Any:
        """Where a result of a reduction goes: of this block, or of this point of the outer axes."""
        where = self._mine
        if lane is not None:
            where = self.build.add(self.build.mul(where, self.field("lanes")), lane)
        pointer = self.pointer(f"reduction {number} address", self._dtype(number))
        return self.build.gep(pointer, [where])

    def _dtype(self, number: int) -> np.dtype:
        return dtype_of(self._reductions[number])

    def _given(self, result: Result) -> np.dtype:
        return dtype_of(self.code.lines[result.line])

    def _start(self, result: Result) -> Any:
        return reductions.start(self, result, self._given(result))
