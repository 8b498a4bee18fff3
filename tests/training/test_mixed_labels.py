"""Mixup and CutMix: the loss is mixed as the images are, and Beta's quantiles are SciPy's."""

import re
import sys
from dataclasses import dataclass

import numpy as np
import pytest

import arraycnn as cnn
import augmentation_loops as loops
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.augmentation.mixing import beta_quantiles
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words
from arraycnn.training.step import Batch, loss_and_gradients
from optional import Late, needs
from random_words import FIRST_INDEX, SEED, STEP

stats = Late("scipy.stats")
RNG = np.random.default_rng(8)
COUNT, HEIGHT, WIDTH = 6, 5, 4
IMAGES = RNG.normal(size=(COUNT, HEIGHT, WIDTH, 2))
CLASSES = RNG.integers(0, 3, COUNT).astype(np.int32)
WEIGHTS = RNG.uniform(0.5, 2.0, COUNT)


def context():
    step, indices = np.array([STEP], np.int32), np.arange(COUNT, dtype=np.int32) + FIRST_INDEX
    return Context(GENERIC, "train", "float64", Randomness(seed_words(SEED), step, indices))


@dataclass(frozen=True)
class Reads(cnn.Identity):
    """A user's layer that reads a value, so that no plan compiles it."""

    def forward(self, params, state, x, context):
        return (x if float(x[0, 0, 0, 0]) < 1e9 else 0.0 * x), state, ()


def step_of(layers, images, labels, weights=None, loss=None):
    network = cnn.Sequential(*layers, cnn.Flatten(), cnn.Dense(3))
    params, state, _ = network.init(np.random.default_rng(2), images.shape[1:])
    loss = cnn.SoftmaxCrossEntropy() if loss is None else loss
    batch = Batch(images, labels, weights)
    found = loss_and_gradients(network, params, state, batch, context(), loss)
    gradients = found[2][str(len(layers) + 1)]
    return float(found[0]), gradients["weight"], found[1]


def mixed_by_hand(layers, images, labels):
    """(images, labels) after the layers, each at its position; labels as one-hot rows, or numbers."""
    for number, layer in enumerate(layers):
        mixtures = loops.mixtures(layer, COUNT, HEIGHT, WIDTH, (str(number),))
        before, wanted = images, labels
        images, labels = np.zeros_like(before), np.zeros_like(wanted)
        for n, (partner, kept) in enumerate(mixtures):
            stays = kept[:, :, None]
            images[n] = stays * before[n] + (1 - stays) * before[partner]
            own = np.floor(np.mean(kept) * 1024 + 1e-9) / 1024
            labels[n] = own * wanted[n] + (1 - own) * wanted[partner]
    return images, labels


MIXES = [
    [cnn.Mixup(1.0)],
    [cnn.CutMix(1.0, 0.8)],
    [cnn.Mixup(1.0, 0.7), cnn.CutMix()],
]


@pytest.mark.parametrize("layers", MIXES, ids=str)
def test_the_loss_is_that_of_soft_labels(layers):
    loss, gradient, correct = step_of(layers, IMAGES, CLASSES)
    images, labels = mixed_by_hand(layers, IMAGES, np.eye(3)[CLASSES])
    same = [cnn.Identity()] * len(layers)
    expected, slope, _ = step_of(same, images, labels)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-11, atol=1e-14)
    assert correct == step_of(same, images, CLASSES)[2]
    assert abs(loss - step_of(same, images, CLASSES)[0]) > 0.01


def test_the_gradient_of_numbers_is_that_of_mixed_ones():
    # The loss itself differs by what does not depend on the outputs.
    numbers = RNG.normal(size=(COUNT, 3))
    images, labels = mixed_by_hand(MIXES[0], IMAGES, numbers)
    _, gradient, _ = step_of(MIXES[0], IMAGES, numbers, loss=cnn.MeanSquaredError())
    _, slope, _ = step_of([cnn.Identity()], images, labels, loss=cnn.MeanSquaredError())
    np.testing.assert_allclose(gradient, slope, rtol=1e-11, atol=1e-14)


