"""Training on batches as they come: any iterable of (images, labels), a data loader for example."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from arraycnn.data.image_source import ImageSource
from arraycnn.execution import Finished, StepMemory, TrainingPlan
from arraycnn.training.batch_order import BatchOrder
from arraycnn.training.batches import Batches as Batches  # which was here, as pickles have it
from arraycnn.training.batches import count_batches, no_batch, parted
from arraycnn.training.step import Carry


class BatchStream:
    """Pulls batches of one size from an iterable, and answers as a data set would.

    An epoch begins a new pass and has ``steps`` batches of ``batch_size`` images, the size of the
    first batch: others are cut and joined to that size, and where a pass ends within an epoch, the
    next one begins. Those of `Batches` whose size is known must have it.

    Parameters
    ----------
    batches : iterable of (images, labels)
        Its length is taken from ``len``, or counted in a pass of its own.
    check : callable
        Turns a pair into NumPy arrays, images (N, H, W, C) and labels (N, ...), or raises.

    Attributes
    ----------
    images, labels : ImageSource
        Of the batch that `load` made the present one, by the indices it was loaded for.

    Raises
    ------
    InvalidTypeError
        Not an iterable, or one that can be iterated only once.
    InvalidValueError
        No batch at all.
    """

    def __init__(
        self, batches: Iterable[Any], check: Callable[[Any], tuple[np.ndarray, np.ndarray]]
    ) -> None:
        self._batches, self._check = batches, check
        self.steps = count_batches(batches)
        first = next(iter(batches), None)
        if first is None:
            raise no_batch()
        images, labels = check(first)
        self.batch_size = len(images)
        self._parted = known = parted(batches)
        self._rows = np.arange(self.batch_size) if known is None else known.every_row()
        self._check_size(self.batch_size)
        count = self.steps * self.batch_size
        self.images: ImageSource = BatchImages(self, 0, (count, *images.shape[1:]), images.dtype)
        self.labels: ImageSource = BatchImages(self, 1, (count, *labels.shape[1:]), labels.dtype)
        self.present: tuple[np.ndarray, np.ndarray] = (images, labels)
        self.place = np.zeros(count, np.int32)
        # The batches of the last steps, as a training that met NaN runs them again.
        self._kept: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
        self._iterator: Iterator[Any] = iter(())
        self._rest: tuple[np.ndarray, np.ndarray] | None = None
        self._next = (-1, 0)

    def read_only(self, rows: np.ndarray) -> bool:
        """From now on read, of each batch, the images at ``rows``; whether more has to be read."""
        if self._parted is not None:
            self._rows = rows
        held = isinstance(self._batches, list | tuple)
        return not held and len(self._rows) > len(rows)

    def load(self, epoch: int, step: int, indices: np.ndarray) -> None:
        """Make the batch of ``step`` (both from 0) the present one, known by ``indices``."""
        batch = self._kept.get((epoch, step))
        if batch is None:
            batch = self._kept[epoch, step] = self._seek(epoch, step)
        self.present = batch
        self.place[indices[self._rows]] = np.arange(len(self._rows), dtype=np.int32)

    def forget(self, epoch: int, step: int) -> None:
        """Drop the batches before ``step`` of ``epoch``."""
        for known in [known for known in self._kept if known < (epoch, step)]:
            del self._kept[known]

    def _seek(self, epoch: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        if self._next[0] != epoch or self._next[1] > step:
            self._iterator, self._rest, self._next = self._begin(), None, (epoch, 0)
        while self._next[1] < step:  # where a training is resumed within an epoch
            self._pull()
        return self._pull()

    def _begin(self) -> Iterator[Any]:
        return iter(self._batches) if self._parted is None else self._parted.part(self._rows)

    def _check_size(self, count: int) -> None:
        if self._parted is not None:
            self._parted.check_rows(count, len(self._rows))

    def _pull(self) -> tuple[np.ndarray, np.ndarray]:
        """The next images and labels, as many as a step is given."""
        parts, size = [] if self._rest is None else [self._rest], len(self._rows)
        begun_again = False
        while sum(len(part[1]) for part in parts) < size:
            batch = next(self._iterator, None)
            if batch is not None:
                parts.append(self._check(batch))
                self._check_size(len(parts[-1][1]))
                begun_again = False
            elif begun_again:
                raise no_batch()
            else:
                self._iterator, begun_again = self._begin(), True
        images, labels = (np.concatenate(column) for column in zip(*parts, strict=True))
        self._rest = (images[size:], labels[size:]) if len(labels) > size else None
        self._next = (self._next[0], self._next[1] + 1)
        return images[:size], labels[:size]


class BatchImages(ImageSource):
    """Images (column 0) or labels (1) of a stream's present batch."""

    def __init__(
        self, stream: BatchStream, column: int, shape: tuple[int, ...], dtype: np.dtype[Any]
    ) -> None:
        self._stream, self._column = stream, column
        self.shape: Any = shape
        self.dtype = dtype

    def read(self, indices: np.ndarray) -> np.ndarray:
        return self._stream.present[self._column][self._stream.place[indices]]


class StreamedTraining:
    """A `TrainingPlan` that loads each batch of a course before the step that runs on it."""

    def __init__(self, plan: TrainingPlan, stream: BatchStream, course: BatchOrder) -> None:
        self._plan, self._stream, self._course = plan, stream, course
        self._starts: deque[tuple[int, int]] = deque(maxlen=2)
        self._run: tuple[int, list[tuple[np.ndarray, np.ndarray]]] | None = None

    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        place = self._place(first_step)
        if not self._starts or place > self._starts[-1]:
            self._starts.append(place)
            self._stream.forget(*self._starts[0])
        results: list[tuple[np.ndarray, np.ndarray]] = []
        self._run = first_step, results
        for number, indices in enumerate(batches):
            self._stream.load(*self._place(first_step + number), indices)
            rate = learning_rates[number : number + 1]
            results.append(self._plan.run(first_step + number, [indices], rate))
        losses, correct = zip(*results, strict=True)
        return np.concatenate(losses), np.concatenate(correct)

    def finished(self) -> Finished | None:
        if self._run is None:
            return None
        first_step, results = self._run
        losses, correct = [np.zeros(0)], [np.zeros(0, np.int64)]
        for some_losses, some_correct in results:
            losses.append(some_losses)
            correct.append(some_correct)
        last, torn = self._plan.finished(), False
        if last is not None:
            torn = last.torn
            if last.first_step == first_step + len(results):  # not noted above any more
                losses.append(last.losses)
                correct.append(last.correct)
        return Finished(first_step, np.concatenate(losses), np.concatenate(correct), torn)

    def snapshot(self) -> Carry:
        return self._plan.snapshot()

    def restore(self, carry: Carry) -> None:
        self._run = None
        self._plan.restore(carry)

    def memory(self) -> StepMemory:
        return self._plan.memory()

    def close(self) -> None:
        self._plan.close()

    def _place(self, step: int) -> tuple[int, int]:
        """(epoch, step within it) of the step with this number."""
        epochs, place = divmod(step - self._course.first_step, self._stream.steps)
        return self._course.first_epoch + epochs, place
