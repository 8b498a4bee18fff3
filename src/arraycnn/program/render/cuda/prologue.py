"""What a direct convolution reads, computed where it reads it: images that are picked from a set,
converted and scaled lie nowhere, and the loop that made them is no node of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from arraycnn.ops import Array
from arraycnn.ops.conv2d.cuda_direct import Source, suits
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.render.cuda.grouping import Group
from arraycnn.program.render.cuda.lines import Lines
from arraycnn.program.render.cuda.parameters import Parameters, Value
from arraycnn.program.render.cuda.pointwise import c_type
from arraycnn.program.render.cuda.walk import Axis, Walk, walked
from arraycnn.program.render.layout import collapsed

_HEADS = ("conv2d_max_pool2d", "conv2d_max_pool2d_backward")


def with_prologues(found: list[Group], schedule: Schedule) -> list[Group]:
    """The same groups, where heads have taken in the loops that make what nobody else reads."""
    for group in found:
        for loops in (group.beside, group.following):
            for step in list(loops):
                heads = _takers(step, found, schedule)
                for head in heads:
                    head.prologue = step
                if heads:
                    loops.remove(step)
    return [group for group in found if group.alone is not None or group.loops]


def _takers(step: Step, found: list[Group], schedule: Schedule) -> list[Group]:
    """The heads that can compute what ``step`` writes where they read it, and are all who read it."""
    if step.head is not None or len(step.roots) != 1:
        return []
    (root,) = step.roots
    node = root.target
    if root.op != "write" or root.index is not None or 0 in root.space:
        return []
    readers = [one for one in schedule.steps if node in one.reads]
    if not readers or not all(_can_take(one, node) for one in readers):
        return []
    if not _is_of_inputs(step, schedule):
        return []
    if not _Parts(walked(step.roots, set(schedule.held) - step.recomputed, wide=False)).are_apart:
        return []
    if node in {base(one) for one in schedule.program.outputs.values()}:
        return []
    # What the loop reads is as it was until the last of them has run.
    places = {schedule.place_of(read) for read in step.reads}
    until = schedule.steps[schedule.steps.index(step) : schedule.steps.index(readers[-1]) + 1]
    if any(schedule.place_of(node) in places for one in until for node in one.writes):
        return []
    return [group for group in found if group.alone in readers]


def _is_of_inputs(step: Step, schedule: Schedule) -> bool:
    """Whether a loop reads nothing of which the memory is free before the step's end."""
    inputs = set(schedule.program.inputs.values())
    return all(read in inputs or read.op == "constant" for read in step.reads)


def _can_take(step: Step, node: Node) -> bool:
    """Whether ``step`` is a direct convolution, or its gradients, of the images ``node``."""
    head = step.head
    if head is None or head.op not in _HEADS:
        return False
    x, weight, *others = head.operands
    window, _, pool = head.attrs[:3]
    alike = x.dtype == weight.dtype and x.shape[0] == node.shape[0]
    alone = base(x) is node and node not in {base(one) for one in (weight, *others)}
    return alike and alone and suits(x.shape, weight.shape, window, pool)


@dataclass(frozen=True)
class SourceText:
    """A `Source` as CUDA C++, and what a launch gives it."""

    name: str
    text: str
    values: tuple[Value, ...]
    made: Node

    def of(self, held: Mapping[Node, Array]) -> Source:
        members = [held[one] if isinstance(one, Node) else one for one in self.values]
        return Source(self.name, self.text, tuple(members), self.made.shape, self.made.dtype.name)


def source_text(step: Step, schedule: Schedule) -> SourceText:
    """The loop ``step`` as what a direct convolution reads."""
    (root,) = step.roots
    walk = walked(step.roots, set(schedule.held) - step.recomputed, wide=False)
    # Not past the caches: the last block of a kernel may write some of it, such as a cursor.
    parameters = Parameters(step.reads)
    lines = Lines(walk, parameters)
    parts = _Parts(walk)
    first, rest = _axes(walk)
    before = [*lines.indices("image_", first, "i"), *lines.values(parts.of_image)]
    reads = [*lines.indices("place_", rest, "k"), *lines.values(parts.read)]
    number = parts.read.index(True)
    kind, read_as = c_type(root.target.dtype), c_type(walk.instructions[number].dtype)
    makes = [*lines.values(parts.of_number), f"return {lines.of(walk.numbers[0])};"]
    if not parameters.values:
        parameters.whole(0)  # a struct has a member at least
    members = "".join(f"    {declared};\n" for declared in parameters.declarations)
    index = f"using Index = {'long long' if walk.is_wide else 'int'};"
    body = "\n".join(
        [
            "DEVICE auto image(long long number) const",
            *("{", index, "const Index image_ = (Index)number;", *before),
            *("return [=](int place) {", "const Index place_ = (Index)place;", *reads),
            *(f"return v{number};", "};", "}"),
            f"DEVICE {kind} value({read_as} v{number}) const",
            *("{", *makes, "}"),
        ]
    )
    name = f"images_{hashlib.sha256((members + body).encode()).hexdigest()[:16]}"
    text = f'#include "pointwise.cuh"\nstruct {name} {{\n{members}{body}\n}};\n'
    return SourceText(name, text, tuple(parameters.values), root.target)


def _axes(walk: Walk) -> tuple[list[Axis], list[Axis]]:
    """The images, where there are several, and the axes of one."""
    accesses = [one.access for one in walk.instructions if one.access is not None]
    groups = collapsed(walk.roots[0].space, set(), accesses, apart=True)
    axes = [Axis(size, of) for _, size, of in groups]
    return [axis for axis in axes if axis.of == 0], [axis for axis in axes if axis.of > 0]


class _Parts:
    """Which instructions are the same for all of an image, read a number of it, and compute with that.

    Attributes
    ----------
    of_image, read, of_number : list of bool
        Of each instruction.
    are_apart : bool
        Whether one number is read, and what is computed with it needs nothing else of the image.
    """

    def __init__(self, walk: Walk) -> None:
        self.of_image: list[bool] = []
        for one in walk.instructions:
            moves = one.access is not None and any(one.access.strides[1:])
            self.of_image.append(not moves and all(self.of_image[n] for n in one.inputs))
        pairs = list(zip(walk.instructions, self.of_image, strict=True))
        self.read = [one.buffer is not None and not same for one, same in pairs]
        self.of_number = [one.buffer is None and not same for one, same in pairs]
        known = [one.op == "number" or not same for one, same in pairs]
        self.are_apart = sum(self.read) == 1 and all(
            known[number]
            for one, computes in zip(walk.instructions, self.of_number, strict=True)
            if computes
            for number in one.inputs
        )
