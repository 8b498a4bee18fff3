"""A schedule on a CUDA launcher: groups of loops as kernels made for them, heads as the kernels
written by hand; opaque calls are made between two parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache, partial
from typing import Any

from arraycnn.ops import Array, Kernels
from arraycnn.ops.cuda.launcher import Launcher
from arraycnn.program.nodes import BFLOAT16, TENSOR_FLOAT32, Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Root, Step
from arraycnn.program.passes.schedule import Schedule, scheduled
from arraycnn.program.passes.storage import with_rounded
from arraycnn.program.render.arrays import forget, outputs_of
from arraycnn.program.render.cuda.epilogue import with_epilogues
from arraycnn.program.render.cuda.grouping import MOST_PARAMETERS, Group, beforehand, groups
from arraycnn.program.render.cuda.heads import Heads, take_memory
from arraycnn.program.render.cuda.kernel_text import KernelText, kernel_text
from arraycnn.program.render.cuda.parameters import arguments, fitting
from arraycnn.program.render.cuda.pending import PendingSums, Summing, Waiting, summing
from arraycnn.program.render.cuda.prologue import with_prologues
from arraycnn.program.render.cuda.rows import with_endings, with_rows
from arraycnn.program.render.cuda.updates import with_updates
from arraycnn.program.render.opaque_calls import calling

_ROUNDED = {"tf32": TENSOR_FLOAT32, "bf16": BFLOAT16}
"""By the precision of products, what they round their operands to."""


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
        joined = with_epilogues(with_prologues(list(groups(schedule)), schedule), schedule)
        found = with_endings([with_rows(group, schedule) for group in joined], schedule)
        found = with_updates(found, schedule)
        self._groups = [part for group in found for part in self._fitting(group)]
        copies = [
            Step(roots=[Root(place, base(node))], reads={base(node)}, writes=[place])
            for node, place in schedule.copies()
        ]
        self._copies = self._fitting(Group(beside=copies)) if copies else []
        self._heads = Heads(schedule, self._groups)
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
            left: Group | None = group
            while left is not None:
                waiting = pending.before(left) if pending.waiting else {}
                if waiting:
                    self._add_up(left if left.alone is None else Group(), waiting, launcher, held)
                is_done = left.alone is None and bool(waiting)
                left = None if is_done else self._run(left, launcher, ops, held, pending)
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
    ) -> Group | None:
        """Launch ``group``; what it should have ended with, where its kernel did not."""
        step = group.alone
        if step is None or step.is_call:
            written = (node for one in group.steps for node in one.writes)
            take_memory(written, self._schedule, held, launcher)
            if step is None:
                self._launch(group, launcher, held)
            else:
                launcher.call(calling(step, launcher, ops, held))
            return None
        ended = self._heads.run(group, launcher, ops, held, pending)
        return None if ended else group.ending

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
            written = (node for s in steps for node in s.writes if node not in where)
            take_memory(written, self._schedule, held, launcher)
            held.update((n, where[n]) for s in steps for n in s.writes if n in where)
            self._launch(found.group, launcher, {**held, **where})

    def _launch(
        self,
        group: Group,
        launcher: Launcher,
        held: Mapping[Node, Array],
    ) -> None:
        text = fitting(partial(self._text, group), launcher, held)
        args = arguments(text.values, launcher, held, launcher.counter)
        grid, block = (text.blocks,), (text.threads,)
        launcher.launch_source(text.text, text.name, grid, block, args)


def stored_for(precision: str, schedule: Schedule) -> Schedule:
    """``schedule`` where what products read lies in memory as they multiply it: `passes/storage.py`."""
    program = schedule.program
    if precision in _ROUNDED:
        program = with_rounded(program, _ROUNDED[precision])
    return schedule if program is schedule.program else scheduled(program, schedule.carried)


@cache
def rendering(precision: str) -> Callable[[Schedule], CudaLaunches]:
    """What makes the launches of a schedule whose products multiply in ``precision``: one object, by
    which is known what it has made (`memo.rendered_of`)."""
    return lambda schedule: CudaLaunches(stored_for(precision, schedule))
