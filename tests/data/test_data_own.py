"""Sets of the user's own: pictures in folders, .npz, .npy and IDX files, at any size."""

import gzip
import os
import re
import struct

import numpy as np
import pytest
from PIL import Image

from arraycnn.data import load_dataset, picture_folder
from arraycnn.data.image_source import ImageSource
from arraycnn.errors import DataError, DataFileError


def grey(mark, height=6, width=5):
    pixels = np.zeros((height, width), np.uint8)
    pixels[0, 0] = mark
    return pixels


def save_pictures(folder, counts, **size):
    """``counts``: {class: how many}; the first pixel of a picture is 10 * class + number."""
    for place, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            picture = Image.fromarray(grey(10 * place + number, **size))
            picture.save(folder / name / f"{number}.png")
    return folder


def idx(array):
    array = np.asarray(array, np.uint8)
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def pixels(images):
    images = images.read(np.arange(len(images))) if isinstance(images, ImageSource) else images
    return images[:, 0, 0, 0].tolist()


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        load_dataset(path, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


# --- pictures


@pytest.mark.parametrize("limit", [0, 2**28], ids=["read in batches", "in memory"])
def test_a_folder_with_a_subfolder_of_pictures_for_each_class(tmp_path, monkeypatch, limit):
    monkeypatch.setattr(picture_folder, "RESIDENT_BYTES", limit)
    save_pictures(tmp_path / "pets", {"dog": 10, "cat": 5})
    data = load_dataset(tmp_path / "pets")
    assert (data.name, data.class_names) == ("pets", ("cat", "dog"))
    assert data.image_shape == (6, 5, 1)
    assert isinstance(data.train_images, ImageSource) == (limit == 0)
    assert not data.has_test_part
    assert np.bincount(data.test_labels).tolist() == [1, 2]
    marks = pixels(data.train_images) + pixels(data.test_images)
    labels = [*data.train_labels.tolist(), *data.test_labels.tolist()]
    assert sorted(marks) == [*range(10), *range(10, 15)]
    assert [mark // 10 for mark in marks] == [1 - label for label in labels]
    assert pixels(data.first(2).train_images) == marks[:2]
    few = data.limited(6)
    assert np.bincount(few.train_labels).tolist() == [2, 4]
    assert set(pixels(few.train_images)) <= set(pixels(data.train_images))


def test_the_split_is_the_seeds(tmp_path):
    save_pictures(tmp_path, {"a": 10, "b": 10})
    tests = [sorted(pixels(load_dataset(tmp_path, seed=seed).test_images)) for seed in (0, 0, 1)]
    assert tests[0] == tests[1] != tests[2]


@pytest.mark.parametrize("test", ["test", "val", "Validation"])
def test_parts_of_their_own(tmp_path, test):
    save_pictures(tmp_path / "train", {"a": 3, "b": 2})
    save_pictures(tmp_path / test, {"b": 4})
    data = load_dataset(str(tmp_path))
    assert data.has_test_part
    assert (len(data.train_labels), data.test_labels.tolist()) == (5, [1, 1, 1, 1])


def test_sizes_that_differ_ask_for_one(tmp_path):
    save_pictures(tmp_path, {"a": 9, "b": 9})
    Image.fromarray(grey(9, 8, 8)).convert("RGB").save(tmp_path / "a" / "large.png")
    message = refusal(tmp_path)
    assert "2, from 6x5 to 8x8, most often 6x5 (18 of 19); train with --image-size" in message
    assert load_dataset(tmp_path, image_size=(12, 7)).image_shape == (12, 7, 3)
    assert load_dataset(tmp_path, image_size=(12, 7, 1)).image_shape == (12, 7, 1)


def test_classes_are_numbered_as_the_model_knows_them(tmp_path):
    save_pictures(tmp_path, {"cat": 5, "dog": 5})
    data = load_dataset(tmp_path, class_names=("bird", "dog", "cat"))
    assert data.class_names == ("bird", "dog", "cat")
    assert set(data.train_labels.tolist()) == {1, 2}
    assert "got 'cat'" in refusal(tmp_path, class_names=("bird", "dog"))


def test_folders_that_are_no_set(tmp_path):
    assert "must have one subfolder for each class" in refusal(tmp_path)
    (tmp_path / "empty").mkdir()
    assert "must have at least one picture" in refusal(tmp_path)
    Image.fromarray(grey(1)).save(tmp_path / "empty" / "a.png")
    assert "is too small to hold out images" in refusal(tmp_path)
    (tmp_path / "empty" / "b.png").write_text("hello")
    assert f"image {tmp_path / 'empty' / 'b.png'}: is not a picture" in refusal(tmp_path)
    assert "takes no data folder" in refusal(tmp_path, data_dir=tmp_path)
    assert "there is none" in refusal(tmp_path / "absent")


# --- arrays


IMAGES = np.arange(20 * 4 * 3, dtype=np.uint8).reshape(20, 4, 3)
LABELS = np.arange(20) % 2


@pytest.mark.parametrize("names", ["images labels", "x y", "X y", "train_images train_labels"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_an_npz_without_a_test_part(tmp_path, names, save):
    images, labels = names.split()
    save(tmp_path / "mine.npz", **{images: IMAGES, labels: LABELS})
    data = load_dataset(tmp_path / "mine.npz")
    assert (data.name, data.class_names, data.image_shape) == ("mine", ("0", "1"), (4, 3, 1))
    assert (len(data.train_labels), len(data.test_labels)) == (16, 4)
    every = np.concatenate([data.train_images, data.test_images])
    assert sorted(every[:, 0, 0, 0].tolist()) == IMAGES[:, 0, 0].tolist()


@pytest.mark.parametrize("as_folder", [False, True])
def test_arrays_with_a_test_part_colour_and_texts_as_labels(tmp_path, as_folder):
    colour = np.zeros((5, 4, 3, 3), np.int64)
    arrays = {
        "x_train": colour,
        "y_train": np.array(["cat", "dog", "cat", "eel", "dog"]),
        "x_test": colour[:2],
        "y_test": np.array(["eel", "cat"]),
    }
    if as_folder:
        for name, array in arrays.items():
            np.save(tmp_path / f"{name}.npy", array)
        data = load_dataset(tmp_path)
    else:
        np.savez(tmp_path / "a.npz", **arrays)
        data = load_dataset(tmp_path / "a.npz")
    assert data.class_names == ("cat", "dog", "eel")
    assert data.train_labels.tolist() == [0, 1, 0, 2, 1]
    assert data.test_labels.tolist() == [2, 0]
    assert data.train_images.dtype == np.uint8
    assert data.image_shape == (4, 3, 3)


def test_class_names_from_an_array_or_a_file(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS, class_names=np.array(["no", "yes"]))
    assert load_dataset(tmp_path / "a.npz").class_names == ("no", "yes")
    (tmp_path / "classes.txt").write_text("nein\nja\n", "utf-8")
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS[:, None])
    assert load_dataset(tmp_path / "a.npz").class_names == ("nein", "ja")
    (tmp_path / "classes.txt").write_bytes(b"\xff\xfe")
    assert "must be lines of text" in refusal(tmp_path / "a.npz")


def test_arrays_are_not_stretched_in_silence(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    for size in [(8, 8), (4, 3, 3), (3, 4)]:
        message = refusal(tmp_path / "a.npz", image_size=size)
        assert f"are 4x3x1, {'x'.join(map(str, size))} is asked for" in message
        assert "or train without --image-size" in message
    for size in [None, (4, 3), (4, 3, 1)]:
        assert load_dataset(tmp_path / "a.npz", image_size=size).image_shape == (4, 3, 1)


@pytest.mark.parametrize("kind", ["npz", "npy", "x_train", "pair"])
@pytest.mark.parametrize("broken", ["images", "labels"])
def test_no_word_of_a_message_is_doubled(kind, broken, tmp_path):
    images, labels = IMAGES * 1.0, LABELS * 1.0
    (images if broken == "images" else labels)[0] = np.nan
    if kind == "npy":
        np.save(tmp_path / "images.npy", images)
        np.save(tmp_path / "labels.npy", labels)
    elif kind == "pair":
        np.savez(tmp_path / "x-train-imgs.npz", images)
        np.savez(tmp_path / "x-train-labels.npz", labels)
    else:
        names = ("images", "labels") if kind == "npz" else ("x_train", "y_train")
        np.savez(tmp_path / "a.npz", **dict(zip(names, (images, labels), strict=True)))
    message = refusal(tmp_path if kind in ("npy", "pair") else tmp_path / "a.npz")
    assert broken in message or "imgs" in message
    assert not re.search(r"\b(\w+)\W+\1\b", message.replace(str(tmp_path), ""))


@pytest.mark.parametrize("part", ["test", "val"])
def test_a_class_of_another_part_only_is_told_where_the_classes_are_from(part, tmp_path):
    picture = Image.fromarray(np.zeros((4, 3), np.uint8))
    for folder in ("train/cat", "train/dog", f"{part}/cat", f"{part}/dgo"):
        (tmp_path / folder).mkdir(parents=True)
        picture.save(tmp_path / folder / "a.png")
    message = refusal(tmp_path)
    assert "dgo: the classes must be those in train/ (cat, dog), got 'dgo'" in message
    assert "model" not in message
    (tmp_path / "train" / "cat").rename(tmp_path / "train" / "cow")
    said = "the classes must be those of class_names (cat, dog), got 'cow'"
    assert said in refusal(tmp_path, class_names=("cat", "dog"))


def test_large_arrays_stay_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("arraycnn.data.numpy_files.MAPPED_BYTES", 10)
    monkeypatch.setattr("arraycnn.data.array_files.MAPPED_BYTES", 10)
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=LABELS)
    data = load_dataset(tmp_path / "a.npz")
    assert isinstance(data.train_images, ImageSource)
    assert sorted(pixels(data.train_images) + pixels(data.test_images)) == IMAGES[:, 0, 0].tolist()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"images": IMAGES / 2}, "whole numbers 0 to 255, got float64 with fractions"),
        ({"images": IMAGES.astype(int) - 1}, "got int64 from -1 to"),
        ({"images": IMAGES[0]}, "images must be (N, H, W)"),
        ({"images": IMAGES[:0]}, "images must be (N, H, W)"),
        ({"images": IMAGES[:7]}, "got 7 images and 20 labels"),
        (
            {"labels": LABELS - 1},
            "labels must be 0 to 9999, there may be 10000 classes, got -1 at position 0",
        ),
        ({"labels": LABELS * 10_000}, "got 10000 at position 1"),
        ({"labels": np.eye(2)[LABELS]}, "numpy.argmax(labels, axis=1)"),
        ({"labels": LABELS / 2}, "labels must be whole numbers, got 0.5 (float64) at position 1"),
        ({"class_names": np.array(["one"])}, "must lie in 0..0"),
        ({"images": None}, "must hold arrays called images and labels"),
        ({"images": np.array([{}], object)}, "objects are never unpickled"),
    ],
)
def test_arrays_that_are_no_set(tmp_path, change, said):
    arrays = {"images": IMAGES, "labels": LABELS, **change}
    kept = {name: array for name, array in arrays.items() if array is not None}
    np.savez(tmp_path / "a.npz", allow_pickle=True, **kept)
    assert said in refusal(tmp_path / "a.npz")


