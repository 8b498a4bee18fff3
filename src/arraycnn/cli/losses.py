"""The loss of ``arraycnn train``: its name, its settings, and the labels that it takes of a set."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import click
import numpy as np

from arraycnn.cli import options
from arraycnn.data import DataSet
from arraycnn.data.label_kinds import LabelKind
from arraycnn.losses import (
    BinaryCrossEntropy,
    Huber,
    Loss,
    MeanSquaredError,
    SoftmaxCrossEntropy,
)
from arraycnn.model.label_inputs import label_kind
from arraycnn.networks.user_code import UserCode

LOSSES: dict[str, Callable[..., Loss]] = {
    "cross-entropy": SoftmaxCrossEntropy,
    "pixel-cross-entropy": partial(SoftmaxCrossEntropy, per_pixel=True),
    "binary-cross-entropy": BinaryCrossEntropy,
    "mean-squared-error": MeanSquaredError,
    "huber": Huber,
}
_OF_CLASSES = ("cross-entropy", "pixel-cross-entropy")
# Which losses a setting is of; what is not given is as its option's default.
_SETTINGS = {
    "label_smoothing": _OF_CLASSES,
    "class_weight": _OF_CLASSES,
    "top_k": _OF_CLASSES,
    "positive_weight": ("binary-cross-entropy",),
    "huber_delta": ("huber",),
}


class Weights(click.ParamType):
    """ "balanced", or a number for each class or label, W,W,...; kept as it is written."""

    name = "balanced|W,W,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "balanced":
            for number in str(value).split(","):
                options.FiniteFloat(0.0).convert(number, param, ctx)
        return str(value)


loss_name: options.Decorator = click.option(
    "--loss",
    default="cross-entropy",
    show_default=True,
    metavar="NAME",
    help=f"{', '.join(LOSSES)}; or the class of a loss in the file of --network. It says what the "
    "labels of the set are: one class an image, a class for each pixel, several labels, numbers.",
)
label_smoothing: options.Decorator = click.option(
    "--label-smoothing",
    type=options.FiniteFloat(0.0, below=1.0),
    default=0.0,
    show_default=True,
    help="Train towards labels of which this share is spread over all classes.",
)
class_weight: options.Decorator = click.option(
    "--class-weight",
    type=Weights(),
    help="What the loss of each class's images counts: balanced is the inverse of how many there are.",
)
positive_weight: options.Decorator = click.option(
    "--positive-weight",
    type=Weights(),
    help="With --loss binary-cross-entropy, what each label counts where an image has it: balanced "
    "is images without it, to each with it.",
)
huber_delta: options.Decorator = click.option(
    "--huber-delta",
    type=options.FiniteFloat(0.0, strict=True),
    help="With --loss huber, the error above which it grows no faster.  [default: 1]",
)
top_k: options.Decorator = click.option(
    "--top-k",
    type=click.IntRange(min=1),
    metavar="K",
    help="Also measure how many images have their class among the K most likely ones.",
)


def loss_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """--loss and its settings."""
    settings = (label_smoothing, class_weight, positive_weight, huber_delta, top_k)
    for option in reversed((loss_name, *settings)):
        command = option(command)
    return command


@dataclass(frozen=True)
class ChosenLoss:
    """A loss by the name it was given, and what makes it of its settings."""

    name: str
    make: Callable[..., Loss]

    @property
    def labels(self) -> LabelKind:
        """What the labels of a set must be."""
        return label_kind(self.make())


def choose_loss(given: dict[str, Any], code: UserCode) -> ChosenLoss:
    """The loss of ``--loss``, one of `LOSSES` or of a user's ``code``.

    Raises click.UsageError where there is none of that name, or a setting is of another loss.
    """
    name = given["loss"]
    own = {kind.__name__: kind for kind in code.losses}
    if name not in LOSSES and name not in own:
        has = f" or of {', '.join(own)} of {code.path}" if own else ""
        message = f"--loss: must be one of {', '.join(LOSSES)}{has}, got {name!r}"
        raise click.UsageError(message)
    for setting, owners in _SETTINGS.items():
        is_given = given[setting] not in (None, 0.0) and not options.is_remembered(setting)
        if is_given and name not in owners:
            option = f"--{setting.replace('_', '-')}"
            message = f"{option}: is a setting of --loss {' and '.join(owners)}, got --loss {name}"
            raise click.UsageError(message)
    chosen = ChosenLoss(name, LOSSES.get(name) or own[name])
    try:
        chosen.make()
    except TypeError as error:
        message = f"--loss {name}: must be made without settings ({error}); give them defaults"
        raise click.UsageError(message) from error
    return chosen


def loss_of(given: dict[str, Any], chosen: ChosenLoss, data: DataSet, labels: np.ndarray) -> Loss:
    """The loss of the options' values by name, for training on ``labels``.

    Raises click.UsageError where they do not fit the classes of ``data``.
    """
    settings: dict[str, Any] = {}
    if chosen.name in _OF_CLASSES:
        settings["label_smoothing"] = given["label_smoothing"]
        settings["class_weight"] = _weights("--class-weight", given, data, _balanced, labels)
        settings["top_k"] = given["top_k"]
        classes = len(data.class_names)
        if given["top_k"] is not None and given["top_k"] >= classes:
            message = (
                f"--top-k: must be below {classes}, the classes of {data.name}, got "
                f"{given['top_k']}"
            )
            raise click.UsageError(message)
    elif chosen.name == "binary-cross-entropy":
        weights = _weights("--positive-weight", given, data, _without_to_with, labels)
        settings["positive_weight"] = weights
    elif chosen.name == "huber" and given["huber_delta"] is not None:
        settings["delta"] = given["huber_delta"]
    return chosen.make(**settings)


def _weights(
    option: str,
    given: dict[str, Any],
    data: DataSet,
    balanced: Callable[[np.ndarray, int], np.ndarray],
    labels: np.ndarray,
) -> tuple[float, ...] | None:
    value, count = given[option.strip("-").replace("-", "_")], len(data.class_names)
    if value is None:
        return None
    if value == "balanced":
        return tuple(balanced(labels, count).tolist())
    weights = tuple(map(float, value.split(",")))
    if len(weights) != count or not any(weights):
        what = "label" if data.kind == "labels" else "class"
        message = (
            f"{option}: must be {count} numbers, one for each {what} of {data.name}, and "
            f"one above 0, got {value}"
        )
        raise click.UsageError(message)
    return weights


def _balanced(labels: np.ndarray, classes: int) -> np.ndarray:
    """The mean number of images a class, to those of each."""
    counts = np.bincount(labels.reshape(-1), minlength=classes)
    return np.asarray(labels.size / classes / np.maximum(counts, 1))


def _without_to_with(labels: np.ndarray, count: int) -> np.ndarray:
    """Images without each label to those with it; 1 for a label that none has."""
    share = labels.reshape(-1, count).mean(axis=0, dtype=np.float64)
    return np.where(share > 0, (1.0 - share) / np.where(share > 0, share, 1.0), 1.0)
