"""What bytes cannot have, or what scales numbers again, is refused where a model is built."""

import re

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import LAYERS
from arraycnn.layers.augmentation.filled import Filled

SHAPE = (8, 8)
REST = (cnn.Flatten(), cnn.Dense(3))
RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.integers(0, 256, (6, 8, 8), np.uint8), np.arange(6) % 3
FILLED = sorted(name for name, kind in LAYERS.items() if issubclass(kind, Filled))


class Bytes(cnn.Tanh):
    """A layer of a user's own, which gives pixels of one byte."""

    def forward(self, params, state, x, context):
        return np.clip(x * 255, 0, 255).astype(np.uint8), state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        return (dy if need_dx else None), {}


def model(*layers):
    return cnn.Model(cnn.Sequential(*layers), SHAPE, cnn.NumPy(fast=False))


def test_all_that_write_a_number_are_here():
    with_fill = {name for name, kind in LAYERS.items() if "fill" in kind.__dataclass_fields__}
    assert with_fill == set(FILLED)
    assert len(FILLED) == 6


@pytest.mark.parametrize("name", FILLED)
@pytest.mark.parametrize("fill", [0.5, -1, 256.0, 1e30])
def test_a_fill_that_no_byte_is_stands_behind_what_scales_bytes(name, fill):
    layer = LAYERS[name](fill=fill)
    said = f"{name}: fill must be a whole number from 0 to 255 for uint8 images, got {fill!r}"
    with pytest.raises(InvalidValueError, match=f"^layer 0, layer 1, {re.escape(said)}"):
        model(cnn.Sequential(cnn.HorizontalFlip(), layer), cnn.Rescale(), *REST)
    with pytest.raises(InvalidValueError, match=f"^layer 0, layer 0, {re.escape(said)}"):
        cnn.with_augmentation(model(cnn.Rescale(), *REST), layer)
    model(cnn.Rescale(), layer, *REST).fit(IMAGES, LABELS)
    model(layer, *REST).fit(IMAGES / 255.0, LABELS)


@pytest.mark.parametrize("name", FILLED)
@pytest.mark.parametrize("fill", [0, 7.0, 255])
def test_a_fill_that_a_byte_is_trains(name, fill):
    model(LAYERS[name](fill=fill), cnn.Rescale(), *REST).fit(IMAGES, LABELS)


@pytest.mark.parametrize("name", sorted(set(FILLED) - {"Cutout", "RandomErasing"}))
def test_a_word_in_place_of_a_number_trains(name):
    model(LAYERS[name](fill="edge"), cnn.Rescale(), *REST).fit(IMAGES, LABELS)


@pytest.mark.parametrize(
    ("layers", "place"),
    [
        ([cnn.Rescale(), cnn.Rescale(), *REST], "layer 1, Rescale"),
        (
            [cnn.HorizontalFlip(), cnn.Rescale(), cnn.Sequential(cnn.Rescale(), *REST)],
            "layer 2, lay",
        ),
        ([cnn.Rescale(), cnn.Conv2d(2, 3), cnn.MaxPool2d(2), cnn.Rescale(), *REST], "layer 3, Re"),
        ([cnn.Rescale(), cnn.Residual(cnn.Rescale()), *REST], "layer 1, Rescale"),
    ],
)
def test_pixels_are_scaled_once(layers, place):
    with pytest.raises(InvalidTypeError, match=f"^{place}.*is the numbers of a Rescale before it"):
        model(*layers)


def test_behind_a_layer_of_a_users_own_nothing_is_refused():
    model(cnn.Rescale(), Bytes(), cnn.Rescale(), *REST).fit(IMAGES, LABELS)
    model(cnn.Concatenate(cnn.Rescale(), cnn.Rescale(std=2.0)), *REST).fit(IMAGES, LABELS)
