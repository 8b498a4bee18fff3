"""The sheet of augmented images: what the network sees in training, and where a report shows it."""

import json

import numpy as np
import pytest

import arraycnn as cnn
from arraycnn import report
from arraycnn.layers.layer import Context, Randomness
from arraycnn.ops import GENERIC
from arraycnn.ops.random_bits import seed_words
from arraycnn.training.history import EpochRecord

RNG = np.random.default_rng(2)
IMAGES, LABELS = RNG.integers(0, 256, (20, 7, 6, 3), dtype=np.uint8), np.arange(20) % 3
FIRST, SECOND = cnn.RandomShift(2), cnn.Mixup(1.0)
BODY = cnn.Conv2d(4, 3), cnn.RandomShift(1), cnn.Flatten(), cnn.Dense(3)


def model_of(*layers):
    names = ["a", "b", "c"]
    return cnn.Model(cnn.Sequential(*layers, *BODY), (7, 6, 3), seed=4, class_names=names)


def drawn(layer, path, x, step):
    random = Randomness(
        seed_words(4), np.array([step], np.int32), np.arange(len(x), dtype=np.int32)
    )
    return layer.forward({}, {}, x, Context(GENERIC, "train", "float32", random, path))[0]


def test_images_are_those_that_the_network_sees_in_training():
    model = model_of(cnn.Sequential(FIRST, cnn.Rescale()), SECOND)
    found = report.augmented(model, IMAGES[:5], draws=3)
    assert found.shape == (3, 5, 7, 6, 3)
    for step, images in enumerate(found):
        shifted = drawn(FIRST, ("0", "0"), IMAGES[:5], step)
        expected = drawn(SECOND, ("1",), (shifted / 255.0 - 0.5).astype(np.float32), step)
        np.testing.assert_allclose(images, expected, rtol=1e-5, atol=1e-6)
    bytes_first = report.augmented(model_of(FIRST, cnn.Rescale(), cnn.ReLU(), SECOND), IMAGES[:2])
    assert bytes_first.shape == (7, 2, 7, 6, 3)


def test_a_network_that_begins_otherwise_has_none():
    assert report.augmented(model_of(cnn.Rescale()), IMAGES[:2]) is None
    assert report.augmented(model_of(cnn.Rescale(), cnn.ReLU(), FIRST), IMAGES[:2]) is None


@pytest.mark.parametrize("layers", [(FIRST, cnn.Rescale()), (cnn.Rescale(),)], ids=str)
def test_a_report_has_them_where_there_are_some(layers, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"dataset": "digits"}))
    record = EpochRecord(1, 0.9, 0.5, 0.8, 0.6, 2.0, 100.0, 0.1)
    (folder / "metrics.jsonl").write_text(json.dumps(vars(record)) + "\n")
    (folder / "best.npz").write_bytes(b"")
    found = report.examine(model_of(*layers), IMAGES, LABELS)
    page = report.write_report([(report.read_run(folder), found)], tmp_path / "out").read_text()
    count = len(found.examples) if len(layers) == 2 else 0
    assert page.count("and 7 augmented copies of it") == count
    assert page.count("Augmented images") == (2 if count else 0)  # the heading, and its link
    assert (tmp_path / "out" / "pictures" / "augmented.png").exists() == (count > 0)
