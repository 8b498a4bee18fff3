"""`find_learning_rate`: train at rates that rise, and see where the loss falls fastest."""

from __future__ import annotations

import copy
import logging
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.callbacks.callback import Callback
from arraycnn.errors import InvalidValueError, NonFiniteError
from arraycnn.model.image_inputs import SaidOnce
from arraycnn.model.inputs import check_optimizer
from arraycnn.model.model import Model
from arraycnn.optimizers import EMA, SGD, Optimizer, Wrapper
from arraycnn.optimizers.schedules import Schedule
from arraycnn.program.effects import copied, random_numbers_kept
from arraycnn.setting_checks import check_count, check_number
from arraycnn.training.history import Progress
from arraycnn.training.state import TrainingState

_DIVERGED = 4.0
"""Times the lowest loss, as fast.ai's finder has it."""
_log = logging.getLogger("arraycnn")


@dataclass(frozen=True)
class RateSearch:
    """What `find_learning_rate` found.

    Attributes
    ----------
    rates : array, (K,)
        Of the steps that were run, rising.
    losses : array, (K,)
        The loss of each step before its update.
    smoothed : array, (K,)
        Means over a twentieth of the steps around each.
    suggestion : float
        The rate at which the smoothed loss falls fastest, by the logarithm of the rate.
    diverged : bool
        Whether the loss rose far enough, or became infinite, before the highest rate was reached.
    """

    rates: np.ndarray
    losses: np.ndarray
    smoothed: np.ndarray
    suggestion: float
    diverged: bool


