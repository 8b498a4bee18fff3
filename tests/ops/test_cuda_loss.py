"""Softmax and cross-entropy in CUDA, against PyTorch in float64 and NumPy's argmax."""

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.cross_entropy.cuda import softmax, softmax_cross_entropy
from host_cuda import HostLauncher, check, lazy_zeros

dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])

SHAPES = [  # images, classes: one warp, one block, several blocks
    *[(0, 3), (1, 1), (1, 10), (2, 31), (31, 32), (32, 33), (33, 2), (64, 10), (127, 100)],
    *[(128, 10), (129, 10), (1000, 5), (257, 65), (3, 1500)],
]


def tolerance(dtype):
    return 1e-12 if dtype == "float64" else 3e-6


def problem(images, classes, dtype, scale=1.0):
    rng = np.random.default_rng(images + classes)
    logits = (scale * rng.normal(size=(images, classes))).astype(dtype)
    return logits, rng.integers(0, classes, images).astype(np.int32)


def expected(torch, logits, labels, batch_size):
    tensor = torch.tensor(logits.astype(float), requires_grad=True)
    loss = torch.nn.functional.cross_entropy(
        tensor, torch.tensor(labels, dtype=torch.int64), reduction="sum"
    )
    (loss / batch_size).backward()
    correct = sum(int(np.argmax(row) == label) for row, label in zip(logits, labels, strict=True))
    return loss.item(), tensor.grad.numpy(), correct


@dtypes
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_cross_entropy(shape, scale, dtype, torch):
    logits, labels = problem(*shape, dtype, scale)
    batch_size = shape[0] + 3
    actual = check(lambda cuda: softmax_cross_entropy(cuda, logits, labels, batch_size))
    loss_sum, dlogits, correct = expected(torch, logits, labels, batch_size)
    bound = tolerance(dtype)
    np.testing.assert_allclose(actual[0], loss_sum, rtol=bound, atol=bound)
    np.testing.assert_allclose(actual[1] * batch_size, dlogits * batch_size, rtol=0, atol=bound)
    assert actual[2] == correct
    assert actual[0].shape == actual[2].shape == ()
    assert actual[0].dtype == actual[1].dtype == dtype
    assert actual[2].dtype == np.int32


def test_more_rows_than_warps(torch):
    logits, labels = problem(8200, 2, "float64")
    actual = softmax_cross_entropy(HostLauncher(), logits, labels, 8200)
    loss_sum, dlogits, correct = expected(torch, logits, labels, 8200)
    np.testing.assert_allclose(actual[0], loss_sum, rtol=1e-12)
    np.testing.assert_allclose(actual[1], dlogits, rtol=0, atol=1e-15)
    assert actual[2] == correct


@pytest.mark.parametrize("width", [3, 40])
@pytest.mark.parametrize(
    ("row", "label", "correct"),
    [
        ([1.0, 3.0, 3.0], 1, 1),  # the first of equals
        ([1.0, 3.0, 3.0], 2, 0),
        ([1.0, np.nan, 3.0], 1, 1),  # a NaN is the largest
        ([1.0, np.nan, np.nan], 2, 0),
        ([np.nan, 5.0, 1.0], 1, 0),
        ([1e30, 0.0, -1e30], 0, 1),
        ([-np.inf, 0.0, -np.inf], 1, 1),
    ],
)
def test_hits_and_extremes(row, label, correct, width):
    # The classes that are looked at lie in different lanes, or one after another in one lane.
    places = np.array([0, 1, 2]) if width == 3 else np.array([3, 35, 38])
    logits = np.full((1, width), -np.inf)
    logits[0, places] = row
    labels = np.array([places[label]], np.int32)
    loss, dlogits, hits = check(lambda cuda: softmax_cross_entropy(cuda, logits, labels, 1))
    assert hits == correct == (np.argmax(logits) == labels[0])
    if np.isnan(row).any():
        assert np.isnan(loss)
        assert np.isnan(dlogits).all()
    else:
        shares = np.exp(logits - logits.max())
        np.testing.assert_allclose(loss, np.log(shares.sum()) + logits.max() - row[label])
        np.testing.assert_allclose(
            dlogits, shares / shares.sum() - (np.arange(width) == labels[0]), atol=1e-15
        )


