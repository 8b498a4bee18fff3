"""The loss of ``arraycnn train``: cross-entropy of one class an image, with its settings."""

from typing import Any

import click
import numpy as np

from arraycnn.cli import options
from arraycnn.data import DataSet
from arraycnn.losses import SoftmaxCrossEntropy


class ClassWeight(click.ParamType):
    """ "balanced", or a number for each class, W,W,...; kept as it is written."""

    name = "balanced|W,W,..."

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if value != "balanced":
            for number in str(value).split(","):
                options.FiniteFloat(0.0).convert(number, param, ctx)
        return str(value)


label_smoothing: options.Decorator = click.option(
    "--label-smoothing",
    type=options.FiniteFloat(0.0, below=1.0),
    default=0.0,
    show_default=True,
    help="Train towards labels of which this share is spread over all classes.",
)
class_weight: options.Decorator = click.option(
    "--class-weight",
    type=ClassWeight(),
    help="What the loss of each class's images counts: balanced is the inverse of how many there are.",
)
top_k: options.Decorator = click.option(
    "--top-k",
    type=click.IntRange(min=1),
    metavar="K",
    help="Also measure how many images have their class among the K most likely ones.",
)


def loss_of(given: dict[str, Any], data: DataSet, labels: np.ndarray) -> SoftmaxCrossEntropy:
    """The loss of the options' values by name, for training on ``labels``.

    Raises click.UsageError where they do not fit the classes of ``data``.
    """
    classes, weights, top_k = len(data.class_names), None, given["top_k"]
    if given["class_weight"] == "balanced":
        counts = np.bincount(labels, minlength=classes)
        weights = tuple((len(labels) / classes / np.maximum(counts, 1)).tolist())
    elif given["class_weight"] is not None:
        weights = tuple(map(float, given["class_weight"].split(",")))
        if len(weights) != classes or not any(weights):
            message = (
                f"--class-weight: must be {classes} numbers, one for each class of {data.name}, and "
                f"one above 0, got {given['class_weight']}"
            )
            raise click.UsageError(message)
    if top_k is not None and top_k >= classes:
        message = f"--top-k: must be below {classes}, the classes of {data.name}, got {top_k}"
        raise click.UsageError(message)
    return SoftmaxCrossEntropy(given["label_smoothing"], weights, top_k=top_k)
