"""Schedule: the order in which steps run, and when memory of a value is free again.

What the values of a program take at the most is known before any step is run. Kernels of heads have
working memory of their own beside that, and so have the sums of blocks of a reduction, and opaque
calls.

A call of Python code may be interrupted, and so end a step half way. So what a step changes of its
inputs, it changes after its last opaque call.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from functools import cached_property

from arraycnn.ops.aligned_memory import LINE
from arraycnn.program.access import Access, dense, sliced
from arraycnn.program.nodes import Node, Program
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Root, Step, expression_of, loops, write_apart
from arraycnn.program.passes.recompute import recompute

_LARGE = 2**20
"""Bytes of a gradient that is not kept for long."""


@dataclass(frozen=True, eq=False)
class Schedule:
    """A program as it is run.

    Attributes
    ----------
    program : Program
    steps : tuple of Step
        In order.
    held : frozenset of Node
        The buffers: values that lie in memory.
    memory_of : dict of Node to Node
        Buffers that lie where another one did: an update in place, an output in its input.
    freed : tuple of tuple of Node
        For each step, the buffers that are not needed after it.
    carried : dict of str to str
        Which output takes the place of which input.
    """

    program: Program
    steps: tuple[Step, ...]
    held: frozenset[Node]
    memory_of: dict[Node, Node]
    freed: tuple[tuple[Node, ...], ...]
    carried: dict[str, str]

    @property
    def peak_bytes(self) -> int:
        """What values that are neither inputs nor constants take at the most."""
        held = peak = 0
        known = set(self.memory_of)
        for step, freed in zip(self.steps, self.freed, strict=True):
            new = set(step.writes) - known
            known |= new
            held += sum(map(aligned_bytes, new))
            peak = max(peak, held)
            held -= sum(map(aligned_bytes, freed))
        return peak

    def place_of(self, node: Node) -> Node:
        """The buffer in whose memory ``node`` lies: itself, where it has its own."""
        return _place_of(node, self.memory_of)

    @cached_property
    def lying_at(self) -> dict[Node, list[Node]]:
        """The buffers that lie in the memory of one that has its own."""
        found: dict[Node, list[Node]] = {}
        for node in self.memory_of:
            found.setdefault(self.place_of(node), []).append(node)
        return found

    def copies(self) -> list[tuple[Node, Node]]:
        """(output, input) for the outputs that must be copied to the places they take."""
        pairs = []
        for name, source in self.carried.items():
            node, place = self.program.outputs[name], self.program.inputs[source]
            if node is not place and self.memory_of.get(node) is not place:
                pairs.append((node, place))
        return pairs


def scheduled(program: Program, carried: dict[str, str] | None = None) -> Schedule:
    """The schedule of ``program``.

    Parameters
    ----------
    carried : dict of str to str
        Outputs that are to lie, at the end, where inputs do: parameters and the like.
    """
    carried = carried or {}
    program = _without_aliases(program, carried)
    steps, held = loops(program)
    recompute(steps, held)
    steps = _in_order(steps, program, {program.outputs[name] for name in carried})
    memory_of = _in_place(program, steps, carried)
    steps = [step for step in steps if not _copies_in_place(step, memory_of)]
    freed = _last_uses(program, steps, memory_of)
    return Schedule(program, tuple(steps), frozenset(held), memory_of, freed, carried)


def _place_of(node: Node, memory_of: dict[Node, Node]) -> Node:
    while node in memory_of:
        node = memory_of[node]
    return node


def aligned_bytes(node: Node) -> int:
    return -(-max(node.nbytes, 1) // LINE) * LINE


def touched(step: Step, schedule: Schedule) -> tuple[set[Node], set[Node]]:
    """Where a step reads and where it writes."""
    reads, writes = (
        {schedule.place_of(node) for node in nodes} for nodes in (step.reads, step.writes)
    )
    return reads, writes


def depend(one: Step, other: Step, schedule: Schedule) -> bool:
    """Whether two loops touch what one of them writes: other numbers of one buffer are none of it."""
    reads, writes = touched(one, schedule)
    other_reads, other_writes = touched(other, schedule)
    if writes & other_reads or reads & other_writes:
        return True
    both = writes & other_writes
    return bool(both) and not (
        both <= {*one.writes} & {*other.writes} and all(write_apart(one, other, n) for n in both)
    )


def _without_aliases(program: Program, carried: dict[str, str]) -> Program:
    """An output that is another input, or a constant, becomes a copy: it may be written over."""
    nodes, outputs = list(program.nodes), dict(program.outputs)
    for name, node in outputs.items():
        source = base(node)
        if source.kind not in ("input", "make"):
            continue
        if name in carried and program.inputs[carried[name]] is node:
            continue
        copy = Node("astype", (node,), (), node.shape, node.dtype, node.where)
        nodes.append(copy)
        outputs[name] = copy
    return Program(tuple(nodes), program.inputs, outputs)


def _in_order(steps: list[Step], program: Program, carried: set[Node]) -> list[Step]:
    """As traced, as far as what belongs together allows.

    But the update of a large parameter follows at once on its gradient, which it then is the last to
    read: of the gradients of a step, the large ones never lie in memory together.
    """
    position = {node: number for number, node in enumerate(program.nodes)}
    rank = {step: max(position[node] for node in step.writes) for step in steps}
    if not any(step.is_call for step in steps):  # else all updates come after the last call
        for step in steps:
            large = [read for read in step.reads if read.nbytes >= _LARGE and read in position]
            if large and carried.issuperset(step.writes):
                rank[step] = max(position[read] for read in large)
                for before in step.after:  # such as Adam's corrections, of a number each
                    if all(node.size == 1 for node in before.writes):
                        rank[before] = min(rank[before], rank[step])
    waiting = {step: len(step.after) for step in steps}
    following: dict[Step, list[Step]] = {step: [] for step in steps}
    for step in steps:
        for before in step.after:
            following[before].append(step)
    number = {step: place for place, step in enumerate(steps)}
    ready = [(rank[step], number[step]) for step in steps if not waiting[step]]
    heapq.heapify(ready)
    ordered = []
    while ready:
        step = steps[heapq.heappop(ready)[1]]
        ordered.append(step)
        for after in following[step]:
            waiting[after] -= 1
            if not waiting[after]:
                heapq.heappush(ready, (rank[after], number[after]))
    assert len(ordered) == len(steps), "steps must not need each other"
    return ordered


def _in_place(program: Program, steps: list[Step], carried: dict[str, str]) -> dict[Node, Node]:
    """Which buffers may lie where another one does."""
    memory_of: dict[Node, Node] = {}
    outputs = {base(node) for node in program.outputs.values()}
    for number, step in enumerate(steps):
        for root in step.roots:
            if root.target.op == "update" and root.index is None:
                old = base(root.value)
                whole = old.kind != "input" and old not in outputs and old.op != "constant"
                if whole and _updates_in_place(root.target, old, number, steps):
                    memory_of[root.target] = old
    calls = [number for number, step in enumerate(steps) if step.is_call]
    for name, source in carried.items():
        node, place = program.outputs[name], program.inputs[source]
        if node in memory_of or node is place or place in memory_of.values():
            continue
        if _overwrites(node, place, steps, calls[-1] if calls else -1):
            memory_of[node] = place
    _in_place_of_temporaries(steps, memory_of, outputs)
    return memory_of


def _in_place_of_temporaries(
    steps: list[Step], memory_of: dict[Node, Node], outputs: set[Node]
) -> None:
    """Let loops write where they read, for the last time and point by point, what they have read."""
    last = {node: number for number, step in enumerate(steps) for node in step.reads}
    taken = set(memory_of.values())

    def may_take(place: Node, target: Node) -> bool:
        return (
            place.kind != "input"
            and place.op not in ("constant", "update")
            and place not in outputs
            and place not in taken
            and place not in memory_of
            and (place.size, place.dtype) == (target.size, target.dtype)
        )

    for number, step in enumerate(steps):
        over = [node for node in step.reads if last[node] == number]
        for root in step.roots:
            target = root.target
            if root.op != "write" or root.index is not None or target in memory_of:
                continue
            places = {node for node in over if may_take(node, target)}
            if target.op == "update" or not places:  # as of most: what it reads need not be found
                continue
            for place in _loaded(step):
                if place in places and _reads_only(step.roots, step, place, dense(root.space)):
                    memory_of[target] = place
                    taken |= {place, target}
                    break


def _loaded(step: Step) -> list[Node]:
    """What a loop reads, in the order in which it does: a set's would be another in each process."""
    held = step.reads | {root.target for root in step.roots}
    buffers = [one.buffer for one in expression_of(step.roots, held)[0].instructions]
    return [node for node in dict.fromkeys(buffers) if node in step.reads]


