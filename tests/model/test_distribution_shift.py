"""Images and labels unlike those of the training are noticed, by every way in; others are not."""

import json
import logging

import numpy as np
import pytest

from arraycnn import SGD, ImageSource, Model, Sequential
from arraycnn.data import load_dataset
from arraycnn.model.distribution_shift import pixel_statistics, strange_labels, strange_pixels
from arraycnn.networks import scratch

DIGITS = load_dataset("digits")
BYTES, LABELS = DIGITS.train_images, DIGITS.train_labels
NUMBERS = (BYTES / 255).astype(np.float32)


class Held(ImageSource):
    def __init__(self, images):
        self._images, self.shape, self.dtype = images, images.shape, images.dtype

    def read(self, indices):
        return self._images[indices]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Files of a model trained on bytes, and of one on numbers from 0 to 1."""
    folder = tmp_path_factory.mktemp("models")
    for name, images, first in (("bytes", BYTES, 0), ("numbers", NUMBERS, 1)):
        model = Model(Sequential(*scratch().layers[first:]), (8, 8))
        model.fit(images, LABELS)
        model.save(folder / f"{name}.npz")
    return folder


def notices(caplog):
    found = [record.getMessage() for record in caplog.records if record.name == "arraycnn"]
    caplog.clear()
    return found


SHOWN = {
    "bytes of 0 to 15": ("bytes", BYTES // 16, "values are 0 to 15"),
    "bytes of 0 and 1": ("bytes", (BYTES > 127).astype(np.uint8), "values are 0 to 1"),
    "blank bytes": ("bytes", np.zeros_like(BYTES), "values are 0 to 0"),
    "numbers of 0 to 255": ("numbers", NUMBERS * 255, "values are 0 to 255"),
    "numbers around zero": ("numbers", NUMBERS - 0.5, "values are -0.5 to 0.5"),
    "numbers of -1 to 1": ("numbers", NUMBERS * 2 - 1, "values are -1 to 1"),
    "numbers of deviation 1": ("numbers", (NUMBERS - 0.3) / 0.37, "values are -0.81"),
    "numbers divided twice": ("numbers", NUMBERS / 255, "values are 0 to 0.003922"),
}


@pytest.mark.parametrize("way", ["evaluate", "predict", "fit", "source"])
@pytest.mark.parametrize(("kind", "images", "said"), SHOWN.values(), ids=SHOWN)
def test_images_that_are_scaled_in_another_way(kind, images, said, way, saved, caplog):
    model = Model.load(saved / f"{kind}.npz")
    show = {
        "evaluate": lambda: model.evaluate(images, LABELS),
        "predict": lambda: model.predict(images),
        "fit": lambda: model.fit(images, LABELS, optimizer=SGD(1e-9)),
        "source": lambda: model.evaluate(Held(images), LABELS),
    }[way]
    show()
    (line,) = notices(caplog)
    assert line.startswith(f"images: {said}")
    assert line.endswith("scale both in one way")
    show()
    assert notices(caplog) == []  # once is enough


@pytest.mark.parametrize("backend", ["numpy", "array-api-strict"])
@pytest.mark.parametrize("kind", ["bytes", "numbers"])
def test_images_like_those_of_the_training_are_passed_in_silence(kind, backend, saved, caplog):
    model = Model.load(saved / f"{kind}.npz", backend=backend)
    images = BYTES if kind == "bytes" else NUMBERS
    model.evaluate(images, LABELS)
    model.evaluate(images[:40], LABELS[:40])
    for digit in range(10):  # one digit is inked more, another less
        model.predict(images[digit == LABELS])
    model.predict(np.zeros_like(images[:1]))
    model.predict(images[:3] // 64)
    assert notices(caplog) == []


def test_scaled_as_told_they_pass_in_silence(saved, caplog):
    model = Model.load(saved / "numbers.npz")
    strange = NUMBERS * 200
    model.evaluate(strange, LABELS)
    (line,) = notices(caplog)
    assert "of the training images 0 to 1," in line
    again = Model.load(saved / "numbers.npz")
    again.evaluate(strange / strange.max(), LABELS)
    assert notices(caplog) == []


def test_another_background(saved, caplog, cli):
    model = Model.load(saved / "bytes.npz")
    assert model.background == "dark"
    model.evaluate(255 - BYTES, LABELS)
    (line,) = notices(caplog)
    assert line.startswith("images: their background is light, that of the training images dark")
    assert line.endswith("pass 255 - images")  # and so told, it is silent:
    Model.load(saved / "bytes.npz").evaluate(255 - (255 - BYTES), LABELS)
    assert notices(caplog) == []
    np.savez("light.npz", images=255 - BYTES, labels=LABELS)
    assert cli("evaluate", saved / "bytes.npz", "--dataset", "light.npz")[0] == 0
    assert any("their background is light" in line for line in notices(caplog))


def test_models_of_before_know_nothing_of_pixels(saved, caplog, tmp_path):
    model = Model.load(saved / "numbers.npz")
    assert json.loads(json.dumps(vars(model.pixels)))["high"] == 1.0
    model.pixels = None
    model.save(tmp_path / "old.npz")
    old = Model.load(tmp_path / "old.npz")
    assert old.pixels is None
    old.predict(NUMBERS * 255)
    assert notices(caplog) == []
    other = Model.load(saved / "bytes.npz")
    other.pixels = None  # but of their background, since long
    other.evaluate(255 - BYTES, LABELS)
    assert "their background is light" in notices(caplog)[0]
    old.fit(NUMBERS, LABELS)
    assert old.pixels == Model.load(saved / "numbers.npz").pixels


@pytest.mark.parametrize("seed", range(5))
def test_statistics_are_those_of_all_images_where_these_are_few(seed):
    rng = np.random.default_rng(seed)
    images = rng.normal(3.0, 2.0, (rng.integers(1, 257), 3, 4, 1)).astype(np.float32)
    found = pixel_statistics(images)
    values = [float(value) for value in images.ravel()]
    assert found.mean == pytest.approx(sum(values) / len(values))
    assert found.std**2 == pytest.approx(
        sum((value - found.mean) ** 2 for value in values) / len(values)
    )
    assert (found.low, found.high) == (min(values), max(values))
    assert strange_pixels(found, None, images) == ""
    assert pixel_statistics(np.full((20, 2, 2, 1), np.nan)) is None


# --- labels ---------------------------------------------------------------------------------------


def test_labels_of_one_class(caplog):
    model = Model(scratch(), (8, 8), class_names=[f"digit {n}" for n in range(10)])
    threes = LABELS == 3
    model.evaluate(BYTES[threes], LABELS[threes])
    (line,) = notices(caplog)
    assert f"evaluate: all {threes.sum()} images are of class 'digit 3': the accuracy does" in line
    model.fit(BYTES[threes], LABELS[threes])
    assert any("whatever is shown later will be taken for it" in line for line in notices(caplog))


def test_classes_that_a_training_never_shows(caplog):
    few = LABELS < 8
    model = Model(scratch(), (8, 8))
    model.fit(BYTES[few], LABELS[few])
    assert "fit: 2 of 10 classes have no images ('8', '9')" in notices(caplog)[0]
    model.fit(BYTES[few], LABELS[few])  # goes on: nothing more to say
    model.evaluate(BYTES[few], LABELS[few])
    model.fit(BYTES[:1], LABELS[:1], batch_size=1)
    assert notices(caplog) == []


@pytest.mark.parametrize(
    ("labels", "classes", "anew", "said"),
    [
        ([1], 2, True, ""),
        ([1] * 2, 2, True, "all 2 images are of class '1'"),
        ([0] * 16, 1, True, ""),
        ([0, 1] * 8, 2, True, ""),
        ([0, 1] * 8, 3, True, "1 of 3 classes have no images ('2')"),
        ([0, 1] * 8, 3, False, ""),
        ([0, 1] * 8, 1000, True, ""),
        (list(range(30)) * 2, 50, True, "20 of 50 classes have no images ('30', '31', '32', '33'"),
    ],
)
def test_what_is_said_of_labels(labels, classes, anew, said):
    line = strange_labels("fit", np.array(labels), classes, None, anew)
    assert (said in line) if said else line == ""


def test_the_notices_are_warnings(caplog):
    with caplog.at_level(logging.WARNING, logger="arraycnn"):
        Model(scratch(), (8, 8)).fit(BYTES[:20], np.zeros(20, int))
    assert {record.levelname for record in caplog.records} == {"WARNING"}
