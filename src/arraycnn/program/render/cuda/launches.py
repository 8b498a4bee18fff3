"""A schedule on a CUDA launcher: groups of loops as kernels made for them, heads as the kernels
written by hand; opaque calls are made between two parts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from arraycnn.ops import Array, Kernels
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.ops.cuda.tiles import Late
from arraycnn.program.nodes import BFLOAT16, Node, memory_dtype
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Root, Step
from arraycnn.program.passes.schedule import Schedule, scheduled
from arraycnn.program.passes.storage import with_bfloat16
from arraycnn.program.render.arrays import forget, head_result, memory_for, outputs_of
from arraycnn.program.render.cuda.epilogue import epilogue_text, product_of, with_epilogues
from arraycnn.program.render.cuda.grouping import MOST_PARAMETERS, Group, beforehand, groups
from arraycnn.program.render.cuda.kernel_text import KernelText, kernel_text
from arraycnn.program.render.cuda.parameters import Parts
from arraycnn.program.render.cuda.pending import PendingSums, Summing, Waiting, summing
from arraycnn.program.render.cuda.rows import with_rows
from arraycnn.program.render.opaque_calls import calling


def _how(op: str) -> dict[str, bool]:
    """What is asked of a kernel of gradients: those of a layer in one launch, and of a convolution's
    weights parts of sums, which are added up in one kernel for all."""
    if not op.endswith("_backward") or not op.startswith(("conv2d", "dense")):
        return {}
    return {"together": True} | ({"in_parts": True} if op.startswith("conv2d") else {})


class CudaLaunches:
    """The launches of a schedule, ready to be made for arrays of its inputs.

    Parameters
    ----------
    schedule : Schedule

    Raises
    ------
    UnsupportedError
        An operation that there is no code for.
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule = schedule
        self._beforehand = beforehand(schedule)
        self._texts: dict[Group, dict[bool, KernelText]] = {}
        joined = with_epilogues(list(groups(schedule)), schedule)
        found = [with_rows(group, schedule) for group in joined]
        self._groups = [part for group in found for part in self._fitting(group)]
        copies = [
            Step(roots=[Root(place, base(node))], reads={base(node)}, writes=[place])
            for node, place in schedule.copies()
        ]
        self._copies = self._fitting(Group(beside=copies)) if copies else []
        self._epilogues = {
            group.epilogue: epilogue_text(group.alone, group.epilogue, schedule)
            for group in self._groups
            if group.alone is not None and group.epilogue is not None
        }
        self._sums: dict[tuple, list[Summing]] = {}
        self._constants: dict[Any, dict[Node, Array]] = {}

    def __call__(
        self, launcher: Launcher, ops: Kernels, arrays: Mapping[str, Array]
    ) -> tuple[dict[str, Array], list[Any]]:
        """Launch all for ``arrays``, C order, by the names of the inputs.

        Carried outputs end in the arrays of their inputs.

        Returns
        -------
        outputs : dict of str to array
        kept : list
            To be held as long as the launches may be made again.
        """
        schedule = self._schedule
        program = schedule.program
        held = dict(self._constants_on(launcher))
        held |= {node: arrays[name] for name, node in program.inputs.items()}
        freed = dict(zip(schedule.steps, schedule.freed, strict=True))
        for step in self._beforehand:  # others may read the same later
            del freed[step]
        pending = PendingSums(schedule)
        for group in self._groups:
            waiting = pending.before(group) if pending.waiting else {}
            if waiting:
                self._add_up(group if group.alone is None else Group(), waiting, launcher, held)
            if group.alone is not None or not waiting:
                self._run(group, launcher, ops, held, pending)
            for node in (node for step in group.steps for node in freed.get(step, ())):
                forget(node, schedule, held)
        for waiting in pending.rest():  # of gradients that are outputs
            self._add_up(Group(), waiting, launcher, held)
        for group in self._copies:
            self._launch(group, launcher, held)
        return outputs_of(schedule, held), [self]

    def _fitting(self, group: Group) -> list[Group]:
        """``group`` in as few parts as a device has room for the parameters of."""
        if group.alone is not None:
            return [group]
        text = kernel_text(group, self._schedule, wide=True)
        if text.parameter_bytes <= MOST_PARAMETERS or len(group.beside) < 2:
            self._texts[group] = {True: text}
            return [group]
        half = len(group.beside) // 2
        rest = replace(group, beside=group.beside[half:])
        return self._fitting(Group(beside=group.beside[:half])) + self._fitting(rest)

    def _text(self, group: Group, wide: bool) -> KernelText:
        known = self._texts.setdefault(group, {})
        if wide not in known:
            known[wide] = kernel_text(group, self._schedule, wide)
        return known[wide]

    def _constants_on(self, launcher: Launcher) -> dict[Node, Array]:
        """The program's own arrays, sent when first needed: not while a recording is made."""
        if launcher not in self._constants:
            self._constants[launcher] = {
                node: launcher.asarray(node.attrs[0].array)
                for node in self._schedule.program.nodes
                if node.op == "constant"
            }
        return self._constants[launcher]

    def _run(
        self,
        group: Group,
        launcher: Launcher,
        ops: Kernels,
        held: dict[Node, Array],
        pending: PendingSums,
    ) -> None:
        step = group.alone
        if step is None or step.is_call:
            self._take_memory((node for one in group.steps for node in one.writes), held, launcher)
            if step is None:
                self._launch(group, launcher, held)
            else:
                launcher.call(calling(step, launcher, ops, held))
            return
        head = step.head
        assert head is not None
        if group.epilogue is not None:
            self._run_with_epilogue(step, group.epilogue, launcher, ops, held, pending)
            return
        result = head_result(head, ops, held, **_how(head.op), **_stored(step))
        for part in step.writes:
            array = result if part is head else result[part.attrs[0]]
            if len(array.shape) > len(part.shape):
                pending.add(part, Waiting(array))
            else:
                held[part] = array

    def _take_memory(
        self, nodes: Iterable[Node], held: dict[Node, Array], launcher: Launcher
    ) -> None:
        for node in nodes:
            if node not in held:
                held[node] = memory_for(node, self._schedule, held, launcher)

    def _add_up(
        self,
        group: Group,
        waiting: Mapping[Node, Waiting],
        launcher: Launcher,
        held: dict[Node, Array],
    ) -> None:
        """Launch the loops of ``group``, and before them the sums that ``waiting`` are."""
        key = (
            group if group.loops else None,
            tuple((node, one.parts.shape[0]) for node, one in waiting.items()),
        )
        if key not in self._sums:
            self._sums[key] = [
                replace(one, group=part)
                for one in summing(group, waiting, self._schedule)
                for part in self._fitting(one.group)
            ]
        for found in self._sums[key]:
            where = {source: waiting[node].parts for node, source in found.sources.items()}
            for one in waiting.values():
                where |= one.held
            steps = found.group.steps
            self._take_memory(
                (n for s in steps for n in s.writes if n not in where), held, launcher
            )
            held.update((n, where[n]) for s in steps for n in s.writes if n in where)
            self._launch(found.group, launcher, {**held, **where})

    def _run_with_epilogue(
        self,
        head: Step,
        step: Step,
        launcher: Launcher,
        ops: Kernels,
        held: dict[Node, Array],
        pending: PendingSums,
    ) -> None:
        node, text = head.head, self._epilogues[step]
        assert node is not None
        product = product_of(head)
        written = (node for node in step.writes if node is not text.returned)
        self._take_memory(written, held, launcher)
        epilogue = text.of(held)
        if product is not node:
            out = None
            if text.returned is not product:
                self._take_memory([text.returned], held, launcher)
                out = held[text.returned]
            how = _stored(head)
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
            return
        x, weight = (held[base(operand)].reshape(operand.shape) for operand in node.operands[:2])
        own: Any = ops  # `CudaKernels`
        stored = _stored(head, text.returned)
        if node.op.startswith("conv2d"):
            result = own.conv2d_with_epilogue(x, weight, *node.attrs, epilogue, **stored)
        else:
            result = own.dense_with_epilogue(x, weight, epilogue, **stored)
        held[text.returned] = result.reshape(text.returned.shape)

    def _launch(
        self,
        group: Group,
        launcher: Launcher,
        held: Mapping[Node, Array],
    ) -> None:
        text = self._text(group, wide=True)
        if any(launcher.address(held[node]) % size for node, size in text.aligned):
            text = self._text(group, wide=False)
        args: list[Any] = []
        for value in text.values:
            if isinstance(value, Node):
                args.append(held[value])
            elif isinstance(value, Parts):
                args.append(launcher.empty((value.bytes // 4,), "float32") if value.bytes else None)
            elif isinstance(value, str):
                args.append(launcher.counter())
            else:
                args.append(value)
        grid, block = (text.blocks,), (text.threads,)
        launcher.launch_source(text.text, text.name, grid, block, tuple(args))


def _stored(step: Step, result: Node | None = None) -> dict[str, Any]:
    """What a head is told of bfloat16 in memory: the dtype of its result, or of its first one."""
    head = step.head
    assert head is not None
    first = [node for node in step.writes if node is head or node.attrs == (0,)]
    result = result or (first[0] if first else None)
    if not any(one is not None and one.dtype == BFLOAT16 for one in (*head.operands, result)):
        return {}
    return {"stored": np.dtype("float32") if result is None else memory_dtype(result.dtype)}


def with_bfloat16_in_memory(schedule: Schedule) -> CudaLaunches:
    """The launches of a schedule whose products multiply in bfloat16: `passes/storage.py`."""
    return CudaLaunches(scheduled(with_bfloat16(schedule.program), schedule.carried))
