"""The loop of `Model.fit`: epochs in chunks of steps, and the way back from a loss of NaN."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from arraycnn.errors import NonFiniteError
from arraycnn.execution import TrainingPlan
from arraycnn.history import Callback, Progress
from arraycnn.optimizers import Optimizer, learning_rates
from arraycnn.training import Carry

_REPORT_SECONDS = 0.5
_MOST_STEPS = 4096


@dataclass(frozen=True)
class Course:
    """Which images each step of a training sees; a pure function of seed, epoch and step.

    Attributes
    ----------
    images, batch_size : int
    first_epoch, first_step : int
        Epochs and steps the model has done before: numbers go on over the life of the model, so
        that no two epochs share an order and no two steps share random bits.
    epochs : int
        Of this training.
    seed : int
    """

    images: int
    batch_size: int
    first_epoch: int
    first_step: int
    epochs: int
    seed: int

    @property
    def steps(self) -> int:
        """Steps of one epoch; the last batch may be short."""
        return -(-self.images // self.batch_size)

    def batches(self, epoch: int, first: int, last: int) -> list[np.ndarray]:
        """The images of steps ``first`` to ``last`` of ``epoch`` (all from 0): int32 indices."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.images).astype(np.int32)
        return [
            order[step * self.batch_size : (step + 1) * self.batch_size]
            for step in range(first, last)
        ]


@dataclass
class EpochResult:
    """Sums over the steps of one epoch."""

    loss_sum: float = 0.0
    correct: int = 0
    images: int = 0
    seconds: float = 0.0
    learning_rate: float = 0.0
    step_losses: list[np.ndarray] = field(default_factory=list)


class Fitting:
    """Runs a `Course` on a plan, chunk by chunk.

    A chunk is as many steps as take about half a second; the host looks at losses only between
    chunks. The results do not depend on where the chunks fall.
    """

    def __init__(
        self, plan: TrainingPlan, optimizer: Optimizer, course: Course, callbacks: list[Callback]
    ) -> None:
        self._plan = plan
        self._optimizer = optimizer
        self._course = course
        self._callbacks = callbacks
        self._chunk = 1
        # Where the last two chunks began: (step, counted from 0 in this training; carry).
        self._starts: deque[tuple[int, Carry]] = deque(maxlen=2)
        self._done = 0

    def epochs(self) -> Iterator[tuple[int, EpochResult]]:
        """Run the course: (epoch from 0, its sums) after each epoch."""
        for epoch in range(self._course.epochs):
            yield self._course.first_epoch + epoch, self._run_epoch(epoch)

    def go_back(self) -> None:
        """Return to the parameters of the last step's loss, known to be finite."""
        self._restore(self._done - 1)

    def _run_epoch(self, epoch: int) -> EpochResult:
        course, result = self._course, EpochResult()
        step = 0
        while step < course.steps:
            last = min(step + self._chunk, course.steps)
            began = time.perf_counter()
            losses, correct, rates, sizes = self._run_chunk(epoch, step, last)
            seconds = time.perf_counter() - began
            result.loss_sum += float(losses @ sizes)
            result.correct += int(correct.sum())
            result.images += int(sizes.sum())
            result.seconds += seconds
            result.learning_rate = float(rates[-1])
            result.step_losses.append(losses)
            report = Progress(
                epoch=course.first_epoch + epoch + 1,
                epochs=course.first_epoch + course.epochs,
                step=last,
                steps=course.steps,
                images=result.images,
                seconds=result.seconds,
                losses=losses,
                accuracies=correct / sizes,
                learning_rates=rates,
            )
            for callback in self._callbacks:
                callback.on_steps(report)
            self._adapt_chunk(last - step, seconds)
            step = last
        return result

    def _run_chunk(
        self, epoch: int, first: int, last: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        course = self._course
        start = epoch * course.steps + first
        self._starts.append((start, self._plan.snapshot()))
        batches = course.batches(course.first_epoch + epoch, first, last)
        rates = self._rates(start, last - first)
        losses, correct = self._plan.run(course.first_step + start, batches, rates)
        bad = np.flatnonzero(~np.isfinite(losses))
        if bad.size:
            place = int(bad[0])
            before = start + place - 1  # the step whose update spoilt the parameters
            self._restore(before)
            remedy = (
                f"try a learning rate below {self._rates(before, 1)[0]:g}"
                if before >= 0
                else "the first loss needs smaller numbers in images or parameters"
            )
            message = (
                f"training: the loss must be finite, got {losses[place]} at epoch "
                f"{course.first_epoch + epoch + 1}, step {first + place + 1} of {course.steps}; "
                f"the model keeps the parameters of the last finite loss: {remedy}"
            )
            raise NonFiniteError(message, course.first_epoch + epoch + 1, first + place + 1)
        self._done = start + last - first
        return losses, correct, rates, np.array([len(batch) for batch in batches])

    def _restore(self, step: int) -> None:
        """Go back to the parameters that ``step`` (of this training) began with."""
        start, carry = next((s for s in reversed(self._starts) if s[0] <= step), self._starts[0])
        self._plan.restore(carry)
        for again in range(start, step):  # deterministic, so the same parameters come out
            epoch, place = divmod(again, self._course.steps)
            batches = self._course.batches(self._course.first_epoch + epoch, place, place + 1)
            self._plan.run(self._course.first_step + again, batches, self._rates(again, 1))

    def _rates(self, start: int, count: int) -> np.ndarray:
        total = self._course.epochs * self._course.steps
        return learning_rates(self._optimizer, start, count, total)

    def _adapt_chunk(self, steps: int, seconds: float) -> None:
        fitting = steps * _REPORT_SECONDS / max(seconds, 1e-6)
        self._chunk = int(min(max(1, fitting), 4 * steps, _MOST_STEPS))
