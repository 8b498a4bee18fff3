"""A schedule on NumPy: loops as calls on chunks, heads as the kernels of
`arraycnn.ops.numpy.record`, all in one list of calls."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any

import numpy as np

from arraycnn.ops import Kernels
from arraycnn.ops.numpy.launcher import Launcher
from arraycnn.ops.numpy.record import numpy_kernels
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.render.arrays import constants_and_inputs, head_result, outputs_of
from arraycnn.program.render.numpy.late_gradients import by_rows, late_gradients
from arraycnn.program.render.numpy.lines import walked
from arraycnn.program.render.numpy.loop import Loop, Nothing
from arraycnn.program.render.numpy.memory import places
from arraycnn.program.render.opaque_calls import calling


class Calls:
    """The calls of a schedule, ready to be made for arrays of its inputs.

    Parameters
    ----------
    schedule : Schedule
    """

    def __init__(self, schedule: Schedule) -> None:
        self._schedule, self._places = schedule, places(schedule)
        held = set(schedule.held)
        self._loops = {step: _loop(step, held) for step in schedule.steps if step.head is None}
        self._late: dict[Step, tuple[Loop, Node]] = {}
        """Heads with the update that makes a gradient of theirs."""
        for head, (update, gradient) in late_gradients(schedule).items():
            walk = by_rows(walked(update, held), gradient)
            if walk is not None:
                self._late[head] = Loop(walk), gradient
                del self._loops[update]

    def __call__(
        self, launcher: Launcher, ops: Kernels, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[Any]]:
        """Call all for ``arrays``, C order, by the names of the inputs.

        Carried outputs end in the arrays of their inputs.

        Returns
        -------
        outputs : dict of str to array
        kept : list
            To be held as long as the calls may be made again.
        """
        schedule = self._schedule
        held = constants_and_inputs(schedule, arrays)
        memory = launcher.empty((self._places.size,), np.uint8)
        known: dict[Hashable, np.ndarray] = {}
        for step in schedule.steps:
            for node in dict.fromkeys(step.writes):
                if node not in held:
                    held[node] = self._memory(node, held, memory)
            if not self._is_late(step):
                self._run(step, launcher, ops, held, known)
        self._end(launcher, held)
        return outputs_of(schedule, held), [self]

    def _is_late(self, step: Step) -> bool:
        """Whether the head before it, whose gradient it makes, runs ``step`` as well."""
        return step.head is None and step not in self._loops

    def _run(
        self,
        step: Step,
        launcher: Launcher,
        ops: Kernels,
        held: dict[Node, np.ndarray],
        known: dict[Hashable, np.ndarray],
    ) -> None:
        if step.is_call:
            launcher.call(calling(step, launcher, ops, held))
        elif step.head is not None:
            self._run_head(step, launcher, held, known)
        else:
            self._loops[step].call(launcher, held, known)

    def _end(self, launcher: Launcher, held: dict[Node, np.ndarray]) -> None:
        """Copy outputs to the places that they take and do not lie in yet."""
        for node, place in self._schedule.copies():
            launcher.call(np.copyto, held[place], held[base(node)].reshape(place.shape))

    def _memory(self, node: Node, held: dict[Node, np.ndarray], memory: np.ndarray) -> np.ndarray:
        place = self._schedule.memory_of.get(node)
        if place is not None:
            return held[place].reshape(node.shape)
        first = self._places.offsets[node]
        return memory[first : first + node.nbytes].view(node.dtype).reshape(node.shape)

    def _run_head(
        self,
        step: Step,
        launcher: Launcher,
        held: dict[Node, np.ndarray],
        known: dict[Hashable, np.ndarray],
    ) -> None:
        node = step.head
        assert node is not None
        winners = any(part.attrs == (1,) for part in step.writes if part is not node)
        update, late = self._late.get(step, (None, None))
        ops = numpy_kernels(launcher, need_winners=winners, late=update is not None)
        writes = [part for part in step.writes if part is not late]
        wanted = [held[part] for part in writes]
        with launcher.borrowing(wanted):
            result = head_result(node, ops, held)
            made = [result if p is node else result[p.attrs[0]] for p in writes]
            pairs = zip(wanted, made, strict=True)
            moved = [(place, array) for place, array in pairs if not _begin_together(place, array)]
            if moved:
                launcher.alone(lambda: _move(launcher, moved))
            if update is not None and late is not None:
                for target in update.targets:
                    held[target] = held[self._schedule.memory_of[target]].reshape(target.shape)
                update.call(launcher, held, known, {late: result[late.attrs[0]]})


def _begin_together(one: np.ndarray, other: np.ndarray) -> bool:
    return one.ctypes.data == other.ctypes.data


def _move(launcher: Launcher, pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Copy each second array to the first, which may be the second of another pair."""
    copies = [launcher.scratch(array.shape, array.dtype) for _, array in pairs]
    for copy, (_, array) in zip(copies, pairs, strict=True):
        launcher.call(np.copyto, copy, array)
    for copy, (place, _) in zip(copies, pairs, strict=True):
        launcher.call(np.copyto, place, copy.reshape(place.shape))


def _loop(step: Step, held: set[Node]) -> Loop | Nothing:
    return Nothing(step.roots) if 0 in step.roots[0].space else Loop(walked(step, held))
