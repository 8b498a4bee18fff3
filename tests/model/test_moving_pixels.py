"""Labels that are images, and layers that would move the images beside them."""

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidValueError

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (6, 8, 8, 1), dtype=np.uint8)
MOVING = (cnn.HorizontalFlip(), cnn.RandomShift(1), cnn.RandomCrop(1), cnn.RandomAffine(degrees=9))
MOVING += (cnn.ElasticDeformation(), cnn.CutMix())
STAYING = (
    cnn.RandomBrightness(),
    cnn.RandomContrast(),
    cnn.Cutout(2),
    cnn.RandomErasing(),
    cnn.Mixup(),
)
NUMBERS = IMAGES / 255.0


def model(*layers):
    network = cnn.Sequential(*layers, cnn.Rescale(), cnn.Conv2d(1, 3, padding="same"))
    return cnn.Model(network, (8, 8), cnn.NumPy(fast=False), loss=cnn.MeanSquaredError())


def labels_of_pixels(*layers):
    network = cnn.Sequential(*layers, cnn.Rescale(), cnn.Conv2d(2, 3, padding="same"))
    loss = cnn.SoftmaxCrossEntropy(per_pixel=True)
    return cnn.Model(network, (8, 8), cnn.NumPy(fast=False), loss=loss)


@pytest.mark.parametrize("layer", MOVING, ids=str)
def test_what_moves_pixels_is_refused(layer):
    inner = cnn.Sequential(cnn.RandomBrightness(), layer)
    said = f"fit: labels that are images must stay .* layer 0.1, {type(layer).__name__}"
    with pytest.raises(InvalidValueError, match=said):
        model(inner).fit(IMAGES, NUMBERS)
    assert model(inner).evaluate(IMAGES, NUMBERS).loss > 0.0


@pytest.mark.parametrize("layer", STAYING, ids=str)
def test_what_leaves_them_is_taken(layer):
    assert len(model(layer).fit(IMAGES, NUMBERS, epochs=1, batch_size=3).step_losses) == 2


def test_so_it_is_of_classes_of_pixels_and_in_batches_of_an_iterable():
    labels = (IMAGES[..., 0] > 128).astype(np.int32)
    with pytest.raises(InvalidValueError, match="fit: labels that are images"):
        labels_of_pixels(cnn.HorizontalFlip()).fit(IMAGES, labels)
    pairs = cnn.Batches(lambda: iter([(IMAGES[:3], NUMBERS[:3]), (IMAGES[3:], NUMBERS[3:])]), 6)
    with pytest.raises(InvalidValueError, match="fit: labels that are images"):
        model(cnn.HorizontalFlip()).fit(pairs)


def test_copies_of_an_image_have_outputs_that_belong_to_it():
    with pytest.raises(
        InvalidValueError, match=r"augment: outputs that are images .* layer 0, Hor"
    ):
        model(cnn.HorizontalFlip()).predict(IMAGES, augment=1)
    brighter = model(cnn.RandomBrightness(0.5))
    assert np.abs(brighter.predict(IMAGES, augment=2) - brighter.predict(IMAGES)).max() > 1e-3


def test_labels_that_are_no_images_are_not_concerned():
    network = cnn.Sequential(cnn.HorizontalFlip(), cnn.Rescale(), cnn.Flatten(), cnn.Dense(3))
    loss = cnn.BinaryCrossEntropy()
    several = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), loss=loss)
    several.fit(IMAGES, RNG.integers(0, 2, (6, 3)), epochs=1)
