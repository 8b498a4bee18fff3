"""Measures of a classifier, against scikit-learn, SciPy and plain loops."""

import math
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arraycnn import InvalidValueError
from arraycnn.report import (
    calibration,
    class_scores,
    confident_mistakes,
    confusion_matrix,
    confusions,
    log_loss,
    top_k_accuracy,
    wilson_interval,
)

LABELS = np.array([0, 1, 1])
CHANCES = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])


@pytest.fixture
def metrics():
    return pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")


def classified(seed, count, classes):
    """Labels and probabilities that are right more often than not."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)) + 1.5 * np.eye(classes)[labels]
    exponentials = np.exp(logits)
    return labels, exponentials / exponentials.sum(axis=1, keepdims=True)


seeds = st.integers(0, 2**32 - 1)
counts = st.integers(1, 200)
class_counts = st.integers(2, 12)


@given(seeds, counts, class_counts)
def test_the_confusion_matrix_counts(seed, count, classes):
    labels, chances = classified(seed, count, classes)
    predictions = chances.argmax(axis=1)
    expected = np.zeros((classes, classes), dtype=np.int64)
    for true, predicted in zip(labels, predictions, strict=True):
        expected[true, predicted] += 1
    actual = confusion_matrix(labels.astype(np.int32), predictions, classes)
    assert actual.dtype == np.int64
    np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("count", "classes"), [(1, 2), (7, 10), (60, 3), (1000, 10)])
def test_scores_are_those_of_scikit_learn(metrics, count, classes):
    labels, chances = classified(count, count, classes)
    predictions, every = chances.argmax(axis=1), list(range(classes))
    confusion = confusion_matrix(labels, predictions, classes)
    np.testing.assert_array_equal(
        confusion, metrics.confusion_matrix(labels, predictions, labels=every)
    )
    expected = metrics.precision_recall_fscore_support(
        labels, predictions, labels=every, zero_division=np.nan
    )
    scores = class_scores(confusion)
    for actual, wanted in zip(
        (scores.precision, scores.recall, scores.f1, scores.support), expected, strict=True
    ):
        np.testing.assert_allclose(actual, wanted, rtol=1e-14)


def test_a_score_without_images_is_undefined_not_zero():
    scores = class_scores(confusion_matrix([0, 0, 1], [0, 1, 1], 4))
    assert scores.precision[:2].tolist() == [1.0, 0.5]
    assert np.isnan([scores.precision[2], scores.recall[2], scores.f1[3]]).all()


def test_confusions_come_most_frequent_first():
    labels, predictions = [0, 1, 1, 1, 2, 2, 2, 2], [0, 0, 0, 1, 1, 0, 0, 0]
    found = confusions(confusion_matrix(labels, predictions, 3))
    assert [(c.true, c.predicted, c.count, c.total) for c in found] == [
        (2, 0, 3, 4),
        (1, 0, 2, 3),
        (2, 1, 1, 4),
    ]


@given(seeds, counts, class_counts, st.integers(1, 20))
def test_calibration_is_that_of_a_plain_loop(seed, count, classes, bins):
    labels, chances = classified(seed, count, classes)
    sure, right = [[] for _ in range(bins)], [[] for _ in range(bins)]
    for row, label in zip(chances, labels, strict=True):
        confidence = max(row)
        place = next(n for n in range(bins) if confidence <= (n + 1) / bins or n == bins - 1)
        sure[place].append(confidence)
        right[place].append(list(row).index(confidence) == label)
    error = 0.0
    measured = calibration(chances, labels, bins)
    for n in range(bins):
        assert measured.counts[n] == len(sure[n])
        if not sure[n]:
            assert math.isnan(measured.accuracy[n])
            assert math.isnan(measured.confidence[n])
            continue
        confidence, accuracy = sum(sure[n]) / len(sure[n]), sum(right[n]) / len(right[n])
        assert measured.confidence[n] == pytest.approx(confidence, rel=1e-12)
        assert measured.accuracy[n] == pytest.approx(accuracy, rel=1e-12)
        error += len(sure[n]) / count * abs(accuracy - confidence)
    assert measured.ece == pytest.approx(error, abs=1e-12)
    gap = sum(map(sum, sure)) / count - sum(map(sum, right)) / count
    assert measured.gap == pytest.approx(gap, abs=1e-12)


def test_confidence_on_an_edge_belongs_to_the_bin_below():
    measured = calibration([[0.5, 0.5], [1.0, 0.0]], [0, 0], bins=2)
    assert measured.counts.tolist() == [1, 1]
    assert measured.ece == 0.25


@given(seeds, counts, class_counts, st.integers(1, 30))
def test_confident_mistakes_are_wrong_and_sorted(seed, count, classes, limit):
    labels, chances = classified(seed, count, classes)
    wrong = [n for n in range(count) if list(chances[n]).index(max(chances[n])) != labels[n]]
    expected = sorted(wrong, key=lambda n: -max(chances[n]))[:limit]
    assert confident_mistakes(chances, labels, limit).tolist() == expected


@pytest.mark.parametrize("k", [1, 2, 9])
def test_top_k_accuracy_is_that_of_a_plain_loop(k):
    labels, chances = classified(4, 200, 10)
    chances = np.round(chances, 1)  # so that some are equal
    right = 0
    for row, label in zip(chances, labels, strict=True):
        before = sum(c > row[label] or (c == row[label] and n < label) for n, c in enumerate(row))
        right += before < k
    assert top_k_accuracy(chances, labels, k) == right / 200


def test_log_loss_is_that_of_scikit_learn(metrics):
    labels, chances = classified(3, 500, 10)
    assert log_loss(chances, labels) == pytest.approx(metrics.log_loss(labels, chances), rel=1e-12)


def test_a_probability_of_zero_leaves_the_loss_finite():
    assert log_loss([[1.0, 0.0]], [1]) == pytest.approx(126 * math.log(2))


@pytest.mark.parametrize(("right", "total"), [(0, 1), (1, 1), (355, 360), (9899, 10000), (3, 7)])
def test_the_interval_is_that_of_scipy(right, total):
    stats = pytest.importorskip("scipy.stats", reason="SciPy is not installed")
    expected = stats.binomtest(right, total).proportion_ci(0.95, "wilson")
    assert wilson_interval(right, total) == pytest.approx((expected.low, expected.high), abs=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: confusion_matrix([0, 1], [0], 2), "both have shape (N,), got (2,) and (1,)"),
        (lambda: confusion_matrix([[0]], [[0]], 2), "both have shape (N,)"),
        (lambda: confusion_matrix([0, 2], [0, 0], 2), "labels must be integers in 0..1"),
        (lambda: confusion_matrix([0, 1], [0, -1], 2), "predictions must be integers in 0..1"),
        (lambda: confusion_matrix([0.0], [0], 2), "labels must be integers"),
        (lambda: calibration(CHANCES, LABELS[:2]), "got (3, 2) and (2,)"),
        (lambda: calibration(CHANCES[:0], LABELS[:0]), "N at least 1"),
        (lambda: calibration(CHANCES[0], LABELS), "must be (N, K)"),
        (lambda: log_loss(CHANCES, LABELS + 1), "labels must be integers in 0..1"),
        (lambda: confident_mistakes(CHANCES, LABELS / 2, 3), "labels must be integers in 0..1"),
        (lambda: wilson_interval(2, 1), "got 2, 1"),
        (lambda: wilson_interval(0, 0), "total >= 1"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(call, message):
    with pytest.raises(InvalidValueError, match=re.escape(message)) as caught:
        call()
    assert "\n" not in str(caught.value)
