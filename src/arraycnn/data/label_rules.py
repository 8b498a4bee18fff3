"""What labels may be, and the class numbers they mean."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.array_rules import BrokenRule, plain_array


def class_numbers(labels: Any, names: Sequence[str] | None = None) -> npt.NDArray[Any]:
    """``labels`` as whole numbers, (N,), of whatever integer dtype.

    Axes of length 1 after the first are left out, so (N, 1) is (N,); truth values are 0 and 1; whole
    numbers stored as floating ones are themselves; text is the place of that name in ``names``. One
    number alone is the label of one image.

    Raises `BrokenRule` for anything else, one-hot labels among it.
    """
    y = plain_array(labels)
    y = y.reshape(1) if y.ndim == 0 else y
    while y.ndim > 1 and y.shape[-1] == 1:
        y = y[..., 0]
    if y.ndim != 1:
        raise _more_than_one_a_image(y)
    if y.dtype.kind == "b":
        return y.astype(np.int8)
    if y.dtype.kind in "iu":
        return y
    if y.dtype.kind == "f":
        return _whole(y)
    if y.dtype.kind in "US":
        return _numbered(y, names)
    reason = f"must be integers, got {y.dtype}"
    raise BrokenRule(reason, "number the classes from 0", of_kind=True)


def in_range(y: npt.NDArray[Any], classes: int, whose: str) -> npt.NDArray[np.int32]:
    """Class numbers as int32, or `BrokenRule` where one is not 0 to ``classes`` - 1.

    ``whose`` says in words who has so many classes.
    """
    wrong = (y < 0) | (y >= classes)
    if wrong.any():
        place = int(wrong.argmax())
        low, high = int(y.min()), int(y.max())
        if low == 1 and high == classes:
            remedy = "they count from 1: take labels - 1"
        elif low < 0:
            remedy = "leave out the images without a class, and number the others from 0"
        else:
            remedy = f"number them from 0, or have {high + 1} outputs"
        reason = f"must be 0 to {classes - 1}, {whose}, got {y[place]} at position {place}"
        raise BrokenRule(reason, remedy)
    return y.astype(np.int32)


def texts(y: npt.NDArray[Any]) -> list[str]:
    """The values of an array of text, which may be of bytes."""
    return [
        text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
        for text in y.ravel().tolist()
    ]


def is_one_hot(y: npt.NDArray[Any]) -> bool:
    """Whether every row of ``y``, (N, K), holds a single 1 and else nothing."""
    if y.ndim != 2 or y.shape[1] < 2 or y.dtype.kind not in "biuf":
        return False
    return bool((((y == 0) | (y == 1)).all(axis=1) & ((y == 1).sum(axis=1) == 1)).all())


_ROUNDING = 1e-6
"""What shares that were computed, resized masks or mixtures, may be beyond 0 and 1."""


def check_finite(y: npt.NDArray[Any]) -> None:
    """`BrokenRule` where a number of ``y``, (N, ...), is NaN or infinite."""
    wrong = ~np.isfinite(y)
    if wrong.any():
        place = np.unravel_index(int(wrong.argmax()), y.shape)
        reason = f"must be finite, got {y[place]} at position {place[0]}"
        raise BrokenRule(reason, "leave out the images without a label")


def check_shares(y: npt.NDArray[Any], what: str) -> None:
    """`BrokenRule` where a number of ``y``, (N, ...), is not 0 to 1."""
    wrong = (y < -_ROUNDING) | (y > 1.0 + _ROUNDING)
    if wrong.any():
        place = np.unravel_index(int(wrong.argmax()), y.shape)
        reason = f"must be {what} of 0 to 1, got {y[place]:.9g} at position {place[0]}"
        raise BrokenRule(reason, "give 1 where an image has the label, 0 where not")


def _more_than_one_a_image(y: npt.NDArray[Any]) -> BrokenRule:
    reason = f"must be one number an image, (N,), got shape {y.shape}"
    if is_one_hot(y):
        remedy = "for one-hot labels take numpy.argmax(labels, axis=1)"
    elif y.ndim == 2 and y.shape[0] == 1:
        remedy = "take numpy.ravel(labels)"
    else:
        remedy = "pass one class number for each image, or have a loss that takes such labels"
    return BrokenRule(reason, remedy)


def _whole(y: npt.NDArray[Any]) -> npt.NDArray[Any]:
    broken = ~(np.isfinite(y) & (y == np.trunc(y)))
    if broken.any():
        place = int(broken.argmax())
        if np.isfinite(y[place]):
            remedy = "number the classes from 0"
        else:
            remedy = "leave out the images without a label"
        reason = f"must be whole numbers, got {y[place]} ({y.dtype}) at position {place}"
        raise BrokenRule(reason, remedy)
    far = np.abs(y) >= 2.0**62  # past what an integer holds
    if far.any():
        place = int(far.argmax())
        reason = f"must be class numbers, got {y[place]:.6g} ({y.dtype}) at position {place}"
        raise BrokenRule(reason, "number the classes from 0")
    return y.astype(np.int64)


def _numbered(y: npt.NDArray[Any], names: Sequence[str] | None) -> npt.NDArray[np.int32]:
    known = texts(y)
    if names is None:
        reason = f"must be integers, or class names where the model has such, got {known[0]!r}"
        if all(text.isdecimal() for text in known):
            remedy = "take numpy.array(labels).astype('int32')"
        else:
            remedy = (
                "give the model class_names, or take numpy.unique(labels, return_inverse=True)[1]"
            )
        raise BrokenRule(reason, remedy, of_kind=True)
    number = {name: place for place, name in enumerate(names)}
    unknown = next((text for text in known if text not in number), None)
    if unknown is not None:
        reason = f"must be class names ({', '.join(names)}), got {unknown!r}"
        raise BrokenRule(reason, "correct the labels or the class names")
    return np.array([number[text] for text in known], np.int32)
