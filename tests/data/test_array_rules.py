"""Every form in which people hold images and labels, through every way in: the same result.

The expected result is that of the plain form, uint8 (N, H, W, C) and int32 (N,), by the same way; what
a form means is written down here by hand.
"""

import json
import struct

import numpy as np
import pytest

from arraycnn import (
    Dense,
    Flatten,
    InvalidTypeError,
    InvalidValueError,
    Model,
    NumPy,
    Rescale,
    Sequential,
)
from arraycnn.data import ImageSource, load_dataset
from arraycnn.data.array_rules import BrokenRule, plain_array
from arraycnn.data.label_rules import class_numbers
from arraycnn.data.pixel_rules import as_bytes, pixel_scale
from arraycnn.data.shape_rules import guessed_shape, shape_for
from arraycnn.errors import DataError

RNG = np.random.default_rng(5)
PIXELS = RNG.integers(0, 256, (12, 6, 5, 1), dtype=np.uint8)
PIXELS[0, 0, :2, 0] = 0, 255
LABELS = np.arange(12, dtype=np.int32) % 3
NAMES = ("no", "yes", "wide")
INK = PIXELS > 127
BLACK_AND_WHITE = np.where(INK, np.uint8(255), np.uint8(0))


def boxed(images):
    """An array of objects, each of them an image."""
    array = np.empty(len(images), object)
    array[:] = list(images)
    return array


# What people hold, and the uint8 images that it means.
IMAGES = {
    "int64": (PIXELS.astype(np.int64), PIXELS),
    "uint16": (PIXELS.astype(np.uint16), PIXELS),
    "whole numbers stored as float": (PIXELS.astype(np.float64), PIXELS),
    "whole numbers stored as half": (PIXELS.astype(np.float16), PIXELS),
    "0 to 1": (PIXELS / 255, PIXELS),
    "0 to 1 in float32": ((PIXELS / 255).astype(np.float32), PIXELS),
    "truth values": (INK, BLACK_AND_WHITE),
    "0 and 1 as float": (INK.astype(np.float32), BLACK_AND_WHITE),
    "big-endian": (PIXELS.astype(">i4"), PIXELS),
    "big-endian float": (PIXELS.astype(">f8"), PIXELS),
    "Fortran order": (np.asfortranarray(PIXELS), PIXELS),
    "no axis of channels": (PIXELS[..., 0], PIXELS),
    "one channel first": (PIXELS.transpose(0, 3, 1, 2), PIXELS),
    "rows of pixels": (PIXELS.reshape(12, 30), PIXELS),
    "one channel first, int64": (PIXELS.transpose(0, 3, 1, 2).astype(int), PIXELS),
    "read-only": (np.frombuffer(PIXELS.tobytes(), np.uint8).reshape(PIXELS.shape), PIXELS),
}
NO_FILES = {
    "a list": (PIXELS.tolist(), PIXELS),
    "a list of arrays": (list(PIXELS[..., 0]), PIXELS),
    "a tuple of arrays": (tuple(PIXELS.astype(float)), PIXELS),
    "objects": (boxed(PIXELS), PIXELS),
    "numbers as objects": (PIXELS.astype(object), PIXELS),
    "nothing masked": (np.ma.array(PIXELS, mask=False), PIXELS),
    "a list with nothing masked": ([np.ma.array(image) for image in PIXELS], PIXELS),
}
TARGETS = {
    "int64": LABELS.astype(np.int64),
    "uint64": LABELS.astype(np.uint64),
    "a column": LABELS[:, None],
    "a column of one more axis": LABELS[:, None, None],
    "whole numbers stored as float": LABELS.astype(np.float64),
    "a column of float": LABELS[:, None].astype(np.float32),
    "big-endian": LABELS.astype(">i8"),
    "names": np.array(NAMES)[LABELS],
    "a column of names": np.array(NAMES)[LABELS][:, None],
}
TARGETS_IN_MEMORY = {
    "a list": LABELS.tolist(),
    "a list of lists": LABELS[:, None].tolist(),
    "a list of float": LABELS.astype(float).tolist(),
    "objects": LABELS.astype(object),
    "names as objects": np.array(NAMES, object)[LABELS],
    "bytes": np.array(NAMES, "S4")[LABELS],
    "nothing masked": np.ma.array(LABELS),
}


