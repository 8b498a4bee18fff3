"""Remedies of the readers of tables, pickles, CIFAR, EMNIST and pairs of .npz."""

import gzip
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from arraycnn.data import load_dataset
from remedies import making
from remedies.following import Here, follows

_IMAGES, _LABELS = making.some(24)


def _file(file: str, words: str, name: str, wrong: Any, right: Any, **given: Any) -> None:
    """A case of one file that is refused, and replaced by another as the message says.

    Contents are bytes, texts, or functions of the path; ``right`` may also be a function that
    returns another path to load.
    """

    def put(path: Path, content: Any) -> Path:
        if callable(content):
            return content(path) or path
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    @follows(file, words)
    def case(here: Here) -> None:
        path = here.path / name
        with here.refused():
            load_dataset(put(path, wrong), **given)
        load_dataset(put(path, right), **given)


def table(rows: int = 24, header: bool = True, **changes: str) -> str:
    """A table of images as text; ``changes`` are texts to be replaced."""
    names = ["label", *(f"pixel{n}" for n in range(64))]
    lines = [",".join(names)] if header else []
    for label, image in list(zip(_LABELS, _IMAGES, strict=True))[:rows]:
        lines.append(",".join(map(str, [label, *image.ravel()])))
    text = "\n".join(lines) + "\n"
    for before, after in changes.items():
        text = text.replace(before, after)
    return text


def _second_row(change: Callable[[list[str]], list[str]]) -> str:
    lines = table().splitlines()
    lines[2] = ",".join(change(lines[2].split(",")))
    return "\n".join(lines)


@follows("data/csv_table.py", "correct that row")
def a_row_that_is_no_image(here: Here) -> None:
    path = here.path / "x.csv"
    for change in (
        lambda cells: cells[:-1],
        lambda cells: ["", *cells[1:]],
        lambda cells: [*cells[:-1], "300"],
        lambda cells: [*cells[:-1], "x"],
    ):
        path.write_text(_second_row(change))
        with here.refused():
            load_dataset(path)
        assert ", byte " in here.message
    path.write_text(table())
    load_dataset(path)


_file(
    "data/csv_files.py",
    "name the file that has: such as label,pixel0,...,pixel783, one image a row",
    "x.csv",
    "name,age\nAda,36\n",
    table(),
)
_file(
    "data/csv_table.py",
    "save it as UTF-8",
    "x.csv",
    table().encode().replace(b"\n1,", b"\ncaf\xe9,"),
    table().replace("\n1,", "\ncafé,"),
)
_file(
    "data/csv_table.py",
    "fetch it again",
    "x.csv.gz",
    gzip.compress(table().encode())[:-20],
    gzip.compress(table().encode()),
)


@follows("data/csv_table.py", "write pixels as whole numbers 0 to 255")
def a_row_that_numpy_does_not_read(here: Here) -> None:
    from arraycnn.data import csv_table

    def puzzled(*_: Any, **__: Any) -> None:
        message = "NumPy finds no number in what looks like one"
        raise ValueError(message)

    path = here.path / "x.csv"
    path.write_text(table())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_table.np, "loadtxt", puzzled)
        with here.refused():
            load_dataset(path)
    load_dataset(path)


@follows("data/csv_files.py", "name the file itself")
def two_tables_to_train_on(here: Here) -> None:
    (here.path / "set").mkdir()
    for name in ("a.csv", "b.csv"):
        (here.path / "set" / name).write_text(table())
    with here.refused():
        load_dataset(here.path / "set")
    load_dataset(here.path / "set" / "a.csv")


def _smaller(module: Any, name: str, size: int) -> pytest.MonkeyPatch:
    patch = pytest.MonkeyPatch()
    patch.setattr(module, name, size)
    return patch


@follows("data/csv_table.py", "one image a line")
def a_table_in_one_line(here: Here) -> None:
    from arraycnn.data import csv_table

    patch = _smaller(csv_table, "_LONGEST_LINE", 2000)
    path = here.path / "x.csv"
    path.write_text(table(header=False).replace("\n", ","))
    with here.refused():
        load_dataset(path)
    path.write_text(table(header=False))
    load_dataset(path)
    patch.undo()


