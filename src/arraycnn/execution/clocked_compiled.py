"""Plans on compiled kernels whose steps note when each of their parts begins."""

from __future__ import annotations

from functools import partial

from arraycnn.execution.clocked import Marked
from arraycnn.execution.compiled import Compiled
from arraycnn.execution.host import HostPlans
from arraycnn.ops.clock import Clock
from arraycnn.ops.compiled import steps
from arraycnn.ops.compiled.clocked import ClockedLauncher
from arraycnn.ops.compiled.record import compiled_kernels
from arraycnn.program.render.launching import Launches


class MarkedLaunches(Marked, Launches):
    """`Launches` whose steps are marked."""


class ClockedCompiled(Compiled):
    """`Compiled` whose recordings note the time in ``clock``; ``joins`` as the launcher has it."""

    has_chains = True
    most_images: int | None = None

    def __init__(self, threads: int, clock: Clock, joins: bool) -> None:
        launcher = partial(ClockedLauncher, clock=clock, joins=joins)
        HostPlans.__init__(
            *(self, threads, launcher, compiled_kernels, steps), unrolled=1, render=MarkedLaunches
        )
