"""Sums that wait: the parts of several gradients are added up in one kernel, before the first of them
is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from arraycnn.ops import Array
from arraycnn.program.nodes import Node
from arraycnn.program.passes.loops import Root, Step
from arraycnn.program.render.cuda.grouping import Group

_MOST = 48
"""Sums of one kernel, so that its parameters are not too many."""


class PendingSums:
    """Parts by the nodes that are to be their sums."""

    def __init__(self) -> None:
        self._parts: dict[Node, Array] = {}

    def add(self, node: Node, parts: Array) -> None:
        self._parts[node] = parts

    def __bool__(self) -> bool:
        return bool(self._parts)

    def are_read_by(self, step: Step) -> bool:
        return any(node in step.reads for node in self._parts)

    def take(
        self, groups: dict[tuple, tuple[Group, list[Node]]], memory: Callable[[Node], Array]
    ) -> tuple[Group, Mapping[Node, Array]]:
        """Loops that add up as many as one kernel takes, and where what they read and write lies.

        ``groups`` keeps those that were made for sums of the same nodes and numbers of parts.
        """
        waiting = dict(list(self._parts.items())[:_MOST])
        self._parts = dict(list(self._parts.items())[_MOST:])
        key = tuple((node, parts.shape[0]) for node, parts in waiting.items())
        if key not in groups:
            sources, steps = [], []
            for node, parts in waiting.items():
                source = Node("input", (), ("parts",), tuple(parts.shape), node.dtype)
                sources.append(source)
                root = Root(node, source, "sum", (0,))
                steps.append(Step(roots=[root], reads={source}, writes=[node]))
            groups[key] = Group(beside=steps), sources
        group, sources = groups[key]
        where = dict(zip(sources, waiting.values(), strict=True))
        return group, where | {node: memory(node) for node in waiting}