class Listed(ImageSource):
    def __init__(self, images):
        self._images, self.shape, self.dtype = images, images.shape, images.dtype

    def read(self, indices):
        return self._images[indices]


def new_model():
    network = Sequential(Rescale(), Flatten(), Dense(3))
    return Model(network, (6, 5, 1), NumPy(fast=False), class_names=NAMES)


def learned(model):
    return np.concatenate([array.ravel() for array in model.parameters.values()])


def by_fit(images, labels, tmp_path):
    model = new_model()
    model.fit(images, labels, batch_size=5)
    return learned(model)


def by_validation(images, labels, tmp_path):
    (record,) = new_model().fit(PIXELS, LABELS, validation=(images, labels))
    return record.validation_loss


def by_evaluate(images, labels, tmp_path):
    return new_model().evaluate(images, labels).loss


def by_batches(images, labels, tmp_path):
    model = new_model()
    model.fit([(images[:7], labels[:7]), (images[7:], labels[7:])])
    return learned(model)


def by_evaluate_batches(images, labels, tmp_path):
    batches = [(images[:7], labels[:7]), (images[7:], labels[7:])]
    return new_model().evaluate(batches).loss


def by_predict(images, labels, tmp_path):
    return new_model().predict(images)


def by_source(images, labels, tmp_path):
    model = new_model()
    model.fit(Listed(images), labels, batch_size=5)
    return np.concatenate([learned(model), model.predict(Listed(images)).ravel()])


def by_memory_map(images, labels, tmp_path):
    np.save(tmp_path / "a.npy", images)
    return by_fit(np.load(tmp_path / "a.npy", mmap_mode="r"), labels, tmp_path)


def loaded(path):
    data = load_dataset(path, class_names=NAMES)
    assert data.train_images.dtype == np.uint8
    every = np.concatenate([data.train_images, data.test_images]).ravel()
    return np.concatenate([every, data.train_labels, data.test_labels])


def by_npz(images, labels, tmp_path):
    np.savez(tmp_path / "a.npz", images=images, labels=labels)
    return loaded(tmp_path / "a.npz")


def by_npy(images, labels, tmp_path):
    np.save(tmp_path / "images.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    np.save(tmp_path / "._images.npy", np.zeros(3))  # as a Mac leaves beside it
    return loaded(tmp_path)


IDX = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}


def idx(array):
    code = IDX[array.dtype.str[1:]]
    header = struct.pack(">HBB", 0, code, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def by_idx(images, labels, tmp_path):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(images))
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(labels))
    (tmp_path / "._a-images-idx3-ubyte").write_bytes(b"of a Mac")
    (tmp_path / "._a-labels-idx1-ubyte").write_bytes(b"of a Mac")
    return loaded(tmp_path)


IN_MEMORY = [by_fit, by_validation, by_evaluate, by_predict, by_batches, by_evaluate_batches]
STORED = [by_source, by_memory_map]
FILES = [by_npz, by_npy]
IMAGE_TABLE = [
    *((form, way) for form in IMAGES | NO_FILES for way in IN_MEMORY),
    *((form, way) for form in IMAGES for way in STORED),
    # What rows of pixels mean, only a network says.
    *((form, way) for form in IMAGES if form != "rows of pixels" for way in FILES),
    *((form, by_idx) for form in ("no axis of channels", "big-endian", "0 to 1 in float32")),
]


@pytest.mark.parametrize(("form", "way"), IMAGE_TABLE)
def test_images_of_every_form_by_every_way(form, way, tmp_path):
    images, meant = (IMAGES | NO_FILES)[form]
    (tmp_path / "plain").mkdir()
    expected = way(meant, LABELS, tmp_path / "plain")
    np.testing.assert_array_equal(way(images, LABELS, tmp_path), expected)


LABEL_TABLE = [
    *((form, way) for form in TARGETS | TARGETS_IN_MEMORY for way in IN_MEMORY + STORED),
    *((form, way) for form in TARGETS for way in FILES),
]


@pytest.mark.parametrize(("form", "way"), LABEL_TABLE)
def test_labels_of_every_form_by_every_way(form, way, tmp_path):
    labels = (TARGETS | TARGETS_IN_MEMORY)[form]
    (tmp_path / "plain").mkdir()
    expected = way(PIXELS, LABELS, tmp_path / "plain")
    np.testing.assert_array_equal(way(PIXELS, labels, tmp_path), expected)


