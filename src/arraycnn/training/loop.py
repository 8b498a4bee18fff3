"""The loop of `Model.fit`: epochs in chunks of steps, and the way back from a loss of NaN."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from arraycnn.callbacks.callback import Callback
from arraycnn.errors import NonFiniteError
from arraycnn.execution import TrainingPlan
from arraycnn.optimizers import Optimizer, learning_rates
from arraycnn.training.history import EpochRecord, History, Metrics, Progress
from arraycnn.training.state import TrainingState
from arraycnn.tree import Tree

_REPORT_SECONDS = 0.5
_MOST_STEPS = 4096


class Fitting:
    """Runs a training on a plan, chunk by chunk, from a `TrainingState` on.

    A chunk is as many steps as take about half a second, and ends where a callback wants the state
    to save; the host looks at losses only between chunks. The results do not depend on where the
    chunks fall.

    `state` says where parameters stand, and is replaced as a whole: each time `follow` is told. It
    never names arrays that a plan changes, so an interrupt or an error, wherever it comes, leaves
    the state before or the state after.
    """

    def __init__(
        self,
        plan: TrainingPlan,
        optimizer: Optimizer,
        state: TrainingState,
        callbacks: Sequence[Callback],
        measure: str,
        is_finite: Callable[[Tree], bool],
        follow: Callable[[TrainingState], None],
        agreed: Callable[[int], int] = int,
    ) -> None:
        self.state = state
        self.ended = False
        """Whether a callback has ended the training."""
        self._plan = plan
        self._optimizer = optimizer
        self._callbacks = callbacks
        self._measure = measure
        self._is_finite = is_finite
        self._follow = follow
        self._agreed = agreed  # on what one process decides for all
        self._told = state.position - len(state.untold)  # the steps that the callbacks know of
        self._chunk = 1
        # Where the last two chunks began.
        self._starts: deque[TrainingState] = deque(maxlen=2)
        self._step_losses: list[np.ndarray] = []
        self._seconds, self._images = 0.0, 0  # of this epoch, as far as it ran here

    @property
    def history(self) -> History:
        losses = np.concatenate(self._step_losses) if self._step_losses else np.zeros(0)
        return History(self.state.records, losses)

    def _begin(self) -> None:
        """Tell the callbacks where the training begins."""
        self._stand(self.state)
        self._ask([callback.on_begin(self.state) for callback in self._callbacks])
        self._tell()
        if self.ended or self.state.position:  # nothing to keep yet, else
            self._save()

    def run(self, measure: Callable[[], Metrics | None]) -> None:
        """Train to the end, or until a callback ends it; ``measure`` is called after each epoch.

        Raises NonFiniteError, after the state before the harm was handed out to be saved.
        """
        try:
            self._begin()
            while self._run_epoch():
                self._end_epoch(measure())
        except NonFiniteError:
            self._save()
            self._agreed(0)  # nobody leaves before it is saved
            raise

    def _run_epoch(self) -> bool:
        """Run the rest of an epoch's steps; False where the training is over or was ended."""
        while not self.state.complete:
            if self.state.step == self.state.course.steps:
                return True
            if self.ended:
                return False
            self._run_chunk()
        return False

    def _end_epoch(self, metrics: Metrics | None) -> None:
        """Record the epoch whose steps are done, and tell the callbacks.

        Raises NonFiniteError where ``metrics`` or the parameters are not finite.
        """
        self._check_finite(metrics)
        state, course = self.state, self.state.course
        measured, others = state.correct / course.images, dict(metrics.others) if metrics else {}
        is_accuracy = self._measure == "accuracy"
        trained = {} if is_accuracy else {f"train_{self._measure}": measured}
        record = EpochRecord(
            epoch=state.epochs_done + 1,
            train_loss=state.loss_sum / course.images,
            train_accuracy=measured if is_accuracy else None,
            validation_loss=metrics.loss if metrics else None,
            validation_accuracy=metrics.accuracy if metrics else None,
            seconds=self._seconds,
            images_per_second=self._images / self._seconds if self._seconds else 0.0,
            learning_rate=float(self._rates(state.position - 1, 1)[0]),
            others={**trained, **{f"validation_{name}": one for name, one in others.items()}},
        )
        after = state.after_epoch(record)
        self._follow(after)  # what the callbacks see; the state, once all of them know
        self._ask([callback.on_epoch(record) for callback in self._callbacks])
        self._stand(after)
        self._seconds, self._images = 0.0, 0
        self._save()

    def _save(self) -> None:
        """Hand the state to the callbacks, for those that keep it."""
        for callback in self._callbacks:
            callback.on_save(self.state)

    def close(self) -> None:
        """Tell the callbacks of the end, however it came."""
        for callback in self._callbacks:
            callback.on_end()

    def _stand(self, state: TrainingState) -> None:
        self.state = state
        self._follow(state)

    def _run_chunk(self) -> None:
        before, course = self.state, self.state.course
        self._starts.append(before)
        wanted = min(self._chunk, course.steps - before.step, self._steps_to_save())
        count = self._agreed(wanted)
        began = time.perf_counter()
        try:
            losses, correct = self._run_steps(before, count)
            seconds = max(0.0, time.perf_counter() - began)  # whatever the clock did meanwhile
            bad = np.flatnonzero(~np.isfinite(losses))
            if not bad.size:
                self._stand(self._advanced(before, losses, correct))
        except BaseException:
            if self.state is before:
                with suppress(Exception):  # no memory, no device: the state before is good
                    self._keep_whole_steps(before)
            raise
        if bad.size:
            self._refuse(before, int(bad[0]), losses[bad[0]])
        self._seconds += seconds
        self._images += self.state.images - before.images
        self._step_losses.append(losses)
        self._chunk = _next_chunk(count, seconds)
        self._tell()
        if due := self._due():
            self._check_finite()
        for callback in due:
            callback.on_save(self.state)

    def _keep_whole_steps(self, before: TrainingState) -> None:
        """Stand where the last whole step of a chunk ended that was not run to its end."""
        done = self._plan.finished()
        if done is None or done.first_step != before.steps_done or not len(done.losses):
            return
        if not np.isfinite(done.losses).all():
            return  # what spoilt them is found when these steps are run again
        losses, correct = done.losses, done.correct
        if done.torn:  # deterministic, so the same comes out
            self._plan.restore(before.carry)
            losses, correct = self._run_steps(before, len(losses))
        self._stand(self._advanced(before, losses, correct))

    def _due(self) -> Sequence[Callback]:
        """The callbacks to hand the state to, after a chunk."""
        if self.ended:
            return self._callbacks
        if self.state.step == self.state.course.steps:
            return ()  # the end of the epoch is near, and is saved
        position = self.state.position
        return [c for c in self._callbacks if c.save_every and position % c.save_every == 0]

    def _run_steps(self, start: TrainingState, count: int) -> tuple[np.ndarray, np.ndarray]:
        epoch = start.course.first_epoch + len(start.records)
        batches = start.course.batches(epoch, start.step, start.step + count)
        return self._plan.run(start.steps_done, batches, self._rates(start.position, count))

    def _advanced(
        self, before: TrainingState, losses: np.ndarray, correct: np.ndarray
    ) -> TrainingState:
        """The state after steps with these ``losses``, the plan standing behind them."""
        loss_sum, measured = before.loss_sum, before.correct
        for loss, size in zip(losses, self._sizes(before.step, len(losses)), strict=True):
            loss_sum += float(loss) * int(size)  # one by one: a chunk must not show in a bit of it
        for one in correct.tolist():
            measured += one
        known = (*before.untold, *zip(losses.tolist(), correct.tolist(), strict=True))
        news = max(0, before.position + len(losses) - self._told)
        return replace(
            before,
            step=before.step + len(losses),
            loss_sum=loss_sum,
            correct=measured,
            carry=self._plan.snapshot(),
            untold=known[len(known) - news :],
        )

    def _refuse(self, before: TrainingState, place: int, loss: float) -> None:
        """Go back before the update that spoilt the parameters, and raise."""
        epoch, step = before.epochs_done + 1, before.step + place + 1
        spoilt = before.position + place - 1
        self._restore(spoilt)
        self._tell()
        remedy = (
            f"try a learning rate below {self._rates(spoilt, 1)[0]:g}"
            if self.state.position == spoilt
            else "the first loss needs smaller numbers in images or parameters"
        )
        message = (
            f"training: the loss must be finite, got {loss} at epoch {epoch}, step {step} of "
            f"{before.course.steps}; the model keeps the parameters of the last finite loss: "
            f"{remedy}"
        )
        raise NonFiniteError(message, epoch, step)

    def _check_finite(self, metrics: Metrics | None = None) -> None:
        """Refuse parameters that the last update spoilt, which no loss has shown yet."""
        if self._is_finite(self.state.carry.params) and (
            metrics is None or np.isfinite(metrics.loss)
        ):
            return
        epoch, step = self.state.epochs_done + 1, self.state.step
        self._restore(self.state.position - 1)
        message = (
            "training: parameters and validation loss must be finite, got NaN or infinity after "
            f"epoch {epoch}, step {step}; the model keeps the parameters of the last finite loss: "
            "try a lower learning rate"
        )
        raise NonFiniteError(message, epoch, step)

    def _restore(self, position: int) -> None:
        """Go back to the state that step ``position`` of this training began with.

        Where this call of fit began later than that, to its beginning.
        """
        first = self._starts[0] if self._starts else self.state
        start = next((s for s in reversed(self._starts) if s.position <= position), first)
        self._plan.restore(start.carry)
        for _ in range(start.position, position):  # deterministic, so the same comes out
            start = self._advanced(start, *self._run_steps(start, 1))
        self._stand(start)

    def _tell(self) -> None:
        """Tell the callbacks of the steps that they do not know of."""
        state, course = self.state, self.state.course
        if not state.untold:
            return
        losses, correct = (np.array(column) for column in zip(*state.untold, strict=True))
        progress = Progress(
            epoch=state.epochs_done + 1,
            epochs=course.first_epoch + course.epochs,
            step=state.step,
            steps=course.steps,
            images=self._images,
            seconds=self._seconds,
            losses=losses,
            accuracies=correct / self._sizes(state.told, len(losses)),
            learning_rates=self._rates(state.position - len(losses), len(losses)),
            measure=self._measure,
        )
        self._ask([callback.on_steps(progress) for callback in self._callbacks])
        self._told = state.position
        self._stand(replace(state, untold=()))

    def _ask(self, answers: list[bool | None]) -> None:
        self.ended = bool(self._agreed(self.ended or any(answers)))

    def _sizes(self, first: int, count: int) -> np.ndarray:
        course = self.state.course
        starts = np.arange(first, first + count) * course.batch_size
        return np.minimum(course.batch_size, course.images - starts)

    def _steps_to_save(self) -> int:
        position = self.state.position
        periods = [callback.save_every for callback in self._callbacks if callback.save_every]
        return min((period - position % period for period in periods), default=_MOST_STEPS)

    def _rates(self, start: int, count: int) -> np.ndarray:
        course = self.state.course
        known = self.state.records, course.steps
        return learning_rates(self._optimizer, start, count, course.all_steps, *known)


def _next_chunk(steps: int, seconds: float) -> int:
    """How many steps take about as long as a report may be in coming."""
    fitting = steps * _REPORT_SECONDS / max(seconds, 1e-6)
    return int(min(max(1, fitting), 4 * steps, _MOST_STEPS))
