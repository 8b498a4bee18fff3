"""Loops by rows of a few numbers, as those of a loss: a row has lanes of a warp, and a lane a number of
it, which stays in a register from one loop to the next. Nobody waits for others of the block, nor for
memory that the loop before has written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arraycnn.program.expression import Instruction
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Root, Step
from arraycnn.program.render.cuda.lines import Lines
from arraycnn.program.render.cuda.loop_text import Reduced, reductions_of
from arraycnn.program.render.cuda.parameters import Parameters, Parts
from arraycnn.program.render.cuda.pointwise import c_type
from arraycnn.program.render.cuda.walk import Axis, Walk, at_least

_MOST = 32
"""Numbers of a row: the lanes of a warp."""

_BY_LANES = frozenset({"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"})
_IN_TOTAL = _BY_LANES - {"argmax", "argmin"}

_Place = tuple[int, int, int]
"""Of the number at (row, column) in memory: two strides and an offset."""


@dataclass(frozen=True)
class _Loop:
    """A loop over rows.

    Attributes
    ----------
    axis : int or None
        That of the space along which the numbers of a row lie, where there are several.
    """

    walk: Walk
    axis: int | None

    @property
    def columns(self) -> int:
        return 1 if self.axis is None else self.walk.roots[0].space[self.axis]

    def place(self, strides: tuple[int, ...], offset: int) -> _Place:
        return strides[0], 0 if self.axis is None else strides[self.axis], offset

    def read(self, one: Instruction) -> _Place:
        assert one.access is not None
        return self.place(one.access.strides, one.access.offset)

    def written(self, number: int) -> _Place | None:
        """By a root, of each row; None where that is of none, or of a part of its target only."""
        root, target = self.walk.roots[number], self.walk.targets[number]
        if root.op != "write":
            return None if 0 in root.axes else (1, 0, 0)
        if root.index is not None:
            return None
        assert target is not None
        return self.place(target.strides, target.offset)


def lanes_of_row(walks: list[Walk], place: Callable[[Node], Node]) -> int:
    """How many lanes of a warp each row of these loops needs, a power of two; 0 where some must be done
    in another way. ``place`` says in whose memory a buffer lies."""
    loops = [_loop(walk) for walk in walks]
    if any(loop is None for loop in loops):
        return 0
    found = [loop for loop in loops if loop is not None]
    columns = {loop.columns for loop in found} - {1}
    if len(columns) != 1 or max(columns) > _MOST:
        return 0
    inside = {place(root.target) for loop in found for root in loop.walk.roots}
    known: dict[Node, _Place] = {}
    for loop in found:
        for one in loop.walk.instructions:
            if one.buffer is None or place(one.buffer) not in inside:
                continue
            if one.op != "load" or known.get(one.buffer) != loop.read(one):
                return 0
        for number, root in enumerate(loop.walk.roots):
            written = loop.written(number)
            if written is not None:
                known[root.target] = written
    return at_least(max(columns))


def _loop(walk: Walk) -> _Loop | None:
    space = walk.roots[0].space
    axes = [axis for axis, size in enumerate(space) if size != 1 and axis > 0]
    if len(axes) > 1 or walk.lanes > 1:
        return None
    for root in walk.roots:
        kinds = _IN_TOTAL if 0 in root.axes else _BY_LANES
        if type(root) is not Root or (root.op != "write" and root.op not in kinds):
            return None
        if root.op != "write" and 0 not in root.axes and not set(axes) <= set(root.axes):
            return None
    return _Loop(walk, axes[0] if axes else None)


class ShortRows:
    """Writes such loops, for blocks of so many ``rows`` and ``threads``.

    Parameters
    ----------
    walks : dict of Step to Walk
        In order.
    lanes : int
        As `lanes_of_row` gives them.
    parts : dict of Step to (dict of int to Parts)
        What blocks leave of totals.
    """

    def __init__(
        self,
        walks: Mapping[Step, Walk],
        parameters: Parameters,
        lanes: int,
        rows: int,
        threads: int,
        parts: Mapping[Step, Mapping[int, Parts]],
    ) -> None:
        self._loops = {step: _loop(walk) for step, walk in walks.items()}
        self._parameters, self._lanes, self._rows, self._threads = parameters, lanes, rows, threads
        self._parts = parts
        self._known: dict[Node, str] = {}
        self._shared = _read_alike([loop for loop in self._loops.values() if loop is not None])

    def lines(self, block: str) -> list[str]:
        """What the block of that number does."""
        size = next(iter(self._loops)).roots[0].space[0]
        columns = max(loop.columns for loop in self._loops.values() if loop is not None)
        lines = [
            "{",
            "using Index = int;",
            f"const int rank = thread % {self._lanes}, group = thread / {self._lanes};",
            f"const Index first = (Index){block} * {self._rows};",
            f"const Index last = smaller(first + {self._rows}, (Index){self._parameters.whole(size)});",
            "const bool exists = first + group < last;",
            # Of lanes that have none, a number that there is: none of its copies is used.
            f"const Index row = exists ? first + group : first, column = smaller(rank, {columns - 1});",
        ]
        totals: list[str] = []
        for number, (step, loop) in enumerate(self._loops.items()):
            assert loop is not None
            lines += self._loop_lines(f"a{number}_", loop)
            for one in reductions_of(loop.walk):
                if 0 in loop.walk.roots[one.root].axes:
                    totals += self._total(f"a{number}_", step, loop, one, block)
        return [*lines, *totals, "}"]

    def _loop_lines(self, name: str, loop: _Loop) -> list[str]:
        walk = loop.walk
        texts = Lines(walk, self._parameters, dict(self._known), name)
        lines = texts.indices("row", [Axis(walk.roots[0].space[0], 0)], f"{name}r")
        works = "exists && rank == 0"
        if loop.axis is not None:
            lines += texts.indices("column", [Axis(loop.columns, loop.axis)], f"{name}c")
            works = f"exists && rank < {loop.columns}"
        lines += [*texts.values(), f"if ({works}) {{", *texts.writes(), "}"]
        for number, root in enumerate(walk.roots):
            value = texts.of(walk.numbers[number])
            if root.op == "write" and loop.written(number) is not None:
                kind, kept = c_type(root.target.dtype), f"{name}w{number}"
                lines.append(f"const {kind} {kept} = {value};")
                self._known[root.target] = kept
        for one in reductions_of(walk):
            lines += self._reduced(name, loop, one, texts.of(walk.numbers[one.root]), works)
        for number, instruction in enumerate(walk.instructions):
            if instruction.buffer in self._shared and instruction.buffer not in self._known:
                self._known[instruction.buffer] = texts.of(number)
        return lines

    def _reduced(self, name: str, loop: _Loop, one: Reduced, value: str, works: str) -> list[str]:
        """The reduction of each row; of a total, what each lane adds to it."""
        root, state = loop.walk.roots[one.root], f"{name}s{one.root}"
        started = f"{one.operation}::State {state} = {one.operation}::start();"
        if 0 in root.axes:
            return [started, f"if ({works}) {one.operation}::add({state}, {value}, 0);"]
        kind, kept = c_type(root.target.dtype), f"{name}w{one.root}"
        self._known[root.target] = kept
        return [
            started,
            f"if (rank < {loop.columns}) {one.operation}::add({state}, {value}, (long long)rank);",
            f"{state} = over_lanes<{one.operation}, {self._lanes}>({state});",
            f"const {kind} {kept} = ({kind}){one.operation}::result({state});",
            f"if (exists && rank == 0) {self._parameters.buffer(root.target)}[row] = {kept};",
        ]

    def _total(self, name: str, step: Step, loop: _Loop, one: Reduced, block: str) -> list[str]:
        """What the block leaves of a sum over all rows, or of one for each column."""
        root, state, whole = loop.walk.roots[one.root], f"{name}s{one.root}", self._parameters.whole
        kind, target = c_type(root.target.dtype), self._parameters.buffer(root.target)
        parts = self._parameters.parts(f"{one.operation}::State", self._parts[step][one.root])
        points, splits = loop.walk.kept_points, loop.walk.splits(self._threads)[0]
        merged = [f"{state} = over_lanes<{one.operation}, {self._lanes}>({state});"]
        groups = self._threads // self._lanes
        shape = f"{self._threads}, {groups}, {self._lanes}, 1"
        shared = f"reinterpret_cast<{one.operation}::State*>(shared)"
        return [
            *(merged if points == 1 else []),
            f"{one.operation}::State {state}_[1] = {{{state}}};",
            f"reduce_over_threads<{one.operation}, {shape}>({state}_, {shared}, thread, group);",
            f"if (group == 0 && rank < {points}) {{",
            f"if ({whole(splits)} > 1) ({parts})[{block} * {points} + rank] = {state}_[0];",
            f"else {target}[rank] = ({kind}){one.operation}::result({state}_[0]);",
            "}",
        ]


def _read_alike(loops: list[_Loop]) -> set[Node]:
    """The buffers of which each lane reads one number, however many loops read it."""
    places: dict[Node, set[_Place | None]] = {}
    for loop in loops:
        for one in loop.walk.instructions:
            if one.buffer is not None:
                place = loop.read(one) if one.op == "load" else None
                places.setdefault(one.buffer, set()).add(place)
    return {node for node, found in places.items() if len(found) == 1 and None not in found}
