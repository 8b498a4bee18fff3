"""The kernels that end a classifier, against PyTorch's autograd in float64 and plain loops."""

import numpy as np
import pytest

from arraycnn.errors import InvalidTypeError
from arraycnn.ops import GENERIC
from arraycnn.ops.dense.cuda_classifier import dense_cross_entropy
from conftest import import_optional
from host_cuda import HostLauncher, check

SHAPES = [  # images, inputs, classes
    *[(1, 1, 1), (1, 1, 2), (3, 7, 2), (8, 338, 10), (5, 33, 31), (4, 40, 32), (2, 65, 33)],
    *[(64, 20, 10), (33, 5, 128), (2, 300, 100), (256, 3, 7), (3, 300, 2)],
]


def arrays(images, inputs, classes, dtype, bias=True):
    rng = np.random.default_rng(images * 1000 + classes)
    return (
        rng.normal(size=(images, inputs)).astype(dtype),
        rng.normal(size=(inputs, classes)).astype(dtype),
        rng.normal(size=classes).astype(dtype) if bias else None,
        rng.integers(0, classes, images).astype(np.int32),
    )


def expected(x, weight, bias, labels, batch_size):
    torch = import_optional("torch")
    tensors = [torch.tensor(a.astype(float), requires_grad=True) for a in (x, weight)]
    added = torch.tensor(
        (np.zeros(weight.shape[1]) if bias is None else bias).astype(float), requires_grad=True
    )
    logits = tensors[0] @ tensors[1] + added
    loss = torch.nn.functional.cross_entropy(
        logits, torch.tensor(labels, dtype=torch.int64), reduction="sum"
    )
    (loss / batch_size).backward()
    correct = sum(
        int(np.argmax(row) == label) for row, label in zip(logits.tolist(), labels, strict=True)
    )
    return loss.item(), correct, *(t.grad.numpy() for t in (*tensors, added))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_against_autograd(shape, dtype, bias):
    given = arrays(*shape, dtype, bias)
    batch_size = shape[0] + 2
    tolerance = 1e-12 if dtype == "float64" else 2e-5
    actual = check(lambda cuda: dense_cross_entropy(cuda, None, *given, batch_size))
    for name, value, wanted in zip(
        ("loss", "correct", "dx", "dweight", "dbias"),
        actual,
        expected(*given, batch_size),
        strict=True,
    ):
        np.testing.assert_allclose(value, wanted, rtol=tolerance, atol=tolerance, err_msg=name)
    assert actual[0].shape == actual[1].shape == ()
    assert all(a.dtype == dtype for a in (actual[0], *actual[2:]))


@pytest.mark.parametrize(
    ("row", "label", "correct"),
    [
        ([1.0, 3.0, 3.0], 1, 1),  # the first of equals
        ([1.0, 3.0, 3.0], 2, 0),
        ([1.0, np.nan, 3.0], 1, 1),  # a NaN is the largest
        ([1.0, np.nan, np.nan], 2, 0),
        ([1000.0, 0.0, -1000.0], 0, 1),  # no overflow
        ([-np.inf, 0.0, -np.inf], 1, 1),
    ],
)
def test_hits_and_extremes(row, label, correct):
    x, weight = np.eye(1), np.array([row])
    loss, hits, *_ = dense_cross_entropy(
        HostLauncher(), None, x, weight, None, np.array([label], np.int32), 1
    )
    assert hits == correct
    if np.isfinite(row[label]) and not np.isnan(row).any():
        kept = [value for value in row if value > -np.inf]
        wanted = np.log(sum(np.exp(value - max(kept)) for value in kept)) + max(kept) - row[label]
        assert loss == pytest.approx(wanted, abs=1e-12)
    elif np.isnan(row).any():
        assert np.isnan(loss)


def test_views_are_taken_as_they_are():
    x, weight, bias, labels = arrays(6, 9, 4, "float64")
    straight = dense_cross_entropy(HostLauncher(), None, x, weight, bias, labels, 6)
    turned = dense_cross_entropy(
        *(HostLauncher(), None, np.asfortranarray(x), np.repeat(weight, 2, axis=1)[:, ::2], bias),
        *(np.repeat(labels, 3)[::3], 6),
    )
    for a, b in zip(straight, turned, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("shape", [(300, 4, 3), (2, 4, 129), (0, 4, 3)])
def test_what_does_not_fit_is_computed_in_steps(shape):
    given = arrays(*shape, "float64")
    actual = dense_cross_entropy(HostLauncher(), GENERIC, *given, max(shape[0], 1))
    for value, wanted in zip(actual, expected(*given, max(shape[0], 1)), strict=True):
        np.testing.assert_allclose(value, wanted, rtol=1e-12, atol=1e-12)


def test_mixed_dtypes_are_refused():
    x, weight, bias, labels = arrays(2, 3, 4, "float64")
    with pytest.raises(InvalidTypeError, match="float32 or all float64"):
        dense_cross_entropy(HostLauncher(), None, x.astype("float32"), weight, bias, labels, 2)
