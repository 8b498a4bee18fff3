"""Which background images have, on the real sets and on what a scanner gives."""

import json
from pathlib import Path

import numpy as np
import pytest

from arraycnn import Dense, Flatten, Model, Rescale, Sequential
from arraycnn.data import ImageSource, load_dataset
from arraycnn.data.polarity import background, backgrounds, blank, inverted
from arraycnn.errors import CheckpointError

DATA = Path(__file__).parent.parent.parent.parent / "shared" / "data"
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
    not_light = 0
    for start in range(0, len(images), 2000):
        part = images[start : start + 2000]
        assert not (backgrounds(part) == 1).any()
        not_light += int((backgrounds(255 - part) != 1).sum())
        assert not blank(part).any()
        same, which = inverted(part, "dark")
        assert not which.any()
        np.testing.assert_array_equal(same, part)
    assert not_light < len(images) / 1000


def on_paper(paper, ink, uneven=0.0, noise=0.0, seed=0):
    """The digits in ink on paper, both grey values of 255, under light from the upper left."""
    share = DIGITS / 16.0 if DIGITS.max() <= 16 else DIGITS / 255.0
    slope = np.linspace(uneven, -uneven, 8)
    light = paper + (slope[:, None] + slope)[None, ..., None] / 2
    drawn = light * (1 - share) + ink * share
    drawn += np.random.default_rng(seed).normal(0, noise, drawn.shape)
    return drawn.clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("paper", "ink", "uneven", "noise"),
    [
        *((paper, 20, 0, 0) for paper in (90, 120, 140, 160, 180, 200, 255)),
        *((paper, 20, paper / 8, 5) for paper in (120, 160, 200)),
        (220, 150, 0, 3),  # a pencil
        (160, 90, 15, 3),
        (70, 5, 0, 2),  # in the dark
    ],
)
def test_paper_is_light_however_grey_it_is_where_its_ink_is_darker(paper, ink, uneven, noise):
    images = on_paper(paper, ink, uneven, noise)
    assert background(images) == "light"
    assert (backgrounds(images) == 1).mean() > 0.98
    chalk = 255 - images
    assert background(chalk) == "dark"
    assert (backgrounds(chalk) == -1).mean() > 0.98
    turned, which = inverted(images, "dark")
    assert which.mean() > 0.98
    np.testing.assert_array_equal(turned[which], chalk[which])


def test_paper_on_which_nothing_is_written_has_no_background():
    rng = np.random.default_rng(1)
    for noise in (0, 0.5, 5, 20):
        sheets = (160 + rng.normal(0, noise, (200, 28, 28, 1))).clip(0, 255).astype(np.uint8)
        assert (backgrounds(sheets) != 0).mean() < 0.02
        assert blank(sheets).all() == (noise < 1)
    assert blank(np.zeros((1, 4, 4, 3))).all()
    assert not blank(DIGITS / 255).any()
    coloured = np.zeros((1, 2, 2, 3), np.uint8)
    coloured[0, 0, 0, 1] = 200
    assert not blank(coloured).any()


@pytest.fixture
def model_of_digits(tmp_path):
    data = load_dataset("digits")
    model = Model(Sequential(Rescale(), Flatten(), Dense(10)), (8, 8), class_names=data.class_names)
    model.fit(data.train_images, data.train_labels, epochs=8)
    model.save(tmp_path / "m.npz")
    return model


def test_the_command_inverts_grey_paper_and_says_so(cli, model_of_digits, tmp_path):
    data = load_dataset("digits")
    chosen = slice(0, 40)
    share, labels = data.test_images[chosen] / 255.0, data.test_labels[chosen]
    right = {}
    for paper in (120, 160, 200, 255):
        np.save(tmp_path / "a.npy", (paper * (1 - share) + 20 * share).astype(np.uint8))
        code, out, err = cli("predict", "m.npz", "a.npy", "--json")
        assert code == 0
        assert any("40 of 40 images inverted" in line for line in err)
        rows = json.loads(out)
        right[paper] = sum(row["class"] == str(n) for row, n in zip(rows, labels, strict=True))
    plain = (model_of_digits.predict(data.test_images[chosen]).argmax(axis=1) == labels).sum()
    assert min(right.values()) >= plain - 8, (right, plain)
    assert right[255] >= plain - 2


def test_the_command_says_which_images_are_blank(cli, model_of_digits, tmp_path):
    images = load_dataset("digits").test_images[:3].copy()
    images[1] = 77
    np.save(tmp_path / "a.npy", images)
    code, out, err = cli("predict", "m.npz", "a.npy", "--json")
    assert code == 0
    assert [row["blank"] for row in json.loads(out)] == [False, True, False]
    assert any("1 of 3 images blank" in line for line in err)
    code, out, err = cli("predict", "m.npz", "a.npy", "--format", "csv")
    assert [line.split(",")[4] for line in out.splitlines()] == ["blank", "False", "True", "False"]
    code, out, err = cli("predict", "m.npz", "a.npy")
    assert [": blank, nothing to see" in line for line in out.splitlines()] == [False, True, False]


def test_blank_images_of_a_set_are_counted_in_one_line(tmp_path, caplog):
    images = np.tile(DIGITS[:20], (2, 1, 1, 1))
    images[::4] = 9
    np.savez(tmp_path / "a.npz", images=images, labels=np.arange(40) % 2)
    load_dataset(tmp_path / "a.npz")
    said = [record.message for record in caplog.records if "blank" in record.message]
    assert said == [f"{tmp_path / 'a.npz'}: 10 of 40 images are blank, all of one grey value"]


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
