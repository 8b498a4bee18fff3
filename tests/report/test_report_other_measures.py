"""Measures of labels and of numbers, against plain loops over definitions."""

import numpy as np
import pytest

from arraycnn.report.label_measures import (
    average_precision,
    best_thresholds,
    label_counts,
    scores_of_counts,
)
from arraycnn.report.number_measures import number_scores, number_sums

RNG = np.random.default_rng(8)
HAS = RNG.random((37, 4)) < [0.5, 0.2, 0.8, 0.0]
# Few values, so that many are equal, and at the threshold.
CHANCES = RNG.integers(0, 9, (37, 4)) / 8.0


def f1_at(label, threshold):
    told = CHANCES[:, label] > threshold
    both = sum(1 for has, said in zip(HAS[:, label], told, strict=True) if has and said)
    return 2 * both / (HAS[:, label].sum() + told.sum())


@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_scores_of_labels_by_loops(threshold):
    counts = label_counts(HAS, CHANCES, threshold)
    parts = [label_counts(HAS[part], CHANCES[part], threshold) for part in np.split(range(37), [9])]
    np.testing.assert_array_equal(sum(parts), counts)
    scores = scores_of_counts(counts)
    for label in range(4):
        told = [chance > threshold for chance in CHANCES[:, label]]
        right = sum(h and t for h, t in zip(HAS[:, label], told, strict=True))
        assert scores.precision[label] == right / sum(told)
        assert scores.f1[label] == f1_at(label, threshold)
        assert scores.support[label] == HAS[:, label].sum()
        if label < 3:
            assert scores.recall[label] == right / HAS[:, label].sum()
    assert np.isnan(scores.recall[3])


def test_labels_of_pixels_are_counted_pixel_by_pixel():
    shape = (37, 2, 2, 1)
    found = label_counts(HAS.reshape(shape), CHANCES.reshape(shape))
    assert found[:, 0].tolist() == label_counts(HAS, CHANCES).sum(axis=1).tolist()


def test_no_threshold_is_better_than_the_best():
    thresholds, best = best_thresholds(HAS, CHANCES)
    every = np.linspace(-0.01, 1.01, 409)
    for label in range(3):
        assert best[label] == pytest.approx(max(f1_at(label, one) for one in every), rel=1e-12)
        assert best[label] == pytest.approx(f1_at(label, thresholds[label]), rel=1e-12)
        told = (CHANCES[:, label] > thresholds[label]).sum()
        fewer = [one for one in every if (CHANCES[:, label] > one).sum() < told]
        assert all(f1_at(label, one) < best[label] for one in fewer)
    assert np.isnan([thresholds[3], best[3]]).all()


def test_average_precision_by_loops():
    found = average_precision(HAS, CHANCES)
    for label in range(3):
        precisions = []
        for has, chance in zip(HAS[:, label], CHANCES[:, label], strict=True):
            if has:
                told = CHANCES[:, label] >= chance
                precisions.append(HAS[told, label].sum() / told.sum())
        assert found[label] == pytest.approx(np.mean(precisions), rel=1e-12)
    assert np.isnan(found[3])


def test_errors_of_numbers_by_loops_in_one_go_and_part_by_part():
    labels = RNG.normal(size=(23, 3)) + np.array([0.0, 1e6, 0.0])
    labels[:, 2] = 4.0
    outputs = labels + RNG.normal(0.3, 0.5, size=(23, 3))
    whole = number_scores(number_sums(labels, outputs))
    parts = number_scores(
        number_sums(labels[7:], outputs[7:], number_sums(labels[:7], outputs[:7]))
    )
    for scores in (whole, parts):
        for n in range(3):
            errors = [o - t for o, t in zip(outputs[:, n], labels[:, n], strict=True)]
            spread = sum((t - labels[:, n].mean()) ** 2 for t in labels[:, n])
            assert scores.bias[n] == pytest.approx(sum(errors) / 23, rel=1e-6)
            assert scores.mean_absolute_error[n] == pytest.approx(sum(map(abs, errors)) / 23)
            squared = sum(e * e for e in errors)
            assert scores.root_mean_squared_error[n] == pytest.approx((squared / 23) ** 0.5)
            if n < 2:
                assert scores.r2[n] == pytest.approx(1 - squared / spread, rel=1e-8)
        assert np.isnan(scores.r2[2])
    images = number_sums(labels.reshape(23, 1, 3, 1), outputs.reshape(23, 1, 3, 1))
    assert images.count == 69
