"""What `Model.fit` reports: records of epochs, and progress within them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, overload

import numpy as np

from arraycnn.errors import InvalidValueError

METRICS = ("validation_loss", "validation_accuracy", "train_loss", "train_accuracy")

_OTHER = re.compile(r"(train|validation)_\w*(error|f1|f1_micro|score|top_\d+_accuracy)")
"""What losses measure beside these. A user's loss names what is the lower the better "...error"."""


class _WithOthers:
    """Shows ``others`` only where there are any: most losses measure the accuracy alone."""

    others: Mapping[str, float]

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__dict__.update({"others": {}, **kept})  # which a pickle of an earlier version lacks

    def __repr__(self) -> str:
        names = [one.name for one in fields(self)]  # type: ignore[arg-type]
        shown = [name for name in names if name != "others" or self.others]
        values = ", ".join(f"{name}={getattr(self, name)!r}" for name in shown)
        return f"{type(self).__name__}({values})"


@dataclass(frozen=True, repr=False)
class Metrics(_WithOthers):
    """What an evaluation tells.

    Attributes
    ----------
    loss : float
        The mean over the images; of cross-entropies in nats.
    accuracy : float or None
        The share of images classified correctly, 0 to 1, or of labels; None of a regression.
    others : mapping of str to float
        What else the loss measures: "mean_absolute_error", "f1", "top_5_accuracy".
    """

    loss: float
    accuracy: float | None
    others: Mapping[str, float] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, repr=False)
class EpochRecord(_WithOthers):
    """One pass over the training images.

    Attributes
    ----------
    epoch : int
        Counted from 1 over the life of the model.
    train_loss, train_accuracy : float
        Means over the epoch's images, each taken before its own update; the accuracy is None where
        the loss measures something else.
    validation_loss, validation_accuracy : float or None
        After the epoch; None without validation data.
    seconds : float
        Time spent in training steps, without validation; of an epoch that was resumed, since then.
        NaN for an epoch read from a checkpoint, which holds no times.
    images_per_second : float
        Of the images trained on in ``seconds``.
    learning_rate : float
        Of the epoch's last step.
    others : mapping of str to float
        What else the loss measures: "train_mean_absolute_error", "validation_f1".
    """

    epoch: int
    train_loss: float
    train_accuracy: float | None
    validation_loss: float | None
    validation_accuracy: float | None
    seconds: float
    images_per_second: float
    learning_rate: float
    others: Mapping[str, float] = field(default_factory=dict, hash=False)

    def value(self, metric: str) -> float | None:
        """That of ``metric``, one of `METRICS` or of `others`; None where it was not measured."""
        if metric in METRICS:
            value: float | None = getattr(self, metric)
            return value
        return self.others.get(metric)

    def measured(self) -> list[str]:
        """The names of what was."""
        return [name for name in (*METRICS, *self.others) if self.value(name) is not None]

    def to_line(self) -> dict[str, Any]:
        """All values by name, as logs write them: those of `others` beside the fields."""
        line = asdict(self)
        return line | line.pop("others")


FIELDS = tuple(one.name for one in fields(EpochRecord) if one.name != "others")
"""What each line of a log has; what else it has of `_KINDS` is of `EpochRecord.others`."""

_KINDS = ("train_", "validation_")


def others_in(line: Mapping[str, Any]) -> dict[str, Any]:
    """What of ``line``, of a log, stood in `EpochRecord.others`."""
    return {
        name: value
        for name, value in line.items()
        if name.startswith(_KINDS) and name not in FIELDS
    }


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
        Done and taken so far in this epoch; of an epoch that was resumed, since then.
    losses, accuracies, learning_rates : array, (K,), float64
        Of the K steps since the last report.
    measure : str
        What stands in ``accuracies``, where the loss measures something else.
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
    measure: str = "accuracy"


@dataclass(frozen=True)
class History(Sequence[EpochRecord]):
    """The epochs of one training, a sequence of `EpochRecord`.

    Attributes
    ----------
    epochs : tuple of EpochRecord
        Those before a resume among them.
    step_losses : array, (steps,), float64
        The mean loss of every step's batch, before its update; since the resume, if any.
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


def check_metric(owner: str, metric: str) -> None:
    """Refuse what is none of `METRICS`, nor what a loss may measure beside the accuracy."""
    if metric not in METRICS and not (isinstance(metric, str) and _OTHER.fullmatch(metric)):
        message = f"{owner}: metric must be one of {', '.join(METRICS)}, got {metric!r}"
        raise InvalidValueError(message)


def check_measured(owner: str, record: EpochRecord, metric: str) -> None:
    """Refuse a ``record`` that does not have ``metric``, for one who goes by it."""
    if record.value(metric) is None:
        check_among(owner, metric, record.measured(), f"was not measured in epoch {record.epoch}")


def check_among(
    owner: str, metric: str, names: Sequence[str], wrong: str = "will not be measured"
) -> None:
    """Refuse a ``metric`` that is none of the ``names`` of what is measured."""
    if metric in names:
        return
    if metric.startswith("validation_") and "validation_loss" not in names:
        message = (
            f"{owner}: {metric} needs validation data, got none; "
            "pass validation=(images, labels) to fit, or watch train_loss"
        )
        raise InvalidValueError(message)
    message = f"{owner}: {metric} {wrong}, only {', '.join(names)}; watch one of these"
    raise InvalidValueError(message)


def is_better(metric: str, value: float, best: float | None, min_delta: float = 0.0) -> bool:
    """Whether ``value`` beats ``best`` by more than ``min_delta``: a loss or error is better lower."""
    sign = -1.0 if metric.endswith(("loss", "error")) else 1.0
    return best is None or sign * (value - best) > min_delta


def best_epoch(
    records: Sequence[EpochRecord], metric: str, min_delta: float = 0.0
) -> EpochRecord | None:
    """The record with the best ``metric``: the lowest loss or error, else the highest.

    A later epoch is better where it beats the best so far by more than ``min_delta``, so of equals
    the first is the best. None where no record has that metric.
    """
    best: EpochRecord | None = None
    highest: float | None = None
    for record in records:
        value = record.value(metric)
        if value is not None and is_better(metric, value, highest, min_delta):
            best, highest = record, value
    return best
