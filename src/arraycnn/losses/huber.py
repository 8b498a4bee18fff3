"""Huber: squares of small errors, absolute values of large ones."""

from dataclasses import dataclass
from typing import Any

from arraycnn.losses.checks import check_positive
from arraycnn.losses.loss import RegressionLoss, mean_of_each, numbers_of_each
from arraycnn.ops import Array


@dataclass(frozen=True)
class Huber(RegressionLoss):
    """e^2 / 2 where the error |e| is at most delta, else delta (|e| - delta / 2).

    Huber, "Robust estimation of a location parameter", 1964; the mean over an image's numbers. So an
    outlier pulls no harder than an error of delta.

    Parameters
    ----------
    delta : float
        Above 0, in the unit of the labels.
    """

    delta: float = 1.0

    def __post_init__(self) -> None:
        check_positive("Huber: delta", self.delta)

    def loss_and_gradient(self, xp: Any, outputs: Array, labels: Array) -> tuple[Array, Array]:
        error = outputs - labels
        size = xp.abs(error)
        is_large = size > self.delta
        losses = xp.where(is_large, self.delta * (size - 0.5 * self.delta), 0.5 * error * error)
        slope = xp.where(is_large, self.delta * xp.sign(error), error)
        return mean_of_each(xp, losses), slope / float(numbers_of_each(outputs))