@follows("data/csv_table.py", "save them as .npy, which is mapped")
def a_table_too_large(here: Here) -> None:
    from arraycnn.data import csv_table

    patch = _smaller(csv_table, "MAX_BYTES", 100)
    (here.path / "x.csv").write_text(table())
    with here.refused():
        load_dataset(here.path / "x.csv")
    (here.path / "arrays").mkdir()
    np.save(here.path / "arrays" / "images.npy", _IMAGES)
    np.save(here.path / "arrays" / "labels.npy", _LABELS)
    load_dataset(here.path / "arrays")
    patch.undo()


def _unreadable(here: Here, name: str, content: bytes) -> None:
    path = here.path / name
    path.write_bytes(content)
    original = Path.open

    def opened(self: Path, *arguments: Any, **keywords: Any) -> Any:
        if self == path:
            raise OSError(5, "Input/output error")
        return original(self, *arguments, **keywords)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with here.refused():
            load_dataset(path)
    load_dataset(path)


@follows("data/csv_table.py", "check the file's permissions and the disk")
def a_table_on_a_broken_disk(here: Here) -> None:
    _unreadable(here, "x.csv", table().encode())


def batch(images: np.ndarray | None = None) -> dict[str, Any]:
    """A batch of CIFAR-10."""
    rows = making.some(24, 32, 3)[0].transpose(0, 3, 1, 2).reshape(24, -1)
    return {"data": rows if images is None else images, "labels": [int(n) for n in _LABELS]}


@follows("data/pickled.py", "check the file's permissions and the disk")
def a_pickle_on_a_broken_disk(here: Here) -> None:
    from arraycnn.data.pickled import read_pickle

    path = here.path / "x.pkl"
    path.write_bytes(pickle.dumps(batch()))
    original = Path.open

    def opened(self: Path, *arguments: Any, **keywords: Any) -> Any:
        raise OSError(5, "Input/output error")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", opened)
        with here.refused():
            read_pickle(path)
    assert Path.open is original
    load_dataset(path)


@follows("data/pickled.py", "check the path")
def a_pickle_that_is_not_there(here: Here) -> None:
    from arraycnn.data.pickled import read_pickle

    with here.refused():
        read_pickle(here.path / "x.pkl")
    (here.path / "x.pkl").write_bytes(pickle.dumps(batch()))
    read_pickle(here.path / "x.pkl")


class _Other:
    """What a pickle of a user's own class holds."""


def _saved(path: Path) -> Path:
    """The same arrays, as the remedy says: with numpy.savez."""
    return making.write_npz(path.with_suffix(".npz"), _IMAGES, _LABELS)


_file(
    "data/pickled.py",
    "save the arrays with numpy.savez and name that file",
    "x.pkl",
    pickle.dumps(_Other()),
    _saved,
)
_file(
    "data/pickled.py",
    "fetch it again",
    "x.pkl.gz",
    gzip.compress(pickle.dumps(batch()))[:-20],
    gzip.compress(pickle.dumps(batch())),
)
_file(
    "data/pickled_sets.py",
    "save the arrays with numpy.savez under these names",
    "x.pkl",
    pickle.dumps([1]),
    _saved,
)


@follows("data/pickled.py", "save its arrays with numpy.savez")
def a_pickle_too_large(here: Here) -> None:
    from arraycnn.data import pickled

    patch = _smaller(pickled, "MAX_BYTES", 100)
    (here.path / "x.pkl").write_bytes(pickle.dumps(batch()))
    with here.refused():
        load_dataset(here.path / "x.pkl")
    load_dataset(_saved(here.path / "x.pkl"))
    patch.undo()


@follows("data/cifar.py", "fetch it again")
def cifar_cut_short(here: Here) -> None:
    folder = here.path / "cifar-10-batches-py"
    folder.mkdir()
    names = {"label_names": ["a", "b", "c"]}
    good = {"data_batch_1": batch(), "test_batch": batch(), "batches.meta": names}
    for name, content in good.items():
        (folder / name).write_bytes(pickle.dumps(content))
    wrong = ({"data": 1}, batch(np.zeros((24, 9), np.uint8)), batch() | {"labels": [0]})
    for content in wrong:
        (folder / "data_batch_1").write_bytes(pickle.dumps(content))
        with here.refused():
            load_dataset(folder)
    (folder / "data_batch_1").write_bytes(pickle.dumps(good["data_batch_1"]))
    load_dataset(folder)


