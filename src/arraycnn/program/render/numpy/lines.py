"""The lines of a loop: its instructions on the grid that it is walked on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided

from arraycnn.program.access import Access, dense, sliced
from arraycnn.program.expression import Instruction
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Root, Step, expression_of
from arraycnn.program.render.numpy.grid import Grid, grid

_CACHE_BYTES = 2**21
"""What the arrays of a piece may take."""

_CHUNK_BYTES = 2**22
"""What the arrays of pieces that are worked on together may take: a share of a third cache. Less saves
no time that calls do not cost, and threads wait for each other's calls."""

_LEAST, _MOST = 2**12, 2**17
"""Numbers of a piece."""

_SHARED = 8
"""Into so many pieces a loop is cut at least, if they have `_WORTH` numbers each."""

_WORTH = 2**15

_READ = frozenset(["load", "coordinate"])


@dataclass(frozen=True)
class Line:
    """A value of a loop.

    Attributes
    ----------
    op : str
        As in `Instruction`; or "repeat": rows of inputs[0] written one after the other into a row.
    inputs : tuple of int
        Numbers of earlier lines.
    moves : tuple of bool
        Along which axes of the grid it changes.
    of : Instruction
    """

    op: str
    dtype: np.dtype
    inputs: tuple[int, ...]
    moves: tuple[bool, ...]
    of: Instruction


@dataclass(frozen=True)
class Walked:
    """A loop as it is walked.

    Attributes
    ----------
    results : tuple of int
        The line that each root writes or reduces.
    pieces : list of list of slice
        Of each axis of the grid.
    together : int
        How many pieces may be worked on together.
    """

    grid: Grid
    lines: tuple[Line, ...]
    roots: tuple[Root, ...]
    results: tuple[int, ...]
    pieces: list[list[slice]]
    together: int

    @property
    def cut(self) -> tuple[bool, ...]:
        """Which axes are in more than one piece."""
        return tuple(len(parts) > 1 for parts in self.pieces)


def walked(step: Step, held: set[Node]) -> Walked:
    """The lines of a loop whose space is not empty."""
    roots = tuple(step.roots)
    expression, numbers = expression_of(step.roots, held)
    instructions = expression.instructions
    accesses = [i.access for i in instructions if i.access is not None]
    accesses += [target_access(root) for root in roots if root.op == "write"]
    reduced = {axis for root in roots for axis in root.axes}
    places = any(root.op in ("argmax", "argmin") for root in roots)
    gathers = any(i.op == "gather" for i in instructions)
    walk = grid(roots[0].space, reduced, accesses, not places and not gathers)
    lines, places_of = _lines(instructions, walk)
    fitting = _fitting(lines, roots)
    size = math.prod(walk.sizes)
    pieces = walk.pieces(min(fitting, _MOST, max(_WORTH, -(-size // _SHARED))), places)
    largest = math.prod(max(part.stop - part.start for part in parts) for parts in pieces)
    return Walked(
        walk,
        tuple(lines),
        roots,
        tuple(places_of[number] for number in numbers),
        pieces,
        max(1, fitting * (_CHUNK_BYTES // _CACHE_BYTES) // largest),
    )


def target_access(root: Root) -> Access:
    """Where a root writes each point of its space."""
    if root.index is not None:
        return sliced(dense(root.target.shape), root.index)
    return dense(root.space)  # the target has as many numbers, in the same order


def _lines(instructions: Sequence[Instruction], walk: Grid) -> tuple[list[Line], list[int]]:
    lines: list[Line] = []
    places: list[int] = []
    still = (False,) * len(walk.sizes)
    for instruction in instructions:
        inputs = tuple(places[number] for number in instruction.inputs)
        moves = [lines[number].moves for number in inputs]
        repeats = False
        if instruction.access is not None:
            strides = walk.strides(instruction.access)
            moves.append(walk.moves(strides))
            repeats = walk.repeats(strides)
        own = tuple(map(any, zip(still, *moves, strict=True)))
        places.append(len(lines))
        lines.append(Line(instruction.op, instruction.dtype, inputs, own, instruction))
        if repeats and instruction.op in _READ:
            places[-1] = len(lines)
            lines.append(replace(lines[-1], op="repeat", inputs=(len(lines) - 1,)))
    return lines, places


def _fitting(lines: Sequence[Line], roots: Sequence[Root]) -> int:
    """In a piece of so many numbers, all that it works on stays in the cache."""
    arrays = [line.dtype.itemsize for line in lines if line.op == "load" and all(line.moves)]
    arrays += [root.target.dtype.itemsize for root in roots if root.op == "write"]
    widest = max(line.dtype.itemsize for line in lines)
    return max(_CACHE_BYTES // (sum(arrays) + 2 * widest), _LEAST)


def view(array: np.ndarray, access: Access, walk: Grid) -> np.ndarray:
    """The numbers of an access over the whole grid, with one along the axes it does not move on.

    Of what is to be repeated, one row.
    """
    strides = walk.strides(access)
    sizes, steps = list(walk.groups), list(strides)
    if walk.repeat > 1:
        if not walk.repeats(strides):
            sizes[-2:] = walk.sizes[-2:]
            steps[-2] *= walk.repeat
        else:
            sizes[-2] = 1
    shape = tuple(size if step else 1 for size, step in zip(sizes, steps, strict=True))
    flat = array.reshape(-1)[access.offset :]
    return as_strided(flat, shape, tuple(step * array.itemsize for step in steps))


def coordinates(line: Line, walk: Grid) -> np.ndarray:
    """The numbers of a coordinate, as `view` has those of an access."""
    access = line.of.access
    assert access is not None
    total: Any = np.asarray(access.offset, np.int64)
    strides = walk.strides(access)
    for axis, (size, stride) in enumerate(zip(walk.groups, strides, strict=True)):
        shape = [1] * len(walk.groups)
        if stride:
            shape[axis] = size
            total = total + stride * np.arange(size).reshape(shape)
    total = np.reshape(total, (1,) * (len(walk.groups) - np.ndim(total)) + np.shape(total))
    if walk.repeat > 1 and total.shape[-2] > 1:
        total = total.reshape(*total.shape[:-2], *walk.sizes[-2:])
    return total.astype(line.dtype)
