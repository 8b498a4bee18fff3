"""Losses against their definitions, finite differences and PyTorch's autograd, on every library."""

import decimal
import math
import re

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import softmax_cross_entropy
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import Context
from arraycnn.ops import GENERIC
from arraycnn.training.batch_loss import loss_of_batch, measures_of_batch
from loss_rows import EACH_ONCE, NUMBERS, OUTPUTS, ROWS, SEVERAL, VALUES

LOGITS = np.random.default_rng(0).normal(size=(5, 4))
LABELS = np.array([0, 3, 1, 1, 2], dtype=np.int32)
WEIGHTS = np.random.default_rng(3).uniform(0.0, 3.0, len(OUTPUTS))
CONTEXT = Context(GENERIC, "train", "float64")
each_row = pytest.mark.parametrize("row", ROWS, ids=str)


def by_loops(row, outputs=OUTPUTS):
    pairs = zip(outputs.tolist(), row.labels.tolist(), strict=True)
    return np.array([row.by_loops(row.loss, *pair) for pair in pairs])


def differences(function, at, width=1e-5):
    """The gradient of the number ``function(at)``, by central differences."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        change = np.zeros_like(at)
        change[place] = width
        found[place] = (function(at + change) - function(at - change)) / (2.0 * width)
    return found


@each_row
def test_a_batch_has_the_mean_of_the_definition_and_its_slope(row):
    for weights in (None, WEIGHTS):
        each = np.ones(len(OUTPUTS)) if weights is None else weights

        def mean(outputs, each=each):
            return float(np.mean(each * by_loops(row, outputs)))

        loss_sum, gradient, _ = loss_of_batch(row.loss, OUTPUTS, row.labels, CONTEXT, weights)
        np.testing.assert_allclose(loss_sum / len(OUTPUTS), mean(OUTPUTS), rtol=1e-12)
        np.testing.assert_allclose(gradient, differences(mean, OUTPUTS), rtol=1e-5, atol=1e-8)


@each_row
def test_a_batch_is_that_of_pytorchs_autograd(row, torch):
    if row.by_torch is None:
        return  # a user's, which PyTorch does not have; finite differences stand for it
    outputs, labels, each = map(torch.tensor, (OUTPUTS, row.labels, WEIGHTS))
    outputs.requires_grad_()
    numbers = row.by_torch(torch.nn.functional, row.loss, outputs, labels)
    mean = (each * numbers.reshape(len(OUTPUTS), -1).mean(dim=1)).mean()
    mean.backward()
    loss_sum, gradient, _ = loss_of_batch(row.loss, OUTPUTS, row.labels, CONTEXT, WEIGHTS)
    np.testing.assert_allclose(loss_sum / len(OUTPUTS), float(mean.detach()), rtol=1e-12)
    np.testing.assert_allclose(gradient, outputs.grad.numpy(), rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize("row", EACH_ONCE[1:], ids=str)
def test_every_library_equals_numpy(row, xp):
    def run(outputs, labels):
        losses, gradient = row.loss.loss_and_gradient(xp.namespace, outputs, labels)
        return losses, gradient, row.loss.sums(xp.namespace, outputs, labels)

    expected = row.loss.loss_and_gradient(np, OUTPUTS, row.labels)
    expected = *expected, row.loss.sums(np, OUTPUTS, row.labels)
    found = xp.run(run, xp.asarray(OUTPUTS), xp.asarray(row.labels))
    for actual, array in zip(found, expected, strict=True):
        xp.check_close(actual, array)


@each_row
def test_losses_of_huge_outputs_are_finite(row):
    if not isinstance(row.loss, (cnn.SoftmaxCrossEntropy, cnn.BinaryCrossEntropy, cnn.Huber)):
        return
    with np.errstate(all="raise", under="ignore"):
        losses, gradient = row.loss.loss_and_gradient(np, 1e5 * OUTPUTS, row.labels)
    assert np.isfinite(losses).all()
    assert np.abs(gradient).max() <= 4.0


@pytest.mark.parametrize("extra", [(1,), (2, 3)])
@each_row
def test_the_loss_of_an_image_is_the_mean_of_its_pixels(row, extra):
    if type(row.loss).__name__ == "Focal":
        return
    outputs = np.random.default_rng(8).normal(size=(len(OUTPUTS), *extra, 3))
    labels = np.broadcast_to(
        row.labels.reshape(len(OUTPUTS), *(1,) * len(extra), *row.labels.shape[1:]),
        (len(OUTPUTS), *extra, *row.labels.shape[1:]),
    )
    losses, gradient = row.loss.loss_and_gradient(np, outputs, labels)
    pixels = list(np.ndindex(extra))
    alone = [row.loss.loss_and_gradient(np, outputs[:, *place], row.labels) for place in pixels]
    np.testing.assert_allclose(losses, np.mean([one for one, _ in alone], axis=0), rtol=1e-12)
    for place, (_, of_pixel) in zip(pixels, alone, strict=True):
        np.testing.assert_allclose(gradient[:, *place], of_pixel / len(pixels), rtol=1e-12)


# What is measured


def test_accuracy_and_the_k_most_likely_by_loops():
    loss = cnn.SoftmaxCrossEntropy(label_smoothing=0.1, top_k=2)
    right = among = 0
    for row, label in zip(OUTPUTS.tolist(), NUMBERS.tolist(), strict=True):
        order = sorted(range(3), key=lambda k: -row[k])
        right, among = right + (order[0] == label), among + (label in order[:2])
    _, sums = measures_of_batch(loss, OUTPUTS, NUMBERS, CONTEXT)
    assert loss.metrics(sums, 14) == {"accuracy": right / 14, "top_2_accuracy": among / 14}
    assert right < among < 14
    soft = np.eye(3)[NUMBERS] * 0.4 + 0.2
    _, again = measures_of_batch(loss, OUTPUTS, soft, CONTEXT)
    np.testing.assert_array_equal(again, sums)


@pytest.mark.parametrize("k", [1, 2, 5, 9])
def test_of_equal_outputs_the_first_classes_are_among_k(k, xp):
    """As in the accuracy, which is that of one: a network that tells nothing is right by chance."""
    rng = np.random.default_rng(k)
    outputs = rng.integers(0, 3, (60, 10)).astype(float)
    outputs[:10] = 4.0
    outputs[10:15, 3:] = -np.inf
    labels = np.concatenate([np.arange(10), rng.integers(0, 10, 50)]).astype(np.int32)
    among = right = 0
    for row, label in zip(outputs.tolist(), labels.tolist(), strict=True):
        order = sorted(range(10), key=lambda one: -row[one])  # which leaves equal ones as they are
        right, among = right + (order[0] == label), among + (label in order[:k])
    loss = cnn.SoftmaxCrossEntropy(top_k=k)
    for count, given in ((60, labels), (60, np.eye(10)[labels]), (10, labels[:10])):

        def sums(outputs, labels):
            return loss.sums(xp.namespace, outputs, labels)

        found = xp.run(sums, xp.asarray(outputs[:count]), xp.asarray(given))
        xp.check_close(found, np.array([right, among] if count == 60 else [1, k], float))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_binary_cross_entropy_is_exact_however_large_the_logits_are(dtype):
    """Against 340 decimal places: loss and gradient of what is told rightly are not rounded away."""
    sizes = [0.0, 1e-5, 0.3, 5.0, 17.0, 20.0, 80.0, 700.0, 1e4]
    outputs = np.array([sign * size for size in sizes for sign in (1, -1)], dtype)[:, None]
    for label in (0.0, 1.0, 0.25):
        losses, slopes = [], []
        with decimal.localcontext() as context:
            context.prec, share = 340, decimal.Decimal(label)
            for x in map(decimal.Decimal, outputs[:, 0].tolist()):
                has, has_not = 1 + (-x).exp(), 1 + x.exp()  # 1 / p and 1 / (1 - p)
                losses.append(share * has.ln() + (1 - share) * has_not.ln())
                slopes.append((1 - share) / has - share / has_not)
        loss = cnn.BinaryCrossEntropy()
        found, gradient = loss.loss_and_gradient(np, outputs, np.full_like(outputs, label))
        # What has no number of this kind but 0, or few bits, may be 0.
        bounds = {"rtol": 8 * np.finfo(dtype).eps, "atol": 8 * np.finfo(dtype).tiny}
        np.testing.assert_allclose(found, np.array(losses, float), **bounds)
        np.testing.assert_allclose(gradient[:, 0], np.array(slopes, float), **bounds)


def test_f1_by_loops_leaves_out_labels_that_nobody_has():
    outputs = np.column_stack([OUTPUTS, np.full(14, -1.0), OUTPUTS[:, 0]])
    labels = np.column_stack([SEVERAL, np.zeros((14, 2))])  # told of none, and of some wrongly
    scores, hits, both, every = [], 0, 0, 0
    for k in range(5):
        pairs = [(o > 0, y == 1) for o, y in zip(outputs[:, k], labels[:, k], strict=True)]
        hits += sum(told == has for told, has in pairs)
        true, some = sum(a and b for a, b in pairs), sum(int(a) + int(b) for a, b in pairs)
        both, every = both + true, every + some
        scores += [2 * true / some] if some else []
    loss = cnn.BinaryCrossEntropy()
    _, sums = measures_of_batch(loss, outputs, labels, CONTEXT)
    found = loss.metrics(sums, 14)
    assert len(scores) == 4
    assert found.keys() == {"accuracy", "f1", "f1_micro"}
    expected = [hits / 70, math.fsum(scores) / 4, 2 * both / every]
    np.testing.assert_allclose(list(found.values()), expected, rtol=1e-12)
    _, sums = measures_of_batch(loss, -np.ones((3, 2)), np.zeros((3, 2)), CONTEXT)
    assert loss.metrics(sums, 3) == {"accuracy": 1.0}  # an F1 of nothing is none


def test_the_mean_absolute_error_by_loops():
    off = [abs(a - b) for a, b in zip(OUTPUTS.ravel(), VALUES.ravel(), strict=True)]
    _, sums = measures_of_batch(cnn.Huber(), OUTPUTS, VALUES, CONTEXT)
    (found,) = cnn.Huber().metrics(sums, 14).values()
    np.testing.assert_allclose(found, math.fsum(off) / len(off), rtol=1e-12)


# The mean cross-entropy that users call


def mean_by_loops(logits):
    losses = [
        math.log(math.fsum(math.exp(other - row[label]) for other in row))
        for row, label in zip(logits.tolist(), LABELS.tolist(), strict=True)
    ]
    return math.fsum(losses) / len(losses)


def test_loss_is_the_mean(xp):
    loss, dlogits = xp.run(softmax_cross_entropy, xp.asarray(LOGITS), xp.asarray(LABELS))
    xp.check_close(loss, np.array(mean_by_loops(LOGITS)))
    expected = differences(mean_by_loops, LOGITS)
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


# Messages


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: cnn.SoftmaxCrossEntropy(1.0), ValueError, "label_smoothing must be below 1, got"),
        (lambda: cnn.SoftmaxCrossEntropy(-0.1), ValueError, "label_smoothing must be finite and"),
        (lambda: cnn.SoftmaxCrossEntropy("0.1"), TypeError, "label_smoothing must be a number"),
        (lambda: cnn.SoftmaxCrossEntropy(0, (1, -1)), ValueError, "class_weight must be finite"),
        (lambda: cnn.SoftmaxCrossEntropy(0, (0, 0)), ValueError, "class_weight must be above 0"),
        (lambda: cnn.SoftmaxCrossEntropy(0, 3.0), TypeError, "class_weight must be a sequence"),
        (lambda: cnn.SoftmaxCrossEntropy(per_pixel=1), TypeError, "per_pixel must be a bool"),
        (lambda: cnn.SoftmaxCrossEntropy(top_k=0), ValueError, "top_k must be at least 1, got 0"),
        (
            lambda: cnn.BinaryCrossEntropy((1, math.inf)),
            ValueError,
            "positive_weight must be finite",
        ),
        (lambda: cnn.BinaryCrossEntropy("ab"), TypeError, "positive_weight must be a sequence"),
        (lambda: cnn.Huber(0.0), ValueError, "Huber: delta must be above 0, got 0.0"),
        (lambda: cnn.Huber(None), TypeError, "Huber: delta must be a number, got None"),
    ],
)
def test_bad_settings(make, kind, message):
    expected = InvalidTypeError if kind is TypeError else InvalidValueError
    with pytest.raises(expected, match=re.escape(message)):
        make()


def test_weights_may_be_any_sequence_and_losses_are_compared_by_their_settings():
    one = cnn.SoftmaxCrossEntropy(class_weight=np.array([1, 2.5]))
    assert one == cnn.SoftmaxCrossEntropy(class_weight=[1.0, 2.5])
    assert hash(one) == hash(cnn.SoftmaxCrossEntropy(class_weight=(1, 2.5)))


class Summing(cnn.RegressionLoss):
    """A user's loss that forgets that it is of single images."""

    def loss_and_gradient(self, xp, outputs, labels):
        return xp.sum(outputs - labels), xp.ones_like(outputs)


