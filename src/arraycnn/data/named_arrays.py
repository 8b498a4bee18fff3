"""A labelled set from arrays with names: one .npz, or a folder of .npy files."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from arraycnn.data.class_files import CLASS_FILES, class_file
from arraycnn.data.label_rules import texts
from arraycnn.data.numpy_files import read_npy
from arraycnn.data.reader_result import Found, FoundPart, LeftOut
from arraycnn.data.visible_files import visible_files
from arraycnn.errors import DataError

# What the arrays of a set are called in .npz files, or as .npy files, in practice.
_IMAGES = {
    "train": ("train_images", "x_train", "X_train", "train_x", "images", "x", "X"),
    "validation": ("val_images", "x_val", "X_val", "val_x", "validation_images"),
    "test": ("test_images", "x_test", "X_test", "test_x"),
}
_LABELS = {
    "train": ("train_labels", "y_train", "Y_train", "train_y", "labels", "y", "Y"),
    "validation": ("val_labels", "y_val", "Y_val", "val_y", "validation_labels"),
    "test": ("test_labels", "y_test", "Y_test", "test_y"),
}


class NpyFolder(Mapping[str, Any]):
    """The .npy files of a folder as if they were the arrays of an .npz."""

    def __init__(self, folder: Path) -> None:
        files = [path for path in visible_files(folder) if path.suffix == ".npy"]
        self.paths = {path.stem: path for path in files}

    def __getitem__(self, name: str) -> Any:
        return read_npy(self.paths[name])

    def __iter__(self) -> Any:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def find_npy(folder: Path, class_names: Sequence[str] | None) -> Found:
    """The set in a folder of .npy files."""
    arrays = NpyFolder(folder)
    found = find_named(folder, arrays, class_names)
    used = {*arrays.paths.values(), *(folder / name for name in CLASS_FILES)}
    found.left_out.add_rest(folder, used)
    return found


def find_named(path: Path, arrays: Mapping[str, Any], class_names: Sequence[str] | None) -> Found:
    """The parts of a set in ``arrays``, by their names; ``path`` is where they are from.

    Where there is no test part, images of validation are that. Raises `DataError` where there are
    no images and labels to train on.
    """
    names: Sequence[str] | None = class_names or class_file(path if path.is_dir() else path.parent)
    parts: dict[str, FoundPart] = {}
    used: set[str] = {"class_names"}
    left_out = LeftOut()
    for part in _IMAGES:
        images = next((name for name in _IMAGES[part] if name in arrays), None)
        labels = next((name for name in _LABELS[part] if name in arrays), None)
        if images and labels:
            used |= {images, labels}
            parts[part] = FoundPart(
                arrays[images], arrays[labels], f"{path}: {images}", f"{path}: {labels}"
            )
    if "train" not in parts:
        message = (
            f"{path}: must hold arrays called images and labels (or train_images, train_labels, "
            f"test_images, test_labels; or x_train, y_train, x_test, y_test), "
            f"has {', '.join(sorted(arrays)) or 'none'}; save them under these names"
        )
        raise DataError(message)
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    if names is None and "class_names" in arrays:
        names = texts(arrays["class_names"])
    for name in sorted(set(arrays) - used):
        left_out.add("array{s}", name)
    return Found(parts, names, left_out)
