"""Augmentation: bytes pixel by pixel, Pillow, the draws, the gathers below, and bad settings."""

import re
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image, ImageOps

import arraycnn as cnn
import augmentation_loops as loops
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.export.safetensors_import import scaling_of
from arraycnn.layers.augmentation import Augmentation
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.pixels import inside, pixels_added, pixels_at
from arraycnn.ops.random_bits import seed_words, whole_numbers
from layer_rows import ROWS
from random_words import FIRST_INDEX, SEED, STEP

AUGMENTATIONS = [row.layer for row in ROWS if isinstance(row.layer, Augmentation)]
RNG = np.random.default_rng(3)
BYTES = RNG.integers(0, 256, (6, 5, 4, 3), dtype=np.uint8)


def context(count=6, mode="train", dtype="float64"):
    step, indices = np.array([STEP], np.int32), np.arange(count, dtype=np.int32) + FIRST_INDEX
    return Context(GENERIC, mode, dtype, Randomness(seed_words(SEED), step, indices))


def augmented(layer, x):
    y, state, _ = layer.forward({}, {}, x, context(len(x)))
    assert (y.dtype, y.shape, state) == (x.dtype, x.shape, {})
    return y


def brighter_bytes(layer, image, n):
    most = round(255 * layer.strength)
    shift = loops.whole(*loops.words_of(n, 1), 2 * most + 1) - most
    return np.clip(image.astype(int) + shift, 0, 255)


def contrasted_bytes(layer, image, n):
    most = round(4096 * layer.strength)
    parts = 4096 + loops.whole(*loops.words_of(n, 1), 2 * most + 1) - most
    y = np.zeros(image.shape, int)
    for i, j, c in np.ndindex(image.shape):
        mean = int(np.floor(image[..., c].mean() + 0.5))
        y[i, j, c] = np.floor(mean + (int(image[i, j, c]) - mean) * parts / 4096 + 0.5)
    return np.clip(y, 0, 255)


OF_BYTES = [
    (cnn.HorizontalFlip(0.6), loops.flipped),
    (cnn.RandomShift((0, 3), fill="reflect"), loops.shifted),
    (cnn.RandomShift((4, 2), fill=9), loops.shifted),
    (cnn.RandomCrop((4, 3), fill="reflect"), loops.shifted),
    (cnn.RandomCrop(3, fill="edge"), loops.shifted),
    (cnn.Cutout((2, 3), 0.6, fill=255), loops.cut_out),
    (cnn.RandomErasing(1.0), loops.erased),
    (cnn.RandomBrightness(0.6), brighter_bytes),
    (cnn.RandomContrast(1.0), contrasted_bytes),
]


@pytest.mark.parametrize(("layer", "by_loops"), OF_BYTES, ids=[str(one[0]) for one in OF_BYTES])
def test_bytes_equal_plain_loops_and_stay_bytes(layer, by_loops):
    y = augmented(layer, BYTES)
    np.testing.assert_array_equal(y, loops.by_image(by_loops)(layer, {}, BYTES))
    assert (y != BYTES).any()


@pytest.mark.parametrize("layer", AUGMENTATIONS, ids=str)
def test_nothing_happens_in_inference(layer):
    x = BYTES / 255.0
    y, _, residuals = layer.forward({}, {}, x, context(mode="infer"))
    assert y is x
    dx, _ = layer.backward({}, residuals, y, context(mode="infer"), need_dx=True)
    assert dx is y


def test_a_mirrored_image_is_pillows():
    y = augmented(cnn.HorizontalFlip(1.0), BYTES)
    for image, mirrored in zip(BYTES, y, strict=True):
        np.testing.assert_array_equal(mirrored, ImageOps.mirror(Image.fromarray(image)))


def test_crops_and_shifts_are_pillows_of_some_place_each():
    images = RNG.integers(1, 256, (90, 7, 6, 3), dtype=np.uint8)
    for layer in (cnn.RandomCrop((1, 2)), cnn.RandomShift((1, 2))):
        found = set()
        for image, y in zip(images, augmented(layer, images), strict=True):
            padded = ImageOps.expand(Image.fromarray(image), (2, 1), fill=0)
            places = [
                (top, left)
                for top, left in np.ndindex(3, 5)
                if (np.array(padded.crop((left, top, left + 6, top + 7))) == y).all()
            ]
            assert len(places) == 1
            found |= set(places)
        assert len(found) == 15


def test_whole_numbers_are_of_equal_chances():
    words = np.arange(-(2**31), 2**31, 2**14 + 1).astype(np.int32)
    for count in (1, 7, 300):
        numbers, found = np.unique(whole_numbers(words, count), return_counts=True)
        np.testing.assert_array_equal(numbers, np.arange(count))
        np.testing.assert_allclose(found / len(words), 1 / count, rtol=0.02)


