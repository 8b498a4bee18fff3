"""The eager plan: call the pure step, keep what it returns. Runs on every library."""

from collections.abc import Sequence

import numpy as np

from arraycnn.execution.memory import whole_step_memory
from arraycnn.execution.plan import Placement, StepMemory, Task
from arraycnn.layers.layer import Context, Layer, Randomness, Tree
from arraycnn.ops import Array, array_namespace
from arraycnn.ops.random_bits import seed_words
from arraycnn.training import Carry, evaluate_batch, infer, train_step

# Losses that are not finite are looked for and reported by the caller: NumPy need not warn as well.
_QUIET = np.errstate(over="ignore", invalid="ignore", divide="ignore")


class EagerTraining:
    """A `TrainingPlan` that runs step after step as the library executes it."""

    def __init__(self, placement: Placement, task: Task, carry: Carry) -> None:
        self._placement = placement
        self._task = task
        self._carry = carry
        self._seed = placement.asarray(seed_words(task.seed))

    @_QUIET
    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        place, task = self._placement, self._task
        rates = place.asarray(learning_rates.astype(task.dtype))
        last_step = first_step + len(batches)
        steps = place.asarray(np.arange(first_step, last_step, dtype=np.int32))
        losses, hits = [], []
        for number, batch in enumerate(batches):
            indices = place.asarray(batch)
            context = Context(
                ops=place.kernels,
                mode="train",
                dtype=task.dtype,
                randomness=Randomness(self._seed, steps[number : number + 1], indices),
            )
            # One assignment: an interrupt leaves the carry of a whole step.
            self._carry, loss, correct = train_step(
                task.network,
                task.optimizer,
                self._carry,
                place.kernels.gather(task.images, indices),
                place.kernels.gather(task.labels, indices),
                rates[number],
                context,
                weights=None if task.weights is None else _take(task.weights, indices),
            )
            losses.append(loss)
            hits.append(correct)
        return (
            np.array([float(place.to_numpy(loss)) for loss in losses]),
            np.array([int(place.to_numpy(correct)) for correct in hits], dtype=np.int64),
        )

    def snapshot(self) -> Carry:
        return self._carry  # steps make new arrays and never change these

    def restore(self, carry: Carry) -> None:
        self._carry = carry

    def memory(self) -> StepMemory:
        return whole_step_memory(self._task, self._carry, columns=True)


def _take(weights: Array, indices: Array) -> Array:
    return array_namespace(weights).take(weights, indices, axis=0)


class EagerInference:
    """An `InferencePlan` that runs the network as the library executes it."""

    def __init__(
        self, placement: Placement, network: Layer, params: Tree, state: Tree, dtype: str
    ) -> None:
        self._placement = placement
        self._network = network
        self._params = params
        self._state = state
        self._context = Context(ops=placement.kernels, mode="infer", dtype=dtype)

    def predict(self, images: Array) -> np.ndarray:
        logits = infer(self._network, self._params, self._state, images, self._context)
        return self._placement.to_numpy(self._context.ops.softmax(logits))

    @_QUIET
    def evaluate(self, images: Array, labels: Array) -> tuple[float, int]:
        loss_sum, correct = evaluate_batch(
            self._network, self._params, self._state, images, labels, self._context
        )
        place = self._placement
        return float(place.to_numpy(loss_sum)), int(place.to_numpy(correct))
