"""Losses: frozen records of settings, and the table from class name to class that files use.

``loss_and_gradient(xp, outputs, labels)`` gives each image's loss and its gradient.
"""

from arraycnn.losses.binary_cross_entropy import BinaryCrossEntropy
from arraycnn.losses.cross_entropy import SoftmaxCrossEntropy, softmax_cross_entropy
from arraycnn.losses.huber import Huber
from arraycnn.losses.loss import (
    ClassificationLoss,
    Loss,
    MultiLabelLoss,
    RegressionLoss,
    mean_of_each,
)
from arraycnn.losses.mean_squared_error import MeanSquaredError

LOSSES: dict[str, type[Loss]] = {
    loss.__name__: loss
    for loss in (BinaryCrossEntropy, Huber, MeanSquaredError, SoftmaxCrossEntropy)
}

__all__ = [
    "LOSSES",
    "BinaryCrossEntropy",
    "ClassificationLoss",
    "Huber",
    "Loss",
    "MeanSquaredError",
    "MultiLabelLoss",
    "RegressionLoss",
    "SoftmaxCrossEntropy",
    "mean_of_each",
    "softmax_cross_entropy",
]
