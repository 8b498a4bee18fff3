"""What bytes cannot have, or what changes nothing, is refused where a training begins alone."""

import re
from dataclasses import replace

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers import LAYERS
from arraycnn.layers.augmentation.filled import Filled
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words

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


class Mean(cnn.Sequential):
    """A layer of a user's own: its layers get the same pixels, and what they give is averaged."""

    def init(self, rng, input_shape):
        made = {name: layer.init(rng, input_shape) for name, layer in self.named_layers()}
        params, state = ({name: one[i] for name, one in made.items()} for i in (0, 1))
        return params, state, made["0"][2]

    def forward(self, params, state, x, context):
        ran = {
            name: layer.forward(params[name], state[name], x, context.inside(name))
            for name, layer in self.named_layers()
        }
        y = sum(one[0] for one in ran.values()) / len(ran)
        return y, {n: one[1] for n, one in ran.items()}, {n: one[2] for n, one in ran.items()}

    def backward(self, params, residuals, dy, context, need_dx):
        dy = dy / len(self.layers)
        return None, {
            name: layer.backward(params[name], residuals[name], dy, context.inside(name), False)[1]
            for name, layer in self.named_layers()
        }


class Scaled(cnn.Rescale):
    """A layer of a user's own: numbers are as they are."""

    def forward(self, params, state, x, context):
        if x.dtype == np.uint8:
            x = x / 255.0
        return x.astype(context.dtype), state, ()

    def backward(self, params, residuals, dy, context, need_dx):
        return (dy if need_dx else None), {}


class Faint(cnn.RandomBrightness):
    """A layer of a user's own, whose strength is of something else."""


def drawn(layer, x):
    """What the layer makes of images in a step."""
    indices = np.arange(len(x), dtype=np.int32)
    bits = Randomness(seed_words(0), np.array([1], np.int32), indices)
    return layer.forward({}, {}, x, Context(GENERIC, "train", "float64", bits))[0]


class NotBegun(cnn.SGD):
    """For a training that is refused: a step would refuse some of it, too."""

    def init(self, params):
        pytest.fail("the training has begun")


def model(*layers):
    return cnn.Model(cnn.Sequential(*layers), SHAPE, cnn.NumPy(fast=False))


def begin(made):
    made.fit(IMAGES, LABELS, optimizer=NotBegun())


def fitted(*layers, epochs=1, **others):
    made = model(*layers)
    made.fit(IMAGES, LABELS, batch_size=2, epochs=epochs, **others)
    return made


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
        begin(model(cnn.Sequential(cnn.HorizontalFlip(), layer), cnn.Rescale(), *REST))
    with pytest.raises(InvalidValueError, match=f"^layer 0, layer 0, {re.escape(said)}"):
        begin(cnn.with_augmentation(model(cnn.Rescale(), *REST), layer))
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
        begin(model(*layers))


def test_behind_a_layer_of_a_users_own_nothing_is_refused():
    fitted(cnn.Rescale(), Bytes(), cnn.Rescale(), *REST)
    fitted(cnn.Concatenate(cnn.Rescale(), cnn.Rescale(std=2.0)), *REST)


def test_what_derives_from_a_layer_is_a_layer_of_a_users_own():
    fitted(Mean(cnn.Sequential(cnn.Rescale(), *REST), cnn.Sequential(cnn.Rescale(), *REST)))
    fitted(cnn.Rescale(), Scaled(), *REST)
    fitted(Faint(0.001), cnn.Rescale(), *REST)


OF_BYTES, OF_NUMBERS = "uint8 images", "images"
FAINT = [
    (cnn.RandomBrightness(0.00196), 0.001961, OF_BYTES),
    (cnn.RandomBrightness(0.00196), 0.001961, OF_NUMBERS),
    (cnn.RandomContrast(0.00207), 0.002076, OF_BYTES),
    (cnn.RandomContrast(0.000122), 0.000123, OF_NUMBERS),
    (cnn.ElasticDeformation(0.001953), 0.001954, OF_BYTES),
    (cnn.ElasticDeformation(0.001953), 0.001954, OF_NUMBERS),
]


@pytest.mark.parametrize(("layer", "least", "kind"), FAINT)
def test_a_strength_that_changes_nothing_is_refused(layer, least, kind):
    order = (layer, cnn.Rescale()) if kind == OF_BYTES else (cnn.Rescale(), layer)
    which = OF_BYTES if "Contrast" in repr(layer) and kind == OF_BYTES else OF_NUMBERS
    said = (
        f"layer {order.index(layer)}, {type(layer).__name__}: strength must be at least {least}, or "
        f"{which} would stay as they are, got {layer.strength}"
    )
    with pytest.raises(InvalidValueError, match=f"^{re.escape(said)}$"):
        begin(model(*order, *REST))
    order = [replace(one, strength=least) if one is layer else one for one in order]
    fitted(*order, *REST)


@pytest.mark.parametrize(("layer", "least", "kind"), FAINT)
def test_the_least_strength_changes_images_and_less_does_not(layer, least, kind):
    images = np.zeros((64, 8, 8, 1), np.uint8)
    images[:, 3, 3] = 255
    images = images if kind == OF_BYTES else images / 255.0
    assert (drawn(replace(layer, strength=least), images) != images).any()
    assert (drawn(layer, images) == images).all()


def begun(layers, monkeypatch):
    """A model, and all that was kept of its training: as of a version that refused nothing."""
    kept = []

    class Keep(cnn.Callback):
        save_every = 1

        def on_save(self, training):
            kept.append(training)

    with monkeypatch.context() as patch:
        patch.setattr("arraycnn.model.model.check_pixel_kinds", lambda network: None)
        return fitted(*layers, epochs=2, callbacks=[Keep()]), kept


@pytest.mark.parametrize(
    "layer", [cnn.RandomBrightness(0.001), cnn.RandomContrast(1e-4), cnn.ElasticDeformation(1e-3)]
)
def test_a_training_that_has_begun_so_loads_and_goes_on(layer, tmp_path, monkeypatch):
    whole, kept = begun((layer, cnn.Rescale(), *REST), monkeypatch)
    whole.save(tmp_path / "some.npz", kept[1])
    loaded, training = cnn.Model.load_training(tmp_path / "some.npz", cnn.NumPy(fast=False))
    assert loaded.network.layers[0] == layer
    assert loaded.predict(IMAGES).shape == (6, 3)
    loaded.fit(IMAGES, LABELS, batch_size=2, epochs=2, resume=training)
    for name, array in whole.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], array, name)
    with pytest.raises(InvalidValueError, match="strength must be at least"):
        begin(loaded)


@pytest.mark.parametrize("name", FILLED)
def test_a_model_with_a_fill_that_no_byte_is_loads_and_predicts(name, tmp_path):
    made = model(LAYERS[name](fill=0.5), cnn.Rescale(), *REST)
    made.save(tmp_path / "some.npz")
    loaded = cnn.Model.load(tmp_path / "some.npz", cnn.NumPy(fast=False))
    np.testing.assert_array_equal(loaded.predict(IMAGES), made.predict(IMAGES))
    assert loaded.evaluate(IMAGES, LABELS).loss > 0.0


def test_a_model_with_a_second_rescale_loads(tmp_path):
    model(cnn.Rescale(), cnn.Rescale(), *REST).save(tmp_path / "some.npz")
    cnn.Model.load(tmp_path / "some.npz")
