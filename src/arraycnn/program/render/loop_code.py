"""What the code of a loop depends on: loops with equal codes are run by one kernel.

Sizes, strides, addresses and real numbers are fields of the launch's struct. So another batch size,
another layer of the same kind, or another parameter of an optimizer need no other code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from arraycnn.program.render.layout import Layout, Walk

TILE = 2**12
"""Numbers of some rows that stay in the nearest cache, with those of another array or two."""


@dataclass(frozen=True)
class Reach:
    """How an address, or a coordinate, changes: with the outer axes, the rows, the lanes.

    ``lane``: 0 where it does not, 1 where lanes lie one after the other, "s" where they are apart.
    ``strides``: which strides it has. Places that move alike, such as the pixels that a window sees,
    have theirs in common, and so the code that follows them.
    """

    outer: bool
    rows: bool
    lane: int | str
    strides: int


@dataclass(frozen=True)
class Line:
    """An instruction of the code; ``number`` is a constant that is part of it."""

    op: str
    dtype: str
    inputs: tuple[int, ...]
    reach: Reach | None
    number: Any = None


@dataclass(frozen=True)
class Result:
    """What becomes of a line: op as in `Root`; ``reach`` where it is written."""

    op: str
    line: int
    dtype: str
    reach: Reach | None


@dataclass(frozen=True)
class LoopCode:
    lines: tuple[Line, ...]
    results: tuple[Result, ...]
    outer_axes: int
    row_axes: int
    width: int
    split: bool
    lanes_reduced: bool
    blocks_of_rows: bool


def loop_code(layout: Layout) -> LoopCode:
    """The code of a loop."""
    exponents = {i.inputs[1] for i in layout.instructions if i.op == "pow"}
    known = _known_strides(layout)
    lines = []
    for number, (instruction, walk) in enumerate(
        zip(layout.instructions, layout.walks, strict=True)
    ):
        literal = instruction.dtype.kind != "f" or number in exponents
        lines.append(
            Line(
                instruction.op,
                instruction.dtype.name,
                instruction.inputs,
                None if walk is None else _reach(walk, known),
                repr(instruction.value) if instruction.op == "number" and literal else None,
            )
        )
    results = tuple(
        Result(
            root.op,
            number,
            root.target.dtype.name,
            None if target is None else _reach(target, known),
        )
        for root, number, target in zip(layout.roots, layout.numbers, layout.targets, strict=True)
    )
    return LoopCode(
        lines=tuple(lines),
        results=results,
        outer_axes=len(layout.outer),
        row_axes=1 if layout.split else len(layout.rows),
        width=layout.width,
        split=layout.split,
        lanes_reduced=layout.lanes_reduced,
        blocks_of_rows=not layout.outer,
    )


def fields(layout: Layout) -> dict[str, int | float]:
    """What the struct of a launch holds, but for addresses."""
    whole = layout.lanes // layout.width
    values: dict[str, int | float] = {
        "rows": layout.row_count,
        "per block": layout.per_block,
        "tile": max(1, TILE // layout.lanes),
        "blocks": layout.blocks,
        "vectors": 1 if layout.split else whole,
        "tail": layout.lanes - whole * layout.width,
        "lanes": layout.lanes,
        "outer points": layout.outer_count,
    }
    for axis, size in enumerate(layout.outer):
        values[f"outer {axis}"] = size
    for axis, size in enumerate(layout.rows):
        values[f"row {axis}"] = size
    for number, (instruction, walk) in enumerate(
        zip(layout.instructions, layout.walks, strict=True)
    ):
        if walk is not None:
            values[f"line {number} start"] = walk.offset
        if instruction.axis is not None:
            values[f"line {number} taken stride"] = instruction.axis[0]
            values[f"line {number} taken size"] = instruction.axis[1]
        if instruction.op == "number" and instruction.dtype.kind == "f":
            values[f"line {number} number"] = float(instruction.value)
    for number, target in enumerate(layout.targets):
        if target is not None:
            values[f"result {number} start"] = target.offset
    for strides, number in _known_strides(layout).items():
        values |= _stride_fields(f"strides {number}", strides, layout)
    return values


_Strides: TypeAlias = tuple[tuple[int, ...], tuple[int, ...], int]
"""Of a walk: its outer ones, its rows' and its lanes'."""


def _strides(walk: Walk) -> _Strides:
    return walk.outer, walk.rows, walk.lane


def _known_strides(layout: Layout) -> dict[_Strides, int]:
    """The strides of all walks, numbered."""
    walks = [walk for walk in (*layout.walks, *layout.targets) if walk is not None]
    return {strides: n for n, strides in enumerate(dict.fromkeys(map(_strides, walks)))}


def _stride_fields(name: str, strides: _Strides, layout: Layout) -> dict[str, int | float]:
    outer, rows, lane = strides
    if layout.split:
        rows = (lane * layout.width,)
    return {
        **{f"{name} outer {axis}": stride for axis, stride in enumerate(outer)},
        **{f"{name} row {axis}": stride for axis, stride in enumerate(rows)},
        f"{name} lane": lane,
    }


def _reach(walk: Walk, known: dict[_Strides, int]) -> Reach:
    lane: int | str = walk.lane if walk.lane in (0, 1) else "s"
    return Reach(any(walk.outer), any(walk.rows), lane, known[_strides(walk)])


def dtype_of(line: Line | Result) -> np.dtype:
    return np.dtype(line.dtype)
