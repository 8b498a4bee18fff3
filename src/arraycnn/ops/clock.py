"""When the parts of a recorded step began, noted while it ran."""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np


class Clock:
    """What the marks of the newest recording have noted.

    Parameters
    ----------
    now : function
        Nanoseconds since some moment, for marks that Python makes.

    Attributes
    ----------
    schedule : Any
        What is recorded; None before anything was.
    tick : float
        Seconds of the smaller of the two units in which times are noted.
    """

    def __init__(self, now: Callable[[], int] = time.perf_counter_ns) -> None:
        self.now = now
        self.schedule: Any = None
        self.tick = 1e-9
        self._marks: list[tuple[Any, np.ndarray]] = []

    def begin(self) -> None:
        """Forget the recording before."""
        self._marks = []

    def mark(self, what: Any) -> np.ndarray:
        """A place, (2,) int64, for the seconds and ticks at which ``what`` begins in each run."""
        place = np.zeros(2, np.int64)
        self._marks.append((what, place))
        return place

    def read(self) -> list[tuple[Any, float]]:
        """Of the last run, each mark and the seconds from it to the next one; the last mark ends it."""
        found = []
        for (what, began), (_, ended) in pairwise(self._marks):
            seconds, ticks = (ended - began).tolist()
            found.append((what, seconds + ticks * self.tick))
        return found