def test_boxes_and_flips_come_as_often_as_they_should():
    images = np.full((3000, 8, 8, 1), 1.0)
    flipped = np.broadcast_to(np.arange(8.0)[:, None], (3000, 8, 8, 1))
    share = np.mean(augmented(cnn.HorizontalFlip(0.2), flipped)[:, 0, 0, 0] == 7.0)
    assert abs(share - 0.2) < 0.03
    cut = augmented(cnn.Cutout(1, 0.7), images)
    np.testing.assert_allclose(np.mean(cut == 0.0, axis=(0, 3)), 0.7 / 64, atol=0.008)
    erased = np.mean(augmented(cnn.RandomErasing(1.0, (0.1, 0.5), (1.0, 1.0)), images) == 0.0)
    assert abs(erased - 0.3) < 0.01


def test_places_beyond_an_image_are_its_nearest_pixel():
    x, places = RNG.normal(size=(2, 3, 4, 2)), RNG.integers(-2, 6, (2, 2, 5, 6), dtype=np.int32)
    places[:, 0, 0, 0] = 2**31 - 1, -(2**31)
    rows, columns = places
    y, are_inside = pixels_at(x, rows, columns), inside(rows, columns, 3, 4)
    for n, i, j in np.ndindex(2, 5, 6):
        row, column = int(rows[n, i, j]), int(columns[n, i, j])
        np.testing.assert_array_equal(y[n, i, j], loops.at(x[n], row, column, "edge"))
        assert are_inside[n, i, j] == (0 <= row < 3 and 0 <= column < 4)
    # The adjoint: <pixels_at(x), dy> = <x, pixels_added(dy)>.
    dy = RNG.normal(size=y.shape)
    dx = pixels_added(dy, rows, columns, 3, 4)
    np.testing.assert_allclose(np.sum(y * dy), np.sum(x * dx), rtol=1e-12)
    assert pixels_at(x[:0], rows[:0], columns[:0]).shape == (0, 5, 6, 2)


def test_no_place_of_a_pixel_lies_in_memory():
    network = cnn.Sequential(cnn.RandomShift(1), cnn.Rescale(), cnn.Flatten(), cnn.Dense(2))
    schedule = cnn.Model(network, (9, 8)).program(50, cnn.SGD(0.1), "train").schedule
    held = [node for step in schedule.steps for node in step.writes]
    assert not [node for node in held if node.size == 50 * 9 * 8 and node.dtype.kind == "i"]


def test_a_network_that_begins_with_augmentation_takes_bytes_as_one_that_does_not():
    rest = cnn.Rescale(0.3), cnn.Flatten(), cnn.Dense(2)
    plain = cnn.Model(cnn.Sequential(*rest), (4, 3, 3), seed=1)
    network = cnn.Sequential(cnn.Sequential(cnn.Cutout(2), cnn.RandomShift(1)), *rest)
    model = cnn.Model(network, (4, 3, 3), seed=1)
    assert model.intake.form == plain.intake.form
    whole = BYTES[:, :4, :3].astype(np.int64)
    np.testing.assert_array_equal(model.predict(whole), plain.predict(whole))
    labels = np.array([0, 1, 1, 0, 1, 0])
    model.fit(whole, labels, batch_size=3, epochs=1)
    assert scaling_of(network) == cnn.Rescale(0.3)


