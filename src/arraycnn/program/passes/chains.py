"""Chains: steps that follow one another and may be run image by image.

Where each step of a chain needs, for an image, only what the steps before it have left for that same
image, all of them can be run on one image before the next is begun: what one writes, the next reads
from the cache. A head is so given its prologue and its epilogue, whichever they are, and none of
them knows of the others.
"""

from __future__ import annotations

from dataclasses import dataclass

from arraycnn.program.access import Access
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step, expression_of
from arraycnn.program.passes.schedule import Schedule, aligned_bytes, depend, touched

FEWEST_IMAGES = 16
"""Of fewer images a batch is not cut: each launch has threads enough by itself."""

SMALLEST = 256
"""Numbers an image below which a loop is not worth a call for each."""

_BY_IMAGE = {
    "conv2d": (0,),
    "conv2d_relu": (0,),
    "conv2d_max_pool2d": (0,),
    "conv2d_backward": (0, 2),
    "conv2d_relu_backward": (0, 2, 3),
    "conv2d_max_pool2d_backward": (0, 2, 3, 4),
    "max_pool2d": (0,),
    "max_pool2d_backward": (0, 1),
    "at_winners": (0, 1),
}
"""Heads whose kernels work on image after image, and which operands they read so."""


@dataclass(frozen=True, eq=False)
class Chain:
    """Steps that follow one another.

    Attributes
    ----------
    steps : tuple of Step
    images : int
        How many images each works on; 0 for a step that is run by itself, and for several of which
        none needs another.
    """

    steps: tuple[Step, ...]
    images: int = 0


def chains(schedule: Schedule) -> list[Chain]:
    """All steps of the schedule, in its order."""
    found: list[Chain] = []
    growing = _Growing(schedule)
    for step in schedule.steps:
        if not growing.take(step):
            found += growing.ended()
            growing = _Growing(schedule)
            if not growing.take(step):
                found.append(Chain((step,)))
    return _side_by_side(found + growing.ended(), schedule)


def _side_by_side(found: list[Chain], schedule: Schedule) -> list[Chain]:
    """The same chains, where loops that follow one another and touch nothing that another one writes
    are one: updates of small parameters, say."""
    joined: list[Chain] = []
    growing = _Beside(schedule)
    for chain in found:
        (step, *others) = chain.steps
        if others or step.head is not None or any(root.op != "write" for root in step.roots):
            joined += [*growing.ended(), chain]
            growing = _Beside(schedule)
        elif not growing.take(step):
            joined += growing.ended()
            growing = _Beside(schedule)
            growing.take(step)
    return joined + growing.ended()


class _Beside:
    """Loops that touch nothing that another one of them writes."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._steps: list[Step] = []
        self._read: set[Node] = set()
        self._written: set[Node] = set()

    def take(self, step: Step) -> bool:
        reads, writes = touched(step, self._schedule)
        if self._written & reads or self._read & writes:
            return False
        if self._written & writes and any(depend(o, step, self._schedule) for o in self._steps):
            return False
        self._steps.append(step)
        self._read |= reads
        self._written |= writes
        return True

    def ended(self) -> list[Chain]:
        return [Chain(tuple(self._steps))] if self._steps else []


def peak_bytes(schedule: Schedule) -> int:
    """As `Schedule.peak_bytes`, where chains are run image by image: what one of their steps no longer
    needs of the last image may not be written over before the chain has ended."""
    held = peak = 0
    known = set(schedule.memory_of)
    freed = dict(zip(schedule.steps, schedule.freed, strict=True))
    for chain in chains(schedule):
        new = {node for step in chain.steps for node in step.writes} - known
        known |= new
        held += sum(map(aligned_bytes, new))
        peak = max(peak, held)
        held -= sum(aligned_bytes(node) for step in chain.steps for node in freed[step])
    return peak


class _Growing:
    """A chain to which steps are added."""

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._steps: list[Step] = []
        self._images = 0
        self._made: dict[Node, bool] = {}
        """What the chain makes, and whether it does so image by image."""

    def take(self, step: Step) -> bool:
        """Add ``step``; False where it cannot join."""
        images = self._images or _images(step)
        if images < FEWEST_IMAGES or any(map(self._writes_too_soon, step.writes)):
            return False
        made = self._by_image(step, images)
        if made is None:
            return False
        self._images = images
        self._steps.append(step)
        self._made |= made
        return True

    def _writes_too_soon(self, node: Node) -> bool:
        """Whether ``node`` lies where an earlier step may have to read for other images."""
        place = self._schedule.memory_of.get(node)
        return (
            place is not None
            and place not in self._made  # else it is read image by image only
            and any(place in step.reads for step in self._steps)
        )

    def ended(self) -> list[Chain]:
        """The chain; its steps one by one where there is no head, or nothing but one."""
        if len(self._steps) > 1 and any(step.head is not None for step in self._steps):
            return [Chain(tuple(self._steps), self._images)]
        return [Chain((step,)) for step in self._steps]

    def _by_image(self, step: Step, images: int) -> dict[Node, bool] | None:
        """What ``step`` makes, as `_made` has it; None where it cannot join the chain."""
        if step.head is None:
            return self._loop(step, images)
        if step.head.op not in _BY_IMAGE:
            return None
        for place, operand in enumerate(step.head.operands):
            if place in _BY_IMAGE[step.head.op]:
                if operand.shape[0] != images or not self._made.get(base(operand), True):
                    return None
            elif base(operand) in self._made:
                return None
        first = step.head.operands[0].size, step.head.size
        return {
            node: node is step.head or (_is_by_image(node, step.head) and all(first))
            for node in step.writes
        }

    def _loop(self, step: Step, images: int) -> dict[Node, bool] | None:
        space = step.roots[0].space
        size = 1
        for extent in space[1:]:
            size *= extent
        if not space or space[0] != images or size < SMALLEST:
            return None
        if any(root.index is not None or "arg" in root.op for root in step.roots):
            return None
        if {0 in root.axes for root in step.roots if root.op != "write"} == {True, False}:
            return None
        expression, _ = expression_of(step.roots, set(self._schedule.held))
        own = {root.target for root in step.roots}
        for instruction in expression.instructions:
            buffer = instruction.buffer
            if buffer is None or buffer in own or buffer not in self._made:
                continue
            if instruction.op != "load" or not self._made[buffer]:
                return None
            if not _stays_with(instruction.access, buffer, images):
                return None
        return {root.target: 0 not in root.axes for root in step.roots}


def _images(step: Step) -> int:
    """How many images a step seems to work on: as many as its space, or operand, has first."""
    if step.head is None:
        space = step.roots[0].space
        return space[0] if space else 0
    return step.head.operands[0].shape[0] if step.head.op in _BY_IMAGE else 0


def _is_by_image(result: Node, head: Node) -> bool:
    """Whether a result of a head has a share of each image: a gradient of weights has none."""
    return not _adds_up(head) or result.attrs[0] == 0


def _adds_up(head: Node) -> bool:
    return head.op.startswith("conv2d") and head.op.endswith("_backward")


def _stays_with(access: Access | None, buffer: Node, images: int) -> bool:
    """Whether at each image only that image's share of ``buffer`` is read.

    It is so where the next image is a share further on: reads before the share would, for the first
    image, lie before the buffer, and reads behind it, for the last, behind the buffer.
    """
    return access is not None and access.strides[0] * images == buffer.size
