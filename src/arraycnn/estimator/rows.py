"""The rows of numbers that scikit-learn knows, and the images that they are."""

import contextlib
from typing import Any

import numpy as np

from arraycnn.data.array_rules import BrokenRule
from arraycnn.data.pixel_rules import as_bytes, pixel_scale

# Floating numbers beyond this that are all whole are grey values: nobody scales to that.
_NO_SCALED_NUMBER = 127


def pixels_or_numbers(rows: np.ndarray, dtype: str) -> np.ndarray:
    """``rows`` as uint8 where they are grey values, else as floating numbers."""
    if rows.dtype == np.uint8:
        return rows
    whole = rows.dtype.kind in "iu" or rows.max(initial=0) > _NO_SCALED_NUMBER
    with contextlib.suppress(BrokenRule):
        if whole and rows.min(initial=0) >= 0 and pixel_scale(rows) == "byte":
            return as_bytes(rows, "byte")
    return rows if rows.dtype.kind == "f" else rows.astype(dtype)


def shape_of(images: Any) -> tuple[int, ...] | None:
    """(H, W, C) of what has more than two axes, else None."""
    shape = tuple(getattr(images, "shape", ()))
    if len(shape) not in (3, 4):
        return None
    return tuple(map(int, shape[1:] if len(shape) == 4 else (*shape[1:], 1)))


def flat(images: Any) -> Any:
    """``images`` with one row an image; what has two axes already is left as it is."""
    return images if shape_of(images) is None else np.asarray(images).reshape(len(images), -1)


def dense(y: Any) -> Any:
    """``y`` as an array where it is a sparse matrix of SciPy's, which no model takes."""
    return y.toarray() if hasattr(y, "toarray") else y


def dtypes_of(dtype: str) -> list[Any]:
    """Those that X may have; what is none of these is made the first, for networks of ``dtype``."""
    floating = [dtype if dtype == "float64" else np.float32, np.float32, np.float64]
    return [*floating, *(np.dtype(kind) for kind in "bBhHiIlLqQ")]