def find_learning_rate(
    model: Model,
    images: Any,
    labels: Any = None,
    *,
    optimizer: Optimizer | None = None,
    batch_size: int = 64,
    lowest: float = 1e-6,
    highest: float = 10.0,
    steps: int = 200,
) -> RateSearch:
    """Train a copy of ``model`` at rates that rise, and say at which the loss fell fastest.

    Smith, "Cyclical learning rates for training neural networks", 2017, section 3.3: the rate of step
    n is lowest (highest / lowest)^(n / (steps - 1)); the training ends where the loss, as a running
    mean, is 4 times its lowest. Where it hardly fell, a line says so. The model stays as it is, to the
    last bit: its parameters, its counts, and what its layers keep in Python.

    Parameters
    ----------
    images, labels, batch_size : as `Model.fit` takes them
        Gone through again where there are fewer batches than steps.
    optimizer : Optimizer or None
        Its own learning rate is not used; None is SGD, as `Model.fit` has it.
    lowest, highest : float
        Above 0.
    steps : int
        10 or more.

    Raises
    ------
    InvalidValueError
        A bound is not above 0, the lowest not below the highest, or too far below; or the first
        steps had no finite loss.
    """
    optimizer = check_optimizer(SGD(0.05) if optimizer is None else optimizer)
    while isinstance(optimizer, EMA):  # which changes nothing of what is trained
        optimizer = optimizer.optimizer
    sweep = _Sweep(lowest, highest, check_count("find_learning_rate: steps", steps, 10))
    watch = _Watch(steps)
    with random_numbers_kept():
        trial = _copy_of(model)
        try:
            trial.fit(
                *(images, labels),
                epochs=steps,  # more than are run
                batch_size=batch_size,
                optimizer=_AtRate(optimizer, sweep),
                callbacks=[watch],
            )
        except NonFiniteError:
            watch.diverged = True
    losses = np.array(watch.losses[:steps])
    losses = losses[
        : len(losses) if np.isfinite(losses).all() else int(np.argmin(np.isfinite(losses)))
    ]
    if len(losses) < 3:
        message = (
            f"find_learning_rate: the loss must be finite for some steps, was for {len(losses)}; "
            "begin with a lower lowest (--lowest)"
        )
        raise InvalidValueError(message)
    rates = np.array([sweep(step, steps) for step in range(len(losses))])
    smoothed = _smoothed(losses, max(1, steps // 40))
    _tell_of_no_fall(losses[: max(3, steps // 10)], smoothed)
    return RateSearch(rates, losses, smoothed, _steepest(rates, smoothed), watch.diverged)


def check_bounds(lowest: float, highest: float, owner: str = "find_learning_rate: ") -> None:
    """Refuse bounds between which no rate can rise; ``owner`` stands before their names."""
    for name, value in (("lowest", lowest), ("highest", highest)):
        check_number(f"{owner}{name}", value, minimum=0.0)
    got = f"got {lowest!r} and {highest!r}"
    if not 0.0 < lowest < highest:
        message = f"{owner}lowest must be above 0 and below the highest rate, {got}"
        raise InvalidValueError(message)
    if not math.isfinite(highest / lowest):
        message = f"{owner}highest must be at most 1e308 times the lowest rate, {got}"
        raise InvalidValueError(message)


@dataclass(frozen=True)
class _Sweep:
    """A schedule that rises by the same factor at each step."""

    lowest: float
    highest: float
    steps: int

    def __post_init__(self) -> None:
        check_bounds(self.lowest, self.highest)

    def __call__(self, step: int, total_steps: int) -> float:
        part = min(step / (self.steps - 1), 1.0)
        return self.lowest * (self.highest / self.lowest) ** part


@dataclass(frozen=True)
class _AtRate(Wrapper):
    """An optimizer at another learning rate, whatever it is and is wrapped in."""

    schedule: Schedule

    @property
    def learning_rate(self) -> Schedule:
        return self.schedule


class _Watch(Callback):
    """Keeps the losses, and ends the training where they diverge or are enough."""

    def __init__(self, steps: int) -> None:
        self.losses: list[float] = []
        self.diverged = False
        self.save_every = max(1, steps // 20)  # so far the training goes on unwatched
        self._steps, self._mean, self._first, self._lowest = steps, 0.0, 0.0, np.inf

    def on_steps(self, progress: Progress) -> bool:
        for loss in progress.losses.tolist():
            self.losses.append(loss)
            self._mean += 0.1 * (loss - self._mean)
            count = len(self.losses)
            mean = self._mean / (1.0 - 0.9**count)
            self._lowest = min(self._lowest, mean)
            if count >= self._steps:
                return True
            self._first = mean if count == 1 else self._first
            if count > self._steps // 10 and mean > _highest(self._lowest, self._first):
                self.diverged = True
                return True
        return False

    def on_save(self, state: TrainingState) -> None:
        """Nothing is kept."""


def _highest(lowest: float, first: float) -> float:
    """What a loss diverges beyond; one that goes below 0 may rise by as much as it is large."""
    size = lowest if lowest > 0.0 else max(-lowest, abs(first))
    return lowest + (_DIVERGED - 1.0) * size


def _tell_of_no_fall(begin: np.ndarray, smoothed: np.ndarray) -> None:
    """Say where the loss falls no further than batches differ at rates that do next to nothing."""
    first, bottom = float(smoothed[0]), float(smoothed.min())
    if first - bottom <= 2.0 * float(begin.std()):
        _log.warning(
            "find_learning_rate: the loss fell from %.4g to %.4g, no further than batches differ, so "
            "the suggestion says little: the model has learned these images, or lowest is too high",
            *(first, bottom),
        )


def _copy_of(model: Model) -> Model:
    """A model that begins where ``model`` is, and shares nothing with it that changes."""
    trial = copy.copy(model)  # arrays are values: a plan copies those that it changes
    trial.network, trial.loss = copied(model.network), copied(model.loss)
    trial._say = SaidOnce()
    return trial


def _smoothed(losses: np.ndarray, around: int) -> np.ndarray:
    """Means over so many steps to each side, fewer at the ends."""
    sums = np.concatenate([[0.0], np.cumsum(losses)])
    first = np.maximum(np.arange(len(losses)) - around, 0)
    last = np.minimum(np.arange(len(losses)) + around + 1, len(losses))
    return (sums[last] - sums[first]) / (last - first)


def _steepest(rates: np.ndarray, smoothed: np.ndarray) -> float:
    """The rate where the loss falls fastest on its way down."""
    bottom = max(int(np.argmin(smoothed)), 1)
    slopes = np.gradient(smoothed, np.log(rates))[: bottom + 1]
    return float(rates[int(np.argmin(slopes))])
