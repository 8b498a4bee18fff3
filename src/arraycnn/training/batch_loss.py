"""What a batch's outputs and labels give: the loss, its gradient, and what is measured beside it."""

from collections.abc import Sequence
from typing import Any

from arraycnn.errors import InvalidValueError
from arraycnn.layers.augmentation.mixing import PARTS, Mixture
from arraycnn.layers.layer import Context
from arraycnn.losses import Loss, SoftmaxCrossEntropy
from arraycnn.losses.loss import measured_by
from arraycnn.ops import Array, array_namespace


def loss_of_batch(
    loss: Loss,
    outputs: Array,
    labels: Array,
    context: Context,
    weights: Array | None = None,
    mixtures: Sequence[Mixture] = (),
    whole: int | None = None,
) -> tuple[Array, Array, Array]:
    """(sum of the losses (), gradient of their mean, as ``outputs``, what is measured ()).

    The mean is over the images of the ``whole`` batch, of which these may be a part.

    Here alone, losses and gradients of single images are weighted, mixed as the images were
    (``mixtures``), and become those of a batch.
    """
    count = images_of_batch(outputs, context) if whole is None else whole
    is_kernels = weights is None and has_kernel(loss, labels.ndim == 1)
    if is_kernels:
        found = context.ops.softmax_cross_entropy(outputs, labels, count)
        if not mixtures:
            return found
    xp = array_namespace(outputs, labels)
    losses: Array = 0.0
    gradient: Array = 0.0
    for share, wanted in _wanted(labels, weights, mixtures, outputs.dtype):
        part, slope = loss.loss_and_gradient(xp, outputs, wanted)
        _check_form(loss, outputs, part, slope)
        slope = slope / float(count)
        if share is not None:
            part = share * part
            slope = slope * xp.reshape(share, (-1,) + (1,) * (outputs.ndim - 1))
        losses, gradient = losses + part, gradient + slope
    measured = found[2] if is_kernels else xp.sum(measured_by(loss, xp, outputs, labels))
    return xp.sum(losses), gradient, measured


def measures_of_batch(
    loss: Loss, outputs: Array, labels: Array, context: Context
) -> tuple[Array, Array]:
    """(sum of the losses (), number of correct images (), or the loss's `sums`, (S,))."""
    if counts_correct(loss, labels.ndim == 1):
        loss_sum, _, correct = context.ops.softmax_cross_entropy(outputs, labels, outputs.shape[0])
        return loss_sum, correct
    xp = array_namespace(outputs, labels)
    losses, gradient = loss.loss_and_gradient(xp, outputs, labels)
    _check_form(loss, outputs, losses, gradient)
    return xp.sum(losses), loss.sums(xp, outputs, labels)


def has_kernel(loss: Loss, are_classes: bool) -> bool:
    """Whether ``loss`` is the cross-entropy that kernels compute: of one class number an image."""
    return are_classes and type(loss) is SoftmaxCrossEntropy and loss.is_plain


def counts_correct(loss: Loss, are_classes: bool) -> bool:
    """Whether an evaluation tells the number of correct images, which a kernel counts, and no more."""
    plain = has_kernel(loss, are_classes)
    return plain and isinstance(loss, SoftmaxCrossEntropy) and loss.top_k is None


def images_of_batch(x: Array, context: Context) -> int:
    return x.shape[0] if context.whole is None else context.whole.images


def _wanted(
    labels: Array, weights: Array | None, mixtures: Sequence[Mixture], dtype: Any
) -> list[tuple[Array | None, Array]]:
    """Labels of the batch, each with what its loss counts for each image, (N,); None for 1."""
    xp, wanted = array_namespace(labels), [(weights, labels)]
    for partner, parts in mixtures:
        own = xp.astype(parts, dtype) / float(PARTS)
        mixed: list[tuple[Array | None, Array]] = []
        for share, label in wanted:
            mixed.append((own if share is None else own * share, label))
            others = None if share is None else xp.take(share, partner, axis=0)
            lent = 1.0 - own if others is None else (1.0 - own) * others
            mixed.append((lent, xp.take(label, partner, axis=0)))
        wanted = mixed
    return wanted


def _check_form(loss: Loss, outputs: Array, losses: Array, gradient: Array) -> None:
    """Refuse what would be broadcast, and so be another loss than was meant."""
    found = tuple(getattr(x, "shape", type(x).__name__) for x in (losses, gradient))
    found = tuple(x if isinstance(x, str) else tuple(x) for x in found)
    wanted = (outputs.shape[0],), tuple(outputs.shape)
    if found != wanted:
        message = (
            f"{type(loss).__name__}: loss_and_gradient must give losses of shape {wanted[0]} and a "
            f"gradient of shape {wanted[1]}, got {found[0]} and {found[1]}; "
            "take the mean over each image's numbers alone"
        )
        raise InvalidValueError(message)
