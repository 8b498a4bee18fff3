"""Which steps of a schedule share a kernel: a node of a graph costs about a microsecond each.

Steps keep their order. Loops that need nothing of each other run side by side, on blocks of their own;
small loops that follow run in the last block of the kernel before, one after the other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule, depend, touched
from arraycnn.program.render.cuda.moments import moments

SMALL = 2**13
"""Points of a loop that a single block may well run."""

SMALL_ALONE = 2**14
"""The same where a kernel has no other work, and so a larger block."""

_MOST_FOLLOWING = 12

MOST_PARAMETERS = 4096
"""Bytes of a kernel's parameters on every device."""

_NUMBERS = 2
"""Of a loop, at the least: sizes and real numbers besides its arrays."""


@dataclass(eq=False)
class Group:
    """Steps that are one kernel, or a head, or a call.

    Attributes
    ----------
    alone : Step or None
        The head or call.
    beside : list of Step
        Loops that share the grid.
    rows : list of Step
        Loops that each block runs, one after the other, on rows of its own: instead of ``beside``.
    following : list of Step
        Loops for one block, after all of these.
    covered : list of Step
        Steps of the schedule that are done by then, as those for which one of ``beside`` stands.
    prologue : Step or None
        A loop whose numbers the head's kernel computes where it reads them.
    epilogue : Step or None
        A loop that the head's kernel runs on each number before it is stored.
    ending : Group or None
        Loops by rows that the head's kernel ends with, where it can.
    """

    alone: Step | None = None
    beside: list[Step] = field(default_factory=list)
    rows: list[Step] = field(default_factory=list)
    following: list[Step] = field(default_factory=list)
    covered: list[Step] = field(default_factory=list)
    prologue: Step | None = None
    epilogue: Step | None = None
    ending: Group | None = None

    @property
    def loops(self) -> list[Step]:
        return self.beside + self.rows + self.following

    @property
    def steps(self) -> list[Step]:
        """Of the schedule, and those that stand for some."""
        own = [] if self.alone is None else [self.alone]
        ending = [] if self.ending is None else self.ending.steps
        return own + self.loops + self.covered + ending


def groups(schedule: Schedule) -> Iterator[Group]:
    """All steps of the schedule, in its order, but for those that can be done beforehand."""
    open_: Group | None = None
    first = beforehand(schedule)
    for step in [*first, *(step for step in schedule.steps if step not in first)]:
        if step.head is not None:
            if open_ is not None:
                yield open_
            open_ = None
            yield Group(alone=step)
        elif open_ is None or not _joined(open_, step, schedule):
            if open_ is not None:
                yield open_
            small = points(step) <= SMALL_ALONE
            open_ = Group(following=[step]) if small else Group(beside=[step])
    if open_ is not None:
        yield open_


def beforehand(schedule: Schedule) -> list[Step]:
    """Small loops of inputs alone, as of a norm's scale: done first, they come between no others."""
    inputs = {*schedule.program.inputs.values()}
    lasting = {schedule.place_of(node) for node in inputs}
    known = inputs | {node for node in schedule.held if node.op == "constant"}
    found = []
    for step in schedule.steps:
        fits = step.head is None and points(step) <= SMALL and step.reads <= known
        # What several steps write is whole after the last of them.
        fits = fits and not any(node.op in ("update", "concat") for node in step.writes)
        if fits and not any(schedule.place_of(node) in lasting for node in step.writes):
            found.append(step)
            known.update(step.writes)
    return found


def points(step: Step) -> int:
    return math.prod(step.roots[0].space)


def _joined(group: Group, step: Step, schedule: Schedule) -> bool:
    """Whether ``step`` could be added to the group, and was."""
    if len(group.beside) == 1:
        both = moments(group.beside[0], step, schedule.held)
        if both is not None:
            group.covered += [group.beside[0], step]
            group.beside = [both]
            return True
    fits = sum(_parameters(one, schedule) for one in [*group.loops, step]) <= MOST_PARAMETERS
    if not any(depend(other, step, schedule) for other in group.loops):
        room = fits and not (group.beside and group.following)
        if room and _are_apart(group.following, schedule):
            # What began as small loops for one block may as well have a block each.
            group.beside, group.following = [*group.loops, step], []
            return True
    most = SMALL if group.beside else SMALL_ALONE
    if fits and points(step) <= most and len(group.following) < _MOST_FOLLOWING:
        group.following.append(step)
        return True
    return False


def _parameters(step: Step, schedule: Schedule) -> int:
    """Bytes that a loop takes as parameters, about; `CudaLaunches` cuts what takes too many."""
    reads, writes = touched(step, schedule)
    return 8 * (len(reads | writes) + _NUMBERS)


def _are_apart(steps: list[Step], schedule: Schedule) -> bool:
    return not any(
        depend(one, other, schedule) for number, other in enumerate(steps) for one in steps[:number]
    )
