"""The kernels: against loops and closed forms, on random shapes and on every array library."""

import dataclasses
import inspect
from importlib.util import find_spec

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import arraycnn as cnn
from arraycnn.ops import GENERIC, Kernels, Window
from arraycnn.ops.window import check_padding, resolve_window
from cases import convolution_by_loops, same_padding

NUMPY = cnn.NumPy(fast=False).kernels
RECORDS = {"generic": GENERIC, "numpy": NUMPY}
if find_spec("llvmlite") is not None:
    from arraycnn.execution.thread_pool import ThreadPool
    from arraycnn.ops.compiled.launcher import Launcher
    from arraycnn.ops.compiled.record import compiled_kernels

    RECORDS["compiled"] = compiled_kernels(Launcher(ThreadPool(2)))


@st.composite
def images_and_windows(draw):
    """The shape of an image, (N, H, W, C), and a window that fits into it at least once."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    padding = draw(st.tuples(*[st.integers(0, 3)] * 4))
    smallest = (
        max(1, kernel[0] - padding[0] - padding[1]),
        max(1, kernel[1] - padding[2] - padding[3]),
    )
    shape = (
        draw(st.integers(1, 3)),
        draw(st.integers(smallest[0], smallest[0] + 5)),
        draw(st.integers(smallest[1], smallest[1] + 5)),
        draw(st.integers(1, 3)),
    )
    return shape, Window(kernel, stride, padding)


def whole_numbers(shape, seed=0):
    """Small integers as floats: their products and sums are exact, in any order."""
    return np.random.default_rng(seed).integers(-9, 10, shape).astype(float)


def im2col_by_loops(x, window):
    images, height, width, channels = x.shape
    (rows, columns), (top, _, left, _) = window.output_shape(height, width), window.padding
    result = np.zeros((images, rows, columns, *window.kernel_size, channels))
    for n, i, j, a, b, c in np.ndindex(result.shape):
        row = i * window.stride[0] + a - top
        column = j * window.stride[1] + b - left
        if 0 <= row < height and 0 <= column < width:
            result[n, i, j, a, b, c] = x[n, row, column, c]
    return result.reshape(images * rows * columns, -1)


@given(images_and_windows())
def test_im2col_equals_loops(shape_and_window):
    shape, window = shape_and_window
    x = whole_numbers(shape)
    np.testing.assert_array_equal(GENERIC.im2col(x, window), im2col_by_loops(x, window))


@given(images_and_windows())
def test_col2im_is_the_adjoint_of_im2col(shape_and_window):
    shape, window = shape_and_window
    x = whole_numbers(shape)
    columns = GENERIC.im2col(x, window)
    other = whole_numbers(columns.shape, seed=1)
    image = GENERIC.col2im(other, shape, window)
    assert image.shape == shape
    assert np.sum(columns * other) == np.sum(x * image)


@given(images_and_windows(), st.integers(1, 3), st.booleans())
def test_conv2d_equals_loops(shape_and_window, filters, with_bias):
    shape, window = shape_and_window
    x = whole_numbers(shape)
    weight = whole_numbers((*window.kernel_size, shape[3], filters), seed=1)
    bias = whole_numbers((filters,), seed=2) if with_bias else None
    np.testing.assert_array_equal(
        GENERIC.conv2d(GENERIC, x, weight, bias, window),
        convolution_by_loops(x, weight, bias, window.stride, window.padding),
    )


@given(images_and_windows(), st.integers(1, 3))
def test_conv2d_backward_is_the_adjoint_of_conv2d(shape_and_window, filters):
    shape, window = shape_and_window
    x = whole_numbers(shape)
    weight = whole_numbers((*window.kernel_size, shape[3], filters), seed=1)
    y = convolution_by_loops(x, weight, None, window.stride, window.padding)
    dy = whole_numbers(y.shape, seed=2)
    dx, dweight, dbias = GENERIC.conv2d_backward(GENERIC, x, weight, dy, window, need_dx=True)
    assert np.sum(x * dx) == np.sum(y * dy) == np.sum(weight * dweight)
    np.testing.assert_array_equal(dbias, dy.sum(axis=(0, 1, 2)))
    none, *same = GENERIC.conv2d_backward(GENERIC, x, weight, dy, window, need_dx=False)
    assert none is None
    np.testing.assert_array_equal(same[0], dweight)


@given(
    images_and_windows(),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(0, 4), st.integers(0, 4)),
    st.integers(1, 2),
)
def test_depthwise_gradients_are_the_adjoint_of_loops(shape_and_window, dilation, more, multiplier):
    """Also where windows see nothing but padding, and where pixels lie beyond the last one."""
    (images, height, width, channels), window = shape_and_window
    top, bottom, left, right = window.padding
    padding = (top + more[0], bottom + more[1], left + more[1], right + more[0])
    window = Window(window.kernel_size, window.stride, padding, dilation)
    tall, wide = window.extent
    shape = (images, max(height, tall), max(width, wide), channels + 1)
    filters = multiplier * (channels + 1)
    x, other = whole_numbers(shape), whole_numbers(shape, seed=1)
    weight = whole_numbers((*window.kernel_size, 1, filters), seed=2)
    changed = whole_numbers(weight.shape, seed=3)
    settings = window.stride, window.padding, window.dilation
    y = convolution_by_loops(other, weight, None, *settings)
    np.testing.assert_array_equal(GENERIC.grouped_conv2d(GENERIC, other, weight, None, window), y)
    dy = whole_numbers(y.shape, seed=4)
    dx, dweight, _ = GENERIC.grouped_conv2d_backward(GENERIC, x, weight, dy, window, True)
    assert np.sum(other * dx) == np.sum(y * dy)
    by_weight = convolution_by_loops(x, changed, None, *settings)
    assert np.sum(changed * dweight) == np.sum(by_weight * dy)


@given(images_and_windows())
def test_avg_pool2d_backward_is_the_adjoint_of_avg_pool2d(shape_and_window):
    (images, height, width, channels), window = shape_and_window
    window = dataclasses.replace(window, padding=(0, 0, 0, 0))
    shape = (images, height + 4, width + 4, channels)
    x = whole_numbers(shape)
    y = GENERIC.avg_pool2d(x, window)
    dy = whole_numbers(y.shape, seed=1)
    dx = GENERIC.avg_pool2d_backward(dy, shape, window)
    np.testing.assert_allclose(np.sum(x * dx), np.sum(y * dy), rtol=1e-12, atol=1e-9)


def test_convolution_uses_the_matmul_of_its_record():
    calls = []

    def matmul(a, b):
        calls.append((a.shape, b.shape))
        return a @ b

    ops = dataclasses.replace(GENERIC, matmul=matmul)
    x, weight, window = np.ones((1, 3, 3, 2)), np.ones((2, 2, 2, 5)), Window((2, 2))
    y = ops.conv2d(ops, x, weight, None, window)
    ops.conv2d_backward(ops, x, weight, y, window, need_dx=True)
    assert calls == [((4, 8), (8, 5)), ((8, 4), (4, 5)), ((4, 5), (5, 8))]


# Windows


@pytest.mark.parametrize("stride", range(1, 5))
@pytest.mark.parametrize("kernel", range(1, 6))
@pytest.mark.parametrize("size", [1, 2, 5, 8])
def test_same_padding_gives_one_output_a_stride(size, kernel, stride):
    window = resolve_window("Conv2d", kernel, stride, "same", size, size)
    assert window.output_shape(size, size) == (-(-size // stride),) * 2
    assert window.padding == same_padding(size, kernel, stride) * 2


def test_window_that_does_not_fit_only_by_its_padding():
    assert resolve_window("Conv2d", 5, 1, (1, 2), 3, 1).output_shape(3, 1) == (1, 1)
    with pytest.raises(ValueError, match="Conv2d: the 5x5 window must fit into the image"):
        resolve_window("Conv2d", 5, 1, (1, 2), 2, 1)


@pytest.mark.parametrize(
    "padding", ["SAME", "", 0, True, (1,), (1, 1.0), (True, 1), (0, -1), [1, 1], None]
)
def test_bad_padding(padding):
    with pytest.raises((TypeError, ValueError), match=r"^Conv2d: padding must be "):
        check_padding("Conv2d", padding)


# The loss


def check_cross_entropy(xp, logits, labels, batch_size, loss_sum, dlogits, correct):
    actual = xp.run(
        lambda logits, labels: GENERIC.softmax_cross_entropy(logits, labels, batch_size),
        *(xp.asarray(np.array(logits)), xp.asarray(np.array(labels, dtype=np.int32))),
    )
    xp.check_close(actual[0], np.array(loss_sum))
    xp.check_close(actual[1], np.array(dlogits))
    xp.check_close(actual[2], np.array(correct, dtype=np.int32))


def test_cross_entropy_of_small_logits(xp):
    # exp(logits) is 1 : 2 : 5 and 4 : 2 : 2, so the probabilities are eighths.
    logits = np.log([[1.0, 2.0, 5.0], [4.0, 2.0, 2.0]])
    dlogits = [[1 / 8 - 1, 2 / 8, 5 / 8], [4 / 8 - 1, 2 / 8, 2 / 8]]
    check_cross_entropy(
        xp, logits, [0, 0], 1, loss_sum=np.log(8) + np.log(2), dlogits=dlogits, correct=1
    )
    quarter = np.array(dlogits) / 4
    check_cross_entropy(
        xp, logits, [0, 0], 4, loss_sum=np.log(8) + np.log(2), dlogits=quarter, correct=1
    )


def test_cross_entropy_of_huge_logits(xp):
    # Probabilities are 0, 1 and 1/2 to the last bit; the loss of a lost row is the difference.
    logits = [[1e4, 0.0, -1e4], [1e4, 0.0, -1e4], [0.0, 1e4, 1e4], [-1e4, -1e4, -1e4]]
    check_cross_entropy(
        xp,
        logits,
        [0, 2, 1, 1],
        1,
        loss_sum=0.0 + 2e4 + np.log(2) + np.log(3),
        dlogits=[[0.0, 0.0, 0.0], [1.0, 0.0, -1.0], [0.0, -0.5, 0.5], [1 / 3, -2 / 3, 1 / 3]],
        correct=2,  # rows 0 and 2: the first of equal logits counts
    )


def test_hits_are_counted_by_logits_not_by_rounded_probabilities(xp):
    half = [[0.5, -0.5]] * 2
    check_cross_entropy(
        xp, [[0.0, 1e-20]] * 2, [1, 1], 1, loss_sum=2 * np.log(2), dlogits=half, correct=2
    )


@pytest.mark.parametrize("scale", [1.0, 30.0, 1e4])
def test_cross_entropy_as_torch(scale, torch):
    rng = np.random.default_rng(0)
    logits, labels = scale * rng.normal(size=(50, 7)), rng.integers(0, 7, 50).astype(np.int32)
    tensor = torch.tensor(logits, requires_grad=True)
    expected = torch.nn.functional.cross_entropy(
        tensor, torch.tensor(labels, dtype=torch.int64), reduction="sum"
    )
    expected.backward()
    loss_sum, dlogits, correct = GENERIC.softmax_cross_entropy(logits, labels, 50)
    np.testing.assert_allclose(loss_sum, expected.item(), rtol=1e-12)
    np.testing.assert_allclose(50 * dlogits, tensor.grad.numpy(), rtol=1e-12, atol=1e-14)
    hits = tensor.argmax(1).to(torch.int32) == torch.tensor(labels)
    assert correct == hits.sum().item()


# Gathering


def test_gather(xp):
    images = np.arange(5 * 2 * 2, dtype=np.uint8).reshape(5, 2, 2, 1)
    indices = np.array([4, 0, 4, 2], dtype=np.int32)
    batch = xp.run(GENERIC.gather, xp.asarray(images), xp.asarray(indices))
    xp.check_equal(batch, np.stack([images[4], images[0], images[4], images[2]]))
    assert batch.dtype == xp.namespace.uint8


# The record


def different_signatures(record: Kernels) -> list[str]:
    """The kernels of ``record`` that cannot be called as the generic ones are."""

    def parameters(function):
        if function is None:
            return None
        found = inspect.signature(function).parameters.values()
        # What a record itself has settled is not for its callers.
        settled = ("late", "need_winners")
        return [(p.name, p.kind, p.default) for p in found if p.name not in settled]

    names = [field.name for field in dataclasses.fields(Kernels)]
    return [
        name
        for name in names
        # Fused runs have no generic kernel: NumPy's is the one to follow, or there is none.
        if parameters(getattr(record, name))
        not in (parameters(getattr(GENERIC, name)), parameters(getattr(NUMPY, name)))
        and (getattr(GENERIC, name) or getattr(NUMPY, name))
    ]


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_kernels_keep_the_generic_signatures(record):
    assert different_signatures(record) == []


def test_a_changed_signature_is_found():
    record = dataclasses.replace(
        GENERIC, matmul=lambda a, other: a @ other, gather=lambda images, indices=None: images
    )
    assert different_signatures(record) == ["matmul", "gather"]


# The fixture itself: a step that reads a value must not go unnoticed (NumPy cannot forbid it).


@pytest.mark.parametrize(
    "read", [float, bool, int, lambda x: x.item(), lambda x: np.asarray(x) + 1.0]
)
@pytest.mark.parametrize(
    "xp",
    ["strict-cpu", "strict-device1", "strict-strictest", "torch-cpu", "torch-meta", "jax"],
    indirect=True,
)
def test_reading_a_value_inside_a_step_raises(read, xp):
    x = xp.asarray(np.ones(()))
    with pytest.raises((AssertionError, AttributeError, TypeError)):
        xp.run(lambda x: xp.namespace.asarray(read(x)) + x, x)