def test_hits_are_counted_by_logits_not_by_rounded_probabilities():
    logits, labels = np.array([[0.0, 1e-20]] * 2), np.array([1, 1], np.int32)
    assert softmax_cross_entropy(HostLauncher(), logits, labels, 2)[2] == 2


@dtypes
@pytest.mark.parametrize(
    "shape", [(1,), (0, 4), (1, 1), (9, 31), (8, 32), (3, 33), (2, 5, 70), (40, 1000)], ids=str
)
def test_softmax(shape, dtype, torch):
    x = (20 * np.random.default_rng(0).normal(size=shape)).astype(dtype)
    y = check(lambda cuda: softmax(cuda, x))
    assert y.dtype == dtype
    wanted = torch.softmax(torch.tensor(x.astype(float)), dim=-1).numpy()
    np.testing.assert_allclose(y, wanted, rtol=0, atol=tolerance(dtype))


def test_softmax_of_extremes():
    rows = np.array([[1e300, 1e300, 0.0], [-1e300, -1e300, -np.inf], [0.0, np.nan, 0.0]])
    wanted = [[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [np.nan] * 3]
    np.testing.assert_array_equal(check(lambda cuda: softmax(cuda, rows)), wanted)


def test_views_are_taken_as_they_are():
    logits, labels = problem(40, 7, "float64")
    straight = softmax_cross_entropy(HostLauncher(), logits, labels, 40)
    turned = softmax_cross_entropy(
        HostLauncher(), np.asfortranarray(logits), np.repeat(labels, 2)[::2], 40
    )
    for a, b in zip(straight, turned, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        softmax(HostLauncher(), logits.T), softmax(HostLauncher(), logits.T.copy())
    )


@pytest.mark.parametrize("dtype", ["float16", "int32"])
def test_other_dtypes_are_refused(dtype):
    logits, labels = problem(4, 3, dtype)
    with pytest.raises(InvalidTypeError, match=r"^softmax_cross_entropy on CUDA: .* float32"):
        softmax_cross_entropy(HostLauncher(), logits, labels, 4)
    with pytest.raises(InvalidTypeError, match=r"^softmax on CUDA: .* float32"):
        softmax(HostLauncher(), logits)


def test_labels_that_do_not_fit_are_refused():
    logits, labels = problem(4, 3, "float32")
    with pytest.raises(InvalidTypeError, match=r"takes int32 here, got int64"):
        softmax_cross_entropy(HostLauncher(), logits, labels.astype("int64"), 4)
    with pytest.raises(InvalidValueError, match=r"labels must be of shape \(4,\), got \(3,\)"):
        softmax_cross_entropy(HostLauncher(), logits, labels[1:], 4)


def test_beyond_2_to_the_31():
    images, classes = 2**18 + 1, 2**13
    logits, labels = lazy_zeros((images, classes), np.float32), np.zeros(images, np.int32)
    logits[-1] = np.linspace(0, 1, classes, dtype=np.float32)
    labels[-1] = classes - 1
    y = softmax(HostLauncher(blocks=slice(-1, None)), logits)[-1].astype(float)
    shares = np.exp(logits[-1].astype(float))
    np.testing.assert_allclose(y, shares / shares.sum(), rtol=1e-5)
    # The last row is the first warp's of the block whose turn it is.
    block = (images - 1) // 8 % 1024
    cuda = HostLauncher(blocks=slice(block, block + 1))
    _, dlogits, _ = softmax_cross_entropy(cuda, logits, labels, 1)
    wanted = shares / shares.sum() - (np.arange(classes) == labels[-1])
    np.testing.assert_allclose(dlogits[-1], wanted, rtol=1e-5)
