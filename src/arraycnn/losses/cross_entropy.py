"""The loss of classification: softmax and cross-entropy in one, from logits."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.errors import InvalidTypeError
from arraycnn.losses.checks import check_share, positive_numbers
from arraycnn.losses.loss import ClassificationLoss, Shape, mean_of_each, numbers_of_each
from arraycnn.ops import GENERIC, Array, Kernels
from arraycnn.ops.arrays import device
from arraycnn.setting_checks import check_count


@dataclass(frozen=True)
class SoftmaxCrossEntropy(ClassificationLoss):
    """-sum(w q log softmax(outputs)) over the classes, in nats; a mean where outputs have pixels.

    q is 1 for an image's class and 0 for others, or the label where that is probabilities. With
    ``label_smoothing`` e it is (1 - e) q + e / K (Szegedy et al., "Rethinking the Inception
    architecture", 2016). With no settings it has kernels of its own on every engine.

    Parameters
    ----------
    label_smoothing : float
        In [0, 1).
    class_weight : sequence of K floats, or None
        w, above 0 or 0, of each class; None is 1 for all. The mean is over images, not divided by
        their weights.
    per_pixel : bool
        Whether outputs are images, (N, H, W, K), and labels class numbers of their pixels, (N, H, W);
        a network without it must give one logit a class.
    top_k : int or None
        Evaluation also tells "top_K_accuracy": how many images have the label among this many
        classes of the largest outputs; of equal ones, as in the accuracy, the first count. Below K.
    """

    label_smoothing: float = 0.0
    class_weight: tuple[float, ...] | None = None
    per_pixel: bool = False
    top_k: int | None = None

    def __post_init__(self) -> None:
        check_share("SoftmaxCrossEntropy: label_smoothing", self.label_smoothing)
        weights = positive_numbers("SoftmaxCrossEntropy: class_weight", self.class_weight)
        object.__setattr__(self, "class_weight", weights)
        if not isinstance(self.per_pixel, bool):
            message = f"SoftmaxCrossEntropy: per_pixel must be a bool, got {self.per_pixel!r}"
            raise InvalidTypeError(message)
        if self.top_k is not None:
            check_count("SoftmaxCrossEntropy: top_k", self.top_k)

    @property
    def is_plain(self) -> bool:
        """Whether its loss is that of the kernel `softmax_cross_entropy`."""
        return not self.label_smoothing and self.class_weight is None

    def refusal(self, output_shape: Shape) -> str | None:
        classes = output_shape[-1]
        if self.class_weight is not None and len(self.class_weight) != classes:
            count = len(self.class_weight)
            return f"class_weight must be {classes} numbers, one for each output, got {count}"
        if self.top_k is not None and self.top_k >= classes:
            return (
                f"top_k must be below {classes}, the classes, got {self.top_k}: each is among them"
            )
        return None

    def loss_and_gradient(self, xp: Any, outputs: Array, labels: Array) -> tuple[Array, Array]:
        shifted = outputs - xp.max(outputs, axis=-1, keepdims=True)
        exponentials = xp.exp(shifted)
        total = xp.sum(exponentials, axis=-1, keepdims=True)
        chances = exponentials / total
        if self.is_plain and labels.ndim < outputs.ndim:
            is_label = _is_label(xp, outputs, labels)
            at_label = xp.sum(xp.where(is_label, shifted, 0.0), axis=-1)
            losses = xp.log(total)[..., 0] - at_label
            gradient = chances - xp.astype(is_label, outputs.dtype)
        else:
            targets = self._targets(xp, outputs, labels)
            losses = xp.sum(targets * (xp.log(total) - shifted), axis=-1)
            gradient = chances * xp.sum(targets, axis=-1, keepdims=True) - targets
        pixels = numbers_of_each(losses)
        return mean_of_each(xp, losses), gradient / float(pixels) if pixels > 1 else gradient

    def _targets(self, xp: Any, outputs: Array, labels: Array) -> Array:
        """w q: what each class's logarithm counts, (N, ..., K)."""
        targets = labels
        if labels.ndim < outputs.ndim:
            targets = xp.astype(_is_label(xp, outputs, labels), outputs.dtype)
        if self.label_smoothing:
            rest = self.label_smoothing / float(outputs.shape[-1])
            targets = (1.0 - self.label_smoothing) * targets + rest
        if self.class_weight is not None:
            table = {"dtype": outputs.dtype, "device": device(outputs)}
            targets = targets * xp.asarray(self.class_weight, **table)
        return targets

    def sums(self, xp: Any, outputs: Array, labels: Array) -> Array:
        found = super().sums(xp, outputs, labels)
        if self.top_k is None:
            return found
        if labels.ndim == outputs.ndim:
            labels = xp.astype(xp.argmax(labels, axis=-1), xp.int32)
        picked = xp.where(_is_label(xp, outputs, labels), outputs, 0.0)
        picked = xp.sum(picked, axis=-1, keepdims=True)
        # False where either is NaN: a broken network is right about nothing.
        is_later = _classes(xp, outputs, labels) >= labels[..., None]
        not_before = (outputs < picked) | ((outputs == picked) & is_later)
        before = outputs.shape[-1] - xp.sum(xp.astype(not_before, outputs.dtype), axis=-1)
        among = mean_of_each(xp, xp.astype(before < float(self.top_k), outputs.dtype))
        return xp.concat([found, xp.reshape(xp.sum(among), (1,))])

    @property
    def measures(self) -> tuple[str, ...]:
        also = () if self.top_k is None else (f"top_{self.top_k}_accuracy",)
        return (self.measure, *also)

    def metrics(self, sums: np.ndarray, count: int) -> dict[str, float]:
        found = super().metrics(sums, count)
        if self.top_k is not None:
            found[f"top_{self.top_k}_accuracy"] = float(sums[1]) / count
        return found


def _is_label(xp: Any, outputs: Array, labels: Array) -> Array:
    return labels[..., None] == _classes(xp, outputs, labels)


def _classes(xp: Any, outputs: Array, labels: Array) -> Array:
    return xp.arange(outputs.shape[-1], dtype=labels.dtype, device=device(labels))


def softmax_cross_entropy(
    logits: Array, labels: Array, ops: Kernels = GENERIC
) -> tuple[Array, Array]:
    """Mean cross-entropy of softmax(``logits``) against ``labels``, and its gradient.

    Parameters
    ----------
    logits : array, (N, K), floating
    labels : array, (N,), int32, each in [0, K); not checked here

    Returns
    -------
    loss : array, (), nats
    dlogits : array, (N, K)
    """
    count = logits.shape[0]
    loss_sum, dlogits, _ = ops.softmax_cross_entropy(logits, labels, count)
    return loss_sum / float(count), dlogits
