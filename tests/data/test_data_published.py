"""Sets as they are published: Kuzushiji-MNIST, MedMNIST, QMNIST, EMNIST, torchvision's folders."""

import gzip
import struct

import numpy as np
import pytest

from arraycnn.data import load_dataset, numpy_files
from arraycnn.data.image_source import ImageSource
from arraycnn.errors import DataError

CODES = {np.dtype(np.uint8): 8, np.dtype(">i4"): 0x0C}


def idx(array):
    array = np.asarray(array)
    code = CODES[array.dtype]
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


def drawn(count, classes=10, seed=0, first=0):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 28, 28)).astype(np.uint8)
    return images, (np.arange(count) % classes + first).astype(np.uint8)


def refusal(path, **options):
    with pytest.raises(DataError) as caught:
        load_dataset(path, **options)
    assert str(caught.value).isprintable()
    return str(caught.value)


def check(data, train, test, names, first=0):
    np.testing.assert_array_equal(data.train_images[..., 0], train[0])
    np.testing.assert_array_equal(data.train_labels, train[1].astype(int) - first)
    np.testing.assert_array_equal(data.test_images[..., 0], test[0])
    np.testing.assert_array_equal(data.test_labels, test[1].astype(int) - first)
    assert data.class_names == tuple(names)


# --- pairs of .npz


@pytest.mark.parametrize("stem", ["kmnist", "k49"])
@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_kuzushiji(tmp_path, caplog, stem, save):
    train, test = drawn(50), drawn(30, seed=1)
    for part, (images, labels) in (("train", train), ("test", test)):
        save(tmp_path / f"{stem}-{part}-imgs.npz", images)
        save(tmp_path / f"{stem}-{part}-labels.npz", labels)
    for path in (tmp_path, tmp_path / f"{stem}-train-imgs.npz"):
        check(load_dataset(path), train, test, "0123456789")
    rows = [f"{n},U+{0x3042 + n:04X},{chr(0x3042 + n)}" for n in range(10)]
    (tmp_path / f"{stem}_classmap.csv").write_text("\n".join(["index,codepoint,char", *rows]))
    check(load_dataset(tmp_path), train, test, [chr(0x3042 + n) for n in range(10)])
    assert caplog.records == []
    (tmp_path / "README.md").touch()
    load_dataset(tmp_path)
    assert "not used: 1 .md file (README.md)" in caplog.text
    only = load_dataset(tmp_path / f"{stem}-test-imgs.npz")
    assert not only.has_test_part


def test_other_names_of_pairs(tmp_path, caplog):
    images, labels = drawn(40)
    for name, other in (
        ("X_kannada_MNIST_train", "y_kannada_MNIST_train"),
        ("b-images", "b-labels"),
    ):
        np.savez(tmp_path / f"{name}.npz", arr_0=images, spare=labels)
        np.savez(tmp_path / f"{other}.npz", labels)
        data = load_dataset(tmp_path / f"{name}.npz")
        assert len(data.train_labels) + len(data.test_labels) == 40
        assert f"not used: 1 array ({name}.npz: spare)" in caplog.text
    # A word is a whole word: these two belong to nobody.
    np.savez(tmp_path / "taxi_x.npz", images=images, labels=labels)
    np.savez(tmp_path / "tayi_x.npz", images=images, labels=labels)
    load_dataset(tmp_path / "taxi_x.npz")


def test_pairs_that_are_none(tmp_path):
    images, labels = drawn(20)
    np.savez(tmp_path / "a-train-imgs.npz", a=images, b=images)
    np.savez(tmp_path / "a-train-labels.npz", labels)
    assert "must hold one array, or one called arr_0, holds a, b" in refusal(tmp_path)
    np.savez(tmp_path / "a-train-imgs.npz", images[:7])
    assert "7 images and 20 labels" in refusal(tmp_path)
    np.savez(tmp_path / "b-train-imgs.npz", images)
    np.savez(tmp_path / "b-train-labels.npz", labels)
    assert "must hold one set of .npz files" in refusal(tmp_path)
    for name in ("a-train-imgs.npz", "b-train-imgs.npz"):
        (tmp_path / name).unlink()
    np.savez(tmp_path / "a-test-imgs.npz", images)
    np.savez(tmp_path / "a-test-labels.npz", labels)
    assert "holds only a test part" in refusal(tmp_path)
    load_dataset(tmp_path / "a-test-imgs.npz")
    for table in ("index,codepoint,char\n1,U+3042,x\n", "", "index,codepoint,char\n", '0,"\n0,0'):
        (tmp_path / "a_classmap.csv").write_text(table)
        assert "must be a table index,codepoint,char" in refusal(tmp_path / "a-test-imgs.npz")


# --- MedMNIST


