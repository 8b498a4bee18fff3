"""The parts of a step: what each is, what it has to do, and what it took."""

from __future__ import annotations

from collections.abc import Callable, Set
from dataclasses import dataclass
from statistics import median

from arraycnn.ops.clock import Clock
from arraycnn.program.costs import operations
from arraycnn.program.description import places, traffic, words
from arraycnn.program.passes.chains import chains
from arraycnn.program.passes.loops import Step
from arraycnn.program.passes.schedule import Schedule

Sample = dict[int | None, float]
"""Seconds of one run by the numbers of steps; None for its beginning and its end."""


@dataclass(frozen=True)
class Work:
    """A step of the program: a fused loop, a head, or the call of a layer as it is written.

    Attributes
    ----------
    number : int
        Its place in the program, from 0.
    what : str
        As `print(model.program())` says it.
    layers : tuple of str
        Whose work it does.
    bytes : int
        Read and written, each operand once.
    operations : int or None
        As `arraycnn.program.costs` counts them; None for a call.
    seconds : float or None
        What it takes on all images at once, where it is one of several steps that run as one.
    """

    number: int
    what: str
    layers: tuple[str, ...]
    bytes: int
    operations: int | None
    seconds: float | None = None


@dataclass(frozen=True)
class Part:
    """Steps of the program that run as one, and so are timed as one: most often a single step.

    Attributes
    ----------
    steps : tuple of Work
        Empty for the beginning and the end of a step: indices, labels, learning rate, results.
    seconds : float
        The median over runs of the whole step.
    """

    steps: tuple[Work, ...]
    seconds: float

    @property
    def bytes(self) -> int:
        return sum(step.bytes for step in self.steps)

    @property
    def operations(self) -> int | None:
        """None where it is a call."""
        known = [step.operations for step in self.steps if step.operations is not None]
        return sum(known) if len(known) == len(self.steps) else None


class Clocked:
    """Runs a step that notes the time in a clock, and keeps what it notes of each run."""

    def __init__(self, clock: Clock, run: Callable[[int], object]) -> None:
        self._clock, self._run = clock, run
        self.samples: list[Sample] = []

    def __call__(self, times: int) -> None:
        for _ in range(times):
            self._run(1)
            sample = {} if self.schedule is None else _sample(self._clock, self.schedule)
            if sample:  # else it was not recorded yet
                self.samples.append(sample)

    @property
    def schedule(self) -> Schedule | None:
        """Of what ran; None where that was no program."""
        schedule: Schedule | None = self._clock.schedule
        return schedule


def _sample(clock: Clock, schedule: Schedule) -> Sample:
    numbers = {step: number for number, step in enumerate(schedule.steps)}
    found: Sample = {}
    for what, seconds in clock.read():
        number = None if what is None else numbers[what]
        found[number] = found.get(number, 0.0) + seconds
    return found


def parts_of(schedule: Schedule, samples: list[Sample], apart: list[Sample] | None) -> list[Part]:
    """The parts of a step in order, its beginning and end last; each step is in one of them.

    Parameters
    ----------
    samples : list of Sample
        Of runs as they always are.
    apart : list of Sample or None
        Of runs in which the steps of chains were run one by one; None where there are no chains.
    """
    took, alone = _medians(samples), _medians(apart or [])

    def work(number: int, step: Step, is_one_of_many: bool) -> Work:
        seconds = alone.get(number) if is_one_of_many else None
        known = tuple(places(schedule, step)), traffic(step), operations(step, schedule)
        return Work(number, words(step, schedule), *known, seconds)

    found, number = [], 0
    for steps in _joint(schedule, took.keys(), apart is not None):
        works = [work(number + n, step, len(steps) > 1) for n, step in enumerate(steps)]
        number += len(steps)
        found.append(Part(tuple(works), sum(took.get(one.number, 0.0) for one in works)))
    return [*found, Part((), took.get(None, 0.0))]


def _joint(schedule: Schedule, marked: Set[int | None], in_chains: bool) -> list[list[Step]]:
    """Which steps run as one: those of a chain, or one that has no mark with the one before it."""
    if in_chains:
        return [list(chain.steps) for chain in chains(schedule)]
    found: list[list[Step]] = []
    for number, step in enumerate(schedule.steps):
        if number in marked or not found:
            found.append([])
        found[-1].append(step)
    return found


def _medians(samples: list[Sample]) -> dict[int | None, float]:
    names = dict.fromkeys(name for sample in samples for name in sample)
    return {name: median(sample[name] for sample in samples) for name in names}
