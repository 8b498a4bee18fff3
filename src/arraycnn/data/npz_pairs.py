"""Pairs of .npz files, images in the one and labels in the other, as Kuzushiji-MNIST has them.

Such as kmnist-train-imgs.npz and kmnist-train-labels.npz, each with one array, arr_0, which is what
numpy.savez calls an array without a name. A table kmnist_classmap.csv says which letters the
classes are.
"""

import csv
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arraycnn.data.class_files import CLASS_FILES, class_file, lines_of
from arraycnn.data.numpy_files import read_npz
from arraycnn.data.reader_result import Found, FoundPart, LeftOut
from arraycnn.data.visible_files import visible_files
from arraycnn.errors import DataError, DataFileError

# What a name of a file of images has where that of its labels has the other.
_WORDS = (("imgs", "labels"), ("images", "labels"), ("X", "y"), ("x", "y"))
_CLASS_MAPS = ("_classmap.csv", "-classmap.csv")

Pair = tuple[Path, Path]


def is_pair(path: Path) -> bool:
    """Whether ``path`` is the images of such a pair."""
    return path.suffix == ".npz" and _labels_of(path) is not None


def is_pair_folder(folder: Path) -> bool:
    return any(is_pair(path) for path in visible_files(folder))


def find_pair_folder(folder: Path, class_names: Sequence[str] | None) -> Found:
    """The set of the pairs in ``folder``. Raises `DataError` where there are several sets."""
    pairs: dict[str, Pair] = {}
    for images in visible_files(folder):
        labels = _labels_of(images)
        if labels is None or not is_pair(images):
            continue
        if _part(images) in pairs:
            message = (
                f"{folder}: must hold one set of .npz files, holds {pairs[_part(images)][0].name} "
                f"and {images.name}; name the file of images itself"
            )
            raise DataError(message)
        pairs[_part(images)] = (images, labels)
    if "train" not in pairs:
        message = (
            f"{folder}: must hold images to train on, such as kmnist-train-imgs.npz, holds only a "
            "test part; name the file of images itself"
        )
        raise DataError(message)
    found = _found(pairs, folder, class_names)
    used = [path for pair in pairs.values() for path in pair]
    class_map = _class_map(pairs["train"][0])
    used += [] if class_map is None else [class_map]
    found.left_out.add_rest(folder, [*used, *(folder / name for name in CLASS_FILES)])
    return found


def find_pair(images: Path, class_names: Sequence[str] | None) -> Found:
    """The set of one file of images, its labels, and the test files beside them."""
    labels = _labels_of(images)
    assert labels is not None
    pairs = {"train": (images, labels)}
    if _part(images) == "train" and "train" in images.name:
        test = images.with_name(images.name.replace("train", "test"))
        test_labels = _labels_of(test)
        if test.is_file() and test_labels is not None:
            pairs["test"] = (test, test_labels)
    return _found(pairs, images.parent, class_names)


def _found(pairs: dict[str, Pair], folder: Path, class_names: Sequence[str] | None) -> Found:
    left_out = LeftOut()
    parts = {
        part: FoundPart(
            _only_array(images, left_out), _only_array(labels, left_out), str(images), str(labels)
        )
        for part, (images, labels) in pairs.items()
    }
    names = class_names or class_file(folder)
    class_map = _class_map(pairs["train"][0])
    if names is None and class_map is not None:
        names = _letters(class_map)
    return Found(parts, names, left_out)


def _only_array(path: Path, left_out: LeftOut) -> Any:
    arrays: Mapping[str, Any] = read_npz(path)
    if "arr_0" not in arrays and len(arrays) != 1:
        reason = f"must hold one array, or one called arr_0, holds {', '.join(arrays) or 'none'}"
        raise DataFileError(path, reason, "save the images and the labels each in a file")
    name = "arr_0" if "arr_0" in arrays else next(iter(arrays))
    for other in sorted(set(arrays) - {name}):
        left_out.add("array{s}", f"{path.name}: {other}")
    return arrays[name]


def _labels_of(images: Path) -> Path | None:
    """The file of labels that has the name for it; a word is whole: no x in "examples"."""
    for word, other in _WORDS:
        name, count = re.subn(f"(?<![A-Za-z]){word}(?![A-Za-z])", other, images.name, count=1)
        path = images.with_name(name)
        if count and path.is_file():
            return path
    return None


def _part(images: Path) -> str:
    return "test" if "test" in images.name else "train"


def _class_map(images: Path) -> Path | None:
    """Such as k49_classmap.csv for k49-train-imgs.npz."""
    stem = re.split("[-_]", images.name)[0]
    paths = (images.with_name(stem + ending) for ending in _CLASS_MAPS)
    return next((path for path in paths if path.is_file()), None)


def _letters(path: Path) -> tuple[str, ...]:
    """The names of the classes of a table index,codepoint,char."""
    try:  # each line on its own: a quote that is not closed would take the next ones in
        rows = [next(csv.reader([line])) for line in lines_of(path)]
    except csv.Error:
        rows = []
    letters = {row[0]: row[2] for row in rows[1:] if len(row) == 3}
    if (
        not letters
        or len(letters) != len(rows) - 1
        or list(letters) != [str(n) for n in range(len(letters))]
    ):
        reason = "must be a table index,codepoint,char with the classes from 0 on"
        raise DataFileError(path, reason, "fetch it again, or write class_names.txt beside it")
    return tuple(letters.values())
