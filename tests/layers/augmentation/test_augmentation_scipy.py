"""Images read between their pixels, against SciPy's and Pillow's geometry."""

import math
import re

import numpy as np
import pytest
from PIL import Image

import arraycnn as cnn
import augmentation_loops as loops
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words
from optional import Late, needs
from random_words import FIRST_INDEX, SEED, STEP

ndimage, interpolate = Late("scipy.ndimage"), Late("scipy.interpolate")
RNG = np.random.default_rng(5)
IMAGES = RNG.normal(size=(5, 12, 9, 2))
MODES = {0.5: {"mode": "grid-constant", "cval": 0.5}, "edge": {"mode": "nearest"}}
WARPS = [
    (cnn.RandomAffine(40.0, (0.6, 1.6), 25.0, 0.2), loops.affine_places, 1),
    (cnn.ElasticDeformation(5.0, 4), loops.elastic_places, 2 * 6 * 6),
]


def augmented(layer, x):
    step, indices = np.array([STEP], np.int32), np.arange(len(x), dtype=np.int32) + FIRST_INDEX
    context = Context(GENERIC, "train", "float64", Randomness(seed_words(SEED), step, indices))
    y, _, _ = layer.forward({}, {}, x, context)
    assert (y.dtype, y.shape) == (x.dtype, x.shape)
    return y


@needs("scipy")
@pytest.mark.parametrize(("layer", "places_of", "count"), WARPS, ids=["affine", "elastic"])
@pytest.mark.parametrize("fill", [0.5, "edge"])
def test_pixels_are_those_that_scipy_reads_there(layer, places_of, count, fill):
    layer = type(layer)(**(vars(layer) | {"fill": fill}))
    height, width, channels = IMAGES.shape[1:]
    for n, y in enumerate(augmented(layer, IMAGES)):
        words = loops.words_of(n, count)
        places = places_of(layer, words[0] if count == 1 else words, height, width)
        where = np.array(list(places.values())).T
        for c in range(channels):
            expected = ndimage.map_coordinates(IMAGES[n, ..., c], where, order=1, **MODES[fill])
            np.testing.assert_allclose(y[..., c].ravel(), expected, rtol=1e-12, atol=1e-12)


@needs("scipy")
def test_an_affine_map_is_scipys_inverse():
    layer = cnn.RandomAffine(50.0, (0.8, 1.3), 10.0, 0.1)
    height, width = IMAGES.shape[1:3]
    for n, y in enumerate(augmented(layer, IMAGES)):
        angle, shear, zoom, down, right = (
            2 * share - 1 for share in loops.spread(loops.words_of(n, 1)[0], 5)
        )
        angle, shear = math.radians(50 * angle), math.radians(10 * shear)
        zoom = 0.8 + 0.5 * (1 + zoom) / 2
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        back = np.linalg.inv(zoom * turn @ [[1.0, 0.0], [math.tan(shear), 1.0]])
        middle = (np.array([height, width]) - 1) / 2
        begin = middle - back @ (middle + 0.1 * np.array([down * height, right * width]))
        for c in range(2):
            expected = ndimage.affine_transform(
                IMAGES[n, ..., c], back, begin, order=1, mode="grid-constant"
            )
            # The library's terms are rounded to 1 / 65536 of a pixel.
            np.testing.assert_allclose(y[..., c], expected, atol=2e-3)


@needs("scipy")
def test_displacements_are_scipys_b_splines():
    layer = cnn.ElasticDeformation(5.0, 4)
    ramps = np.zeros((2, 40, 44, 2))
    ramps[..., 0], ramps[..., 1] = np.arange(40)[:, None], np.arange(44)
    y = augmented(cnn.ElasticDeformation(5.0, 4, fill="edge"), ramps)
    points = (13, 14)
    for n in range(2):
        words = loops.words_of(n, 2 * math.prod(points))
        grid = np.array([loops.whole(word, 2561) - 1280 for word in words]) / 256
        down, right = (
            interpolate.BSpline.design_matrix(
                np.arange(size) / layer.spacing, np.arange(-3.0, count + 1.0), 3
            ).toarray()
            for size, count in zip((40, 44), points, strict=True)
        )
        for axis, part in enumerate(grid.reshape(2, *points)):
            inner = (slice(6, -6),) * 2
            off = y[n, ..., axis] - ramps[n, ..., axis]
            np.testing.assert_allclose(off[inner], (down @ part @ right.T)[inner], atol=0.06)
            assert np.abs(off[inner]).max() > 1.0


def test_a_quarter_turn_is_pillows():
    layer = cnn.RandomAffine(90.0, (1.0, 1.0))
    images = np.repeat(RNG.integers(0, 256, (1, 9, 9, 3), dtype=np.uint8), 200, axis=0)
    angles = [
        90 * (2 * loops.spread(loops.words_of(n, 1)[0], 5)[0] - 1) for n in range(len(images))
    ]
    n = int(np.argmax(angles))
    turned = np.array(Image.fromarray(images[n]).rotate(angles[n], Image.Resampling.BILINEAR))
    near = np.abs(augmented(layer, images)[n].astype(int) - turned)
    assert angles[n] > 80.0
    assert near[2:-2, 2:-2].max() <= 2  # it rounds places in another way


def test_bytes_are_those_of_floating_images_rounded():
    images = RNG.integers(0, 256, (8, 10, 11, 3), dtype=np.uint8)
    for layer, _, _ in WARPS:
        exact = augmented(layer, images.astype(np.float64))
        found = augmented(layer, images)
        # Weights of bytes are rounded to 1 / 256.
        assert np.abs(found - exact).max() < 2.6
        assert np.abs(found - exact).mean() < 0.5


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: cnn.RandomAffine(-1.0), InvalidValueError, "RandomAffine: degrees must be finite"),
        (lambda: cnn.RandomAffine(shear=90.0), InvalidValueError, "shear must be below 90 degrees"),
        (lambda: cnn.RandomAffine(scale=(0.0, 1.0)), InvalidValueError, "scale must be above 0"),
        (lambda: cnn.RandomAffine(scale=1.1), InvalidTypeError, "scale must be (least, largest)"),
        (lambda: cnn.RandomAffine(translate="1"), InvalidTypeError, "translate must be a number"),
        (lambda: cnn.RandomAffine(fill="reflect"), InvalidValueError, "must be a finite number or"),
        (lambda: cnn.ElasticDeformation(0.0), InvalidValueError, "strength must be above 0 and at"),
        (lambda: cnn.ElasticDeformation(64.0), InvalidValueError, "at most 63, got 64.0"),
        (lambda: cnn.ElasticDeformation(1.0, 0), InvalidValueError, "spacing must be at least 1"),
        (
            lambda: cnn.RandomAffine(scale=(0.01, 1.0)).init(RNG, (500, 500, 1)),
            InvalidValueError,
            "RandomAffine: no pixel may be read 32768 or more from an image's first one, got",
        ),
    ],
)
def test_bad_settings(make, kind, message):
    with pytest.raises(kind, match=re.escape(message)):
        make()
