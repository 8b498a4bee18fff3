"""A schedule in words: what runs, how much it reads and writes, and where each layer went."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from arraycnn.program.costs import pointwise
from arraycnn.program.nodes import AND, Node
from arraycnn.program.passes.chains import chains, peak_bytes
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.text import bytes_in_words


@dataclass(frozen=True, eq=False)
class StepProgram:
    """What `Model.program` gives: print it.

    Attributes
    ----------
    schedule : Schedule
        The steps, in order, and their program.
    causes : tuple of str
        Why layers are called as they are written, for those that are.
    """

    schedule: Schedule
    causes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return description(self.schedule, self.causes)


def description(schedule: Schedule, causes: tuple[str, ...] = ()) -> str:
    """Heads, fused loops, calls of layers that are not traced and why, memory, and for each layer
    the steps that compute it."""
    lines: list[str] = []
    found = chains(schedule)
    for chain in found:
        for step in chain.steps:
            mark = "|" if chain.images else " "
            where = ", ".join(places(schedule, step))
            line = f"{len(lines):4} {mark} {words(step, schedule):<72}  {where}"
            lines.append(line.rstrip())
    counts = Counter(
        "calls" if step.is_call else "heads" if step.head else "loops" for step in schedule.steps
    )
    inputs = sum(node.nbytes for node in schedule.program.inputs.values())
    moved = sum(map(traffic, schedule.steps))
    what = f"{len(schedule.program.nodes)} operations in {counts['loops']} fused loops"
    memory = f"memory: {bytes_in_words(peak_bytes(schedule))} for values at the most"
    summary = [
        f"{what} and {counts['heads']} heads (operations with a kernel of their own)",
        f"{memory}, without {bytes_in_words(inputs)} of inputs and what heads need to work",
        f"read and written by loops and heads: {bytes_in_words(moved)}",
    ]
    count = sum(chain.images > 0 for chain in found)
    if count:
        what = "steps marked |, which compiled kernels run on one image before the next is begun"
        without = bytes_in_words(schedule.peak_bytes)
        summary.append(f"{count} chains: {what} ({without} of values without them)")
    if counts["calls"]:
        calls = f"{counts['calls']} calls of layers as they are written, between compiled parts"
        summary.append(f"{calls} (their own memory is not counted):")
        summary += [f"    {cause}" for cause in causes]
    return "\n".join([*summary, "", *lines, "", *_layers(schedule)])


def traffic(step: Step) -> int:
    """Bytes that a step reads and writes, each operand once."""
    return sum(node.nbytes for node in {*step.reads - step.recomputed, *step.writes})


def places(schedule: Schedule, step: Step) -> list[str]:
    """The layers whose work a step does, as "3 BatchNorm, forward"."""
    held = set(schedule.held)
    found: dict[str, None] = {}
    waiting: list[Node] = [step.head] if step.head else [root.value for root in step.roots]
    targets = {root.target for root in step.roots}
    seen: set[Node] = set()
    while waiting:
        node = waiting.pop()
        if node in seen or (node in held and node not in targets and node is not step.head):
            continue
        seen.add(node)
        if node.is_alone or node.kind in ("pointwise", "reduce", "take"):
            found.update(dict.fromkeys(node.where.split(AND)))
        if node is not step.head:
            waiting += node.operands
    found.update(dict.fromkeys(root.target.where for root in step.roots))
    return sorted(place for place in found if place)


def words(step: Step, schedule: Schedule) -> str:
    """What a step is, of which shapes, and what it reads and writes."""
    read = bytes_in_words(sum(node.nbytes for node in step.reads - step.recomputed))
    written = bytes_in_words(sum(node.nbytes for node in dict.fromkeys(step.writes)))
    if step.head is not None:
        operand = step.head.operands[0].shape
        if step.is_call:
            return f"call of {step.head.attrs[0].name} on {operand}, {read} to {written}"
        return f"head {step.head.op} {operand} to {step.writes[0].shape}, {read} to {written}"
    count = pointwise(step, schedule.held)
    made = Counter(root.op for root in step.roots)
    results = ", ".join(f"{op}" if n == 1 else f"{n} {op}" for op, n in made.items())
    space = step.roots[0].space
    numbers = f"{math.prod(space):,}"
    return f"loop {space} of {count} operations on {numbers}, {results}, {read} to {written}"


def _layers(schedule: Schedule) -> list[str]:
    where: dict[str, list[int]] = {}
    for number, step in enumerate(schedule.steps):
        for place in places(schedule, step):
            where.setdefault(place, []).append(number)
    width = max(map(len, where), default=0)
    return [f"{place:<{width}}  {' '.join(map(str, steps))}" for place, steps in where.items()]