@follows("data/class_files.py", "write one name a line")
def a_file_of_names_too_large(here: Here) -> None:
    path = making.write_npz(here.path / "x.npz")
    names = here.path / "class_names.txt"
    names.write_text("a" * 2**21)
    with here.refused():
        load_dataset(path)
    names.write_text("a\nb\nc\n")
    load_dataset(path)


@follows("data/dataset.py", "correct the names")
def two_classes_of_one_name(here: Here) -> None:
    path = making.write_npz(here.path / "x.npz")
    names = here.path / "class_names.txt"
    names.write_text("a\nb\na\n")
    with here.refused():
        load_dataset(path)
    names.write_text("a\nb\nc\n")
    load_dataset(path)


def _rows_of(count: int) -> str:
    lines = (",".join(map(str, [n % 3, *([n] * count)])) for n in range(24))
    return "\n".join([",".join(["label", *(f"pixel{n}" for n in range(count))]), *lines])


@follows("data/flat_rows.py", "train with --image-size HEIGHTxWIDTH")
def rows_that_are_no_square(here: Here) -> None:
    (here.path / "x.csv").write_text(_rows_of(60))
    train = ("train", "--dataset", "x.csv", "--network", "scratch", "--epochs", 1)
    train = (*train, "--backend", "numpy", "--out", "run")
    here.refused_command(*train)
    here.accepted_command(*train, "--image-size", "6x10")


@follows("data/flat_rows.py", "train with the --image-size that it has")
def rows_of_another_size(here: Here) -> None:
    (here.path / "x.csv").write_text(_rows_of(60))
    train = ("train", "--dataset", "x.csv", "--network", "scratch", "--epochs", 1)
    train = (*train, "--backend", "numpy", "--out", "run")
    here.refused_command(*train, "--image-size", "8x8")
    here.accepted_command(*train, "--image-size", "6x10")


def _picture(path: Path) -> None:
    Image.new("L", (8, 8)).save(path)


_file(
    "data/reader_choice.py",
    "name a folder that has one subfolder of pictures for each class",
    "x.png",
    _picture,
    lambda path: making.write_pictures(path.parent / "pets"),
)


@follows("data/reader_choice.py", "name one of them: {}")
def a_folder_of_two_sets(here: Here) -> None:
    for name in ("MNIST", "KMNIST"):
        making.write_mnist_files(here.path / name / "raw")
    with here.refused():
        load_dataset(here.path)
    for told in here.message.rpartition("name one of them: ")[2].split(", "):
        load_dataset(here.path / told)


def _emnist(folder: Path, split: str, labels: np.ndarray) -> Path:
    for part in ("train", "test"):
        stem = folder / f"emnist-{split}-{part}"
        making.write_idx(Path(f"{stem}-images-idx3-ubyte"), _IMAGES[..., 0])
        making.write_idx(Path(f"{stem}-labels-idx1-ubyte"), labels)
    return folder


@follows("data/emnist.py", "is it the file of another split?")
def labels_of_another_split(here: Here) -> None:
    with here.refused():
        load_dataset(_emnist(here.path, "letters", _LABELS))
    load_dataset(_emnist(here.path, "letters", _LABELS + 1))


@follows("data/emnist.py", "fetch it again")
def a_mapping_that_is_none(here: Here) -> None:
    _emnist(here.path, "digits", _LABELS)
    mapping = here.path / "emnist-digits-mapping.txt"
    good = "".join(f"{n} {48 + n}\n" for n in range(10))
    for wrong in ("0 forty-eight\n", "0 48\n0 49\n"):
        mapping.write_text(wrong)
        with here.refused():
            load_dataset(here.path)
    mapping.write_text(good)
    assert load_dataset(here.path).class_names[7] == "7"


@follows("data/idx_files.py", "write one label an image, as NAME-labels-idx1-ubyte")
def rows_of_labels_of_another_length(here: Here) -> None:
    making.write_idx(here.path / "qmnist-train-images-idx3-ubyte", _IMAGES[..., 0])
    labels = here.path / "qmnist-train-labels-idx2-int"
    header = b"\0\0\x0c\2" + struct.pack(">2I", 24, 3)
    labels.write_bytes(header + np.zeros((24, 3), ">i4").tobytes())
    with here.refused():
        load_dataset(here.path)
    labels.unlink()
    making.write_idx(here.path / "qmnist-train-labels-idx1-ubyte", _LABELS)
    load_dataset(here.path)


