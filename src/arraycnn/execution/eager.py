"""The eager plan: call the pure step, keep what it returns. Runs on every library."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from arraycnn.execution.memory import whole_step_memory
from arraycnn.execution.plan import Finished, Placement, StepMemory, Task
from arraycnn.execution.streaming import Streaming
from arraycnn.layers.layer import Context, Layer, Randomness, Tree
from arraycnn.losses import Loss
from arraycnn.ops import GENERIC, Array, array_namespace
from arraycnn.ops.random_bits import seed_words
from arraycnn.training.step import CROSS_ENTROPY, Batch, Carry, evaluate_batch, infer, train_step

# Losses that are not finite are looked for and reported by the caller: NumPy need not warn as well.
QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")


@dataclass(frozen=True)
class _Progress:
    """How far a run has come: one value, so an interrupt finds all of it old, or all of it new.

    ``results`` may hold a step more than ``whole`` counts.
    """

    first_step: int
    whole: int
    results: list[tuple[Array, Array]]
    carry: Carry


class EagerTraining:
    """A `TrainingPlan` that runs step after step as the library executes it."""

    def __init__(self, placement: Placement, task: Task, carry: Carry) -> None:
        self._placement = Streaming(placement, task.dtype)
        self._task = self._runs = task
        self._before = carry
        self._progress: _Progress | None = None
        self._seed = placement.asarray(seed_words(task.seed))

    @QUIET
    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        progress = self._progress = _Progress(first_step, 0, [], self.snapshot())
        for number, batch in enumerate(batches):
            rate = np.asarray(learning_rates[number], self._task.dtype)
            carry, loss, correct = self._step(progress.carry, first_step + number, batch, rate)
            progress.results.append((loss, correct))
            progress = self._progress = replace(progress, whole=number + 1, carry=carry)
        return self._results(progress)

    def _step(
        self, carry: Carry, number: int, batch: np.ndarray, rate: np.ndarray
    ) -> tuple[Carry, Array, Array]:
        """One step: (new carry, mean loss, correct); what it is given stays as it is."""
        place, task = self._placement, self._runs
        part = task.part(len(batch))
        whole, batch = None if task.share is None else task.share.whole(part), batch[part.rows]
        indices = place.asarray(batch)
        step = place.asarray(np.array([number], np.int32))
        return train_step(
            task.network,
            task.optimizer,
            carry,
            Batch(
                place.bring(task.images, batch, indices),
                place.bring(task.labels, batch, indices),
                None if task.weights is None else _take(task.weights, indices),
            ),
            place.asarray(rate),
            Context(
                *(place.kernels, "train", task.dtype, Randomness(self._seed, step, indices)),
                whole=whole,
            ),
            loss=task.loss,
            accumulate=task.accumulate,
        )

    def finished(self) -> Finished | None:
        progress = self._progress
        if progress is None:
            return None
        return Finished(progress.first_step, *self._results(progress), torn=False)

    def snapshot(self) -> Carry:  # steps make new arrays and never change these
        return self._before if self._progress is None else self._progress.carry

    def restore(self, carry: Carry) -> None:
        self._before = carry
        self._progress = None

    def memory(self) -> StepMemory:
        # A library's own convolution makes no columns, but in float64; NumPy's kernels make some.
        own = self._placement.kernels.conv2d is not GENERIC.conv2d
        columns = not own or self._task.dtype == "float64" or isinstance(self._seed, np.ndarray)
        return whole_step_memory(self._task, self.snapshot(), columns=columns)

    def close(self) -> None:
        """Nothing is recorded."""

    def _results(self, progress: _Progress) -> tuple[np.ndarray, np.ndarray]:
        results, to_numpy = progress.results[: progress.whole], self._placement.to_numpy
        kind = np.int64 if self._task.is_plain else np.float64
        return (
            np.array([float(to_numpy(loss)) for loss, _ in results]),
            np.array([to_numpy(measured).item() for _, measured in results], dtype=kind),
        )


def _take(weights: Array, indices: Array) -> Array:
    return array_namespace(weights).take(weights, indices, axis=0)


class EagerInference:
    """An `InferencePlan` that runs the network as the library executes it."""

    def __init__(
        self,
        placement: Placement,
        network: Layer,
        params: Tree,
        state: Tree,
        dtype: str,
        loss: Loss = CROSS_ENTROPY,
    ) -> None:
        self._placement, self._loss = placement, loss
        self._network = network
        self._params = params
        self._state = state
        self._context = Context(ops=placement.kernels, mode="infer", dtype=dtype)

    def predict(self, images: Array) -> np.ndarray:
        outputs = infer(self._network, self._params, self._state, images, self._context)
        return self._placement.to_numpy(self._loss.predictions(self._context.ops, outputs))

    @QUIET
    def evaluate(self, images: Array, labels: Array) -> tuple[float, Any]:
        loss_sum, measured = evaluate_batch(
            self._network, self._params, self._state, images, labels, self._context, self._loss
        )
        return on_host(self._placement.to_numpy, loss_sum, measured)

    def close(self) -> None:
        """Nothing is recorded."""


def on_host(
    to_numpy: Callable[[Array], np.ndarray], loss_sum: Array, measured: Array
) -> tuple[float, Any]:
    """What `InferencePlan.evaluate` returns: how many are correct as an int, sums as an array of
    their own."""
    found = to_numpy(measured)
    return float(to_numpy(loss_sum)), np.array(found, np.float64) if found.ndim else int(found)