def test_text_labels_of_the_test_part_must_be_known(tmp_path):
    np.savez(tmp_path / "a.npz", images=IMAGES, labels=np.array(["a", "b"])[LABELS])
    assert "got 'b'" in refusal(tmp_path / "a.npz", class_names=["a"])


# --- IDX


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
@pytest.mark.parametrize("colour", [False, True])
def test_idx_files_by_folder_and_by_name(tmp_path, pack, colour):
    images = np.repeat(IMAGES[..., None], 3, axis=3) if colour else IMAGES
    kind = "idx4" if colour else "idx3"
    ending = ".gz" if pack is gzip.compress else ""
    for part, count in (("train", 20), ("test", 6)):
        name = f"mine-letters-{part}-images-{kind}-ubyte{ending}"
        (tmp_path / name).write_bytes(pack(idx(images[:count])))
        labels = name.replace("images", "labels").replace(kind, "idx1")
        (tmp_path / labels).write_bytes(pack(idx(LABELS[:count] + 1)))
    for path in (tmp_path, tmp_path / f"mine-letters-train-images-{kind}-ubyte{ending}"):
        data = load_dataset(path)
        assert data.has_test_part
        assert data.class_names == ("0", "1", "2")
        assert data.image_shape == (4, 3, 3 if colour else 1)
        assert (len(data.train_labels), len(data.test_labels)) == (20, 6)
    only = load_dataset(tmp_path / f"mine-letters-test-images-{kind}-ubyte{ending}")
    assert not only.has_test_part
    assert len(only.train_labels) + len(only.test_labels) == 6


