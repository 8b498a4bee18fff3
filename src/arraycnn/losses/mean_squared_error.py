"""MeanSquaredError: the squares of what numbers are off."""

from dataclasses import dataclass
from typing import Any

from arraycnn.losses.loss import RegressionLoss, mean_of_each, numbers_of_each
from arraycnn.ops import Array


@dataclass(frozen=True)
class MeanSquaredError(RegressionLoss):
    """(output - label)^2: the mean over an image's numbers."""

    def loss_and_gradient(self, xp: Any, outputs: Array, labels: Array) -> tuple[Array, Array]:
        error = outputs - labels
        return mean_of_each(xp, error * error), error * (2.0 / numbers_of_each(outputs))
