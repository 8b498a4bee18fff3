"""How the space of a loop is walked: which axes are blocks, rows and lanes.

    outer   axes that a reduction keeps: each of their points is worked on by itself
    rows    axes that are walked one number at a time, for all lanes at once
    lanes   the last axis: as many numbers as a vector holds are worked on at once

A reduction adds the rows of a vector of lanes in four interleaved sums, these to one, and where the
lanes are reduced as well, the lanes of a vector by halves, and vector after vector. Blocks of rows
are added in order afterwards. All of that follows from shapes alone: not from the number of threads,
and not from how wide the processor's vectors are, since a vector here has as many lanes everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import pairwise

from arraycnn.program.access import Access, dense, sliced
from arraycnn.program.expression import Instruction
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Root, Step, expression_of

BLOCK = 2**15
"""Numbers in a block of work, about: enough to be worth sharing, few enough for a second cache."""

_MOST_PARTIAL_SUMS = 64


class UnsupportedError(Exception):
    """Something that is traced and that this renderer has no code for."""


@dataclass(frozen=True)
class Walk:
    """Strides over the axes of a layout: where a number lies, or what a coordinate is."""

    offset: int
    outer: tuple[int, ...]
    rows: tuple[int, ...]
    lane: int


@dataclass(frozen=True)
class Layout:
    """A loop with its axes sorted.

    Attributes
    ----------
    instructions : tuple of Instruction
        With ``access`` over the space; `walks` has the same over this layout.
    walks : tuple of Walk or None
        One for each instruction that has an access.
    roots : tuple of Root
    numbers : tuple of int
        The instruction that each root writes or reduces.
    targets : tuple of Walk
        Where each root writes; of a reduction, None.
    outer, rows : tuple of int
        Sizes.
    lanes : int
        Size of the last axis.
    width : int
        Lanes of a vector.
    split : bool
        Whether rows are the last axis, cut into whole vectors; what is left over is one row more.
    lanes_reduced : bool
    one_block : bool
        Whether the rows are not shared.
    images : int
        So many blocks are made, one for each image; 0 for as many as are worth sharing.
    """

    instructions: tuple[Instruction, ...]
    walks: tuple[Walk | None, ...]
    roots: tuple[Root, ...]
    numbers: tuple[int, ...]
    targets: tuple[Walk | None, ...]
    outer: tuple[int, ...]
    rows: tuple[int, ...]
    lanes: int
    width: int
    split: bool
    lanes_reduced: bool
    one_block: bool = False
    images: int = 0

    @property
    def outer_count(self) -> int:
        return math.prod(self.outer)

    @property
    def row_count(self) -> int:
        """Of whole vectors, where the rows are the last axis cut."""
        return self.lanes // self.width if self.split else math.prod(self.rows)

    @property
    def points(self) -> int:
        """Of the whole space."""
        return math.prod(self.roots[0].space)

    @property
    def reduces(self) -> bool:
        return any(root.op != "write" for root in self.roots)

    @property
    def per_block(self) -> int:
        """Points of the outer axes, or rows, that a block takes."""
        if self.images:
            return (self.outer_count if self.outer else self.row_count) // self.images
        if self.outer:
            inner = math.prod(self.rows) * self.lanes
            return min(self.outer_count, max(1, BLOCK // inner))
        if self.one_block:
            return max(1, self.row_count)
        across = self.width if self.split else self.lanes
        per = max(1, BLOCK // across)
        if self.reduces:
            per = max(per, -(-self.row_count // _MOST_PARTIAL_SUMS))
        return max(1, min(per, self.row_count))

    @property
    def blocks(self) -> int:
        count = self.outer_count if self.outer else self.row_count
        return max(1, -(-count // self.per_block))

    @property
    def partial(self) -> bool:
        """Whether blocks leave partial results of the reductions."""
        return self.reduces and not self.outer and self.blocks > 1


def layout_by_image(step: Step, held: Set[Node], images: int) -> Layout | None:
    """The layout of a loop in which each block is one of the ``images`` that the first axis of its
    space counts; None where there is none."""
    for apart in (False, True):
        found = layout(step, held, apart)
        if found.split and not found.outer:
            fits = found.lanes % (images * found.width) == 0
        elif found.outer:
            fits = 0 not in _reduced(step)
        else:
            fits = bool(found.rows) and (0 in _reduced(step) or not found.reduces)
        if fits:
            return replace(found, images=images)
    return None


def _reduced(step: Step) -> set[int]:
    return {axis for root in step.roots for axis in root.axes}


def layout(step: Step, held: Set[Node], apart: bool = False) -> Layout:
    """The layout of a loop; UnsupportedError where its space is empty.

    With ``apart`` the first axis of its space is joined with no other.
    """
    roots = tuple(step.roots)
    expression, numbers = expression_of(step.roots, held)
    instructions = tuple(expression.instructions)
    space = roots[0].space
    if 0 in space:
        message = "a loop over no numbers"
        raise UnsupportedError(message)
    axes = _reduced(step)
    targets = [target_access(root) if root.op == "write" else None for root in roots]
    accesses = [*(i.access for i in instructions), *targets]
    one_by_one = any(root.op in ("argmax", "argmin") for root in roots)
    groups = collapsed(space, axes, [a for a in accesses if a is not None], apart)
    kept = [group for group in groups if not group[0]]
    reduced = [group for group in groups if group[0]]
    if not axes:
        outer, inner = groups[:apart], groups[apart:]
        rows, last = inner[:-1], inner[-1:]
    elif one_by_one:
        outer, rows, last = kept, reduced, []
    elif groups and not groups[-1][0]:
        outer, rows, last = kept[:-1], reduced, kept[-1:]
    else:
        outer, rows, last = kept, reduced[:-1], reduced[-1:]
    wide = any(i.dtype.itemsize == 8 for i in instructions)
    width = 1 if one_by_one else 8 if wide else 16
    split = not rows and bool(last) and (not axes or last[0][0])
    lanes = math.prod(group[1] for group in last)
    while not split and width > 4 and 2 * lanes <= width:
        width //= 2  # else half of every vector would be empty

    def walk(access: Access | None) -> Walk | None:
        if access is None:
            return None
        strides = [[access.strides[group[2]] for group in part] for part in (outer, rows, last)]
        return Walk(access.offset, tuple(strides[0]), tuple(strides[1]), sum(strides[2]))

    count = len(instructions)
    walks = [walk(access) for access in accesses]
    return Layout(
        instructions=instructions,
        walks=tuple(walks[:count]),
        roots=roots,
        numbers=tuple(numbers),
        targets=tuple(walks[count:]),
        outer=tuple(group[1] for group in outer),
        rows=tuple(group[1] for group in rows),
        lanes=lanes,
        width=width,
        split=split,
        lanes_reduced=bool(last) and last[0][0],
        one_block=one_by_one,
    )


def target_access(root: Root) -> Access:
    """Where a root writes each point of its space."""
    whole = dense(root.target.shape)
    if root.index is not None:
        return sliced(whole, root.index)
    return dense(root.space)  # the target has as many numbers, in the same order


def collapsed(
    space: tuple[int, ...], axes: set[int], accesses: Sequence[Access], apart: bool = False
) -> list[tuple[bool, int, int]]:
    """Axes as (reduced, size, the axis whose stride it has): those that lie one after the other in
    every access become one; with ``apart`` not the first."""
    present = [axis for axis, size in enumerate(space) if size != 1]
    groups: list[tuple[bool, int, int]] = []
    for previous, axis in pairwise([None, *present]):
        size = space[axis]  # type: ignore[index]
        joined = previous is not None and (previous in axes) == (axis in axes)
        joined = joined and not (apart and previous == 0)
        if joined and all(a.strides[previous] == size * a.strides[axis] for a in accesses):  # type: ignore[index]
            groups[-1] = (groups[-1][0], groups[-1][1] * size, axis)  # type: ignore[assignment]
        else:
            groups.append((axis in axes, size, axis))  # type: ignore[arg-type]
    return groups