@pytest.mark.parametrize("form", IMAGES)
def test_the_command_predicts_images_of_every_form(form, cli, tmp_path):
    images, meant = IMAGES[form]
    new_model().save("m.npz")
    np.save("a.npy", images)
    np.save("plain.npy", meant)
    said = {}
    for name in ("a.npy", "plain.npy"):
        code, out, err = cli("predict", "m.npz", name, "--no-invert", "--format", "json")
        assert code == 0, err
        said[name] = [row["probabilities"] for row in json.loads(out)]
    assert said["a.npy"] == said["plain.npy"]


@pytest.mark.parametrize("library", ["torch", "jax"])
@pytest.mark.parametrize("form", ["int64", "0 to 1 in float32", "one channel first, int64"])
def test_arrays_of_other_libraries_of_every_form(library, form):
    namespace = pytest.importorskip(library, reason=f"{library} is not installed")
    namespace = namespace.numpy if library == "jax" else namespace
    images, meant = IMAGES[form]
    images = namespace.asarray(np.ascontiguousarray(images))
    labels = namespace.asarray(LABELS[:, None].astype(np.float32))
    for backend in (NumPy(fast=False), library):
        model = Model(Sequential(Rescale(), Flatten(), Dense(3)), (6, 5, 1), backend)
        expected = model.evaluate(meant, LABELS)
        assert model.evaluate(images, labels) == expected
        np.testing.assert_array_equal(model.predict(images), model.predict(meant))


# --- what is assumed is said, and decided once for a set


def test_an_assumption_about_white_is_said_once(caplog):
    model = new_model()
    for _ in range(2):
        model.fit(PIXELS / 255, LABELS)
        model.predict(PIXELS / 255)
    new_model().fit(PIXELS.astype(float), LABELS)  # nothing to assume
    said = [record.message for record in caplog.records if "white" in record.message]
    assert said == ["images: float64, 1 is taken as white, the grey value 255"]


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int64", "uint16", ">i4"])
def test_bits_that_are_no_grey_values_are_said_to_be(dtype, caplog, tmp_path):
    bits, labels = np.concatenate([INK, INK]).astype(dtype), np.concatenate([LABELS, LABELS])
    new_model().fit(bits, labels)
    new_model().fit(Listed(bits), labels)
    np.savez(tmp_path / "bits.npz", images=bits, labels=labels)
    load_dataset(tmp_path / "bits.npz")
    about = "the grey values are 0 and 1 only, of 255; where 1 is white, multiply them by 255"
    said = [record.message for record in caplog.records if "images" in record.message]
    assert [line for line in said if "clipped" not in line] == [f"images: {about}"] * 2
    assert [record.message for record in caplog.records][-1] == f"{tmp_path / 'bits.npz'}: {about}"
    caplog.clear()
    new_model().fit(bits[:1], labels[:1])  # one picture may be as dark as that
    for grey in (bits * 0, np.concatenate([bits[:12], bits[:12] * 2]), bits.astype(bool)):
        new_model().fit(grey, labels)
    assert "0 and 1 only" not in caplog.text


def test_the_first_batch_decides_the_scale_of_all():
    dark = np.zeros((3, 6, 5, 1), np.float32)
    dark[:, 2:4] = 1
    labels = [0, 1, 2]
    bright = PIXELS[:3].astype(np.float32)
    model = new_model()
    # The second batch is one of 0 to 255 that happens to be nearly black.
    found = model.evaluate([(bright, labels), (dark, labels)]).loss
    one_set = model.evaluate(np.concatenate([bright, dark]).astype(np.uint8), labels * 2).loss
    assert found == pytest.approx(one_set)
    with pytest.raises(InvalidValueError, match=r"one scale, 0 to 1, got some from 0 to 25\d"):
        model.evaluate([(bright / 255, labels), (bright, labels)])
    with pytest.raises(InvalidTypeError, match="must be uint8 as in the batches before"):
        float_model().evaluate([(PIXELS[:3], labels), (bright, labels)])


def float_model():
    class Halved:
        """Takes uint8 and floating images."""

        def init(self, rng, input_shape):
            return {}, {}, input_shape

        def forward(self, params, state, x, context):
            return x.astype(context.dtype) / 2, state, ()

        def backward(self, params, residuals, dy, context, need_dx):
            return dy / 2, {}

    return Model(Sequential(Halved(), Flatten(), Dense(3)), (6, 5, 1), NumPy(fast=False))


