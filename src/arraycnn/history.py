"""What `Model.fit` reports: records of epochs, progress within them, and who is told."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np


@dataclass(frozen=True)
class Metrics:
    """Loss in nats an image, and the share of images classified correctly, 0 to 1."""

    loss: float
    accuracy: float


@dataclass(frozen=True)
class EpochRecord:
    """One pass over the training images.

    Attributes
    ----------
    epoch : int
        Counted from 1 over the life of the model.
    train_loss, train_accuracy : float
        Means over the epoch's images, each taken before its own update.
    validation_loss, validation_accuracy : float or None
        After the epoch; None without validation data.
    seconds : float
        Time spent in training steps, without validation.
    images_per_second : float
    learning_rate : float
        Of the epoch's last step.
    """

    epoch: int
    train_loss: float
    train_accuracy: float
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float
    images_per_second: float
    learning_rate: float


@dataclass(frozen=True)
class Progress:
    """The steps run since the last report, a part of one epoch.

    Attributes
    ----------
    epoch, epochs : int
        Which epoch, from 1, and the last one of this fit.
    step, steps : int
        Steps done in this epoch, and all of its steps.
    images, seconds : int, float
        Done and taken so far in this epoch.
    losses, accuracies, learning_rates : array, (K,), float64
        Of the K steps since the last report.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    images: int
    seconds: float
    losses: np.ndarray
    accuracies: np.ndarray
    learning_rates: np.ndarray


class Callback:
    """Told of a training as it goes on; override what you need."""

    def on_steps(self, progress: Progress) -> None:
        """After some steps, about twice a second."""

    def on_epoch(self, record: EpochRecord) -> bool | None:
        """After each epoch, the model holding its parameters; True ends the training."""


@dataclass(frozen=True)
class History(Sequence[EpochRecord]):
    """The epochs of one call of `Model.fit`, a sequence of `EpochRecord`.

    Attributes
    ----------
    epochs : tuple of EpochRecord
    step_losses : array, (steps,), float64
        The mean loss of every step's batch, before its update.
    """

    epochs: tuple[EpochRecord, ...]
    step_losses: np.ndarray

    def __len__(self) -> int:
        return len(self.epochs)

    @overload
    def __getitem__(self, index: int) -> EpochRecord: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[EpochRecord, ...]: ...
    def __getitem__(self, index: int | slice) -> EpochRecord | tuple[EpochRecord, ...]:
        return self.epochs[index]

    def __iter__(self) -> Iterator[EpochRecord]:
        return iter(self.epochs)
