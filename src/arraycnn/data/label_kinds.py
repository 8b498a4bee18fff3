"""What the labels of a set may be: a class an image or pixel, several labels, or numbers."""

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from arraycnn.data.array_rules import BrokenRule, plain_array
from arraycnn.data.label_rules import check_finite, check_shares, class_numbers, in_range

LabelKind = Literal["classes", "labels", "numbers", "pixels"]

IN_WORDS: dict[LabelKind, str] = {
    "classes": "one class an image, (N,)",
    "labels": "several labels an image, each 0 to 1, (N, labels), or such images",
    "numbers": "numbers, (N,), (N, numbers), or images of numbers",
    "pixels": "a class for each pixel, (N, H, W)",
}
OTHER_LABELS_REMEDY = "take a set that has such labels, or a loss for those that this one has"
MOST_CLASSES = 10_000


def labels_of(labels: Any, kind: LabelKind) -> npt.NDArray[Any]:
    """``labels`` of any kind but "classes": (N, H, W) int32 of pixels, else (N, ..., K) float32.

    Numbers of one axis are (N, 1), those of three (N, H, W, 1). Raises `BrokenRule` where they are of
    another kind.
    """
    y = plain_array(labels)
    if y.dtype.kind not in "biuf":
        reason = f"must be {IN_WORDS[kind]}, got {'texts' if y.dtype.kind in 'US' else y.dtype}"
        raise BrokenRule(reason, OTHER_LABELS_REMEDY, of_kind=True)
    if kind == "pixels":
        y = y[..., 0] if y.ndim == 4 and y.shape[-1] == 1 else y
        fits = y.ndim == 3
    else:
        y = y[..., np.newaxis] if y.ndim in (1, 3) else y
        fits = y.ndim in (2, 4)
    if not fits or not y.size:
        raise BrokenRule(
            f"must be {IN_WORDS[kind]}, got shape {np.shape(labels)}", OTHER_LABELS_REMEDY
        )
    if kind == "pixels":
        classes = class_numbers(y.reshape(-1))
        return in_range(classes, MOST_CLASSES, f"there may be {MOST_CLASSES} classes").reshape(
            y.shape
        )
    check_finite(y)
    found: npt.NDArray[Any] = np.ascontiguousarray(y, dtype=np.float32)
    if kind == "labels":
        if y.shape[1:] == (1,) and y.dtype.kind in "iu" and y.max() > 1:
            reason = f"must be {IN_WORDS[kind]}, got numbers up to {y.max()}, one an image"
            raise BrokenRule(reason, OTHER_LABELS_REMEDY)
        check_shares(found, "labels")
    return found


def strata(labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """What images are drawn within, (N,) integers: their class, or one for all of other labels."""
    if labels.ndim == 1:
        return labels
    return np.zeros(len(labels), np.int32)


def outputs_of(labels: npt.NDArray[Any], kind: LabelKind) -> int:
    """How many numbers a network must end with for ``labels`` as `labels_of` gives them."""
    return int(labels.max()) + 1 if kind == "pixels" else int(labels.shape[-1])
