"""A schedule on the CPU's launcher: loops as rendered kernels, heads as the kernels written by hand,
all in one list of launches; opaque calls are made between two parts of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from arraycnn.ops import Kernels
from arraycnn.program.nodes import Node
from arraycnn.program.passes.buffers import base
from arraycnn.program.passes.chains import chains
from arraycnn.program.passes.loops import Root, Step
from arraycnn.program.passes.schedule import Schedule
from arraycnn.program.render.arrays import (
    constants_and_inputs,
    forget,
    head_result,
    memory_for,
    outputs_of,
)
from arraycnn.program.render.layout import Layout, layout, layout_by_image
from arraycnn.program.render.loop_code import fields, loop_code
from arraycnn.program.render.machine import Kernel, KernelCache, kernel_cache
from arraycnn.program.render.opaque_calls import calling
from arraycnn.program.render.structs import LoopLaunch


class Launcher(Protocol):
    """The part of `arraycnn.ops.compiled.launcher.Launcher` that is needed."""

    def view(self, array: np.ndarray) -> np.ndarray: ...

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray: ...

    def call(self, function: Callable[[], None]) -> None: ...

    def chain(self, images: int) -> AbstractContextManager[Any]: ...

    def side_by_side(self) -> AbstractContextManager[None]: ...

    def launch_code(
        self, code: int, blocks: int, struct: LoopLaunch, *, by: str = "", points: int
    ) -> None: ...  # fmt: skip


class Launches:
    """The launches of a schedule, ready to be made for arrays of its inputs.

    Parameters
    ----------
    schedule : Schedule
    kernels : KernelCache, optional

    Raises
    ------
    UnsupportedError
        An operation that there is no code for.
    """

    def __init__(self, schedule: Schedule, kernels: KernelCache | None = None) -> None:
        self._schedule = schedule
        kernels = kernel_cache() if kernels is None else kernels
        self._chains = chains(schedule)
        self._loops: dict[Step, _Loop] = {}
        for chain in self._chains:
            for step in chain.steps:
                if step.head is None:
                    held = schedule.held - step.recomputed
                    by_image = chain.images and layout_by_image(step, held, chain.images)
                    self._loops[step] = _Loop(by_image or layout(step, held), kernels)
        self._copies = [_copy_loop(place, node, kernels) for node, place in schedule.copies()]

    def __call__(
        self, launcher: Launcher, ops: Kernels, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[Any]]:
        """Launch all for ``arrays``, C order, by the names of the inputs.

        Carried outputs end in the arrays of their inputs.

        Returns
        -------
        outputs : dict of str to array
        kept : list
            To be held as long as the launches may be made again.
        """
        schedule, kept = self._schedule, list[Any]()
        held = constants_and_inputs(schedule, arrays)
        freed = dict(zip(schedule.steps, schedule.freed, strict=True))
        for chain in self._chains:
            if chain.images:
                with launcher.chain(chain.images) as links:
                    for step in chain.steps:
                        links.begin_step()
                        self._run(step, launcher, ops, held, kept)
            elif len(chain.steps) > 1:
                with launcher.side_by_side():
                    for step in chain.steps:
                        self._run(step, launcher, ops, held, kept)
            else:
                self._run(chain.steps[0], launcher, ops, held, kept)
            # Not sooner: a step of a chain must not write where one before it reads other images.
            for node in (node for step in chain.steps for node in freed[step]):
                forget(node, schedule, held)
        self._end(launcher, held, kept)
        return outputs_of(schedule, held), [kept, self]

    def _run(
        self,
        step: Step,
        launcher: Launcher,
        ops: Kernels,
        held: dict[Node, np.ndarray],
        kept: list[Any],
    ) -> None:
        if step.is_call:
            for part in step.writes:
                held[part] = memory_for(part, self._schedule, held, launcher)
            launcher.call(calling(step, launcher, ops, held))
        elif step.head is not None:
            self._run_head(step, ops, held)
        else:
            for node in dict.fromkeys(step.writes):
                if node not in held:
                    held[node] = memory_for(node, self._schedule, held, launcher)
            self._loops[step].launch(launcher, held, kept)

    def _end(self, launcher: Launcher, held: dict[Node, np.ndarray], kept: list[Any]) -> None:
        """Copy outputs to the places that they take and do not lie in yet."""
        for copy in self._copies:
            copy.launch(launcher, held, kept)

    def _run_head(self, step: Step, ops: Kernels, held: dict[Node, np.ndarray]) -> None:
        node = step.head
        assert node is not None
        result = head_result(node, ops, held)
        if step.writes == [node]:
            held[node] = result
        else:
            for part in step.writes:
                held[part] = result[part.attrs[0]]


class _Loop:
    """One kernel with all of its launch's struct but the addresses."""

    def __init__(self, layout: Layout, kernels: KernelCache) -> None:
        self._layout = layout
        self._kernel: Kernel = kernels.kernel(loop_code(layout))
        self._fields = fields(layout)
        self._partial = layout.partial
        self._combining = [_Combining(layout, root, kernels) for root in self._reductions()]

    def _reductions(self) -> list[Root]:
        return [root for root in self._layout.roots if root.op != "write"]

    def launch(
        self,
        launcher: Launcher,
        held: Mapping[Node, np.ndarray],
        kept: list[Any],
    ) -> None:
        values = dict(self._fields)
        for number, instruction in enumerate(self._layout.instructions):
            if instruction.buffer is not None:
                values[f"line {number} address"] = held[instruction.buffer].ctypes.data
        place, partial_sums = 0, []
        for number, root in enumerate(self._layout.roots):
            if root.op == "write":
                values[f"result {number} address"] = held[root.target].ctypes.data
                continue
            array = held[root.target]
            if self._partial:
                lanes = 1 if self._layout.lanes_reduced else self._layout.lanes
                array = launcher.empty((self._layout.blocks, lanes), root.target.dtype)
                partial_sums.append(array)
            values[f"reduction {place} address"] = array.ctypes.data
            place += 1
        struct = self._kernel.struct.pack(values)
        kept += [struct, self._kernel]
        launcher.launch_code(
            *(self._kernel.address, self._layout.blocks, LoopLaunch(struct=struct)),
            by="block" if self._layout.images else "",
            points=self._layout.points,
        )
        for combining, sums in zip(self._combining, partial_sums, strict=False):
            combining.launch(launcher, sums, held, kept)


class _Combining:
    """The sum, or another reduction, of what the blocks of a loop have left."""

    def __init__(self, whole: Layout, root: Root, kernels: KernelCache) -> None:
        self._loop: _Loop | None = None
        if not whole.partial:
            return
        lanes = 1 if whole.lanes_reduced else whole.lanes
        self._parts = Node("input", (), ("parts",), (whole.blocks, lanes), root.target.dtype)
        self._total = root.target
        step = Step(roots=[Root(self._total, self._parts, root.op, (0,))])
        combined = layout(step, {self._parts})
        self._loop = _Loop(replace(combined, one_block=True), kernels)

    def launch(
        self,
        launcher: Launcher,
        parts: np.ndarray,
        held: Mapping[Node, np.ndarray],
        kept: list[Any],
    ) -> None:
        assert self._loop is not None
        arrays = {self._parts: parts, self._total: held[self._total]}
        self._loop.launch(launcher, arrays, kept)


def _copy_loop(target: Node, value: Node, kernels: KernelCache) -> _Loop:
    """A copy of an output to the input whose place it takes."""
    step = Step(roots=[Root(target, base(value))])
    return _Loop(layout(step, {base(value)}), kernels)