def _copies_in_place(step: Step, memory_of: dict[Node, Node]) -> bool:
    """Whether a loop does nothing but copy to an update what lies there already."""
    return step.head is None and all(
        root.target.op == "update"
        and root.index is None
        and memory_of.get(root.target) is base(root.value)
        for root in step.roots
    )


def _updates_in_place(update: Node, old: Node, number: int, steps: list[Step]) -> bool:
    """Whether nobody reads ``old`` once ``update`` is written but the update itself, in its place."""
    part = sliced(dense(update.shape), update.attrs)
    for later in steps[number + 1 :]:
        if old not in later.reads:
            continue
        own = [root for root in later.roots if root.target is update and root.index is not None]
        if not own or not _reads_only(later.roots, later, old, part):
            return False
    return any(old in step.writes for step in steps[:number])


def _overwrites(node: Node, place: Node, steps: list[Step], last_call: int) -> bool:
    """Whether a loop may write ``node`` where it reads ``place``, which nobody reads any more."""
    for number, step in enumerate(steps):
        if node not in step.writes:
            continue
        if number < last_call or node.dtype != place.dtype or node.size != place.size:
            return False
        roots = [root for root in step.roots if root.target is node]
        if len(roots) != 1 or roots[0].op != "write" or roots[0].index is not None:
            return False
        if any(place in later.reads for later in steps[number + 1 :]):
            return False
        return place not in step.reads or _reads_only(
            step.roots, step, place, dense(roots[0].space)
        )
    return False


def _reads_only(roots: list[Root], step: Step, buffer: Node, access: Access) -> bool:
    """Whether a loop reads ``buffer`` point by point at ``access`` only."""
    held = step.reads | {root.target for root in roots}
    return all(
        instruction.op == "load" and instruction.access == access
        for known in ((held, held - step.recomputed) if step.recomputed else (held,))
        for instruction in expression_of(roots, known)[0].instructions
        if instruction.buffer is buffer
    )


def _last_uses(
    program: Program, steps: list[Step], memory_of: dict[Node, Node]
) -> tuple[tuple[Node, ...], ...]:
    """After which step the memory of each buffer is free."""
    kept = {base(node) for node in program.outputs.values()}
    last: dict[Node, int] = {}

    for number, step in enumerate(steps):
        for node in (*step.writes, *step.reads):
            last[_place_of(node, memory_of)] = number
    for node in kept:
        last.pop(_place_of(node, memory_of), None)
    freed: list[list[Node]] = [[] for _ in steps]
    for node, number in last.items():
        if node.kind != "input" and node.op != "constant":
            freed[number].append(node)
    return tuple(map(tuple, freed))
