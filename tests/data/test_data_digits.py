"""The digits that ship inside: right pixels, right labels, a split that never changes."""

import hashlib
from importlib import resources

import numpy as np
import pytest

from arraycnn.data import load_dataset
from arraycnn.errors import DataError

# Counts of the published set, digits 0 to 9 (1,797 in all).
PUBLISHED_COUNTS = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


@pytest.fixture(scope="module")
def digits():
    return load_dataset("digits")


def test_shapes_and_types(digits):
    assert digits.name == "digits"
    assert digits.train_images.shape == (1437, 8, 8, 1)
    assert digits.test_images.shape == (360, 8, 8, 1)
    assert digits.train_images.dtype == digits.test_images.dtype == np.uint8
    assert digits.train_labels.dtype == digits.test_labels.dtype == np.int32
    assert digits.image_shape == (8, 8, 1)
    assert digits.class_names == ("0", "1", "2", "3", "4", "5", "6", "7", "8", "9")


def test_every_class_has_its_share_of_both_parts(digits):
    train = np.bincount(digits.train_labels, minlength=10)
    test = np.bincount(digits.test_labels, minlength=10)
    assert (train + test).tolist() == PUBLISHED_COUNTS
    assert np.abs(test - np.array(PUBLISHED_COUNTS) * 360 / 1797).max() < 1


def test_pixels_are_the_seventeen_levels_scaled(digits):
    levels = [0, 16, 32, 48, 64, 80, 96, 112, 128, 143, 159, 175, 191, 207, 223, 239, 255]
    assert np.unique(digits.train_images).tolist() == levels


def test_the_split_never_changes(digits):
    digest = hashlib.sha256()
    for array in (digits.train_images, digits.train_labels, digits.test_images, digits.test_labels):
        digest.update(array.astype(np.uint8).tobytes())
    assert digest.hexdigest() == "94fa0a9b6f845f0ea54e2b9711183f6673a647be5f05e590f5a913fc703dffea"


def test_the_images_are_those_of_the_published_set(digits):
    published = pytest.importorskip("sklearn.datasets").load_digits()
    pixels = np.rint(published.images * 255 / 16).astype(np.uint8)
    expected = sorted(
        (int(label), image.tobytes()) for label, image in zip(published.target, pixels, strict=True)
    )
    images = np.concatenate([digits.train_images, digits.test_images])
    labels = np.concatenate([digits.train_labels, digits.test_labels])
    shipped = sorted(
        (int(label), image.tobytes()) for label, image in zip(labels, images, strict=True)
    )
    assert shipped == expected


def test_no_image_is_in_both_parts(digits):
    train = {image.tobytes() for image in digits.train_images}
    assert not [image for image in digits.test_images if image.tobytes() in train]


def test_the_authors_are_named_beside_the_file():
    text = resources.files("arraycnn.data").joinpath("digits.LICENSE.txt").read_text("utf-8")
    for part in ("E. Alpaydin", "C. Kaynak", "10.24432/C50P49", "CC BY 4.0", "Changes made"):
        assert part in text


def test_a_data_folder_is_refused(tmp_path):
    with pytest.raises(DataError, match="ships inside arraycnn"):
        load_dataset("digits", tmp_path)


def test_the_data_variable_does_not_concern_digits(tmp_path, monkeypatch):
    monkeypatch.setenv("ARRAYCNN_DATA", str(tmp_path / "none"))
    assert load_dataset("digits").train_labels.size == 1437
