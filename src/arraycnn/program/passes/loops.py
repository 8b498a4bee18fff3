"""Loops: what is not a head is grouped into loops over one space, each of which reads its operands
once. The result of this pass is what renderers turn into code."""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, field

from arraycnn.program.access import dense, sliced
from arraycnn.program.expression import Expression, NotAffineError
from arraycnn.program.nodes import Node, Program, micro_batch_of
from arraycnn.program.passes.buffers import BIG, MANY_RESULTS, base, buffers


@dataclass(frozen=True, eq=False)
class Root:
    """A value that a loop leaves in memory.

    Attributes
    ----------
    target : Node
        The buffer that is written.
    value : Node
        What is written, or reduced: its shape is the loop's space.
    op : str
        "write"; or the reduction, over ``axes``.
    index : tuple or None
        The part of the target that is written, as a slice's; None for all of it.
    """

    target: Node
    value: Node
    op: str = "write"
    axes: tuple[int, ...] = ()
    index: tuple | None = None

    @property
    def space(self) -> tuple[int, ...]:
        return self.value.shape


@dataclass(eq=False)
class Step:
    """A loop, a head, or an opaque call: what is run as one.

    Attributes
    ----------
    roots : list of Root
        Of a loop.
    head : Node or None
        The head, or the opaque call.
    reads : set of Node
        Buffers read from memory.
    writes : list of Node
    after : set of Step
        What must have run before.
    closed : bool
        Whether no other root may join.
    recomputed : set of Node
        Of the buffers that are read, those that a loop may as well compute again from the others
        (`arraycnn.program.passes.recompute`).
    """

    roots: list[Root] = field(default_factory=list)
    head: Node | None = None
    reads: set[Node] = field(default_factory=set)
    writes: list[Node] = field(default_factory=list)
    after: set[Step] = field(default_factory=set, repr=False)
    closed: bool = False
    recomputed: set[Node] = field(default_factory=set)

    @property
    def is_call(self) -> bool:
        """Whether it is an opaque call, before which all that is launched must have ended."""
        return self.head is not None and self.head.kind == "opaque"


def expression_of(roots: list[Root], held: Set[Node]) -> tuple[Expression, list[int]]:
    """The instructions of a loop, and which of them each root writes or reduces."""
    own = {root.target for root in roots if root.op == "write" and root.value is root.target}
    expression = Expression(held - own)
    numbers = []
    for root in roots:
        number = expression.add(root.value, compute=root.value is root.target)
        if root.op in ("write", "sum", "prod"):  # added up in the dtype of the result
            number = expression.converted(number, root.target.dtype)
        numbers.append(number)
    return expression, numbers


def loops(program: Program) -> tuple[list[Step], set[Node]]:
    """The steps of a program, each after those it needs, and the buffers between them."""
    held = buffers(program)
    while True:
        try:
            return _Grouping(program, held).steps, held
        except NotAffineError as error:
            held.add(base(error.view.inputs[0]))


class _Grouping:
    def __init__(self, program: Program, held: set[Node]) -> None:
        self._held = held
        self._maker: dict[Node, Step] = {}
        self.steps: list[Step] = []
        self._open: dict[tuple[int, ...], list[Step]] = {}
        """The loops that others may join, by their spaces: most roots find few of theirs."""
        self._parts: dict[Node, list[Node]] = {}
        for node in program.nodes:
            if node.kind == "part":
                self._parts.setdefault(node.inputs[0], []).append(node)
        for node in program.nodes:
            if node.is_alone:
                self._add_head(node)
            elif node in held and node.kind not in ("input", "part") and node.op != "constant":
                for root in roots_of(node):
                    if root.index is None or 0 not in root.space:  # else there is nothing to write
                        self._add_root(root)

    def _add_head(self, node: Node) -> None:
        reads = {base(operand) for operand in node.operands}
        writes = self._parts.get(node, []) if node.op in MANY_RESULTS else [node]
        step = Step(head=node, reads=reads, writes=writes, closed=True)
        step.after = {self._maker[read] for read in reads if read in self._maker}
        self.steps.append(step)
        for written in writes:
            self._maker[written] = step

    def _add_root(self, root: Root) -> None:
        reads, identical = self._reads(root)
        needed = {self._maker[read] for read in reads if read in self._maker}
        if root.target in self._maker:  # another part of it
            needed.add(self._maker[root.target])
        step = self._joinable(root, reads, identical, needed)
        if step is None:
            step = Step(closed=root.target.op == "update")
            self.steps.append(step)
            if not step.closed:
                self._open.setdefault(root.space, []).append(step)
        step.roots.append(root)
        step.writes.append(root.target)
        step.reads |= {read for read in reads if self._maker.get(read) is not step}
        step.after |= needed - {step}
        self._maker[root.target] = step

    def _reads(self, root: Root) -> tuple[set[Node], set[Node]]:
        """The buffers that a root reads, and those of them that it reads point by point only."""
        expression, _ = expression_of([root], self._held)
        reads: set[Node] = set()
        other: set[Node] = set()
        whole = dense(root.space)
        for instruction in expression.instructions:
            if instruction.buffer is None:
                continue
            reads.add(instruction.buffer)
            if instruction.op != "load" or instruction.access != whole:
                other.add(instruction.buffer)
        return reads, reads - other

    def _joinable(
        self, root: Root, reads: set[Node], identical: set[Node], needed: set[Step]
    ) -> Step | None:
        """The latest loop that may take the root as well, and gains by it."""
        if root.target.op == "update":
            return None
        for step in reversed(self._open.get(root.space, [])):
            if micro_batch_of(root.target) != micro_batch_of(step.roots[0].target):
                continue  # its values would lie in memory until the other part has come as far
            made = {other.target: other for other in step.roots}
            if any(
                read in made and (read not in identical or made[read].op != "write")
                for read in reads
            ):
                continue
            if any(made[read].index is not None for read in reads if read in made):
                continue
            axes = {other.axes for other in step.roots if other.op != "write"}
            if root.op != "write" and axes and axes != {root.axes}:
                continue
            if "arg" in root.op or any("arg" in other.op for other in step.roots):
                continue
            shared = (step.reads | set(made)) & reads
            if not any(read.size * 4 >= min(BIG, _size(root)) > 1 for read in shared):
                continue
            if any(_depends(other, step) for other in needed if other is not step):
                continue
            return step
        return None


