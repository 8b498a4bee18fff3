"""How a loop of a program is walked on CUDA: which points of its space a thread visits, and how wide.

A loop that only writes has a thread for every few neighbouring points. One that reduces has kept
points and, for each, reduced ones: threads side by side take neighbours in memory, of whichever kind
the last axis is; the others of a block share the reduced points of the same kept ones, and where kept
points are few, so do several blocks. All of that follows from shapes alone, and so does every bit.
"""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass

from arraycnn.program.access import Access
from arraycnn.program.expression import Instruction
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Root, expression_of
from arraycnn.program.render.layout import UnsupportedError, collapsed, target_access

_BLOCKS = 2 * 132
"""Of a reduction: two for each multiprocessor of an H200, a constant, as for products."""

_LEAST_ROWS = 4
"""Reduced points a thread should have: fewer are not worth another block's share."""

_MOST_SIDE_BY_SIDE = 32
"""Threads that take neighbours of the last axis: a warp, whose reads are whole lines then."""

_MOST_OF_ROWS = 4 * 132
"""The same where a thread does something once for all of its rows."""

_MOST_BLOCKS = 16 * 132
"""Of a loop that only writes: more only begin and end."""


@dataclass(frozen=True)
class Axis:
    """Axes of the space that lie one after the other in all that is read and written.

    Attributes
    ----------
    size : int
        In points, or, of the last one, in runs of `Walk.lanes` points.
    of : int
        The axis of the space whose strides it has.
    step : int
        Points from one index to the next: 1 or the lanes.
    """

    size: int
    of: int
    step: int = 1