def _kmnist(folder: Path, part: str = "train", name: str = "kmnist", **images: np.ndarray) -> Path:
    """A pair of files as Kuzushiji-MNIST has them."""
    folder.mkdir(exist_ok=True)
    np.savez(folder / f"{name}-{part}-imgs.npz", **(images or {"arr_0": _IMAGES[..., 0]}))
    np.savez(folder / f"{name}-{part}-labels.npz", _LABELS)
    return folder


@follows("data/npz_pairs.py", "name the file of images itself")
def pairs_of_two_sets(here: Here) -> None:
    folder = _kmnist(_kmnist(here.path / "a"), name="k49")
    with here.refused():
        load_dataset(folder)
    load_dataset(folder / "k49-train-imgs.npz")
    folder = _kmnist(here.path / "b", part="test")
    with here.refused():
        load_dataset(folder)
    load_dataset(folder / "kmnist-test-imgs.npz")


@follows("data/npz_pairs.py", "save the images and the labels each in a file")
def a_pair_of_many_arrays(here: Here) -> None:
    with here.refused():
        load_dataset(_kmnist(here.path / "a", a=_IMAGES, b=_IMAGES))
    load_dataset(_kmnist(here.path / "a"))


@follows("data/npz_pairs.py", "fetch it again, or write class_names.txt beside it")
def a_table_of_letters_that_is_none(here: Here) -> None:
    folder = _kmnist(here.path / "a")
    (folder / "kmnist_classmap.csv").write_text("index,codepoint,char\n1,U+304A,お\n")
    with here.refused():
        load_dataset(folder)
    (folder / "class_names.txt").write_text("お\nき\nす\n", "utf-8")
    assert load_dataset(folder).class_names == ("お", "き", "す")


@follows("data/picture_folder.py", "if these are the classes, name {} instead")
def a_folder_one_level_too_high(here: Here) -> None:
    making.write_pictures(here.path / "all" / "pets")
    with here.told():
        load_dataset(here.path / "all")
    told = here.message.rpartition("name ")[2].partition(" instead")[0]
    with here.quiet():
        assert load_dataset(told).class_names == ("cat", "dog")


@follows("data/picture_folder.py", "remove the folder")
def a_class_without_pictures(here: Here) -> None:
    folder = making.write_pictures(here.path / "pets")
    (folder / "fish").mkdir()
    with here.refused():
        load_dataset(folder)
    (folder / "fish").rmdir()
    load_dataset(folder)


@follows(
    "data/sampling.py",
    "add a class, leave out --limit, or name the folder whose subfolders are the classes",
)
def a_set_of_one_class(here: Here) -> None:
    making.write_pictures(here.path / "pets", classes=("cat",))
    train = ("train", "--dataset", "pets", "--network", "scratch", "--epochs", 1)
    train = (*train, "--backend", "numpy", "--out", "run")
    here.refused_command(*train)
    making.write_pictures(here.path / "pets", classes=("dog",))
    here.accepted_command(*train)


@follows("model/class_names.py", "rename the classes, or take a model that was trained on them")
def a_set_of_other_classes(here: Here) -> None:
    making.write_pictures(here.path / "pets")
    train = ("train", "--network", "scratch", "--epochs", 1, "--backend", "numpy")
    here.accepted_command(*train, "--dataset", "pets", "--out", "run")
    making.write_pictures(here.path / "cutlery", classes=("fork", "spoon"))
    evaluate = ("evaluate", "--dataset", "cutlery", "--backend", "numpy")
    here.refused_command(*evaluate, "run/last.npz")
    here.accepted_command(*train, "--dataset", "cutlery", "--out", "other")
    here.accepted_command(*evaluate, "other/last.npz")
    (here.path / "cutlery" / "fork").rename(here.path / "cutlery" / "cat")
    (here.path / "cutlery" / "spoon").rename(here.path / "cutlery" / "dog")
    here.accepted_command(*evaluate, "run/last.npz")


@follows("cli/evaluate.py", "measure with --part test")
def a_set_without_validation(here: Here) -> None:
    making.write_pictures(here.path / "pets")
    train = ("train", "--network", "scratch", "--epochs", 1, "--backend", "numpy")
    here.accepted_command(*train, "--dataset", "pets", "--out", "run")
    evaluate = ("evaluate", "run/last.npz", "--dataset", "pets", "--backend", "numpy")
    here.refused_command(*evaluate, "--part", "validation")
    here.accepted_command(*evaluate, "--part", "test")
