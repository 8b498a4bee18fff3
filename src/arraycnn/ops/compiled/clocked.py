"""A launcher whose recordings note when each of their parts begins."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from arraycnn.ops.clock import Clock
from arraycnn.ops.compiled.chains import NO_SCRATCH, ChainOfLaunches, Launch
from arraycnn.ops.compiled.kernels.clock import LookAtClock, look_at_clock
from arraycnn.ops.compiled.launcher import Launcher
from arraycnn.ops.compiled.launches import address
from arraycnn.ops.host_launcher import Pool


class ClockedLauncher(Launcher):
    """Records launches as `Launcher` does, with a look at the clock before each part.

    Parameters
    ----------
    joins : bool
        Whether the launches of a chain are joined, as they are in a step; else each step of it is
        run on all images before the next is begun, and so can be timed.
    """

    def __init__(self, pool: Pool, clock: Clock, joins: bool = True) -> None:
        super().__init__(pool)
        self.clock, self._joins = clock, joins
        if sys.platform == "win32":
            clock.tick = time.get_clock_info("perf_counter").resolution

    def mark(self, what: Any) -> None:
        """What is launched from now on is part of ``what``; a chain is part of its last step."""
        if self._recording is not None:
            code = address(look_at_clock, NO_SCRATCH.name)
            launch = Launch(code, 1, LookAtClock(place=self.clock.mark(what)))
            self._recording.append(launch.words())

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        def marked() -> None:
            self.clock.begin()
            self.mark(None)
            work()
            self.mark(None)

        return super().capture(marked)

    @contextmanager
    def chain(self, images: int) -> Iterator[ChainOfLaunches]:
        if self._joins:
            with super().chain(images) as links:
                yield links
        else:
            yield ChainOfLaunches(images)

    @contextmanager
    def side_by_side(self) -> Iterator[None]:
        if self._joins:
            with super().side_by_side():
                yield
        else:
            yield
