"""What `Model` asks of a plan, and what a plan is told."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np

from arraycnn.data.image_source import ImageSource, as_source
from arraycnn.distributed.parts import Part
from arraycnn.distributed.shares import Share
from arraycnn.layers.layer import Layer, Tree
from arraycnn.losses import Loss
from arraycnn.ops import Array, Kernels
from arraycnn.optimizers import Optimizer
from arraycnn.training.step import CROSS_ENTROPY, Carry, Objective


class Placement(Protocol):
    """The part of a backend that a plan needs: where arrays are born, and the kernels."""

    @property
    def kernels(self) -> Kernels: ...

    def asarray(self, array: Any) -> Array:
        """``array`` on the backend's device, dtype kept."""

    def to_numpy(self, array: Array) -> np.ndarray:
        """A copy or view of ``array`` on the host."""


@dataclass(frozen=True)
class Task:
    """A training to be run: what stays the same from step to step.

    Attributes
    ----------
    images : ImageSource, (M, H, W, C)
        The data set, checked already; an array is taken as one, and lies on the backend's device.
    labels : ImageSource, (M,), int32, or what else ``loss`` takes
        Likewise.
    seed : int
        Of the random bits drawn inside the network.
    dtype : str
        "float32" or "float64".
    weights : array, (M,), floating, or None
        What the loss of each image counts; on the backend's device. Recorded plans take none.
    loss : Loss
        Recorded plans take that of `has_kernel` alone.
    share : Share or None
        Of every batch that a plan is given, what it runs on; None is all of it.
    accumulate : int
        In how many parts, one after the other, the gradients of a batch are computed.
    """

    network: Layer
    optimizer: Optimizer
    images: ImageSource
    labels: ImageSource
    seed: int
    dtype: str
    weights: Array | None = None
    loss: Loss = CROSS_ENTROPY
    share: Share | None = None
    accumulate: int = 1

    @property
    def objective(self) -> Objective:
        """The loss, and the form of the labels."""
        floating = not str(self.labels.dtype).endswith("int32")
        form = tuple(self.labels.shape[1:]), floating, self.weights is not None
        return Objective(self.loss, *form, self.accumulate)

    def on_blank(self, count: int) -> "Task":
        """The same for so many images of zeros, on the host: for what their values are no matter."""
        kind = np.dtype(str(self.images.dtype))
        blank = np.zeros((count, *self.images.shape[1:]), self.dtype if kind.kind == "f" else kind)
        weights = None if self.weights is None else np.ones(count, self.dtype)
        labels = self.objective.labels(count, self.dtype)
        return replace(self, images=as_source(blank), labels=as_source(labels), weights=weights)

    def part(self, images: int) -> Part:
        """What a step runs on of a batch of so many images."""
        return Part(0, images, images) if self.share is None else self.share.part(images)

    @property
    def is_plain(self) -> bool:
        """Whether a kernel computes the loss of each step."""
        return self.objective.has_kernel

    def __post_init__(self) -> None:
        for name in ("images", "labels"):
            object.__setattr__(self, name, as_source(getattr(self, name)))


@dataclass(frozen=True)
class StepMemory:
    """Bytes a step takes beside the data set and what is there between two steps.

    Attributes
    ----------
    fixed : int
        However many images: gradients, new parameters and optimizer state.
    per_image : int
    """

    fixed: int
    per_image: int

    def of(self, images: int) -> int:
        """Bytes for a batch of so many images."""
        return self.fixed + images * self.per_image

    def most_images(self, free: int) -> int:
        """The largest batch that fits into ``free`` bytes, 0 where none does."""
        return max(0, free - self.fixed) // self.per_image


class Finished(NamedTuple):
    """How far a run has come.

    Attributes
    ----------
    first_step : int
        The run's.
    losses, correct : array, (K,)
        As `TrainingPlan.run` returns them, of the K steps that are whole.
    torn : bool
        Whether another one was left half done: `snapshot` is of no use before a `restore`.
    """

    first_step: int
    losses: np.ndarray
    correct: np.ndarray
    torn: bool


class TrainingPlan(Protocol):
    """Runs training steps. It owns parameters, layer state and optimizer state, and its recordings."""

    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one step for each batch of data-set indices, (N,) int32, of a chunk.

        Returns each step's mean loss, (K,) float64, and number of correct images, (K,) int64, or,
        where that has no kernel, the sum of what the loss measures, (K,) float64; with one copy to
        the host.
        """

    def finished(self) -> Finished | None:
        """How far the last `run` has come, an interrupt or an error having ended it perhaps.

        None where none was begun, or none since `restore`.
        """

    def snapshot(self) -> Carry:
        """Parameters, state and optimizer state as they are now; later steps leave them alone."""

    def restore(self, carry: Carry) -> None:
        """Go on from an earlier snapshot."""

    def memory(self) -> StepMemory:
        """What a step takes, at the most."""

    def close(self) -> None:
        """Give back what the plan has recorded, and its memory. A later run records anew."""


class InferencePlan(Protocol):
    """Runs the network forward on one batch at a time, images and labels on the device.

    It owns its recordings.
    """

    def predict(self, images: Array) -> np.ndarray:
        """Probabilities, (N, K), or what else the loss predicts, on the host."""

    def evaluate(self, images: Array, labels: Array) -> tuple[float, Any]:
        """(sum of the losses, number of correct images, or the loss's `sums`: (S,), float64)."""

    def close(self) -> None:
        """As that of `TrainingPlan`."""


__all__ = [
    "Carry",
    "Finished",
    "InferencePlan",
    "Placement",
    "StepMemory",
    "Task",
    "TrainingPlan",
    "Tree",
]
