"""The mean cross-entropy that users call."""

import math

import numpy as np

from arraycnn import softmax_cross_entropy
from arraycnn.ops import GENERIC

LOGITS = np.random.default_rng(0).normal(size=(5, 4))
LABELS = np.array([0, 3, 1, 1, 2], dtype=np.int32)


def mean_by_loops(logits):
    losses = [
        math.log(math.fsum(math.exp(other - row[label]) for other in row))
        for row, label in zip(logits.tolist(), LABELS.tolist(), strict=True)
    ]
    return math.fsum(losses) / len(losses)


def test_loss_is_the_mean(xp):
    loss, dlogits = xp.run(softmax_cross_entropy, xp.asarray(LOGITS), xp.asarray(LABELS))
    xp.check_close(loss, np.array(mean_by_loops(LOGITS)))
    width, expected = 1e-5, np.zeros_like(LOGITS)
    for place in np.ndindex(LOGITS.shape):
        change = np.zeros_like(LOGITS)
        change[place] = width
        difference = mean_by_loops(LOGITS + change) - mean_by_loops(LOGITS - change)
        expected[place] = difference / (2.0 * width)
    assert tuple(dlogits.shape) == expected.shape
    if xp.has_values:
        np.testing.assert_allclose(xp.to_numpy(dlogits), expected, rtol=1e-6, atol=1e-7)


def test_equal_logits_cost_the_logarithm_of_the_classes():
    for classes in (1, 2, 10):
        loss, _ = softmax_cross_entropy(np.full((3, classes), 7.0), np.zeros(3, dtype=np.int32))
        np.testing.assert_allclose(loss, math.log(classes), rtol=1e-15)


def test_gradient_of_each_row_sums_to_zero():
    _, dlogits = softmax_cross_entropy(100.0 * LOGITS, LABELS, GENERIC)
    np.testing.assert_allclose(dlogits.sum(axis=1), 0.0, atol=1e-16)
    assert (dlogits[np.arange(5), LABELS] <= 0.0).all()
