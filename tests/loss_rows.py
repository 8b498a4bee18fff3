"""A row for each loss, with and without settings, and for a user's own: what it is by plain loops.

From a row follow: the loss of an image by its definition; finite differences of that; PyTorch's
autograd; every array library (`losses/test_losses.py`); the step traced
(`program/test_program_losses.py`); training on every backend, files, resuming
(`losses/test_loss_training.py`).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import arraycnn as cnn
import outside


@dataclass(frozen=True, eq=False)
class Row:
    """A loss, outputs of two axes, and labels that it takes.

    Attributes
    ----------
    loss : Loss
    labels : array, (N,) or (N, 3)
    by_loops : callable
        The loss of one image from (loss, outputs, label), lists of Python numbers.
    by_torch : callable or None
        The losses of all numbers or images from (functional, loss, outputs, labels), tensors.
    """

    loss: cnn.Loss
    labels: np.ndarray
    by_loops: Callable
    by_torch: Callable | None = None

    def __str__(self) -> str:
        return f"{self.loss}, {self.labels.dtype} {self.labels.shape}"


RNG = np.random.default_rng(5)
COUNT = 14
OUTPUTS = RNG.normal(size=(COUNT, 3)) * 2.0
NUMBERS = (np.arange(COUNT) * 5 % 3).astype(np.int32)
SOFT = RNG.dirichlet(np.ones(3), COUNT)
SEVERAL = RNG.integers(0, 2, (COUNT, 3)).astype(float)
VALUES = RNG.normal(size=(COUNT, 3))


def cross_entropy(loss, outputs, label):
    total = math.log(math.fsum(map(math.exp, outputs)))
    found = 0.0
    for k, output in enumerate(outputs):
        share = label[k] if isinstance(label, list) else float(k == label)
        share = (1.0 - loss.label_smoothing) * share + loss.label_smoothing / len(outputs)
        found -= share * (output - total) * (loss.class_weight[k] if loss.class_weight else 1.0)
    return found


def torch_cross_entropy(functional, loss, outputs, labels):
    weight = None if loss.class_weight is None else outputs.new_tensor(loss.class_weight)
    labels = labels if labels.ndim == 2 else labels.long()
    settings = {"weight": weight, "label_smoothing": loss.label_smoothing, "reduction": "none"}
    return functional.cross_entropy(outputs, labels, **settings)


def binary(loss, outputs, label):
    found = 0.0
    for k, (output, has) in enumerate(zip(outputs, label, strict=True)):
        p = 1.0 / (1.0 + math.exp(-output))
        weight = loss.positive_weight[k] if loss.positive_weight else 1.0
        found -= weight * has * math.log(p) + (1.0 - has) * math.log(1.0 - p)
    return found / len(outputs)


def torch_binary(functional, loss, outputs, labels):
    weight = None if loss.positive_weight is None else outputs.new_tensor(loss.positive_weight)
    return functional.binary_cross_entropy_with_logits(
        outputs, labels, pos_weight=weight, reduction="none"
    )


def mean(of_error):
    """The mean of ``of_error(loss, error)`` over an image's numbers."""
    return lambda loss, outputs, label: (
        math.fsum(of_error(loss, a - b) for a, b in zip(outputs, label, strict=True)) / len(outputs)
    )


def huber(loss, error):
    if abs(error) <= loss.delta:
        return error**2 / 2
    return loss.delta * (abs(error) - loss.delta / 2)


def focal(loss, outputs, label):
    p = math.exp(-cross_entropy(cnn.SoftmaxCrossEntropy(), outputs, label))
    return -((1.0 - p) ** 2) * math.log(p)


CROSS_ENTROPY = (cross_entropy, torch_cross_entropy)
ROWS = [
    Row(cnn.SoftmaxCrossEntropy(), NUMBERS, *CROSS_ENTROPY),
    Row(cnn.SoftmaxCrossEntropy(), SOFT, *CROSS_ENTROPY),
    Row(cnn.SoftmaxCrossEntropy(0.1, (0.2, 1.0, 3.0), top_k=2), NUMBERS, *CROSS_ENTROPY),
    Row(cnn.SoftmaxCrossEntropy(0.3, (0.2, 1.0, 3.0)), SOFT, *CROSS_ENTROPY),
    Row(cnn.BinaryCrossEntropy(), SEVERAL, binary, torch_binary),
    Row(cnn.BinaryCrossEntropy((0.5, 1.0, 4.0)), SOFT, binary, torch_binary),
    Row(
        *(cnn.MeanSquaredError(), VALUES, mean(lambda loss, error: error**2)),
        lambda functional, loss, *of: functional.mse_loss(*of, reduction="none"),
    ),
    Row(
        *(cnn.Huber(0.8), VALUES, mean(huber)),
        lambda functional, loss, *of: functional.huber_loss(
            *of, delta=loss.delta, reduction="none"
        ),
    ),
    Row(
        outside.LogCosh(0.7),
        VALUES,
        mean(lambda loss, error: loss.scale * math.log(math.cosh(error / loss.scale))),
    ),
    Row(outside.Focal(), NUMBERS, focal),
]
USERS = [outside.LogCosh, outside.Focal]
EACH_ONCE = [row for place, row in enumerate(ROWS) if place in (1, 2, 5, 6, 7, 8, 9)]