def test_another_step_image_or_layer_draws_others():
    layer, x = cnn.RandomShift(2), RNG.normal(size=(40, 9, 9, 1))
    given = context(40)
    randomness = given.randomness
    changed = [
        given.inside("1"),
        replace(given, randomness=replace(randomness, step=randomness.step + 1)),
        replace(given, randomness=replace(randomness, indices=randomness.indices + 40)),
        replace(given, randomness=replace(randomness, seed=randomness.seed + 1)),
    ]
    first = layer.forward({}, {}, x, given)[0]
    for other in changed:
        differ = (layer.forward({}, {}, x, other)[0] != first).any(axis=(1, 2, 3))
        assert differ.mean() > 0.8
    # An image keeps its own bits wherever it stands in a batch.
    order = RNG.permutation(40)
    there = replace(given, randomness=replace(randomness, indices=randomness.indices[order]))
    np.testing.assert_array_equal(layer.forward({}, {}, x[order], there)[0], first[order])


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: cnn.HorizontalFlip(0.0), "Value", "HorizontalFlip: probability must be above 0"),
        (lambda: cnn.HorizontalFlip("1"), "Type", "HorizontalFlip: probability must be a number"),
        (lambda: cnn.Cutout(8, 1.1), "Value", "must be above 0 and at most 1, got 1.1"),
        (lambda: cnn.Cutout(0), "Value", "Cutout: size must be at least 1, got 0"),
        (lambda: cnn.Cutout(fill="edge"), "Type", "Cutout: fill must be a number, got 'edge'"),
        (lambda: cnn.RandomShift(-1), "Value", "RandomShift: pixels must be at least 0, got -1"),
        (lambda: cnn.RandomShift(1.5), "Type", "RandomShift: pixels must be an int or a pair"),
        (
            lambda: cnn.RandomShift(1, "wrap"),
            "Value",
            'RandomShift: fill must be a finite number or "edge" or "reflect", got \'wrap\'',
        ),
        (lambda: cnn.RandomCrop(1, float("nan")), "Value", "RandomCrop: fill must be a finite"),
        (lambda: cnn.RandomErasing(area=(0.0, 0.3)), "Value", "area must be above 0 and at most"),
        (lambda: cnn.RandomErasing(area=(0.1, 1.3)), "Value", "area must be above 0 and at most"),
        (lambda: cnn.RandomErasing(ratio=(2.0, 1.0)), "Value", "ratio must be (least, largest)"),
        (lambda: cnn.RandomErasing(ratio=2.0), "Type", "ratio must be (least, largest), got 2.0"),
        (lambda: cnn.RandomBrightness(1.5), "Value", "strength must be above 0 and at most 1"),
        (lambda: cnn.RandomContrast(0.0), "Value", "RandomContrast: strength must be above 0"),
        (
            lambda: cnn.RandomAffine(translate=2.0),
            "Value",
            "translate must be at most 1, of an image",
        ),
    ],
)
def test_bad_settings(make, kind, message):
    with pytest.raises(
        {"Type": InvalidTypeError, "Value": InvalidValueError}[kind], match=re.escape(message)
    ):
        make()


@pytest.mark.parametrize(
    ("layer", "shape", "message"),
    [
        (cnn.HorizontalFlip(), (6,), "HorizontalFlip: input must have 4 axes"),
        (
            cnn.RandomCrop(4, "reflect"),
            (4, 9, 1),
            "RandomCrop: pixels beyond an image must be fewer than its own, got (4, 4) for images",
        ),
        (cnn.RandomShift(2), (1, 64, 1), "fewer than its own, got (2, 2) for images of 1 x 64"),
        (cnn.RandomShift((0, 20000)), (1, 30000, 1), "must be fewer than 16384, got (0, 20000)"),
        (
            cnn.Cutout((9, 7)),
            (8, 6, 1),
            "Cutout: size must not be beyond images of 8 x 6 both ways",
        ),
        *(
            (layer, (1, 32641, 1), f"{type(layer).__name__}: images must have at most 32640 rows")
            for layer in (
                cnn.Cutout(1),
                cnn.RandomErasing(),
                cnn.ElasticDeformation(),
                cnn.CutMix(),
            )
        ),
        (cnn.RandomContrast(), (2051, 2050, 1), "at most 4202512 pixels, got 2051 x 2050"),
    ],
)
def test_shapes_that_do_not_fit(layer, shape, message):
    with pytest.raises(InvalidValueError, match=re.escape(message)):
        layer.init(RNG, shape)


@pytest.mark.parametrize(
    ("layer", "x", "error", "message"),
    [
        (cnn.Cutout(), np.zeros((2, 5, 5)), InvalidValueError, "Cutout: input must have 4 axes"),
        (cnn.Cutout(), np.zeros((2, 5, 5, 1), int), InvalidTypeError, "Cutout: input must be"),
        (
            cnn.Cutout(2, fill=0.5),
            np.zeros((2, 5, 5, 1), np.uint8),
            InvalidValueError,
            "Cutout: fill must be a whole number from 0 to 255 for uint8 images, got 0.5",
        ),
        (
            cnn.RandomShift(fill=256),
            np.zeros((2, 5, 5, 1), np.uint8),
            InvalidValueError,
            "RandomShift: fill must be a whole number from 0 to 255 for uint8 images, got 256",
        ),
    ],
)
def test_inputs_that_do_not_fit(layer, x, error, message):
    with pytest.raises(error, match=re.escape(message)):
        layer.forward({}, {}, x, context(2))


def test_the_largest_images_are_changed_as_small_ones_are():
    white, seen = np.full((1, 2049, 2049, 1), 255, np.uint8), 0
    contrast = augmented(cnn.RandomContrast(1.0), white)
    assert (contrast == 255).all()  # whose pixels are all the mean
    long = np.zeros((200, 1, 32640, 1), np.uint8)
    for layer in (cnn.Cutout((1, 64), fill=9), cnn.RandomErasing(1.0, (0.02, 0.03), fill=9)):
        middle = (np.argmax(augmented(layer, long) == 9, axis=2)).ravel() / 32640
        assert min(middle) < 0.1
        assert 0.4 < middle.mean() < 0.6
        seen += 1
    assert seen == 2