@pytest.mark.parametrize("colour", [False, True])
def test_medmnist(tmp_path, caplog, colour):
    arrays, expected = {}, {}
    for seed, (part, count) in enumerate([("train", 60), ("val", 20), ("test", 30)]):
        images, labels = drawn(count, 9, seed)
        images = np.stack([images, images // 2, 255 - images], axis=3) if colour else images
        arrays |= {f"{part}_images": images, f"{part}_labels": labels[:, None]}
        expected[part] = (images if colour else images[..., None], labels)
    np.savez_compressed(tmp_path / "pathmnist.npz", **arrays)
    data = load_dataset(tmp_path / "pathmnist.npz")
    for part, name in (("train", "train"), ("val", "validation"), ("test", "test")):
        np.testing.assert_array_equal(getattr(data, f"{name}_images"), expected[part][0])
        np.testing.assert_array_equal(getattr(data, f"{name}_labels"), expected[part][1])
    assert data.has_test_part
    assert caplog.records == []


def test_several_labels_for_an_image_are_refused(tmp_path):
    """As in chestmnist.npz: fourteen findings, any number of them at once."""
    images, _ = drawn(40)
    labels = np.random.default_rng(0).integers(0, 2, (40, 14)).astype(np.uint8)
    np.savez(tmp_path / "chestmnist.npz", train_images=images, train_labels=labels)
    message = refusal(tmp_path / "chestmnist.npz")
    assert "train_labels" in message
    assert "(40, 14)" in message


# --- QMNIST


def qmnist_labels(labels):
    rows = np.zeros((len(labels), 8), ">i4")
    rows[:, 0], rows[:, 1] = labels, 4
    rows[:, 2:] = np.random.default_rng(0).integers(0, 5000, (len(labels), 6))
    return idx(rows)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_qmnist(tmp_path, caplog, pack):
    train, test = drawn(50), drawn(30, seed=1)
    ending = ".gz" if pack is gzip.compress else ""
    for part, (images, labels) in (("train", train), ("test", test)):
        (tmp_path / f"qmnist-{part}-images-idx3-ubyte{ending}").write_bytes(pack(idx(images)))
        content = pack(qmnist_labels(labels))
        (tmp_path / f"qmnist-{part}-labels-idx2-int{ending}").write_bytes(content)
    for path in (tmp_path, tmp_path / f"qmnist-train-images-idx3-ubyte{ending}"):
        check(load_dataset(path), train, test, "0123456789")
    assert caplog.records == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (idx(np.zeros((20, 7), ">i4")), "must be (N, 8) of int32, as QMNIST has them"),
        (idx(np.zeros((20, 8), np.uint8)), "got uint8 of shape (20, 8)"),
        (idx(np.zeros(20, np.uint8)), "must have 2 axes"),
        (idx(np.zeros((19, 8), ">i4")), "20 images and 19 labels"),
    ],
)
def test_rows_of_labels_that_are_not_qmnists(tmp_path, content, said):
    (tmp_path / "a-images-idx3-ubyte").write_bytes(idx(drawn(20)[0]))
    (tmp_path / "a-labels-idx2-int").write_bytes(content)
    assert said in refusal(tmp_path)


# --- EMNIST


def save_emnist(folder, split, train, test, pack=gzip.compress):
    folder.mkdir(parents=True, exist_ok=True)
    ending = ".gz" if pack is gzip.compress else ""
    for part, (images, labels) in (("train", train), ("test", test)):
        # As published: each image lies on its side, its columns stored as rows.
        stored = np.array([list(zip(*image.tolist(), strict=True)) for image in images])
        name = f"emnist-{split}-{part}-images-idx3-ubyte{ending}"
        (folder / name).write_bytes(pack(idx(stored.astype(np.uint8))))
        name = f"emnist-{split}-{part}-labels-idx1-ubyte{ending}"
        (folder / name).write_bytes(pack(idx(labels)))


BALANCED = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabdefghnqrt"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@pytest.mark.parametrize("mapped", [False, True])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_emnist_is_turned_upright_and_has_its_names(tmp_path, caplog, pack, mapped):
    for split, names, first in (("balanced", BALANCED, 0), ("letters", LETTERS, 1)):
        count = len(names)
        train, test = drawn(2 * count, count, 0, first), drawn(count, count, 1, first)
        folder = tmp_path / split
        save_emnist(folder, split, train, test, pack)
        if mapped:
            rows = [f"{n + first} {ord(name)}" for n, name in enumerate(names)]
            if split == "letters":
                rows = [f"{row} {ord(name) + 32}" for row, name in zip(rows, names, strict=True)]
            (folder / f"emnist-{split}-mapping.txt").write_text("\n".join([*rows, ""]))
        ending = ".gz" if pack is gzip.compress else ""
        for path in (folder, folder / f"emnist-{split}-train-images-idx3-ubyte{ending}"):
            check(load_dataset(path), train, test, names, first)
    assert caplog.records == []


