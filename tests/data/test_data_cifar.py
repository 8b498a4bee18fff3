"""CIFAR-10 and CIFAR-100 as they are published: Python's pickles, and the binary form."""

import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from arraycnn.data import load_dataset
from arraycnn.errors import DataError, DataFileError
from python2_pickles import python2

TEN = [*("airplane", "automobile", "bird", "cat", "deer"), "dog", "frog", "horse", "ship", "truck"]
HUNDRED = [f"fine {n}" for n in range(100)]
TWENTY = [f"coarse {n}" for n in range(20)]


def drawn(seed, count, classes):
    """(images (N, 32, 32, 3), labels) and the rows that CIFAR has for them."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    labels = [n % classes for n in range(count)]
    # Row after row of red, then of green, then of blue: in plain loops over Pillow's own bands.
    rows = [b"".join(band.tobytes() for band in Image.fromarray(image).split()) for image in images]
    return images, labels, rows


def pickles10(folder, pack, count=20):
    folder.mkdir()
    sets = []
    for place in range(6):
        images, labels, rows = drawn(place, count, 10)
        data = np.frombuffer(b"".join(rows), np.uint8).reshape(count, 3072)
        name = f"data_batch_{place + 1}" if place < 5 else "test_batch"
        batch = {
            "batch_label": name,
            "labels": labels,
            "data": data,
            "filenames": ["a.png"] * count,
        }
        (folder / name).write_bytes(pack(batch))
        sets.append((images, labels))
    meta = {"num_cases_per_batch": count, "label_names": TEN, "num_vis": 3072}
    (folder / "batches.meta").write_bytes(pack(meta))
    (folder / "readme.html").write_text("<html>")
    return sets


def check(data, sets, names):
    images = np.concatenate([images for images, _ in sets[:-1]])
    labels = np.concatenate([labels for _, labels in sets[:-1]])
    np.testing.assert_array_equal(data.train_images, images)
    np.testing.assert_array_equal(data.train_labels, labels)
    np.testing.assert_array_equal(data.test_images, sets[-1][0])
    np.testing.assert_array_equal(data.test_labels, sets[-1][1])
    assert data.class_names == tuple(names)
    assert data.image_shape == (32, 32, 3)
    assert data.has_test_part


@pytest.mark.parametrize("pack", [python2, pickle.dumps])
def test_the_pickles_of_cifar_10(tmp_path, caplog, pack):
    sets = pickles10(tmp_path / "cifar-10-batches-py", pack)
    check(load_dataset(tmp_path / "cifar-10-batches-py"), sets, TEN)
    assert "not used: 1 .html file (readme.html)" in caplog.text
    one = load_dataset(tmp_path / "cifar-10-batches-py" / "data_batch_3")
    assert (len(one.train_labels), len(one.test_labels), one.has_test_part) == (16, 4, False)
    assert one.class_names == tuple(TEN)


@pytest.mark.parametrize("pack", [python2, pickle.dumps])
def test_the_pickles_of_cifar_100_have_the_fine_classes(tmp_path, caplog, pack):
    sets = []
    for place, name in enumerate(("train", "test")):
        images, labels, rows = drawn(place, 200, 100)
        data = np.frombuffer(b"".join(rows), np.uint8).reshape(200, 3072)
        coarse = [label // 5 for label in labels]
        batch = {"fine_labels": labels, "coarse_labels": coarse, "data": data, "batch_label": name}
        (tmp_path / name).write_bytes(pack(batch))
        sets.append((images, labels))
    meta = {"fine_label_names": HUNDRED, "coarse_label_names": TWENTY}
    (tmp_path / "meta").write_bytes(pack(meta))
    check(load_dataset(tmp_path), sets, HUNDRED)
    assert "not used: 400 labels of coarse classes" in caplog.text


@pytest.mark.parametrize("hundred", [False, True])
def test_the_binary_form(tmp_path, caplog, hundred):
    names = ["train.bin", "test.bin"] if hundred else [f"data_batch_{n}.bin" for n in range(1, 6)]
    names += [] if hundred else ["test_batch.bin"]
    count = 200 if hundred else 20
    sets = []
    for place, name in enumerate(names):
        images, labels, rows = drawn(place, count, 100 if hundred else 10)
        content = b""
        for label, row in zip(labels, rows, strict=True):
            content += struct.pack("BB", label // 5, label) if hundred else struct.pack("B", label)
            content += row
        (tmp_path / name).write_bytes(content)
        sets.append((images, labels))
    if hundred:
        (tmp_path / "fine_label_names.txt").write_text("\n".join([*HUNDRED, ""]))
        (tmp_path / "coarse_label_names.txt").write_text("\n".join([*TWENTY, ""]))
    else:
        (tmp_path / "batches.meta.txt").write_text("\n".join([*TEN, "", ""]))
    check(load_dataset(tmp_path), sets, HUNDRED if hundred else TEN)
    said = "400 labels of coarse classes" if hundred else ""
    assert (said in caplog.text) if said else not caplog.records
    one = load_dataset(tmp_path / names[0])
    assert len(one.train_labels) + len(one.test_labels) == count
    (tmp_path / names[-1]).write_bytes(content[:-1])
    with pytest.raises(DataFileError, match=f"must be rows of {3074 if hundred else 3073} bytes"):
        load_dataset(tmp_path)


def batch(**changes):
    value = {
        "data": np.zeros((20, 3072), np.uint8),
        "labels": [n % 2 for n in range(20)],
        **changes,
    }
    return {name: part for name, part in value.items() if part is not None}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"data": np.zeros((20, 3071), np.uint8)}, r"must be an array \(N, 3072\) of uint8"),
        ({"data": np.zeros((20, 3072))}, "got float64 of shape"),
        ({"data": [1, 2]}, "got none"),
        ({"labels": [1] * 19}, "20 images and 19 labels"),
        ({"labels": [1.5] * 20}, "labels must be a list of whole numbers"),
        ({"labels": [[1]] * 20}, "labels must be a list of whole numbers"),
        ({"labels": [-1] * 20}, "-1"),
        ({"labels": [2**70] * 20}, "whole numbers"),
        ({"labels": None}, "batch of CIFAR"),
    ],
)
def test_batches_that_are_none(tmp_path, changes, said):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch(**changes)))
    with pytest.raises(DataError, match=said) as caught:
        load_dataset(tmp_path)
    assert str(caught.value).isprintable()


def test_names_that_are_none(tmp_path):
    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(batch()))
    (tmp_path / "batches.meta").write_bytes(pickle.dumps({"label_names": 3}))
    with pytest.raises(DataFileError, match="must hold the names of the classes"):
        load_dataset(tmp_path)
    (tmp_path / "batches.meta").unlink()
    assert load_dataset(tmp_path).class_names == ("0", "1")


def test_a_folder_whose_classes_are_called_train_and_test_is_none(tmp_path):
    """Files called train and test are CIFAR-100's only with its meta beside them."""
    (tmp_path / "train").write_text("a list of names")
    with pytest.raises(DataError, match="must have one subfolder for each class"):
        load_dataset(tmp_path)
