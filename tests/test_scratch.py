"""The tutorial's layers against plain loops written from the tutorial's description."""

import re
import runpy
from pathlib import Path

import numpy as np
import pytest

from arraycnn import networks
from arraycnn.data import load_dataset
from arraycnn.errors import InvalidValueError
from arraycnn.model.model import Model
from arraycnn.scratch import Conv3x3, MaxPool2, Softmax

ROOT = Path(__file__).parent.parent
MNIST = ROOT.parent / "shared" / "data" / "mnist"


class LoopCNN:
    """Conv3x3, MaxPool2 and Softmax of the tutorial, element by element, in float64."""

    def __init__(self, filters, weights, biases):
        self.filters, self.weights, self.biases = filters.copy(), weights.copy(), biases.copy()

    def step(self, image, label, learn_rate):
        """Train on one image; the loss before the update and the gradient of the image."""
        count, (height, width) = len(self.filters), image.shape
        conv = np.zeros((height - 2, width - 2, count))
        for i in range(height - 2):
            for j in range(width - 2):
                for f in range(count):
                    conv[i, j, f] = sum(
                        image[i + a, j + b] * self.filters[f, a, b]
                        for a in range(3)
                        for b in range(3)
                    )
        rows, columns = (height - 2) // 2, (width - 2) // 2
        pool = np.zeros((rows, columns, count))
        for i in range(rows):
            for j in range(columns):
                for f in range(count):
                    pool[i, j, f] = conv[2 * i : 2 * i + 2, 2 * j : 2 * j + 2, f].max()
        flat = pool.flatten()
        totals = flat @ self.weights + self.biases
        exponentials = np.exp(totals - totals.max())
        out = exponentials / exponentials.sum()
        loss = -np.log(out[label])

        d_totals = out.copy()
        d_totals[label] -= 1.0
        d_pool = (self.weights @ d_totals).reshape(pool.shape)
        self.weights -= learn_rate * np.outer(flat, d_totals)
        self.biases -= learn_rate * d_totals
        d_conv = np.zeros(conv.shape)
        for i in range(rows):
            for j in range(columns):
                for f in range(count):
                    for a in range(2):
                        for b in range(2):
                            if conv[2 * i + a, 2 * j + b, f] == pool[i, j, f]:
                                d_conv[2 * i + a, 2 * j + b, f] = d_pool[i, j, f]
        d_filters, d_image = np.zeros(self.filters.shape), np.zeros(image.shape)
        for i in range(height - 2):
            for j in range(width - 2):
                for f in range(count):
                    if d_conv[i, j, f]:
                        d_filters[f] += d_conv[i, j, f] * image[i : i + 3, j : j + 3]
                        d_image[i : i + 3, j : j + 3] += d_conv[i, j, f] * self.filters[f]
        self.filters -= learn_rate * d_filters
        return loss, d_image


def scratch_layers(image_shape, filters, seed, backend="numpy"):
    height, width = image_shape
    rng = np.random.default_rng(seed)
    inputs = (height - 2) // 2 * ((width - 2) // 2) * filters
    conv, softmax = Conv3x3(filters, backend), Softmax(inputs, 10, backend)
    start = (rng.standard_normal((filters, 3, 3)) / 9, rng.standard_normal((inputs, 10)) / inputs)
    conv.filters, softmax.weights, softmax.biases = *start, np.zeros(10)
    return (conv, MaxPool2(), softmax), LoopCNN(*start, np.zeros(10))


def scratch_step(layers, image, label, learn_rate):
    conv, pool, softmax = layers
    out = softmax.backend.to_numpy(softmax.forward(pool.forward(conv.forward(image))))
    gradient = np.zeros(10)
    gradient[label] = -1.0 / out[label]
    d_image = conv.backprop(pool.backprop(softmax.backprop(gradient, learn_rate)), learn_rate)
    return -np.log(out[label]), conv.backend.to_numpy(d_image)


def assert_same_training(images, labels, filters, backend="numpy", learn_rate=0.005):
    layers, loops = scratch_layers(images.shape[1:], filters, seed=1, backend=backend)
    for image, label in zip(images / 255 - 0.5, labels, strict=True):
        expected_loss, expected_d_image = loops.step(image, label, learn_rate)
        loss, d_image = scratch_step(layers, image, label, learn_rate)
        assert abs(loss - expected_loss) < 1e-10
        np.testing.assert_allclose(d_image, expected_d_image, rtol=0, atol=1e-10)
    to_numpy = layers[0].backend.to_numpy
    np.testing.assert_allclose(to_numpy(layers[0].filters), loops.filters, rtol=0, atol=1e-10)
    np.testing.assert_allclose(to_numpy(layers[2].weights), loops.weights, rtol=0, atol=1e-10)
    np.testing.assert_allclose(to_numpy(layers[2].biases), loops.biases, rtol=0, atol=1e-10)


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_every_loss_equals_the_loops_on_digits(digits):
    assert_same_training(digits.train_images[:300, ..., 0], digits.train_labels[:300], filters=8)


def test_every_loss_equals_the_loops_on_mnist():
    if not MNIST.is_dir():
        pytest.skip("the real MNIST files are not beside the project")
    data = load_dataset("mnist", str(MNIST))
    assert_same_training(data.train_images[:80, ..., 0], data.train_labels[:80], filters=8)