def test_idx_files_that_are_no_set(tmp_path):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(IMAGES))
    assert "with a file of labels beside it" in refusal(tmp_path / "a-images-idx3-ubyte")
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(idx(LABELS[:5]))
    assert "got 20 images and 5 labels" in refusal(tmp_path)
    for kind in ("images-idx3", "labels-idx1"):
        content = (tmp_path / f"a-{kind}-ubyte").read_bytes()
        (tmp_path / f"b-{kind}-ubyte").write_bytes(content)
    assert "must hold one set of IDX files" in refusal(tmp_path)
    (tmp_path / "a-labels-idx1-ubyte").write_bytes(b"\0\0\x08")
    with pytest.raises(DataFileError) as caught:
        load_dataset(tmp_path / "a-images-idx3-ubyte")
    assert caught.value.offset == 3


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every folder")
def test_a_folder_without_permission(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    assert "must be readable" in refusal(tmp_path / "closed")


def test_text_stored_as_bytes_is_text(tmp_path):
    images = np.zeros((12, 8, 8), np.uint8)
    images[:, 2:5] = 200
    names = np.array(["cat", "café", "dog"])[np.arange(12) % 3]
    stored = np.char.encode(names, "utf-8")
    assert stored.dtype.kind == "S"
    np.savez(tmp_path / "npz.npz", images=images, labels=stored)
    np.savez(tmp_path / "column.npz", images=images, labels=stored[:, None])
    np.savez(
        tmp_path / "numbers.npz", images=images, labels=np.arange(12) % 3, class_names=stored[:3]
    )
    (tmp_path / "npy").mkdir()
    np.save(tmp_path / "npy" / "images.npy", images)
    np.save(tmp_path / "npy" / "labels.npy", stored)
    for name in ("npz.npz", "column.npz", "npy"):
        data = load_dataset(tmp_path / name)
        assert data.class_names == ("café", "cat", "dog")
    assert load_dataset(tmp_path / "numbers.npz").class_names == ("cat", "café", "dog")
    np.savez(tmp_path / "x.npz", images=images.astype("S"), labels=stored)
    with pytest.raises(DataFileError, match="must be uint8 or floating"):
        load_dataset(tmp_path / "x.npz")


def idx_bytes(array):
    shape = struct.pack(f">{array.ndim}I", *array.shape)
    return struct.pack(">HBB", 0, 8, array.ndim) + shape + array.astype(np.uint8).tobytes()


@pytest.mark.parametrize("name", ["labels-idx2-ubyte", "labels-idx1-ubyte"])
def test_idx_labels_of_two_axes(tmp_path, name):
    images = np.zeros((12, 8, 8), np.uint8)
    images[:, 2:5] = 200
    (tmp_path / "images-idx3-ubyte").write_bytes(idx_bytes(images))
    file = tmp_path / name
    file.write_bytes(idx_bytes((np.arange(12) % 3)[:, None]))
    for path in (tmp_path, tmp_path / "images-idx3-ubyte"):
        data = load_dataset(path)
        assert sorted([*data.train_labels, *data.test_labels]) == sorted(np.arange(12) % 3)
    file.write_bytes(idx_bytes(np.eye(3)[np.arange(12) % 3]))
    with pytest.raises(DataFileError, match="for one-hot labels take"):
        load_dataset(tmp_path)