def roots_of(node: Node) -> Iterator[Root]:
    """What must be written for a buffer that is no head's."""
    if node.kind == "reduce":
        yield Root(node, node.inputs[0], node.op, node.attrs[0])
    elif node.op == "concat":
        (axis,), first = node.attrs, 0
        for part in node.inputs:
            last = first + part.shape[axis]
            yield Root(node, part, index=(slice(None),) * axis + (slice(first, last),))
            first = last
    elif node.op == "update":
        if node.inputs[0].op == "full" and all(_is_run(part) for part in node.attrs):
            yield from _around(node)
        else:
            yield Root(node, node.inputs[0])
        yield Root(node, update_value(node), index=node.attrs)
    else:
        yield Root(node, node)


def _is_run(part: object) -> bool:
    return isinstance(part, slice) and part.step in (None, 1)


def _around(node: Node) -> Iterator[Root]:
    """What an update of equal numbers leaves of them: two slabs along each axis, none in another."""
    ranges = [
        range(*part.indices(size)) for part, size in zip(node.attrs, node.shape, strict=False)
    ]
    (value,) = node.inputs[0].attrs
    for axis, taken in enumerate(ranges):
        for first, last in ((0, taken.start), (max(taken.start, taken.stop), node.shape[axis])):
            index = *(slice(r.start, r.stop) for r in ranges[:axis]), slice(first, last)
            shape = sliced(dense(node.shape), index).shape
            if 0 not in shape:
                slab = Node("full", (), (value,), shape, node.dtype, node.where)
                yield Root(node, slab, index=index)


def write_apart(one: Step, other: Step, node: Node) -> bool:
    """Whether two loops write parts of ``node`` that have no number in common."""
    return all(
        _are_apart(ours.index, theirs.index, node.shape)
        for ours in one.roots
        for theirs in other.roots
        if ours.target is theirs.target is node
    )


def _are_apart(one: tuple | None, other: tuple | None, shape: tuple[int, ...]) -> bool:
    for a, b, size in zip(one or (), other or (), shape, strict=False):
        if isinstance(a, slice) and isinstance(b, slice):
            ours, theirs = range(*a.indices(size)), range(*b.indices(size))
            if max(ours) < min(theirs) or max(theirs) < min(ours):
                return True
    return False


def update_value(node: Node) -> Node:
    """What an update writes, in the shape of the part that is written."""
    shape = sliced(dense(node.shape), node.attrs).shape
    value = node.inputs[1]
    if not isinstance(value, Node):
        return Node("full", (), (value,), shape, node.dtype, node.where)
    if value.dtype != node.dtype:
        value = Node("astype", (value,), (), value.shape, node.dtype, node.where)
    return value if value.shape == shape else Node("broadcast", (value,), (), shape, node.dtype)


def _size(root: Root) -> int:
    size = 1
    for extent in root.space:
        size *= extent
    return size


def _depends(step: Step, other: Step) -> bool:
    """Whether ``step`` needs ``other``, itself or through what it needs."""
    waiting, seen = [step], set[Step]()
    while waiting:
        current = waiting.pop()
        if current is other:
            return True
        if current not in seen:
            seen.add(current)
            waiting += current.after
    return False
