"""Plans on NumPy's own functions whose steps note when each of their parts begins."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from arraycnn.execution.host import HostPlans
from arraycnn.execution.numpy import MOST_IMAGES, NumPyPlans
from arraycnn.ops import Kernels
from arraycnn.ops.clock import Clock
from arraycnn.ops.numpy import steps
from arraycnn.ops.numpy.clocked import ClockedLauncher
from arraycnn.ops.numpy.record import numpy_kernels
from arraycnn.program.passes.loops import Step
from arraycnn.program.render.numpy.calls import Calls


class Marked:
    """A rendered schedule, mixed in before what renders it, that marks each of its steps."""

    _schedule: Any

    def __call__(
        self, launcher: Any, ops: Kernels, arrays: Mapping[str, np.ndarray]
    ) -> tuple[dict[str, np.ndarray], list[Any]]:
        launcher.clock.schedule = self._schedule
        made: Any = super().__call__(launcher, ops, arrays)  # type: ignore[misc]
        return made

    def _run(self, step: Step, launcher: Any, *others: Any) -> None:
        launcher.mark(step)
        super()._run(step, launcher, *others)  # type: ignore[misc]

    def _end(self, launcher: Any, *others: Any) -> None:
        launcher.mark(None)
        super()._end(launcher, *others)  # type: ignore[misc]


class MarkedCalls(Marked, Calls):
    """`Calls` whose steps are marked, but those that are late: they are part of the step before."""


class ClockedNumPyPlans(NumPyPlans):
    """`NumPyPlans` whose recordings note the time in ``clock``."""

    has_chains = False
    """Whether steps of a chain are run together, unless they are kept apart."""
    most_images: int | None = MOST_IMAGES
    """Of a pass forward; of more it is cut into several, each recorded by itself."""

    def __init__(self, threads: int, clock: Clock) -> None:
        launcher = partial(ClockedLauncher, clock=clock)
        HostPlans.__init__(
            *(self, threads, launcher, numpy_kernels, steps), unrolled=1, render=MarkedCalls
        )