def test_a_loss_of_the_whole_batch_is_refused():
    message = (
        "Summing: loss_and_gradient must give losses of shape (14,) and a gradient of shape "
        "(14, 3), got () and (14, 3); take the mean over each image's numbers alone"
    )
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        loss_of_batch(Summing(), OUTPUTS, VALUES, CONTEXT)


class Measuring(cnn.RegressionLoss):
    """A user's loss whose measure is what it is given."""

    def __init__(self, measures, losses=None):
        self.function, self.losses = measures, losses

    def loss_and_gradient(self, xp, outputs, labels):
        found, gradient = cnn.MeanSquaredError().loss_and_gradient(xp, outputs, labels)
        return found if self.losses is None else self.losses(found), gradient

    def measured(self, xp, outputs, labels):
        return self.function(outputs - labels)


@pytest.mark.parametrize("function", [loss_of_batch, measures_of_batch], ids=lambda f: f.__name__)
@pytest.mark.parametrize(
    ("measures", "got"),
    [
        (lambda error: error, "float64 of shape (14, 3)"),
        (lambda error: error[:, :1], "float64 of shape (14, 1)"),
        (lambda error: error[:4, 0], "float64 of shape (4,)"),
        (np.mean, "float64 of shape ()"),
        (lambda error: error[:, 0] > 0, "bool of shape (14,)"),
        (lambda error: np.argmax(error, axis=1), "int64 of shape (14,)"),
        (lambda error: 0.5, "float"),
        (lambda error: None, "NoneType"),
    ],
)
def test_a_measure_that_is_not_one_number_of_each_image_is_refused(function, measures, got):
    """In training and in evaluation: its sum would be a mean of something else."""
    message = (
        "Measuring: measured must give one floating number of each image, shape (14,), "
        f"got {got}; take the mean over each image's numbers alone"
    )
    given = (OUTPUTS, VALUES, CONTEXT)
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        function(Measuring(measures), *given)
    for losses, what in ((np.sum, "()"), (lambda found: 0.5, "float")):
        message = f"gradient of shape (14, 3), got {what} and (14, 3)"
        with pytest.raises(InvalidValueError, match=re.escape(message)):
            function(Measuring(lambda error: error[:, 0], losses), *given)
    function(Measuring(lambda error: error[:, 0]), *given)


def test_outputs_that_are_no_numbers_are_right_about_nothing():
    outputs, labels = np.full((4, 10), np.nan), np.zeros(4, np.int32)
    outputs[3, 1:] = -1.0  # the label's alone is none
    for k in (1, 3, 9):
        loss = cnn.SoftmaxCrossEntropy(top_k=k)
        assert loss.sums(np, outputs, labels)[1] == 0
