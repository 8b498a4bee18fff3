"""A launcher whose recordings note when each of their parts begins."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from arraycnn.ops.clock import Clock
from arraycnn.ops.host_launcher import Pool
from arraycnn.ops.numpy.launcher import Launcher


class ClockedLauncher(Launcher):
    """Records calls as `Launcher` does, with a look at the ``clock`` before each part."""

    def __init__(self, pool: Pool, clock: Clock) -> None:
        super().__init__(pool)
        self.clock = clock

    def mark(self, what: Any) -> None:
        """What is called from now on is part of ``what``."""
        if self.is_recording:
            self.call(_look, self.clock.now, self.clock.mark(what))

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        def marked() -> None:
            self.clock.begin()
            self.mark(None)
            work()
            self.mark(None)

        return super().capture(marked)


def _look(now: Callable[[], int], place: np.ndarray) -> None:
    place[1] = now()
