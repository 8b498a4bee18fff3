"""A model that begins with augmentation, has another one, or none any more."""

import numpy as np
import pytest

import arraycnn as cnn
from remedies import making

BODY = (cnn.Rescale(), cnn.Conv2d(2, 3), cnn.BatchNorm(), cnn.Flatten(), cnn.Dropout(0.5))
SHIFT, FLIP = cnn.RandomShift(1), cnn.HorizontalFlip()


def trained(*layers, dtype="float32"):
    network = cnn.Sequential(*layers, cnn.Dense(3))
    model = cnn.Model(network, (8, 8), cnn.NumPy(fast=False), seed=4, dtype=dtype)
    model.fit(*making.some(), batch_size=5)
    return model


def arrays(model):
    return {**model.parameters, **model.state}


def same(one, other):
    assert list(one) == list(other)
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], name)


@pytest.mark.parametrize(
    ("begin", "expected"),
    [
        (BODY[:1], cnn.Sequential(SHIFT, FLIP, BODY[0])),
        ((cnn.Sequential(cnn.Cutout(2), BODY[0]),), cnn.Sequential(SHIFT, FLIP, BODY[0])),
        ((cnn.Sequential(cnn.Cutout(2)), BODY[0]), cnn.Sequential(SHIFT, FLIP, BODY[0])),
        ((cnn.Mixup(), cnn.Cutout(2), BODY[0]), cnn.Sequential(SHIFT, FLIP, BODY[0])),
        ((cnn.Sequential(BODY[0]),), cnn.Sequential(cnn.Sequential(SHIFT, FLIP, BODY[0]))),
    ],
)
def test_it_stands_before_the_first_layer_in_place_of_what_was_there(begin, expected):
    model = trained(*begin, *BODY[1:])
    made = cnn.with_augmentation(model, SHIFT, FLIP)
    assert made.network == cnn.Sequential(expected, *BODY[1:], cnn.Dense(3))
    for name, array in zip(arrays(made), arrays(model).values(), strict=True):
        np.testing.assert_array_equal(arrays(made)[name], array)
    again = cnn.with_augmentation(made, SHIFT, FLIP)
    assert again.network == made.network
    bare = cnn.with_augmentation(made)
    assert not any(getattr(layer, "training_only", False) for layer in bare.network.layers)
    images, _ = making.some()
    np.testing.assert_array_equal(bare.predict(images), model.predict(images))


def test_paths_seed_and_names_are_those_of_the_model():
    model = trained(*BODY, dtype="float64")
    made = cnn.with_augmentation(model, SHIFT)
    same(arrays(made), arrays(model))
    assert (made.seed, made.dtype, made.pixels) == (4, "float64", model.pixels)
    assert cnn.with_augmentation(made).network == model.network


def test_a_first_layer_that_learns_goes_on_with_what_it_learned():
    network = cnn.Sequential(cnn.Flatten(), cnn.Dense(3))
    head = cnn.Model(cnn.Sequential(cnn.Conv2d(2, 3), network), (8, 8), cnn.NumPy(fast=False))
    made = cnn.with_augmentation(head, cnn.RandomShift(1))
    assert "0.1.weight" in made.parameters
    np.testing.assert_array_equal(made.parameters["0.1.weight"], head.parameters["0.weight"])
    same(arrays(cnn.with_augmentation(made)), arrays(head))


def test_what_acts_outside_of_training_is_refused():
    with pytest.raises(cnn.InvalidTypeError, match="training only"):
        cnn.with_augmentation(making.model(), cnn.Rescale())
    with pytest.raises(cnn.InvalidTypeError, match="layers"):
        cnn.with_augmentation(making.model(), "shift")