@dataclass(frozen=True)
class Walk:
    """A loop with its axes sorted.

    Attributes
    ----------
    roots, numbers, instructions
        As `expression_of` gives them.
    targets : tuple of Access or None
        Where each root writes; None for a reduction.
    kept, reduced : tuple of Axis
        A loop that only writes keeps all.
    lanes : int
        Neighbours along the last axis that a thread works on at once.
    last_is_reduced : bool
    varies : tuple of bool
        Which instructions are not the same for all lanes.
    sharing : int
        How many loops share the grid.
    whole : bool
        Whether a block takes all reduced points of its own: of parts there are few, and what the last
        block had to do for each of many sums would take longer.
    rows : int
        How many indices of the first axis a block takes, and all that there is to do with them; 0 where
        blocks share the loop otherwise.
    """

    roots: tuple[Root, ...]
    numbers: tuple[int, ...]
    instructions: tuple[Instruction, ...]
    targets: tuple[Access | None, ...]
    kept: tuple[Axis, ...]
    reduced: tuple[Axis, ...]
    lanes: int
    last_is_reduced: bool
    varies: tuple[bool, ...]
    sharing: int = 1
    whole: bool = False
    rows: int = 0

    @property
    def reductions(self) -> list[int]:
        """Which roots are reduced."""
        return [number for number, root in enumerate(self.roots) if root.op != "write"]

    @property
    def kept_units(self) -> int:
        return math.prod(axis.size for axis in self.kept)

    @property
    def kept_points(self) -> int:
        return self.kept_units * (1 if self.last_is_reduced else self.lanes)

    @property
    def reduced_units(self) -> int:
        return math.prod(axis.size for axis in self.reduced)

    @property
    def points(self) -> int:
        return math.prod(self.roots[0].space)

    @property
    def first_is_reduced(self) -> bool:
        return any(0 in root.axes for root in self.roots)

    @property
    def kept_at_once(self) -> int:
        """Kept units that a block has to do with."""
        return self.kept_units if self.first_is_reduced else self._share(self.kept_units)

    @property
    def reduced_at_once(self) -> int:
        return self._share(self.reduced_units) if self.first_is_reduced else self.reduced_units

    def _share(self, units: int) -> int:
        """Of ``rows`` indices of the first axis; all where there are none."""
        return units * self.rows // self.roots[0].space[0] if self.rows else units

    @property
    def is_wide(self) -> bool:
        """Whether any number could need more than 31 bits to be found."""
        read = [one.buffer.size for one in self.instructions if one.buffer is not None]
        return max(self.points, *read, *(r.target.size for r in self.roots), 0) >= 2**30

    def across(self, threads: int) -> int:
        """Threads of a block that take different kept points: a power of two."""
        if not self.last_is_reduced:
            last = self.kept[-1].size if self.kept else 1
            return min(at_least(last), _MOST_SIDE_BY_SIDE)
        most = _MOST_SIDE_BY_SIDE if self.kept_at_once >= 2 * _MOST_SIDE_BY_SIDE else threads
        return threads // min(at_least(self.reduced_at_once), most, threads)

    def tiles(self, threads: int) -> int:
        return -(-self.kept_at_once // self.across(threads))

    def splits(self, threads: int) -> tuple[int, int]:
        """(blocks that share the reduced points of a tile, how many of these each has)."""
        rows, tiles = self.reduced_units, self.tiles(threads)
        if self.rows and self.first_is_reduced:
            return -(-self.roots[0].space[0] // self.rows), self.reduced_at_once
        if self.whole or self.rows:
            return 1, rows
        ranks = threads // self.across(threads)
        wanted = max(1, min(_BLOCKS // (tiles * self.sharing), rows // (ranks * _LEAST_ROWS)))
        per = max(1, -(-rows // wanted))
        return max(1, -(-rows // per)), per

    @property
    def is_shared(self) -> bool:
        """Whether blocks may leave parts of what is reduced, whatever the sizes are."""
        return bool(self.reductions) and (self.first_is_reduced if self.rows else not self.whole)

    def columns(self, threads: int) -> int:
        """Of a loop that only writes: along the last axis, where each thread of a block can keep to one
        of them; else 1."""
        last = self.kept[-1].size if len(self.kept) > 1 else 1
        return last if threads % last == 0 else 1

    def blocks(self, threads: int) -> int:
        """Of the grid of this loop alone."""
        if self.reductions:
            return self.tiles(threads) * self.splits(threads)[0]
        most = _MOST_BLOCKS if self.columns(threads) == 1 else _MOST_OF_ROWS
        return max(1, min(-(-self.kept_units // threads), most))


def walked(roots: list[Root], held: Set[Node], wide: bool, rows: int = 0) -> Walk:
    """How the loop of ``roots`` is walked; with ``wide``, several points at once where that fits, and
    with ``rows`` as `Walk` has it.

    Raises UnsupportedError where its space is empty.
    """
    expression, numbers = expression_of(roots, set(held))
    instructions = tuple(expression.instructions)
    space = roots[0].space
    if 0 in space:
        message = "a loop over no numbers"
        raise UnsupportedError(message)
    axes = {axis for root in roots for axis in root.axes}
    targets = tuple(target_access(root) if root.op == "write" else None for root in roots)
    accesses = [one.access for one in instructions] + list(targets)
    groups = collapsed(space, axes, [access for access in accesses if access is not None])
    lanes = _lanes(groups, instructions, roots, targets) if wide and groups else 1
    last = groups[-1] if groups else None

    def axis(group: tuple[bool, int, int]) -> Axis:
        step = lanes if group is last else 1
        return Axis(group[1] // step, group[2], step)

    return Walk(
        roots=tuple(roots),
        numbers=tuple(numbers),
        instructions=instructions,
        targets=targets,
        kept=tuple(axis(group) for group in groups if not group[0]),
        reduced=tuple(axis(group) for group in groups if group[0]),
        lanes=lanes,
        last_is_reduced=last is not None and last[0],
        varies=_varying(instructions, None if last is None else last[2]),
        rows=rows,
    )


def _varying(instructions: tuple[Instruction, ...], last: int | None) -> tuple[bool, ...]:
    found: list[bool] = []
    for one in instructions:
        moves = one.access is not None and last is not None and one.access.strides[last] != 0
        found.append(moves or any(found[number] for number in one.inputs))
    return tuple(found)


def _lanes(
    groups: list[tuple[bool, int, int]],
    instructions: tuple[Instruction, ...],
    roots: list[Root],
    targets: tuple[Access | None, ...],
) -> int:
    """As many neighbours as 16 bytes hold of the widest numbers that are moved; 1 where they do not
    lie so."""
    axes = [group[2] for group in groups]
    last = axes[-1]
    varies = _varying(instructions, last)
    moved: list[tuple[Access, int]] = []  # with the bytes of a number
    others = [0]  # further strides that must be whole packs
    for root, target in zip(roots, targets, strict=True):
        if target is not None:
            moved.append((target, root.target.dtype.itemsize))
    for one in instructions:
        if one.buffer is None or one.access is None:
            continue
        if one.op == "gather" and varies[one.inputs[0]]:
            continue  # found one by one
        if one.access.strides[last] != 0:
            moved.append((one.access, one.dtype.itemsize))
            others += [one.axis[0]] if one.axis is not None else []
    widest = max((size for _, size in moved), default=4)
    for lanes in (4, 2):
        if lanes * widest > 16 or groups[-1][1] % lanes:
            continue
        whole = all(_in_packs(access, axes, lanes) for access, _ in moved)
        if whole and not any(stride % lanes for stride in others):
            return lanes
    return 1


def _in_packs(access: Access, axes: list[int], lanes: int) -> bool:
    """Whether neighbours along the last of ``axes`` begin at whole packs, wherever the others stand."""
    *others, last = (access.strides[axis] for axis in axes)
    return last == 1 and all(place % lanes == 0 for place in (access.offset, *others))


def at_least(count: int) -> int:
    """The least power of two that is no less than ``count``."""
    return 1 << max(0, count - 1).bit_length()