def test_the_mapping_file_decides(tmp_path):
    train, test = drawn(20, 2), drawn(10, 2)
    save_emnist(tmp_path, "digits", train, test)
    (tmp_path / "emnist-digits-mapping.txt").write_text("0 88\n1 89\n")
    assert load_dataset(tmp_path).class_names == ("X", "Y")
    (tmp_path / "classes.txt").write_text("no\nyes\n")
    assert load_dataset(tmp_path).class_names == ("no", "yes")


@pytest.mark.parametrize(
    ("mapping", "said"),
    [
        ("0 88\n", "labels must be among those of the set, 1 is none"),
        ("0 88\n1\n", "line 2 is another"),
        ("0 88\n1 x\n", "line 2 is another"),
        ("0 88\n0 89\n", "has a label twice"),
        ("0 88\n1 7\n", "a code that is no letter"),
        ("0 88\n1 99999999999999\n", "a code that is no letter"),
        ("", "the mapping file has none"),
    ],
)
def test_mapping_files_that_are_none(tmp_path, mapping, said):
    save_emnist(tmp_path, "digits", drawn(20, 2), drawn(10, 2))
    (tmp_path / "emnist-digits-mapping.txt").write_text(mapping)
    assert said in refusal(tmp_path)


def test_emnist_above_64_mib_stays_on_the_disk(tmp_path, monkeypatch):
    monkeypatch.setattr(numpy_files, "MAPPED_BYTES", 10)
    monkeypatch.setattr("arraycnn.data.array_files.MAPPED_BYTES", 10)
    train, test = drawn(20, 2), drawn(10, 2)
    save_emnist(tmp_path, "digits", train, test, bytes)
    data = load_dataset(tmp_path)
    assert isinstance(data.train_images, ImageSource)
    np.testing.assert_array_equal(data.train_images.read(np.arange(20))[..., 0], train[0])


# --- torchvision's folders


def save_mnist(folder, train, test, gz=False):
    folder.mkdir(parents=True)
    for part, (images, labels) in (("train", train), ("t10k", test)):
        for name, array in (("images-idx3", images), ("labels-idx1", labels)):
            (folder / f"{part}-{name}-ubyte").write_bytes(idx(array))
            if gz:
                (folder / f"{part}-{name}-ubyte.gz").write_bytes(gzip.compress(idx(array)))


@pytest.mark.parametrize("name", ["MNIST", "FashionMNIST", "KMNIST"])
def test_the_folders_of_torchvision(tmp_path, caplog, name):
    train, test = drawn(50), drawn(30, seed=1)
    save_mnist(tmp_path / name / "raw", train, test, gz=True)
    for path in (tmp_path, tmp_path / name, tmp_path / name / "raw"):
        check(load_dataset(path), train, test, "0123456789")
    assert caplog.records == []
    (tmp_path / "notes.txt").touch()
    load_dataset(tmp_path)
    assert caplog.messages == [f"{tmp_path}: not used: 1 .txt file (notes.txt)"]


def test_several_sets_of_torchvision_are_named(tmp_path):
    train, test = drawn(50), drawn(30, seed=1)
    for name in ("MNIST", "KMNIST"):
        save_mnist(tmp_path / name / "raw", train, test)
    assert "holds several; name one of them: MNIST/raw, KMNIST/raw" in refusal(tmp_path)
    save_emnist(tmp_path / "e" / "EMNIST" / "raw", "digits", train, test)
    save_emnist(tmp_path / "e" / "EMNIST" / "raw", "mnist", train, test)
    assert "name the file of images itself" in refusal(tmp_path / "e")


@pytest.mark.parametrize("inner", ["MNIST/raw", "raw", "mnist", ""])
def test_a_named_set_in_torchvisions_folder(tmp_path, caplog, inner):
    train, test = drawn(50), drawn(30, seed=1)
    save_mnist(tmp_path / "data" / inner, train, test)
    data = load_dataset("mnist", tmp_path / "data")
    check(data, train, test, "0123456789")
    assert "using the files as your own" in caplog.text
    if inner == "MNIST/raw":
        with pytest.raises(DataError, match="must hold the set's four IDX files"):
            load_dataset("fashion-mnist", tmp_path / "data")


def test_torchvisions_folder_of_cifar(tmp_path):
    from python2_pickles import python2
    from test_data_cifar import TEN, check, pickles10

    sets = pickles10(tmp_path / "cifar-10-batches-py", python2)
    check(load_dataset(tmp_path), sets, TEN)


def test_a_class_called_raw_is_a_class(tmp_path):
    from test_data_left_out import pictures

    pictures(tmp_path, raw=5, cooked=5)
    assert load_dataset(tmp_path).class_names == ("cooked", "raw")
