"""Which background images have, on the real sets and on what a scanner gives."""

from pathlib import Path

import numpy as np
import pytest

from arraycnn import Dense, Flatten, Model, Rescale, Sequential
from arraycnn.data import ImageSource, load_dataset
from arraycnn.errors import CheckpointError
from arraycnn.polarity import background, backgrounds, inverted

DATA = Path(__file__).parent.parent.parent / "shared" / "data"
DIGITS = load_dataset("digits").train_images


@pytest.mark.parametrize(
    ("name", "folder"),
    [("digits", None), ("mnist", "mnist"), ("fashion-mnist", "fashion-mnist-sample")],
)
def test_no_image_of_a_real_set_is_taken_for_its_opposite(name, folder):
    if folder and not (DATA / folder).is_dir():
        pytest.skip("the real files are not beside the project")
    images = load_dataset(name, folder and DATA / folder).train_images
    assert background(images) == "dark"
    assert background(255 - images) == "light"
    assert not (backgrounds(images) == 1).any()
    assert (backgrounds(255 - images) == 1).mean() > 0.999
    same, which = inverted(images, "dark")
    assert not which.any()
    np.testing.assert_array_equal(same, images)


def test_only_the_opposite_ones_are_inverted():
    mixed = DIGITS[:10].copy()
    mixed[::2] = 255 - mixed[::2]
    images, which = inverted(mixed, "dark")
    assert which.tolist() == [True, False] * 5
    np.testing.assert_array_equal(images, DIGITS[:10])
    np.testing.assert_array_equal(inverted(mixed, "light")[0], 255 - DIGITS[:10])
    np.testing.assert_array_equal(inverted(mixed, None)[0], mixed)


def test_photographs_and_flat_images_have_no_background():
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (50, 16, 16, 3), np.uint8)
    flat = np.stack([np.full((8, 8, 1), value, np.uint8) for value in range(256)])
    tiny = rng.integers(0, 256, (9, 1, 1, 1), np.uint8)
    for images in (noise, flat, tiny):
        assert not backgrounds(images).any()
        assert background(images) is None
    assert background(np.concatenate([DIGITS, 255 - DIGITS])) is None
    assert background(DIGITS / 255) is None
    assert background(DIGITS[..., 0]) == "dark"
    assert background("images") is None


def test_a_model_keeps_the_background_of_its_first_training(tmp_path):
    class Stored(ImageSource):
        shape, dtype = DIGITS.shape, DIGITS.dtype

        def read(self, indices):
            return DIGITS[indices]

    labels = np.zeros(len(DIGITS), int)
    for images in (DIGITS, Stored()):
        model = Model(Sequential(Rescale(), Flatten(), Dense(2)), (8, 8, 1))
        assert model.background is None
        model.fit(images, labels)
        model.fit(255 - DIGITS, labels)
        assert model.background == "dark"
    model.save(tmp_path / "model.npz")
    assert Model.load(tmp_path / "model.npz").background == "dark"
    model.background = "green"
    model.save(tmp_path / "model.npz")
    with pytest.raises(CheckpointError, match="background must be dark, light or null"):
        Model.load(tmp_path / "model.npz")
