"""Measures of a classifier, from labels, predictions and probabilities: values in, values out."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from arraycnn.errors import InvalidValueError

_Z_95 = 1.959963984540054  # the 97.5 % point of the normal distribution


@dataclass(frozen=True, eq=False)
class ClassScores:
    """Scores of each class: arrays (K,); float64, NaN where a score is undefined, and int64.

    Attributes
    ----------
    precision : array
        Of the images taken for the class, the share that is of it.
    recall : array
        Of the images of the class, the share taken for it.
    f1 : array
        The harmonic mean of the two, 2 TP / (2 TP + FP + FN).
    support : array
        Images of the class.
    """

    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    support: np.ndarray


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence against accuracy, in equal bins of confidence: (edge, next edge].

    Attributes
    ----------
    edges : array, (bins + 1,), float64
    counts : array, (bins,), int64
    confidence, accuracy : array, (bins,), float64
        The bin's means; NaN where it is empty.
    ece : float
        The expected calibration error: the mean over the images of their bin's
        |accuracy - confidence|, 0 to 1 (Guo et al., "On calibration of modern neural networks",
        2017, equation 3).
    gap : float
        Mean confidence less accuracy: above 0 the network is too sure of itself.
    """

    edges: np.ndarray
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray
    ece: float
    gap: float


@dataclass(frozen=True)
class Confusion:
    """``count`` of the ``total`` images of class ``true`` were taken for class ``predicted``."""

    true: int
    predicted: int
    count: int
    total: int


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> np.ndarray:
    """How often each class was taken for each: int64 (K, K), rows true, columns predicted.

    Parameters
    ----------
    labels, predictions : array, (N,), integers in [0, classes)

    Raises
    ------
    InvalidValueError
        The two differ in shape, are not of one axis, or hold another class.
    """
    true, predicted = np.asarray(labels), np.asarray(predictions)
    if true.ndim != 1 or true.shape != predicted.shape:
        message = (
            "confusion_matrix: labels and predictions must both have shape (N,), "
            f"got {true.shape} and {predicted.shape}"
        )
        raise InvalidValueError(message)
    for name, values in (("labels", true), ("predictions", predicted)):
        if values.dtype.kind not in "iu" or ((values < 0) | (values >= classes)).any():
            message = f"confusion_matrix: {name} must be integers in 0..{classes - 1}"
            raise InvalidValueError(message)
    cells = np.bincount(true.astype(np.int64) * classes + predicted, minlength=classes * classes)
    return cells.astype(np.int64).reshape(classes, classes)


def class_scores(confusion: np.ndarray) -> ClassScores:
    """Precision, recall and F1 of each class, from `confusion_matrix`."""
    right = np.diagonal(confusion).astype(np.float64)
    support, taken = confusion.sum(axis=1), confusion.sum(axis=0)
    return ClassScores(
        precision=ratio(right, taken),
        recall=ratio(right, support),
        f1=ratio(2 * right, support + taken),
        support=support,
    )


def confusions(confusion: np.ndarray) -> list[Confusion]:
    """The kinds of mistakes that were made, the most frequent first."""
    totals = confusion.sum(axis=1)
    found = [
        Confusion(int(t), int(p), int(confusion[t, p]), int(totals[t]))
        for t, p in np.argwhere(confusion)
        if t != p
    ]
    return sorted(found, key=lambda cell: (-cell.count, cell.true, cell.predicted))


def calibration(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = 15) -> Calibration:
    """How far the network's confidence, the highest probability, is borne out.

    Parameters
    ----------
    probabilities : array, (N, K), each row adding up to 1
    labels : array, (N,), integers

    Raises
    ------
    InvalidValueError
        The shapes do not fit, or there is no image.
    """
    chances, true = _checked("calibration", probabilities, labels)
    confidence = chances.max(axis=1)
    right = (chances.argmax(axis=1) == true).astype(np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    mean_confidence = ratio(np.bincount(place, confidence, bins), counts)
    mean_accuracy = ratio(np.bincount(place, right, bins), counts)
    gaps = np.nan_to_num(np.abs(mean_accuracy - mean_confidence))
    return Calibration(
        edges=edges,
        counts=counts,
        confidence=mean_confidence,
        accuracy=mean_accuracy,
        ece=float(gaps @ counts / len(true)),
        gap=float(confidence.mean() - right.mean()),
    )


def confident_mistakes(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, count: int
) -> np.ndarray:
    """Up to ``count`` images taken for another class, the surest first: positions, int64.

    Parameters are those of `calibration`.
    """
    chances, true = _checked("confident_mistakes", probabilities, labels)
    wrong = np.flatnonzero(chances.argmax(axis=1) != true)
    order = np.argsort(-chances[wrong].max(axis=1), kind="stable")
    return wrong[order][:count]


def top_k_accuracy(probabilities: npt.ArrayLike, labels: npt.ArrayLike, k: int) -> float:
    """The share of images whose class is among the ``k`` of the highest probabilities.

    Of equal ones the first count, as in the accuracy. Parameters are those of `calibration`.
    """
    chances, true = _checked("top_k_accuracy", probabilities, labels)
    order = np.argsort(-chances, axis=1, kind="stable")[:, :k]
    return float((order == true[:, np.newaxis]).any(axis=1).mean())


def log_loss(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Mean cross-entropy in nats an image; a probability of 0 counts as the smallest float32.

    Parameters are those of `calibration`.
    """
    chances, true = _checked("log_loss", probabilities, labels)
    given = chances[np.arange(len(true)), true]
    return float(-np.log(np.maximum(given, np.finfo(np.float32).tiny)).mean())


def wilson_interval(right: int, total: int) -> tuple[float, float]:
    """The 95 % interval of a share of ``right`` in ``total`` trials (E. B. Wilson, 1927)."""
    if not 0 <= right <= total or total < 1:
        message = f"wilson_interval: needs 0 <= right <= total, total >= 1, got {right}, {total}"
        raise InvalidValueError(message)
    share, z2 = right / total, _Z_95**2
    centre = share + z2 / (2 * total)
    spread = _Z_95 * math.sqrt(share * (1 - share) / total + z2 / (4 * total * total))
    scale = 1 + z2 / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def _checked(
    owner: str, probabilities: npt.ArrayLike, labels: npt.ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    chances, true = np.asarray(probabilities, dtype=np.float64), np.asarray(labels)
    if chances.ndim != 2 or true.shape != chances.shape[:1] or not len(true):
        message = (
            f"{owner}: probabilities must be (N, K) and labels (N,), N at least 1, "
            f"got {chances.shape} and {true.shape}"
        )
        raise InvalidValueError(message)
    if true.dtype.kind not in "iu" or ((true < 0) | (true >= chances.shape[1])).any():
        message = f"{owner}: labels must be integers in 0..{chances.shape[1] - 1}"
        raise InvalidValueError(message)
    return chances, true


def ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    nothing = np.full(len(numerator), np.nan)
    return np.divide(numerator, denominator, out=nothing, where=denominator != 0)