@pytest.mark.parametrize("shape", [(8, 13), (9, 6), (4, 4)])
def test_images_need_not_be_square_nor_even(digits, shape):
    images = np.pad(digits.train_images[:20, ..., 0], ((0, 0), (0, 6), (0, 6)))
    images = images[:, : shape[0], : shape[1]]
    assert_same_training(images, digits.train_labels[:20], filters=3, learn_rate=0.05)


@pytest.mark.parametrize("name", ["array-api-strict", "torch", "jax"])
def test_other_backends(digits, name):
    if name != "array-api-strict":
        pytest.importorskip(name, reason=f"{name} is not installed")
    if name == "jax":
        import jax

        jax.config.update("jax_enable_x64", True)
    images, labels = digits.train_images[:12, ..., 0], digits.train_labels[:12]
    assert_same_training(images, labels, filters=2, backend=name)


def test_equal_windows_give_equal_outputs_to_the_last_bit():
    conv = Conv3x3(5)
    out = conv.forward(np.tile(np.random.default_rng(0).standard_normal((3, 3)), (4, 5)))
    first = out[:3, :3]
    for i in range(0, 9, 3):
        for j in range(0, 12, 3):
            np.testing.assert_array_equal(out[i : i + 3, j : j + 3], first)


def test_every_tie_receives_the_gradient_and_an_odd_edge_none():
    pool = MaxPool2()
    out = pool.forward(np.ones((5, 4, 2)))
    assert out.shape == (2, 2, 2)
    gradient = pool.backprop(np.full((2, 2, 2), 3.0))
    expected = np.zeros((5, 4, 2))
    expected[:4] = 3.0
    np.testing.assert_array_equal(gradient, expected)


def test_softmax_is_stable_and_applies_its_whole_jacobian():
    softmax = Softmax(3, 4)
    rng = np.random.default_rng(3)
    x, g, start = rng.standard_normal(3), rng.standard_normal(4), rng.standard_normal((3, 4))
    softmax.weights = start

    def value(x):
        exponentials = np.exp(x @ start)
        return exponentials / exponentials.sum() @ g

    softmax.forward(x)
    gradient = softmax.backprop(g, 0.0)
    for k in range(3):
        nudge = np.eye(3)[k] * 1e-6
        assert gradient[k] == pytest.approx((value(x + nudge) - value(x - nudge)) / 2e-6, abs=1e-8)
    softmax.weights = start * 1e5
    assert np.isfinite(softmax.forward(x)).all()


def test_first_values_are_those_of_the_tutorial():
    np.random.seed(7)
    conv, softmax = Conv3x3(8), Softmax(13 * 13 * 8, 10)
    np.random.seed(7)
    np.testing.assert_array_equal(conv.filters, np.random.randn(8, 3, 3) / 9)
    np.testing.assert_array_equal(softmax.weights, np.random.randn(1352, 10) / 1352)
    np.testing.assert_array_equal(softmax.biases, np.zeros(10))


def test_mistakes_are_named():
    with pytest.raises(InvalidValueError, match=r"image must be \(h, w\).*\(2, 9\)"):
        Conv3x3(1).forward(np.zeros((2, 9)))
    with pytest.raises(InvalidValueError, match=r"filters: must have shape \(1, 3, 3\)"):
        Conv3x3(1).filters = np.zeros((3, 3))
    with pytest.raises(InvalidValueError, match="input must have 4 elements"):
        Softmax(4, 2).forward(np.zeros((5, 1)))
    with pytest.raises(InvalidValueError, match="num_filters: must be at least 1"):
        Conv3x3(0)


def test_the_batched_network_is_the_same_function(digits):
    """networks.scratch with ties="all", batch 1, plain SGD: the tutorial's own losses."""
    from arraycnn import SGD

    images, labels = digits.train_images[:40], digits.train_labels[:40]
    model = Model(networks.scratch(ties="all"), (8, 8, 1), seed=5, dtype="float64")
    start = model.parameters
    losses = model.fit(images, labels, batch_size=1, optimizer=SGD(0.005)).step_losses
    order = np.random.default_rng([5, 0]).permutation(40)
    loops = LoopCNN(
        start["1.weight"][:, :, 0, :].transpose(2, 0, 1), start["4.weight"], start["4.bias"]
    )
    for loss, index in zip(losses, order, strict=True):
        expected, _ = loops.step(images[index, ..., 0] / 255 - 0.5, labels[index], 0.005)
        assert abs(loss - expected) < 1e-10


def test_the_example_runs_its_protocol(digits, capsys):
    """Four images of 28 x 28 stand for the first thousand; the format is the tutorial's."""
    from dataclasses import replace

    big = replace(
        digits,
        train_images=np.repeat(np.repeat(digits.train_images, 4, 1), 4, 2)[:200, 2:30, 2:30],
        train_labels=digits.train_labels[:200],
        test_images=np.repeat(np.repeat(digits.test_images, 4, 1), 4, 2)[:20, 2:30, 2:30],
        test_labels=digits.test_labels[:20],
    )
    np.random.seed(0)
    example = runpy.run_path(str(ROOT / "examples" / "cnn_from_scratch.py"))
    test_loss, test_accuracy = example["run"](big, epochs=2)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["MNIST CNN initialized!", "--- Epoch 1 ---"]
    steps = re.compile(r"\[Step \d+\] Past 100 steps: Average Loss \d\.\d{3} \| Accuracy: \d+%")
    assert sum(bool(steps.fullmatch(line)) for line in lines) == 4
    assert lines[-2:] == [f"Test Loss: {test_loss}", f"Test Accuracy: {test_accuracy}"]
