"""Plans on kernels compiled by LLVM."""

import logging
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress

import numpy as np

from arraycnn.execution.host import HostPlans
from arraycnn.execution.plan import Task
from arraycnn.execution.recorded import UNROLLED, RecordedTraining
from arraycnn.ops.compiled import steps
from arraycnn.ops.compiled.caching import cache_folder
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.compiled.objects import at_first_compilation
from arraycnn.ops.compiled.record import compiled_kernels
from arraycnn.program.render.launching import Launches
from arraycnn.training.step import Carry

_NOTICED_SECONDS = 1.0


class Compiled(HostPlans):
    """`HostPlans` that compile their kernels before any is timed."""

    how = ", not compiled"

    def __init__(self, threads: int) -> None:
        super().__init__(threads, Launcher, compiled_kernels, steps, UNROLLED, Launches)

    def traced(self, task: Task, carry: Carry) -> RecordedTraining:
        self._rehearse(task, carry)
        return super().traced(task, carry)

    def _rehearse(self, task: Task, carry: Carry) -> None:
        """Run a step on two blank images, so that its kernels are compiled before any is timed."""
        with self.rehearsing():
            super().traced(task.on_blank(2), carry).rehearse([np.arange(2, dtype=np.int32)])

    def rehearsing(self) -> AbstractContextManager[object]:
        return _announced()


@contextmanager
def _announced() -> Iterator[None]:
    """Say why the user waits, where kernels are compiled for long enough to be noticed."""
    log = logging.getLogger("arraycnn").warning
    message = "numpy: compiling kernels for this machine"
    if cache_folder() is not None:
        message += ", once; later runs take them from the cache"
    timer = threading.Timer(_NOTICED_SECONDS, log, [message])
    timer.daemon = True

    def begin() -> None:
        with suppress(RuntimeError):  # it runs already
            timer.start()

    try:
        with at_first_compilation(begin):
            yield
    finally:
        timer.cancel()
