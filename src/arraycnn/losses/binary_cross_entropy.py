"""BinaryCrossEntropy: several labels an image, each of which it has or has not."""

from dataclasses import dataclass
from typing import Any

from arraycnn.losses.checks import positive_numbers
from arraycnn.losses.loss import MultiLabelLoss, Shape, mean_of_each, numbers_of_each
from arraycnn.ops import Array
from arraycnn.ops.arrays import device


@dataclass(frozen=True)
class BinaryCrossEntropy(MultiLabelLoss):
    """-(w y log p + (1 - y) log(1 - p)) with p = sigmoid(outputs), in nats: the mean over the labels.

    Parameters
    ----------
    positive_weight : sequence of K floats, or None
        w, of each label, at least 0: what it counts where an image has it. None is 1 for all.
    """

    positive_weight: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        weights = positive_numbers("BinaryCrossEntropy: positive_weight", self.positive_weight)
        object.__setattr__(self, "positive_weight", weights)

    def refusal(self, output_shape: Shape) -> str | None:
        labels = output_shape[-1]
        if self.positive_weight is not None and len(self.positive_weight) != labels:
            count = len(self.positive_weight)
            return f"positive_weight must be {labels} numbers, one for each output, got {count}"
        return None

    def loss_and_gradient(self, xp: Any, outputs: Array, labels: Array) -> tuple[Array, Array]:
        has = labels
        if self.positive_weight is not None:
            table = {"dtype": outputs.dtype, "device": device(outputs)}
            has = labels * xp.asarray(self.positive_weight, **table)
        has_not = 1.0 - labels
        # -log p is log(1 + exp(-|x|)), and |x| more where x < 0; -log(1 - p), where x > 0. What is
        # small is never the difference of what is large: a label that is told rightly keeps its loss.
        small, is_above = xp.exp(-xp.abs(outputs)), outputs > 0.0
        below, above = (xp.where(x > 0.0, x, 0.0) for x in (-outputs, outputs))
        losses = has * (xp.log1p(small) + below) + has_not * (xp.log1p(small) + above)
        larger, smaller = 1.0 / (1.0 + small), small / (1.0 + small)  # of p and 1 - p
        gradient = has_not * xp.where(is_above, larger, smaller)
        gradient = gradient - has * xp.where(is_above, smaller, larger)
        return mean_of_each(xp, losses), gradient / float(numbers_of_each(outputs))