def test_a_source_whose_images_differ_in_scale_is_refused_when_they_are_read():
    images = np.concatenate([PIXELS / 255] * 20)
    images[1] *= 255  # not one of those that are looked at first
    model = new_model()
    with pytest.raises(InvalidValueError, match="images: must all have one scale, 0 to 1"):
        model.fit(Listed(images), np.tile(LABELS, 20))


# --- what is refused, and that its remedy is right


def broken(call):
    with pytest.raises(BrokenRule) as caught:
        call()
    return str(caught.value)


def test_remedies_for_labels_give_the_labels_that_were_meant():
    one_hot = np.eye(3)[LABELS]
    for labels in (one_hot, one_hot.astype(bool), one_hot.tolist()):
        assert "take numpy.argmax(labels, axis=1)" in broken(lambda: class_numbers(labels))  # noqa: B023
        np.testing.assert_array_equal(np.argmax(labels, axis=1), LABELS)
    for labels in (one_hot * 2, one_hot * 0, np.full((12, 3), 1 / 3), PIXELS[..., 0]):
        assert "argmax" not in broken(lambda: class_numbers(labels))  # noqa: B023
    assert "take numpy.ravel(labels)" in broken(lambda: class_numbers(LABELS[None]))
    np.testing.assert_array_equal(class_numbers(np.ravel(LABELS[None])), LABELS)
    texts = LABELS.astype(str)
    assert "take numpy.array(labels).astype('int32')" in broken(lambda: class_numbers(texts))
    np.testing.assert_array_equal(class_numbers(np.array(texts).astype("int32")), LABELS)
    words = np.array(["a", "b", "c"])[LABELS]
    assert "numpy.unique(labels, return_inverse=True)[1]" in broken(lambda: class_numbers(words))
    np.testing.assert_array_equal(class_numbers(np.unique(words, return_inverse=True)[1]), LABELS)
    model = new_model()
    with pytest.raises(InvalidValueError, match="got 3 at position 2; they count from 1"):
        model.fit(PIXELS, LABELS + 1)
    with pytest.raises(InvalidValueError, match="got -1 at position 0; leave out"):
        model.fit(PIXELS, LABELS - 1)
    with pytest.raises(
        InvalidValueError, match="got 7 at position 1; number them from 0, or have 15"
    ):
        model.fit(PIXELS, LABELS * 7)
    with pytest.raises(InvalidValueError, match=r"class names \(no, yes, wide\), got 'maybe'"):
        model.fit(PIXELS, ["maybe"] * 12)


def test_remedies_for_shapes_give_the_images_that_were_meant():
    colour = RNG.integers(0, 256, (4, 6, 5, 3), dtype=np.uint8)
    images = colour.transpose(0, 3, 1, 2)
    assert "take images.transpose(0, 2, 3, 1)" in broken(lambda: shape_for(images.shape, (6, 5, 3)))
    np.testing.assert_array_equal(images.transpose(0, 2, 3, 1), colour)
    images = colour[0].transpose(2, 0, 1)
    assert "take images.transpose(1, 2, 0)" in broken(lambda: shape_for(images.shape, (6, 5, 3)))
    np.testing.assert_array_equal(images.transpose(1, 2, 0), colour[0])
    for images in (PIXELS, PIXELS[..., 0]):
        said = broken(lambda: shape_for(images.shape, (6, 5, 3)))  # noqa: B023
        remedy = "numpy.repeat(images.reshape(-1, 6, 5, 1), 3, axis=3)"
        assert remedy in said
        made = eval(remedy, {"numpy": np, "images": images})
        assert shape_for(made.shape, (6, 5, 3)) == (12, 6, 5, 3)
        np.testing.assert_array_equal(made, np.concatenate([PIXELS] * 3, axis=3))
    for images in (colour, colour.transpose(0, 3, 1, 2)):
        said = broken(lambda: shape_for(images.shape, (6, 5, 1)))  # noqa: B023
        made = eval(said.partition("take ")[2], {"images": images})
        assert shape_for(made.shape, (6, 5, 1)) == (4, 6, 5, 1)
        grey = pytest.importorskip("PIL.Image", reason="Pillow is not installed")
        theirs = [np.asarray(grey.fromarray(image).convert("L")) for image in colour]
        assert np.abs(as_bytes(made, pixel_scale(made)) - np.array(theirs, float)).max() <= 1
    for images in (colour.reshape(4, -1), colour.transpose(0, 3, 1, 2).reshape(4, -1)):
        said = broken(lambda: shape_for(images.shape, (6, 5, 3)))  # noqa: B023
        ways = said.partition("take ")[2].removesuffix(" where one channel follows the other")
        made = [eval(way, {"images": images}) for way in ways.split(", or ")]
        assert sum(np.array_equal(way, colour) for way in made) == 1
    said = broken(lambda: guessed_shape(colour.transpose(0, 3, 1, 2).repeat(2, 2).shape))
    assert "save images.transpose(0, 2, 3, 1)" in said
    assert "save images.reshape(-1, 28, 28)" in broken(lambda: guessed_shape((10, 784)))
    assert "images.reshape(-1, 32, 32, 3)" in broken(lambda: guessed_shape((10, 3072)))


