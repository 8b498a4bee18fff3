"""What labels a loss takes, and the array that they become: one place for all who are given some."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from arraycnn.data.array_rules import BrokenRule, plain_array
from arraycnn.data.label_kinds import LabelKind
from arraycnn.data.label_rules import (
    check_finite,
    check_shares,
    class_numbers,
    in_range,
    is_one_hot,
)
from arraycnn.layers.layer import with_n
from arraycnn.losses import ClassificationLoss, Loss, MultiLabelLoss

Shape = tuple[int, ...]

_SUM = 1e-3
"""How far probabilities may be from adding up to 1: those of float16 are."""


def are_class_numbers(loss: Loss, output_shape: Shape) -> bool:
    """Whether a label is one class number an image, unless it is probabilities."""
    return isinstance(loss, ClassificationLoss) and len(output_shape) == 1


def label_kind(loss: Loss) -> LabelKind:
    """What labels of a set are for ``loss``."""
    if isinstance(loss, ClassificationLoss):
        return "pixels" if loss.per_pixel else "classes"
    return "labels" if isinstance(loss, MultiLabelLoss) else "numbers"


def is_soft(labels: Any, classes: int, all_are: bool) -> bool:
    """Whether ``labels`` are probabilities of the classes, (N, classes), floating.

    Those of which each is 1 or 0 are class numbers that were written otherwise, unless ``all_are``
    soft in the batches before.
    """
    y = plain_array(labels)
    fits = y.dtype.kind == "f" and y.ndim == 2 and y.shape[1] == classes > 1
    return fits and (all_are or not is_one_hot(y))


def soft_labels(labels: Any, count: int, shape: Shape, dtype: str) -> np.ndarray:
    """Probabilities of the classes, (count, *shape), or `BrokenRule` where they are none."""
    y = _numbers(labels, count, shape, "one probability a class", dtype)
    check_shares(y, "probabilities")
    wrong = np.abs(y.sum(axis=-1, dtype=np.float64) - 1.0) > _SUM
    if wrong.any():
        place = np.unravel_index(int(wrong.argmax()), wrong.shape)
        total = float(y[place].sum(dtype=np.float64))
        reason = f"must add up to 1 over the classes, got {total:.4g} at position {place[0]}"
        raise BrokenRule(reason, "divide each row by its sum")
    return y


def pixel_labels(labels: Any, count: int, shape: Shape, classes: int) -> np.ndarray:
    """A class number for each pixel, (count, *shape), int32, or `BrokenRule`."""
    y = _shaped(plain_array(labels), count, shape, "one class number a pixel")
    flat = in_range(class_numbers(y.reshape(-1)), classes, f"the network has {classes} outputs")
    return flat.reshape(y.shape)


def other_labels(
    loss: Loss, labels: Any, count: int, output_shape: Shape, dtype: str
) -> np.ndarray:
    """Labels of any loss but those of `are_class_numbers`, or `BrokenRule` where it takes others."""
    shape, floating = loss.label_form(output_shape)
    name = type(loss).__name__
    if isinstance(loss, ClassificationLoss):
        y = plain_array(labels)
        if y.dtype.kind == "f" and y.shape[1:] == output_shape:
            return soft_labels(y, count, output_shape, dtype)
    if not floating:
        return pixel_labels(labels, count, shape, output_shape[-1])
    found = _numbers(
        labels, count, shape, f"one number for each output, as {name} takes them", dtype
    )
    if isinstance(loss, MultiLabelLoss):
        check_shares(found, "labels")
    return found


def _numbers(labels: Any, count: int, shape: Shape, what: str, dtype: str) -> np.ndarray:
    y = plain_array(labels)
    if y.dtype.kind not in "biuf":
        raise BrokenRule(f"must be numbers, got {y.dtype}", "convert them before", of_kind=True)
    y = _shaped(y, count, shape, what)
    check_finite(y)
    with np.errstate(over="ignore"):
        found = np.asarray(y, dtype, order="C")
    if not np.isfinite(found).all():
        reason = f"must fit into {dtype}, got numbers up to {np.abs(y).max():.4g}"
        raise BrokenRule(reason, "divide them, or take dtype='float64'")
    return found


def _shaped(y: np.ndarray, count: int, shape: Shape, what: str) -> np.ndarray:
    """``y`` as (count, *shape): axes of length 1 at the end may be there or not."""
    if y.ndim and y.shape[0] != count:
        reason = f"must be as many as images, got {y.shape[0]} labels for {count} images"
        raise BrokenRule(reason, "take both from the same set")
    if _without_ones(y.shape[1:]) != _without_ones(shape) or not y.ndim:
        reason = f"must be {what}, {with_n(shape)}, got shape {y.shape}"
        raise BrokenRule(reason, "reshape them, or have other outputs or another loss")
    return y.reshape(count, *shape)


def _without_ones(shape: Sequence[int]) -> Shape:
    sizes = list(shape)
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return tuple(sizes)
