"""What a loss is, and what those of one kind have in common.

A loss is a frozen dataclass of settings with one pure method, in functions of the array-API standard.
It is written for each image alone: the mean over a batch, and weights of images, are the training
step's (`arraycnn.training.step`).
"""

import math
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops import Array, Kernels, array_namespace

Shape = tuple[int, ...]

THRESHOLD = 0.5
"""The probability above which an image is told to have a label, of several."""


class Loss(ABC):
    """What a network is trained to make small.

    A loss derives from `ClassificationLoss`, `MultiLabelLoss` or `RegressionLoss`, which say what its
    labels are, what `Model.predict` returns, and what is measured beside it.
    """

    measure: ClassVar[str]
    """The name of what `measured` gives: its mean is reported beside the loss."""

    @abstractmethod
    def loss_and_gradient(self, xp: Any, outputs: Array, labels: Array) -> tuple[Array, Array]:
        """The loss of each image, and its gradient.

        Parameters
        ----------
        xp : the array namespace of the arrays
        outputs : array, (N, ...), floating
            What the network's last layer gives.
        labels : array, (N, ...)
            As `label_form` says; checked already.

        Returns
        -------
        losses : array, (N,)
        gradient : array, of the shape of ``outputs``
            Of each image's own loss: neither divided by N nor weighted.
        """

    @abstractmethod
    def measured(self, xp: Any, outputs: Array, labels: Array) -> Array:
        """What `measure` names, of each image: (N,), floating."""

    @abstractmethod
    def predictions(self, ops: Kernels, outputs: Array) -> Array:
        """What `Model.predict` returns for ``outputs``."""

    @abstractmethod
    def label_form(self, output_shape: Shape) -> tuple[Shape, bool]:
        """The shape of one image's label, and whether it is of floating numbers, else int32."""

    def sums(self, xp: Any, outputs: Array, labels: Array) -> Array:
        """What `metrics` is computed from, (S,), floating: added up over batches."""
        return xp.reshape(xp.sum(measured_by(self, xp, outputs, labels)), (1,))

    def metrics(self, sums: np.ndarray, count: int) -> dict[str, float]:
        """Measures by name, from the `sums` of ``count`` images; `measure` is one of them."""
        return {self.measure: float(sums[0]) / count}

    @property
    def measures(self) -> tuple[str, ...]:
        """The names that `metrics` may have."""
        return (self.measure,)

    def refusal(self, output_shape: Shape) -> str | None:
        """Why a network that gives ``output_shape``, without N, cannot have it: rule and remedy."""
        return None


class ClassificationLoss(Loss):
    """A loss of logits, (N, ..., K), one for each of K classes.

    Labels are class numbers, (N, ...), int32, or probabilities of the classes, (N, ..., K), floating.
    `Model.predict` returns the softmax, the measure is the accuracy. Outputs with other axes than the
    classes' are refused unless ``per_pixel`` is true: most are of a network that lacks its end.
    """

    per_pixel: bool = False

    measure: ClassVar[str] = "accuracy"

    def measured(self, xp: Any, outputs: Array, labels: Array) -> Array:
        predicted = xp.argmax(outputs, axis=-1)
        truth = xp.argmax(labels, axis=-1) if labels.ndim == outputs.ndim else labels
        right = xp.astype(predicted, xp.int32) == xp.astype(truth, xp.int32)
        return mean_of_each(xp, xp.astype(right, outputs.dtype))

    def predictions(self, ops: Kernels, outputs: Array) -> Array:
        return ops.softmax(outputs)

    def label_form(self, output_shape: Shape) -> tuple[Shape, bool]:
        return output_shape[:-1], False