def test_remedies_for_pixels_give_the_bytes_that_were_meant():
    for bits in (9, 10, 12, 14, 16):
        deep = (np.arange(256) << (bits - 8)).astype(np.uint16) + 1
        said = broken(lambda: pixel_scale(deep))  # noqa: B023
        made = eval(said.partition("take ")[2], {"images": deep})
        np.testing.assert_array_equal(made, np.arange(256))
    for fraction in (0.25, -0.25):  # as resizing leaves them, beyond both ends
        fractions = PIXELS + np.float64(fraction)
        remedy = broken(lambda: pixel_scale(fractions)).partition("take ")[2]  # noqa: B023
        np.testing.assert_array_equal(eval(remedy, {"numpy": np, "images": fractions}), PIXELS)
    brighter = PIXELS * 2.5
    remedy = broken(lambda: pixel_scale(brighter)).partition("take ")[2]
    made = eval(remedy, {"images": brighter})
    assert np.abs(made - PIXELS.astype(float)).max() <= 1
    standardised = (PIXELS / 255 - 0.1307) / 0.3081
    for images in (PIXELS / 255 - 0.5, PIXELS.astype(int) - 128, standardised, PIXELS / 100):
        assert "before they were scaled" in broken(lambda: pixel_scale(images))  # noqa: B023
    for value in (np.nan, np.inf, -np.inf):
        images = PIXELS / 255
        images[3, 2, 1] = value
        assert "must be finite" in broken(lambda: pixel_scale(images))  # noqa: B023


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.ma.masked_less(PIXELS, 3), "must have a value everywhere"),
        ([np.ma.masked_less(image, 3) for image in PIXELS], "must have a value everywhere"),
        (boxed([PIXELS[0], PIXELS[1, :3]]), "parts of different sizes"),
        ([PIXELS[0], PIXELS[1, :3]], "parts of different sizes"),
        (np.array([1, None]), "objects: NoneType at position 1"),
        (None, "got NoneType"),
        ((n for n in range(3)), "got generator"),
        (np.zeros(3, [("a", int)]), "got records"),
    ],
)
def test_what_is_no_array_of_numbers(values, said):
    assert said in broken(lambda: plain_array(values))


def test_a_sparse_matrix_says_how_it_becomes_an_array():
    sparse = pytest.importorskip("scipy.sparse", reason="SciPy is not installed")
    images = sparse.csr_matrix(PIXELS.reshape(12, 30))
    assert "toarray()" in broken(lambda: plain_array(images))
    np.testing.assert_array_equal(
        new_model().predict(images.toarray()), new_model().predict(PIXELS)
    )


def test_one_image_alone_needs_no_axis_for_the_images():
    model = new_model()
    expected = model.predict(PIXELS[:1])
    for image in (PIXELS[0], PIXELS[0, ..., 0], PIXELS[0, ..., 0].tolist(), PIXELS[0] / 255):
        np.testing.assert_array_equal(model.predict(image), expected)
        assert model.evaluate(image, 2) == model.evaluate(PIXELS[:1], [2])


def test_channels_first_in_a_file_is_an_error_and_not_another_picture(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((4, 3, 8, 9), np.uint8), labels=[0, 1, 0, 1])
    with pytest.raises(DataError, match=r"channels first; save images.transpose\(0, 2, 3, 1\)"):
        load_dataset(tmp_path / "a.npz")
