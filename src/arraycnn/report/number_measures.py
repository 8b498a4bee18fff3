"""Measures of numbers, from labels and outputs: values in, values out."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, eq=False)
class NumberSums:
    """What `NumberScores` are of, added up over parts of a set: of each of K outputs (K,), float64.

    Attributes
    ----------
    count : int
    first : array
        A label, which the others are measured from, so that squares lose nothing.
    absolute, squared, error : array
        Sums of |output - label|, of its square, and of the difference itself.
    label, label_squared : array
        Sums of label - first, and of its square.
    """

    count: int
    first: np.ndarray
    absolute: np.ndarray
    squared: np.ndarray
    error: np.ndarray
    label: np.ndarray
    label_squared: np.ndarray


@dataclass(frozen=True, eq=False)
class NumberScores:
    """Errors of each of K outputs, arrays (K,), float64, in the unit of the labels.

    Attributes
    ----------
    mean_absolute_error, root_mean_squared_error : array
    bias : array
        The mean of output - label: above 0, outputs are too large.
    r2 : array
        1 - squared errors / squared distances from the labels' mean: 1 is perfect, 0 no better than
        always that mean; NaN where all labels are the same.
    """

    mean_absolute_error: np.ndarray
    root_mean_squared_error: np.ndarray
    bias: np.ndarray
    r2: np.ndarray


def number_sums(
    labels: npt.ArrayLike, outputs: npt.ArrayLike, before: NumberSums | None = None
) -> NumberSums:
    """The sums over ``labels`` and ``outputs``, (N, ..., K), and those of the parts ``before``."""
    true, told = (_rows(array) for array in (labels, outputs))
    first = true[0] if before is None else before.first
    error, label = told - true, true - first
    sums = [np.abs(error), error**2, error, label, label**2]
    added = [values.sum(axis=0) for values in sums]
    count = len(true)
    if before is not None:
        old = (before.absolute, before.squared, before.error, before.label, before.label_squared)
        added = [a + b for a, b in zip(added, old, strict=True)]
        count += before.count
    return NumberSums(count, first, *added)


def number_scores(sums: NumberSums) -> NumberScores:
    """The errors that ``sums`` are of."""
    spread = sums.label_squared - sums.label**2 / sums.count
    known = spread > 0
    r2 = np.where(known, 1.0 - sums.squared / np.where(known, spread, 1.0), np.nan)
    return NumberScores(
        mean_absolute_error=sums.absolute / sums.count,
        root_mean_squared_error=np.sqrt(sums.squared / sums.count),
        bias=sums.error / sums.count,
        r2=r2,
    )


def _rows(array: npt.ArrayLike) -> np.ndarray:
    """(N, ..., K) as (M, K), float64."""
    values = np.asarray(array, np.float64)
    return values.reshape(-1, values.shape[-1])
