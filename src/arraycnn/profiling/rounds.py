"""How things are timed: in turn, round after round, so that whatever else the machine does meets all
of them; what is told is the median."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from statistics import median

FEWEST_ROUNDS = 3
_SLICES = 30
"""Rounds that a budget of time is cut into, where one run is short."""


def interleaved(
    subjects: Mapping[str, Callable[[int], object]], seconds: float, now: Callable[[], float]
) -> dict[str, float]:
    """The median seconds of one run of each subject.

    Parameters
    ----------
    subjects : mapping of str to function
        Called with how often to run.
    seconds : float
        About how long all of it may take, once all that is made once has been; at least
        `FEWEST_ROUNDS` rounds are made.
    now : function
        Seconds since some moment.
    """
    for run in subjects.values():
        run(2)  # what is compiled or recorded is so by then
    ended = now() + seconds
    counts = {}
    for name, run in subjects.items():
        took = _timed(run, 1, now)
        counts[name] = max(1, int(seconds / (_SLICES * len(subjects) * max(took, 1e-9))))
    times: dict[str, list[float]] = {name: [] for name in subjects}
    rounds = 0
    while rounds < FEWEST_ROUNDS or now() < ended:
        for name, run in subjects.items():
            run(1)  # threads and caches are this one's again
            times[name].append(_timed(run, counts[name], now) / counts[name])
        rounds += 1
    return {name: median(found) for name, found in times.items()}


def _timed(run: Callable[[int], object], count: int, now: Callable[[], float]) -> float:
    began = now()
    run(count)
    return now() - began
