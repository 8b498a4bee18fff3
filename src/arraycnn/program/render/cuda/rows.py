"""Loops that need of each other their own images only, as those of a loss do: a block does one after
the other for a few images, and blocks need not wait for one another. So small loops that follow each
other run on many multiprocessors in one kernel, or end the kernel of a product, whose blocks have whole
images at hand."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, field, replace

from arraycnn.program.access import Access
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule, depend
from arraycnn.program.render.cuda.grouping import SMALL_ALONE, Group, points
from arraycnn.program.render.cuda.walk import walked
from arraycnn.program.render.layout import target_access

_AT_ONCE = 512
"""Points of a loop that a block has, about: two for each of its threads."""

FEWEST_ROWS, _MOST = 4, 64
"""Rows of a block. Powers of two, so that packs along the rows are whole."""

_LEAST_POINTS = 256
"""Of loops that are worth more blocks than one."""


def with_rows(group: Group, schedule: Schedule) -> Group:
    """``group``, where its loops, if they are small and some follow others, are done by rows as far as
    they can be."""
    if group.alone is not None or not group.following or len(group.loops) < 2:
        return group
    if any(points(step) > SMALL_ALONE for step in group.beside):
        return group
    sizes = dict.fromkeys(step.roots[0].space[0] for step in group.loops if step.roots[0].space)
    found = max(
        (by_rows(group.loops, size, schedule) for size in sizes),
        key=lambda steps: sum(map(points, steps)),
        default=[],
    )
    rest = [step for step in group.loops if step not in found]
    few = len(found) < 2 or sum(map(points, found)) < _LEAST_POINTS
    if few or any(step in rest for step in group.beside):
        return group
    return replace(group, beside=[], rows=found, following=rest)


def with_endings(found: list[Group], schedule: Schedule) -> list[Group]:
    """The same groups, where dense layers have taken in those by rows that follow them."""
    joined: list[Group] = []
    for group in found:
        before = joined[-1] if joined else Group()
        if before.ending is None and _may_end(before, group, schedule):
            joined[-1] = replace(before, ending=group)
        else:
            joined.append(group)
    return joined


def _may_end(before: Group, group: Group, schedule: Schedule) -> bool:
    head = None if before.alone is None else before.alone.head
    if head is None or head.op not in ("dense", "dense_relu") or len(head.shape) != 2:
        return False
    if not group.rows or sum(map(points, group.following)) > _LEAST_POINTS:
        return False
    steps = [step for step in (before.alone, before.epilogue) if step is not None]
    reads = {schedule.place_of(node) for step in steps for node in step.reads}
    writes = {schedule.place_of(node) for step in steps for node in step.writes}
    touched = Touched(written=writes, across=reads - writes)
    return by_rows(group.rows, head.shape[0], schedule, touched) == group.rows


def rows_of_block(steps: list[Step]) -> int:
    """How many rows a block has: of the size of a row alone, so that texts hold no size of a batch."""
    most = max(points(step) // step.roots[0].space[0] for step in steps)
    return min(max(FEWEST_ROWS, 1 << (max(1, _AT_ONCE // most).bit_length() - 1)), _MOST)


def by_rows(
    steps: list[Step], size: int, schedule: Schedule, touched: Touched | None = None
) -> list[Step]:
    """Those of ``steps`` that can be done row by row, one after the other, before all others.

    Parameters
    ----------
    size : int
        Of the first axis: how many rows there are.
    touched : Touched, optional
        What runs before them by rows of as many.
    """
    touched = Touched() if touched is None else touched
    found: list[Step] = []
    others: list[Step] = []
    for step in steps:
        own = _touched(step, size, schedule)
        fits = own is not None and not any(depend(step, other, schedule) for other in others)
        if own is not None and fits and touched.goes_with(own):
            found.append(step)
            touched = touched.and_(own)
        else:
            others.append(step)
    return found


@dataclass(frozen=True)
class Touched:
    """Where loops read and write, by buffers that have memory of their own.

    Attributes
    ----------
    written, read : set of Node
        Each row by who has that row.
    across : set of Node
        Read otherwise.
    totals : set of Node
        Written after all rows.
    """

    written: Set[Node] = field(default_factory=frozenset)
    read: Set[Node] = field(default_factory=frozenset)
    across: Set[Node] = field(default_factory=frozenset)
    totals: Set[Node] = field(default_factory=frozenset)

    def goes_with(self, after: Touched) -> bool:
        """Whether what touches ``after`` may follow row by row."""
        if self.written & after.across or self.across & after.written:
            return False
        return not self.totals & (after.written | after.across | after.totals | after.read)

    def and_(self, after: Touched) -> Touched:
        return Touched(
            self.written | after.written,
            self.read | after.read,
            self.across | after.across,
            self.totals | after.totals,
        )


def _touched(step: Step, size: int, schedule: Schedule) -> Touched | None:
    """What a loop over ``size`` rows touches; None where it is no such loop."""
    if step.head is not None or size < 2 or any(r.space[:1] != (size,) for r in step.roots):
        return None
    if any(0 in root.space for root in step.roots):
        return None
    walk = walked(step.roots, set(schedule.held) - step.recomputed, wide=False)
    if walk.is_wide:
        return None
    read: set[Node] = set()
    across: set[Node] = set()
    written: set[Node] = set()
    totals: set[Node] = set()
    for one in walk.instructions:
        if one.buffer is not None and one.access is not None:
            is_own = one.op == "load" and is_by_rows(one.access, one.buffer, size)
            (read if is_own else across).add(schedule.place_of(one.buffer))
    for root in step.roots:
        place = schedule.place_of(root.target)
        if 0 in root.axes:
            totals.add(place)
        elif root.op != "write" or is_by_rows(target_access(root), root.target, size):
            written.add(place)
        else:
            return None
    return Touched(written, read, across, totals)


def is_by_rows(access: Access, buffer: Node, size: int) -> bool:
    """Whether the points of each row lie in an equal share of ``buffer``, the first in the first."""
    share, rest = divmod(buffer.size, size)
    return access.strides[0] == share and not rest
