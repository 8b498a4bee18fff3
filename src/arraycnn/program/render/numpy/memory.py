"""Where the values of a schedule lie: each at a place of one piece of memory, while it is needed.

Each is placed as low as those allow that are needed at the same time, the largest first (Pisarchyk
and Lee, "Efficient memory management for deep neural net inference", 2020, greedy by size), or in
another order where that takes less.
"""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from arraycnn.program.nodes import Node
from arraycnn.program.passes.schedule import Schedule, aligned_bytes


@dataclass(frozen=True)
class Places:
    """Offsets in bytes, and how many bytes there are."""

    offsets: dict[Node, int]
    size: int


def places(schedule: Schedule) -> Places:
    """A place for each value that has memory of its own."""
    needed = _needed(schedule)

    def area(node: Node) -> int:
        first, last = needed[node]
        return aligned_bytes(node) * (last - first + 1)

    ways = (
        sorted(needed, key=aligned_bytes, reverse=True),
        sorted(needed, key=area, reverse=True),
        list(needed),
    )
    return min((_placed(way, needed) for way in ways), key=lambda found: found.size)


def _placed(order: list[Node], needed: dict[Node, tuple[int, int]]) -> Places:
    """Each value, in this order, at the lowest place that is free while it is needed."""
    placed: list[tuple[int, int, Node]] = []  # (first, last byte, value), from the lowest
    for node in order:
        first, size = 0, aligned_bytes(node)
        for other_first, other_last, other in placed:
            if _together(needed[node], needed[other]):
                if first + size <= other_first:
                    break
                first = max(first, other_last)
        insort(placed, (first, first + size, node), key=lambda one: one[:2])
    size = max((last for _, last, _ in placed), default=0)
    return Places({node: first for first, _, node in placed}, size)


def _needed(schedule: Schedule) -> dict[Node, tuple[int, int]]:
    """From which step to which one each value lies in memory of its own."""
    last = {node: n for n, nodes in enumerate(schedule.freed) for node in nodes}
    needed: dict[Node, tuple[int, int]] = {}
    for number, step in enumerate(schedule.steps):
        for node in step.writes:
            if node not in schedule.memory_of and node not in needed:
                needed[node] = number, last.get(node, len(schedule.steps))
    return needed


def _together(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
