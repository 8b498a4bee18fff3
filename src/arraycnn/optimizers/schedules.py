"""Learning rates that change during training: pure functions of the step, on the host.

A schedule is any callable ``schedule(step, total_steps) -> float``, with ``step`` counted from 0.
Plans receive the rates of many steps as one table, so that no step waits for the host.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.setting_checks import check_count, check_number


class Schedule(Protocol):
    """The learning rate of ``step``, counted from 0, in a training of ``total_steps``."""

    def __call__(self, step: int, total_steps: int) -> float: ...


@dataclass(frozen=True)
class Constant:
    """The same learning rate at every step."""

    learning_rate: float

    def __post_init__(self) -> None:
        check_learning_rate("Constant", self.learning_rate)

    def __call__(self, step: int, total_steps: int) -> float:
        return self.learning_rate


@dataclass(frozen=True)
class StepDecay:
    """Multiply the learning rate by ``factor`` every ``every`` steps."""

    learning_rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_learning_rate("StepDecay", self.learning_rate)
        check_number("StepDecay: every", self.every, minimum=1)
        check_number("StepDecay: factor", self.factor, minimum=0.0)

    def __call__(self, step: int, total_steps: int) -> float:
        return self.learning_rate * _power(self.factor, step // self.every)


@dataclass(frozen=True)
class Cosine:
    """Fall from ``learning_rate`` to ``final`` along half a cosine.

    Loshchilov and Hutter, "SGDR", 2017, equation 5, without restarts.
    """

    learning_rate: float
    final: float = 0.0

    def __post_init__(self) -> None:
        check_learning_rate("Cosine", self.learning_rate)
        check_number("Cosine: final", self.final, minimum=0.0)

    def __call__(self, step: int, total_steps: int) -> float:
        return _cosine_between(self.learning_rate, self.final, step / max(total_steps, 1))


@dataclass(frozen=True)
class Exponential:
    """Fall by ``factor`` every ``every`` steps, a little at each step; above 1, rise.

    As TensorFlow's ExponentialDecay, and PyTorch's ExponentialLR with gamma = factor^(1 / every).
    """

    learning_rate: float
    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        check_learning_rate("Exponential", self.learning_rate)
        check_count("Exponential: every", self.every)
        check_number("Exponential: factor", self.factor, minimum=0.0)

    def __call__(self, step: int, total_steps: int) -> float:
        return self.learning_rate * _power(self.factor, step / self.every)


@dataclass(frozen=True)
class Warmup:
    """Any schedule, or a constant rate, times a factor that rises to 1 in the first steps.

    Gradual warm-up of Goyal et al., "Accurate, large minibatch SGD", 2017: the factor is a straight
    line from ``start`` at step 0 to 1 at step ``steps``, which a training must come to. The schedule
    itself goes on as without, as in PyTorch where LinearLR is chained with another one.

    Parameters
    ----------
    schedule : float or Schedule
    steps : int
    start : float
        In [0, 1].
    """

    schedule: "float | Schedule"
    steps: int
    start: float = 0.04

    def __post_init__(self) -> None:
        check_rate("Warmup", self.schedule, "schedule")
        check_count("Warmup: steps", self.steps)
        check_number("Warmup: start", self.start, minimum=0.0)
        if self.start > 1.0:
            message = f"Warmup: start must be at most 1, got {self.start!r}"
            raise InvalidValueError(message)

    def ends_within(self, total_steps: int) -> bool:
        """Whether some step of so many has the rate of the schedule."""
        return self.steps < total_steps

    def check_length(self, total_steps: int) -> None:
        """Refuse a training that ends before the rate has risen.

        Raises InvalidValueError, as the schedule within where it has such a check.
        """
        if not self.ends_within(total_steps):
            message = (
                f"Warmup: steps must be fewer than those of the training, {total_steps}, got "
                f"{self.steps}: the rate would never be that of the schedule; "
                "have fewer or none, or more epochs or smaller batches"
            )
            raise InvalidValueError(message)
        check_length(self.schedule, total_steps)

    def check_watched(self, names: Sequence[str]) -> None:
        """As the schedule within, where it goes by what is measured."""
        check_watched_names(self.schedule, names)

    def after_epochs(self, records: Sequence[Any], steps: int) -> "Warmup":
        return replace(self, schedule=known_after(self.schedule, records, steps))

    def __call__(self, step: int, total_steps: int) -> float:
        part = min(step / self.steps, 1.0)
        factor = self.start + (1.0 - self.start) * part
        return factor * as_schedule(self.schedule)(step, total_steps)


@dataclass(frozen=True)
class OneCycle:
    """Rise to ``learning_rate`` during the first ``warmup`` of training, then fall to almost 0.

    Smith and Topin, "Super-convergence", 2018; both parts are half cosines, as in PyTorch.

    Parameters
    ----------
    learning_rate : float
        The highest rate.
    warmup : float
        The share of the steps in which the rate rises, in (0, 1).
    initial_divisor, final_divisor : float
        The rate begins at learning_rate / initial_divisor and ends at that / final_divisor.
    """

    learning_rate: float
    warmup: float = 0.3
    initial_divisor: float = 25.0
    final_divisor: float = 1e4

    def __post_init__(self) -> None:
        check_learning_rate("OneCycle", self.learning_rate)
        check_number("OneCycle: initial_divisor", self.initial_divisor, minimum=1.0)
        check_number("OneCycle: final_divisor", self.final_divisor, minimum=1.0)
        check_number("OneCycle: warmup", self.warmup, minimum=0.0)
        if not 0.0 < self.warmup < 1.0:
            message = f"OneCycle: warmup must be between 0 and 1, got {self.warmup!r}"
            raise InvalidValueError(message)

    def __call__(self, step: int, total_steps: int) -> float:
        initial = self.learning_rate / self.initial_divisor
        final = initial / self.final_divisor
        peak, last = self.warmup * total_steps - 1.0, total_steps - 1.0
        if step < peak:  # never where the peak is at or before step 0: a rise needs two steps
            return _cosine_between(initial, self.learning_rate, step / peak)
        return _cosine_between(self.learning_rate, final, (step - peak) / (last - peak))


def as_schedule(rate: float | Schedule) -> Schedule:
    """``rate``, or a constant schedule of it."""
    return rate if callable(rate) else Constant(rate)


def check_rate(owner: str, rate: Any, name: str = "learning_rate") -> None:
    """Refuse what is neither a schedule nor a finite number of at least 0, of the setting ``name``."""
    if isinstance(rate, type):  # the class of a schedule is callable, too
        message = (
            f"{owner}: {name} must be a number or a schedule, got {rate!r}; "
            "write for example Cosine(0.1), with parentheses"
        )
        raise InvalidTypeError(message)
    if callable(rate):
        return
    if isinstance(rate, bool) or not isinstance(rate, int | float):
        message = f"{owner}: {name} must be a number or a schedule, got {rate!r}"
        raise InvalidTypeError(message)
    check_number(f"{owner}: {name}", rate, minimum=0.0)


def known_after(rate: float | Schedule, records: Sequence[Any], steps: int) -> Schedule:
    """The schedule where some epochs of ``steps`` steps are done, whose records it may go by.

    A schedule that does so has a method ``after_epochs(records, steps)``, which gives the schedule of
    the steps of these epochs and of the next one: a pure function of the step, as any other, so that a
    training that is resumed has the same rates.
    """
    schedule = as_schedule(rate)
    tell = getattr(schedule, "after_epochs", None)
    return schedule if tell is None else tell(records, steps)


def goes_by_records(rate: float | Schedule) -> bool:
    """Whether the rates of later epochs are known only after earlier ones, as of `known_after`."""
    while isinstance(rate, Warmup):
        rate = rate.schedule
    return getattr(rate, "after_epochs", None) is not None


def check_length(part: Any, total_steps: int) -> None:
    """Refuse a training of so many steps where it is too short for a schedule, or for an optimizer.

    One that has something to say of that has a method ``check_length(total_steps)``, which raises
    InvalidValueError.
    """
    tell = getattr(part, "check_length", None)
    if tell is not None:
        tell(total_steps)


def check_watched_names(part: Any, names: Sequence[str]) -> None:
    """Refuse a training that measures ``names`` where a callback or schedule goes by another.

    One that goes by what is measured has a method ``check_watched(names)``, which raises
    InvalidValueError.
    """
    look = getattr(part, "check_watched", None)
    if look is not None:
        look(names)


def check_learning_rate(owner: str, value: float) -> None:
    """Refuse a learning rate that is not a finite number of at least 0."""
    check_number(f"{owner}: learning_rate", value, minimum=0.0)


def _power(base: float, exponent: float) -> float:
    """``base ** exponent``, infinite where no float holds it: a training refuses such a rate."""
    try:
        return float(base) ** exponent
    except OverflowError:
        return math.inf


def _cosine_between(start: float, end: float, part: float) -> float:
    return end + (start - end) * ((1.0 + math.cos(math.pi * min(max(part, 0.0), 1.0))) / 2.0)
