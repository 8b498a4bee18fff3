"""Batch norm in the array-API standard only, forward and backward: the reference for all others."""

from typing import Any

from arraycnn.ops.arrays import Array, array_namespace
from arraycnn.ops.whole_batch import WholeBatch


def batch_norm(
    x: Array,
    weight: Array,
    bias: Array,
    running: tuple[Array, Array],
    momentum: float,
    epsilon: float,
    trains: bool,
) -> tuple[Array, tuple[Array, Array], Any]:
    """Each channel of ``x`` with mean 0 and variance 1, times ``weight``, plus ``bias``.

    Parameters
    ----------
    x : array, (N, H, W, C), floating
    weight, bias : array, (C,)
    running : (array, array), each (C,)
        Averages of mean and of unbiased variance over earlier batches.
    momentum : float
        The share of this batch in the new averages.
    epsilon : float
        Added to the variance before the square root.
    trains : bool
        Whether mean and variance are this batch's own; else ``running`` serves, and stays.

    Returns
    -------
    y : array, (N, H, W, C)
    running : (array, array)
        The new averages. A batch of one number has no unbiased variance: 0, like the biased one.
    residuals
        Only `batch_norm_backward` of the same record reads them.
    """
    return shared_batch_norm(x, weight, bias, running, momentum, epsilon, trains, None)


def shared_batch_norm(
    x: Array,
    weight: Array,
    bias: Array,
    running: tuple[Array, Array],
    momentum: float,
    epsilon: float,
    trains: bool,
    whole: WholeBatch | None,
) -> tuple[Array, tuple[Array, Array], Any]:
    """`batch_norm`, with mean and variance of the ``whole`` batch that ``x`` is a part of."""
    xp, (mean, variance) = array_namespace(x), running
    if trains:
        count = _numbers(x, whole)
        mean = _mean(x, whole)
    centred = x - mean
    if trains:
        variance = _mean(centred * centred, whole)
        unbiased = variance * (count / max(count - 1, 1))
        keep, take = 1.0 - momentum, momentum
        running = keep * running[0] + take * mean, keep * running[1] + take * unbiased
    inverse_deviation = 1.0 / xp.sqrt(variance + epsilon)
    normal = centred * inverse_deviation
    return normal * weight + bias, running, (normal, inverse_deviation)


def batch_norm_backward(
    dy: Array, weight: Array, residuals: Any, trains: bool, need_dx: bool
) -> tuple[Array | None, Array, Array]:
    """Gradients of `batch_norm`: (dx or None, dweight, dbias) for ``dy``, (N, H, W, C)."""
    return shared_batch_norm_backward(dy, weight, residuals, trains, need_dx, None)


def shared_batch_norm_backward(
    dy: Array,
    weight: Array,
    residuals: Any,
    trains: bool,
    need_dx: bool,
    whole: WholeBatch | None,
) -> tuple[Array | None, Array, Array]:
    """Gradients of `shared_batch_norm`.

    dweight and dbias are this part's; with ``whole``, dx follows from those of the whole batch.
    """
    normal, inverse_deviation = residuals
    xp = array_namespace(dy)
    dweight, dbias = xp.sum(dy * normal, axis=(0, 1, 2)), xp.sum(dy, axis=(0, 1, 2))
    if not need_dx:
        return None, dweight, dbias
    scale = weight * inverse_deviation
    if not trains:
        return dy * scale, dweight, dbias
    # Mean and variance depend on every x: their parts of the gradient are the two projections.
    count = float(_numbers(dy, whole))
    slope, shift = (dweight, dbias) if whole is None else whole.totals([dweight, dbias])
    mean_part = shift / count
    variance_part = normal * (slope / count)
    return scale * (dy - mean_part - variance_part), dweight, dbias


def _numbers(x: Array, whole: WholeBatch | None) -> int:
    """How many numbers a channel of the batch has."""
    images = x.shape[0] if whole is None else whole.images
    return images * x.shape[1] * x.shape[2]


def _mean(x: Array, whole: WholeBatch | None) -> Array:
    """Of each channel."""
    xp = array_namespace(x)
    if whole is None:
        return xp.mean(x, axis=(0, 1, 2))
    (total,) = whole.totals([xp.sum(x, axis=(0, 1, 2))])
    return total / float(_numbers(x, whole))