def test_the_weight_of_an_image_goes_with_its_label():
    layers = MIXES[1]
    loss, gradient, _ = step_of(layers, IMAGES, CLASSES, WEIGHTS)
    images, labels = mixed_by_hand(layers, IMAGES, WEIGHTS[:, None] * np.eye(3)[CLASSES])
    sums = labels.sum(axis=1)
    expected, slope, _ = step_of([cnn.Identity()], images, labels / sums[:, None], sums)
    np.testing.assert_allclose(loss, expected, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("layer", [cnn.Mixup(1.0), cnn.CutMix()], ids=str)
def test_bytes_are_blended_to_the_nearest(layer):
    images = RNG.integers(0, 256, (COUNT, HEIGHT, WIDTH, 3), dtype=np.uint8)
    y, _, _ = layer.forward({}, {}, images, context())
    assert y.dtype == np.uint8
    assert np.abs(y - loops.mixed(layer, {}, images)).max() <= 0.5
    assert (y != images).any()


def test_an_image_alone_stays_and_two_have_each_other():
    for layer in (cnn.Mixup(1.0), cnn.CutMix()):
        given = context()
        alone = Randomness(given.randomness.seed, given.randomness.step, np.array([3], np.int32))
        y, _, _ = layer.forward({}, {}, IMAGES[:1], Context(GENERIC, "train", "float64", alone))
        np.testing.assert_array_equal(y, IMAGES[:1])
        for count in (2, COUNT):
            indices = np.arange(500, dtype=np.int32)
            seen = set()
            for first in range(0, 480, count):
                random = Randomness(alone.seed, alone.step, indices[first : first + count])
                _, _, ((partner, _), _) = layer.forward(
                    {}, {}, IMAGES[:count], Context(GENERIC, "train", "float64", random)
                )
                seen |= {(n, int(other)) for n, other in enumerate(partner)}
            assert seen == {(a, b) for a in range(count) for b in range(count) if a != b}


def test_jax_mixes_labels_where_a_layer_is_called_as_it_is_written(jax):
    network = cnn.Sequential(cnn.Mixup(1.0), Reads(), cnn.CutMix(), cnn.Flatten(), cnn.Dense(3))
    losses = []
    for backend in ("numpy", "jax"):
        model = cnn.Model(network, (HEIGHT, WIDTH, 2), backend, seed=4, dtype="float64")
        history = model.fit(IMAGES, CLASSES, epochs=2, batch_size=COUNT, optimizer=cnn.SGD(0.1))
        losses.append([record.train_loss for record in history])
    np.testing.assert_allclose(losses[0], losses[1], rtol=1e-10)


@needs("scipy")
@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 1.001, 1.5, 3.0, 30.0, 200.0, 1e3, 1e5, 1e9])
def test_quantiles_are_scipys(alpha):
    shares = (np.arange(4096) + 0.5) / 4096
    expected = stats.beta.ppf(shares, alpha, alpha)
    # A tenth of the 1,024 parts that shares are rounded to.
    np.testing.assert_allclose(beta_quantiles(alpha), expected, rtol=0.0, atol=1e-4)


def test_quantiles_of_the_largest_numbers_are_the_middle():
    for alpha in (1e30, sys.float_info.max):
        np.testing.assert_allclose(beta_quantiles(alpha), 0.5, rtol=0.0, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (
            lambda: cnn.Mixup(0.0),
            InvalidValueError,
            "Mixup: alpha must be finite and at least 0.01",
        ),
        (lambda: cnn.CutMix("1"), InvalidTypeError, "CutMix: alpha must be a number"),
        (lambda: cnn.CutMix(1.0, 0.0), InvalidValueError, "CutMix: probability must be above 0"),
        (
            lambda: cnn.CutMix().init(RNG, (2000, 2000, 1)),
            InvalidValueError,
            "CutMix: images must have less than 2097152 pixels, got 2000 x 2000",
        ),
        (
            lambda: cnn.Residual(cnn.Sequential(cnn.ReLU(), cnn.Mixup())).init(RNG, (4, 4, 1)),
            InvalidValueError,
            "Residual: branch body must not mix labels, got Mixup(alpha=0.2, probability=1.0)",
        ),
    ],
)
def test_bad_settings(make, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        make()
