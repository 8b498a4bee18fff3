"""Measures of labels that an image has or has not, from them and probabilities."""

import numpy as np
import numpy.typing as npt

from arraycnn.losses.loss import THRESHOLD
from arraycnn.report.measures import ClassScores, ratio


def label_counts(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike, threshold: float = THRESHOLD
) -> np.ndarray:
    """For each of K labels, how often it is there and told, is there, is told: (3, K), int64.

    ``labels`` and ``probabilities`` are (N, ..., K); a label is there above 0.5, told above
    ``threshold``. Counts of parts of a set add up.
    """
    has, told = _rows(labels) > 0.5, _rows(probabilities) > threshold
    return np.stack([(has & told).sum(axis=0), has.sum(axis=0), told.sum(axis=0)])


def scores_of_counts(counts: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each label, from `label_counts`."""
    both, has, told = counts
    return ClassScores(
        precision=ratio(both, told),
        recall=ratio(both, has),
        f1=ratio(2 * both, has + told),
        support=has,
    )


def best_thresholds(
    labels: npt.ArrayLike, probabilities: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """The threshold at which each label's F1 is highest, and that F1: two arrays (K,), float64.

    It lies in the middle between two probabilities that occur, or below the least, where it is highest
    for telling all; of equal F1 the highest threshold counts. Both are NaN for a label that no image
    has. On the images that it is chosen by, F1 is higher than on others.
    """
    has, chances = _rows(labels) > 0.5, _rows(probabilities).astype(np.float64)
    thresholds, best = np.full((2, has.shape[1]), np.nan)
    for label in np.flatnonzero(has.any(axis=0)):
        order = np.argsort(-chances[:, label], kind="stable")
        falling, found = chances[order, label], np.cumsum(has[order, label])
        told = np.arange(1, len(order) + 1)
        last = np.append(falling[1:] < falling[:-1], True)  # of those of one probability
        f1 = np.where(last, 2.0 * found / (told + found[-1]), -1.0)
        place = int(f1.argmax())
        below = falling[place + 1] if place + 1 < len(falling) else min(0.0, falling[place] - 0.5)
        thresholds[label], best[label] = (falling[place] + below) / 2.0, f1[place]
    return thresholds, best


def average_precision(labels: npt.ArrayLike, probabilities: npt.ArrayLike) -> np.ndarray:
    """The mean of the precision over the images that have each label, (K,), float64.

    The precision is that at the threshold of the image's own probability, equal ones together; NaN
    where no image has the label.
    """
    has, chances = _rows(labels) > 0.5, _rows(probabilities)
    found = np.full(has.shape[1], np.nan)
    for label in np.flatnonzero(has.any(axis=0)):
        order = np.argsort(-chances[:, label], kind="stable")
        falling, found_so_far = chances[order, label], np.cumsum(has[order, label])
        end = np.searchsorted(-falling, -falling, side="right")  # of those of one probability
        precision = found_so_far[end - 1] / end
        found[label] = precision[has[order, label]].mean()
    return found


def _rows(array: npt.ArrayLike) -> np.ndarray:
    """(N, ..., K) as (M, K)."""
    values = np.asarray(array)
    return values.reshape(-1, values.shape[-1])
