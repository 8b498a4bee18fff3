"""Test-time augmentation: `predict` and `evaluate` with ``augment``."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words

RNG = np.random.default_rng(6)
IMAGES = RNG.integers(0, 256, (70, 6, 5, 1), dtype=np.uint8)
LABELS = RNG.integers(0, 3, 70)
SHIFT, FLIP = cnn.RandomShift(2), cnn.HorizontalFlip()
NETWORK = cnn.Sequential(
    cnn.Mixup(), cnn.Sequential(SHIFT, FLIP), cnn.Rescale(), cnn.Flatten(), cnn.Dense(3)
)


def model_on(backend="numpy", network=NETWORK, **settings):
    return cnn.Model(network, (6, 5), backend, seed=5, dtype="float64", **settings)


def copies_of(images, copy):
    """What the network makes of a whole set in training, without what mixes images."""
    indices = np.arange(len(images), dtype=np.int32)
    random = Randomness(seed_words(5), np.array([copy], np.int32), indices)
    for path, layer in ((("1", "0"), SHIFT), (("1", "1"), FLIP)):
        images = layer.forward({}, {}, images, Context(GENERIC, "train", "float64", random, path))[
            0
        ]
    return images


@pytest.mark.parametrize("name", ["numpy", "torch", "jax"])
def test_predictions_are_means_over_the_image_and_its_copies(name, request):
    if name != "numpy":
        request.getfixturevalue(name)
    model = model_on(name)
    many = np.concatenate([IMAGES] * 30)  # several batches
    sets = [many, *(copies_of(many, copy) for copy in range(3))]
    expected = np.mean([model.predict(images) for images in sets], axis=0)
    found = model.predict(many, augment=3)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(many, augment=3), found)
    assert np.abs(found - model.predict(many)).max() > 1e-3
    np.testing.assert_array_equal(model.predict(many, augment=0), model.predict(many))


def test_measures_are_of_the_mean_prediction():
    model = model_on()
    p = model.predict(IMAGES, augment=2)
    found = model.evaluate(IMAGES, LABELS, augment=2)
    assert found.accuracy == np.mean(p.argmax(axis=1) == LABELS)
    np.testing.assert_allclose(found.loss, -np.mean(np.log(p[np.arange(70), LABELS])), rtol=1e-12)
    batches = [(IMAGES[:40], LABELS[:40]), (IMAGES[40:], LABELS[40:])]
    np.testing.assert_allclose(model.evaluate(batches, augment=2).loss, found.loss, rtol=1e-12)


@pytest.mark.parametrize(
    ("loss", "labels"),
    [
        (cnn.SoftmaxCrossEntropy(0.1), LABELS),
        (cnn.BinaryCrossEntropy(), (RNG.uniform(size=(70, 3)) > 0.5).astype(float)),
        (cnn.MeanSquaredError(), RNG.normal(size=(70, 3))),
    ],
    ids=str,
)
def test_other_losses_are_of_the_mean_prediction(loss, labels):
    model = model_on(loss=loss)
    p = model.predict(IMAGES, augment=2)
    found = model.evaluate(IMAGES, labels, augment=2).loss
    if isinstance(loss, cnn.MeanSquaredError):
        expected = np.mean(np.square(p - labels))
    elif isinstance(loss, cnn.BinaryCrossEntropy):
        expected = -np.mean(labels * np.log(p) + (1 - labels) * np.log1p(-p))
    else:
        wanted = 0.9 * np.eye(3)[labels] + 0.1 / 3
        expected = -np.mean(np.sum(wanted * np.log(p), axis=1))
    scale = found / expected
    np.testing.assert_allclose(
        scale, round(scale), rtol=1e-10
    )  # some losses add up an image's labels


def test_bad_settings():
    with pytest.raises(InvalidTypeError, match="augment: must be an int"):
        model_on().predict(IMAGES, augment=1.5)
    with pytest.raises(InvalidValueError, match="augment: must be at least 0, got -1"):
        model_on().evaluate(IMAGES, LABELS, augment=-1)
    rest = cnn.Rescale(), cnn.RandomShift(1), cnn.Flatten(), cnn.Dense(3)
    with pytest.raises(InvalidValueError, match="needs a network that begins with"):
        model_on(network=cnn.Sequential(*rest)).predict(IMAGES, augment=2)