class MultiLabelLoss(Loss):
    """A loss of logits, (N, ..., K), of K labels each of which an image has or has not.

    Labels are 0 or 1, or a probability between, in the shape of the outputs. `Model.predict` returns
    the sigmoid, the measure is the share of labels told rightly at 0.5; evaluation adds F1.
    """

    measure: ClassVar[str] = "accuracy"

    def measured(self, xp: Any, outputs: Array, labels: Array) -> Array:
        has = xp.astype(labels > 0.5, outputs.dtype)
        return mean_of_each(xp, xp.where(outputs > 0.0, has, 1.0 - has))

    def predictions(self, ops: Kernels, outputs: Array) -> Array:
        return sigmoid(array_namespace(outputs), outputs)

    def label_form(self, output_shape: Shape) -> tuple[Shape, bool]:
        return output_shape, True

    def sums(self, xp: Any, outputs: Array, labels: Array) -> Array:
        """The measure, then for each label: images that have it and were told so, have it, told so."""
        has, told = (xp.astype(flags, outputs.dtype) for flags in (labels > 0.5, outputs > 0.0))
        axes = tuple(range(outputs.ndim - 1))
        counts = [xp.sum(flags, axis=axes) for flags in (has * told, has, told)]
        return xp.concat([super().sums(xp, outputs, labels), *counts])

    @property
    def measures(self) -> tuple[str, ...]:
        return (self.measure, "f1", "f1_micro")

    def metrics(self, sums: np.ndarray, count: int) -> dict[str, float]:
        """Accuracy; "f1", the mean over labels; "f1_micro", of all labels together.

        A label that no image has, nor was told to have, has no F1: it is left out of the mean.
        """
        both, has, told = np.reshape(sums[1:], (3, -1))
        found = super().metrics(sums, count)
        known = has + told > 0
        if known.any():
            found["f1"] = float(np.mean(2.0 * both[known] / (has + told)[known]))
            found["f1_micro"] = float(2.0 * both.sum() / (has.sum() + told.sum()))
        return found


class RegressionLoss(Loss):
    """A loss of numbers: labels are floating, in the shape of the outputs, which may be any.

    `Model.predict` returns the outputs as they are, the measure is the mean absolute error.
    """

    measure: ClassVar[str] = "mean_absolute_error"

    def measured(self, xp: Any, outputs: Array, labels: Array) -> Array:
        return mean_of_each(xp, xp.abs(outputs - labels))

    def predictions(self, ops: Kernels, outputs: Array) -> Array:
        return outputs

    def label_form(self, output_shape: Shape) -> tuple[Shape, bool]:
        return output_shape, True


def measured_by(loss: Loss, xp: Any, outputs: Array, labels: Array) -> Array:
    """`Loss.measured`, (N,).

    Raises InvalidValueError where it is of another form: its sum would be of something else.
    """
    measured, count = loss.measured(xp, outputs, labels), outputs.shape[0]
    found = getattr(measured, "shape", None)
    if found is None or tuple(found) != (count,) or "float" not in str(measured.dtype):
        got = (
            type(measured).__name__
            if found is None
            else f"{measured.dtype} of shape {tuple(found)}"
        )
        message = (
            f"{type(loss).__name__}: measured must give one floating number of each image, shape "
            f"({count},), got {got}; take the mean over each image's numbers alone, and xp.astype(..., "
            "outputs.dtype) of what is true or false"
        )
        raise InvalidValueError(message)
    return measured


def mean_of_each(xp: Any, x: Array) -> Array:
    """The mean over each image's numbers: (N, ...) to (N,)."""
    size = numbers_of_each(x)
    return xp.sum(xp.reshape(x, (x.shape[0], size)), axis=1) / float(size)


def numbers_of_each(x: Array) -> int:
    """How many numbers an image of ``x``, (N, ...), has."""
    return math.prod(x.shape[1:])


def sigmoid(xp: Any, x: Array) -> Array:
    """1 / (1 + exp(-x)), of numbers of any size, small ones to full relative precision."""
    small = xp.exp(-xp.abs(x))
    return xp.where(x > 0.0, xp.ones_like(x), small) / (1.0 + small)
