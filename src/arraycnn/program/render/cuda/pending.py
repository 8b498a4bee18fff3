"""Sums that wait: the parts of gradients are added up in the kernel of the loops that read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from arraycnn.ops import Array
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule, depend
from arraycnn.program.render.cuda.grouping import Group
from arraycnn.program.render.cuda.sums import followed, sum_of, with_sums

_MOST = 48
"""Sums of one kernel, so that its parameters are not too many."""


@dataclass(frozen=True)
class Waiting:
    """A sum that is still to be taken.

    Attributes
    ----------
    parts : Array
        With an axis of parts in front.
    after : Step or None
        The loop that is done to each number of it: an update, say.
    kept : bool
        Whether the sum must be in memory even so.
    held : dict of Node to Array
        What ``after`` reads and writes.
    """

    parts: Array
    after: Step | None = None
    kept: bool = True
    held: Mapping[Node, Array] = field(default_factory=dict)


@dataclass(frozen=True)
class Summing:
    """A group of loops that takes sums.

    Attributes
    ----------
    sources : dict of Node to Node
        By the sum, what stands for its parts.
    """

    group: Group
    sources: Mapping[Node, Node]


class PendingSums:
    """What waits: in ``waiting``, by the nodes that are to be the sums."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self.waiting: dict[Node, Waiting] = {}

    def add(self, node: Node, waiting: Waiting) -> None:
        self.waiting[node] = waiting

    def before(self, group: Group) -> dict[Node, Waiting]:
        """What must be taken before ``group`` runs, or may be taken with it; it waits no longer."""
        found = {
            node: waiting
            for node, waiting in self.waiting.items()
            if self._comes_before(node, waiting, group)
        }
        for node in found:
            del self.waiting[node]
        return found

    def rest(self) -> Iterator[dict[Node, Waiting]]:
        """All, as many at a time as one kernel takes."""
        while self.waiting:
            some = list(self.waiting)[:_MOST]
            yield {node: self.waiting.pop(node) for node in some}

    def _comes_before(self, node: Node, waiting: Waiting, group: Group) -> bool:
        if any(node in step.reads for step in group.steps):
            return True
        if waiting.after is None:
            return False
        return group.alone is None or any(
            depend(waiting.after, step, self._schedule) for step in group.steps
        )


def summing(group: Group, found: Mapping[Node, Waiting], schedule: Schedule) -> list[Summing]:
    """The loops of ``group`` with the sums that come before them, in as few groups as do both.

    ``group`` may have no loops: then these are the sums alone.
    """
    sources, totals = {}, {}
    for node, waiting in found.items():
        shape = tuple(waiting.parts.shape)
        sources[node] = Node("input", (), ("parts",), shape, node.dtype)
        totals[node] = sum_of(node, sources[node])
        if waiting.after is not None:
            totals[node] = followed(totals[node], waiting.after, waiting.kept, schedule)
    apart = {
        node
        for node, waiting in found.items()
        if waiting.after is not None
        and any(depend(waiting.after, step, schedule) for step in group.beside)
    }
    lasting = {base(node) for node in schedule.program.outputs.values()}

    def is_kept(node: Node) -> bool:
        others = (step for step in schedule.steps if step not in group.steps)
        return node in lasting or any(node in step.reads for step in others)

    joined = None
    if group.loops and not apart:
        joined = with_sums(group, totals, is_kept, schedule)
    if joined is not None:
        return [Summing(joined, sources)]
    alone = Summing(Group(beside=list(totals.values())), sources)
    return [alone, *([Summing(group, {})] if group.loops else [])]
