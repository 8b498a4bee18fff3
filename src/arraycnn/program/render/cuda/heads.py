"""Heads of a schedule as launches of the kernels written by hand, with the loops that these take in."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from arraycnn.ops import Array, Kernels
from arraycnn.ops.cuda.ending import Ending, MakesEnding, MakesUpdates
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.cuda.tiles import Late, bias_relu
from arraycnn.program.nodes import ROUNDED, Node, memory_dtype
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.render.arrays import head_result, memory_for
from arraycnn.program.render.cuda.epilogue import epilogue_text, product_of
from arraycnn.program.render.cuda.grouping import MOST_PARAMETERS, Group
from arraycnn.program.render.cuda.kernel_text import EndingText, ending_text
from arraycnn.program.render.cuda.parameters import arguments, fitting
from arraycnn.program.render.cuda.pending import PendingSums, Waiting
from arraycnn.program.render.cuda.prologue import source_text


def _how(op: str) -> dict[str, bool]:
    """What is asked of a kernel of gradients: those of a layer in one launch, and of a convolution's
    weights parts of sums, which are added up in one kernel for all."""
    if not op.endswith("_backward") or not op.startswith(("conv2d", "dense")):
        return {}
    return {"together": True} | ({"in_parts": True} if op.startswith("conv2d") else {})


class Heads:
    """Runs the heads among ``groups``."""

    def __init__(self, schedule: Schedule, groups: Sequence[Group]) -> None:
        self._schedule = schedule
        self._epilogues = {
            group.epilogue: epilogue_text(group.alone, group.epilogue, schedule)
            for group in groups
            if group.alone is not None and group.epilogue is not None
        }
        self._sources = {
            group.prologue: source_text(group.prologue, schedule)
            for group in groups
            if group.prologue is not None
        }
        self._endings: dict[Group, dict[tuple[bool, int, int], EndingText]] = {}

    def run(
        self,
        group: Group,
        launcher: Launcher,
        ops: Kernels,
        held: dict[Node, Array],
        pending: PendingSums,
    ) -> bool:
        """Launch the head of ``group``; whether that did the loops that the group ends with, too.

        What it gives is ``held`` then, or ``pending``.
        """
        step = group.alone
        assert step is not None
        assert step.head is not None
        if product_of(step) is step.head and (group.epilogue or group.ending) is not None:
            return self._product(group, launcher, ops, held)
        how: dict[str, Any] = {**_how(step.head.op), **stored_as(step)}
        taken: list[Group] = []
        if group.epilogue is not None:
            self._gradient(step, group.epilogue, launcher, ops, held, pending)
            return False
        given: dict[Node, Any] = held
        if group.prologue is not None:
            source = self._sources[group.prologue]
            given = {**held, source.made: source.of(held)}
        if group.ending is not None:
            how["ending"], taken = self._updates(group, launcher, held)
        result = head_result(step.head, ops, given, **how)
        for part in step.writes:
            array = result if part is step.head else result[part.attrs[0]]
            if len(array.shape) > len(part.shape):
                pending.add(part, Waiting(array))
            else:
                held[part] = array
        return bool(taken)

    def _product(
        self, group: Group, launcher: Launcher, ops: Kernels, held: dict[Node, Array]
    ) -> bool:
        """Whether the loops that the group ends with are done, too."""
        head, returned = group.alone, self._returned(group)
        assert head is not None
        assert head.head is not None
        node, arrays = head.head, [held[base(one)].reshape(one.shape) for one in head.head.operands]
        epilogue = bias_relu(arrays[2] if len(arrays) > 2 else None, node.op.endswith("_relu"))
        if group.epilogue is not None:
            written = (one for one in group.epilogue.writes if one is not returned)
            take_memory(written, self._schedule, held, launcher)
            epilogue = self._epilogues[group.epilogue].of(held)
        own: Any = ops  # `CudaKernels`
        stored = stored_as(head, returned)
        if node.op.startswith("conv2d"):
            y = own.conv2d_with_epilogue(*arrays[:2], *node.attrs, epilogue, **stored)
            held[returned] = y.reshape(returned.shape)
            return False
        make, taken = self._ending(group, launcher, held)
        y = own.dense_with_epilogue(*arrays[:2], epilogue, ending=make, **stored)
        held[returned] = y.reshape(returned.shape)
        return bool(taken)

    def _gradient(
        self,
        head: Step,
        step: Step,
        launcher: Launcher,
        ops: Kernels,
        held: dict[Node, Array],
        pending: PendingSums,
    ) -> None:
        node, text, product = head.head, self._epilogues[step], product_of(head)
        assert node is not None
        assert product is not None
        written = (one for one in step.writes if one is not text.returned)
        take_memory(written, self._schedule, held, launcher)
        epilogue, out = text.of(held), None
        if text.returned is not product:
            take_memory([text.returned], self._schedule, held, launcher)
            out = held[text.returned]
        how = stored_as(head)
        if node.op.startswith("conv2d"):
            how["in_parts"] = True
        result = head_result(node, ops, held, late=Late(epilogue, out), **how)
        for part in head.writes:
            array = result[part.attrs[0]]
            if len(array.shape) == len(part.shape):
                if part is not product or out is None:
                    held[part] = array
            elif part is product:
                where = {one: held[one] for one in (*step.reads, *step.writes) if one in held}
                pending.add(part, Waiting(array, step, out is None, where))
            else:
                pending.add(part, Waiting(array))

    def _ending(
        self, group: Group, launcher: Launcher, held: dict[Node, Array]
    ) -> tuple[MakesEnding | None, list[Group]]:
        """What makes the ending of a product's kernel, and where it notes that it did."""
        taken: list[Group] = []
        returned = self._returned(group)
        if group.ending is None:
            return None, taken

        def make(y: Array, rows: int, threads: int, counters: Array) -> Ending | None:
            held[returned] = y.reshape(returned.shape)
            made = self._made(group, rows, threads, counters, launcher, held)
            taken.extend([] if made is None else [group])
            return made

        return make, taken

    def _updates(
        self, group: Group, launcher: Launcher, held: dict[Node, Array]
    ) -> tuple[MakesUpdates, list[Group]]:
        """The same of a gradient's kernel."""
        taken: list[Group] = []
        assert group.alone is not None
        parts = {part.attrs[0]: part for part in group.alone.writes}

        def make(dweight: Array, dbias: Array, threads: int, counters: Array) -> Ending | None:
            held.update({parts[n]: one for n, one in ((1, dweight), (2, dbias)) if n in parts})
            made = self._made(group, 0, threads, counters, launcher, held)
            taken.extend([] if made is None else [group])
            return made

        return make, taken

    def _made(
        self,
        group: Group,
        rows: int,
        threads: int,
        counters: Array,
        launcher: Launcher,
        held: dict[Node, Array],
    ) -> Ending | None:
        assert group.ending is not None
        written = [node for one in group.ending.loops for node in one.writes]
        take_memory(written, self._schedule, held, launcher)
        text = fitting(partial(self._ending_text, group, rows, threads), launcher, held)
        if 8 * len(text.values) > MOST_PARAMETERS // 2:  # the head's are added to them
            return None
        args = arguments(text.values, launcher, held, lambda: counters)
        return Ending(text.name, text.text, text.kinds, args, text.shared, text.blocks)

    def _ending_text(self, group: Group, rows: int, threads: int, wide: bool) -> EndingText:
        known = self._endings.setdefault(group, {})
        how = wide, rows, threads
        if how not in known:
            known[how] = ending_text(group, self._schedule, *how)
        return known[how]

    def _returned(self, group: Group) -> Node:
        """What the result of a product is."""
        assert group.alone is not None
        if group.epilogue is not None:
            return self._epilogues[group.epilogue].returned
        assert group.alone.head is not None
        return group.alone.head


def take_memory(
    nodes: Iterable[Node], schedule: Schedule, held: dict[Node, Array], launcher: Launcher
) -> None:
    """Let those be ``held`` that are not."""
    for node in nodes:
        if node not in held:
            held[node] = memory_for(node, schedule, held, launcher)


def stored_as(step: Step, result: Node | None = None) -> dict[str, Any]:
    """What a head is told of rounded numbers in memory: the dtype of its (first) result."""
    head = step.head
    assert head is not None
    first = [node for node in step.writes if node is head or node.attrs == (0,)]
    result = result or (first[0] if first else None)
    known = {one.dtype for one in (*head.operands, result) if one is not None}
    if known.isdisjoint(ROUNDED):
        return {}
    return {"stored": np.dtype("float32") if result is None else memory_dtype(result.dtype)}
