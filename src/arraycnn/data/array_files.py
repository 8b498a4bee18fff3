"""A labelled set from files of arrays: one .npz, .npy files, or IDX files."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.idx import read_idx
from arraycnn.data.image_source import Images, MappedImages
from arraycnn.data.numpy_files import MAPPED_BYTES, read_npy, read_npz
from arraycnn.errors import DataError, DataFileError

MOST_CLASSES = 10_000
CLASS_FILES = ("class_names.txt", "classes.txt")
_logger = logging.getLogger("arraycnn")

# What the arrays of a set are called in .npz files, or as .npy files, in practice.
_IMAGES = {
    "train": ("train_images", "x_train", "X_train", "train_x", "images", "x", "X"),
    "test": ("test_images", "x_test", "X_test", "test_x", "val_images", "x_val"),
}
_LABELS = {
    "train": ("train_labels", "y_train", "Y_train", "train_y", "labels", "y", "Y"),
    "test": ("test_labels", "y_test", "Y_test", "test_y", "val_labels", "y_val"),
}


@dataclass(frozen=True)
class LabelledArrays:
    """Images, (N, H, W, C) uint8, and the label of each, (N,) int32, from the files ``where``."""

    images: Images
    labels: npt.NDArray[np.int32]
    where: str


class _Arrays(Mapping[str, Any]):
    """The .npy files of a folder as if they were the arrays of an .npz."""

    def __init__(self, folder: Path) -> None:
        self.paths = {path.stem: path for path in sorted(folder.glob("*.npy"))}

    def __getitem__(self, name: str) -> Any:
        return read_npy(self.paths[name])

    def __iter__(self) -> Any:
        return iter(self.paths)

    def __len__(self) -> int:
        return len(self.paths)


def is_array_folder(folder: Path) -> bool:
    """Whether ``folder`` holds .npy or IDX files that can be a set."""
    return bool(_idx_pairs(folder)) or any(folder.glob("*.npy"))


def load_arrays(
    path: Path, class_names: Sequence[str] | None
) -> tuple[LabelledArrays, LabelledArrays | None, tuple[str, ...]]:
    """(train part, test part or None, class names) of a file or folder of arrays.

    Raises `DataFileError` for what is wrong with one file, `DataError` for files that do not go
    together.
    """
    folder = path if path.is_dir() else path.parent
    names = class_names or _class_file(folder)
    if path.is_dir() and any(path.glob("*.npy")):
        return _from_mapping(path, _Arrays(path), names)
    if path.is_dir():
        return _from_idx(path, _idx_pairs(path), names)
    if path.suffix == ".npz":
        return _from_mapping(path, read_npz(path), names)
    if path.suffix == ".npy":
        return _from_mapping(path, _Arrays(folder), names)
    return _from_idx(path, _idx_beside(path), names)


def _from_mapping(
    path: Path, arrays: Mapping[str, Any], names: Sequence[str] | None
) -> tuple[LabelledArrays, LabelledArrays | None, tuple[str, ...]]:
    found: dict[str, tuple[str, str]] = {}
    for part in ("train", "test"):
        images = next((name for name in _IMAGES[part] if name in arrays), None)
        labels = next((name for name in _LABELS[part] if name in arrays), None)
        if images and labels:
            found[part] = (images, labels)
    if "train" not in found:
        message = (
            f"{path}: must hold arrays called images and labels (or train_images, train_labels, "
            f"test_images, test_labels; or x_train, y_train, x_test, y_test), "
            f"has {', '.join(sorted(arrays)) or 'none'}; save them under these names"
        )
        raise DataError(message)
    if names is None and "class_names" in arrays:
        names = [str(name) for name in np.ravel(arrays["class_names"])]
    parts = {
        part: (arrays[images], arrays[labels], f"{path}: {images}", f"{path}: {labels}")
        for part, (images, labels) in found.items()
    }
    return _assembled(parts, names)


def _from_idx(
    path: Path, pairs: dict[str, tuple[Path, Path]], names: Sequence[str] | None
) -> tuple[LabelledArrays, LabelledArrays | None, tuple[str, ...]]:
    parts = {
        part: (read_idx(images), read_idx(labels, 1), str(images), str(labels))
        for part, (images, labels) in pairs.items()
    }
    if "train" not in parts:
        message = (
            f"{path}: must hold IDX files to train on, such as train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte; has only a test part: name the file of images itself"
        )
        raise DataError(message)
    return _assembled(parts, names)


def _assembled(
    parts: dict[str, tuple[Any, Any, str, str]], names: Sequence[str] | None
) -> tuple[LabelledArrays, LabelledArrays | None, tuple[str, ...]]:
    given = {part: np.asarray(labels) for part, (_, labels, _, _) in parts.items()}
    if any(labels.dtype.kind == "U" for labels in given.values()):
        known = names or sorted({str(text) for labels in given.values() for text in labels.flat})
        names, number = tuple(known), {name: place for place, name in enumerate(known)}
        given = {part: _numbered(labels, number, parts[part][3]) for part, labels in given.items()}
    numbers = {part: _labels(labels, parts[part][3]) for part, labels in given.items()}
    if names is None:
        names = tuple(str(n) for n in range(1 + max(int(part.max()) for part in numbers.values())))
    made = {
        part: LabelledArrays(_images(images, where), numbers[part], where)
        for part, (images, _, where, _) in parts.items()
    }
    return made["train"], made.get("test"), tuple(names)


def _images(array: npt.NDArray[Any], where: str) -> Images:
    """``array`` as (N, H, W, C) uint8, a large mapped one as a source."""
    if array.ndim not in (3, 4) or 0 in array.shape:
        reason = f"images must be (N, H, W) or (N, H, W, C), got shape {array.shape}"
        raise DataFileError(where, reason, "transpose or reshape them")
    if array.ndim == 4 and array.shape[1] in (1, 3) and array.shape[3] > 4:
        _logger.warning(
            "%s: images are (N, H, W, C) here, shape %s looks as if the channels came first; "
            "if so, save images.transpose(0, 2, 3, 1)",
            where,
            array.shape,
        )
    if array.dtype != np.uint8:
        array = _as_bytes(array, where)
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if isinstance(array, np.memmap):
        # A mapped file breaks when it is cut while it is in use: what fits is read.
        return MappedImages(array) if array.nbytes > MAPPED_BYTES else np.array(array)
    return array


def _as_bytes(array: npt.NDArray[Any], where: str) -> npt.NDArray[np.uint8]:
    whole = array.dtype.kind in "iu"
    if not whole or int(array.min()) < 0 or int(array.max()) > 255:
        reason = f"pixels must be whole numbers 0 to 255, got {array.dtype}"
        if whole:
            reason += f" from {array.min()} to {array.max()}"
        raise DataFileError(where, reason, "scale them and save images.astype('uint8')")
    return array.astype(np.uint8)


def _numbered(
    labels: npt.NDArray[Any], number: dict[str, int], where: str
) -> npt.NDArray[np.int32]:
    unknown = sorted({str(text) for text in labels.flat} - set(number))
    if unknown:
        reason = f"labels must be class names ({', '.join(number)}), got {unknown[0]!r}"
        raise DataFileError(where, reason, "correct the labels or the class names")
    return np.array([number[str(text)] for text in labels.flat], np.int32)


def _labels(labels: npt.NDArray[Any], where: str) -> npt.NDArray[np.int32]:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.size == 0 or labels.dtype.kind not in "iu":
        reason = f"labels must be (N,) whole numbers, got {labels.dtype} of shape {labels.shape}"
        raise DataFileError(where, reason, "for one-hot labels save labels.argmax(axis=1)")
    wrong = np.flatnonzero((labels < 0) | (labels >= MOST_CLASSES))
    if wrong.size:
        reason = f"labels must be 0 to {MOST_CLASSES - 1}, got {labels[wrong[0]]} at {wrong[0]}"
        raise DataFileError(where, reason, "number the classes from 0")
    return labels.astype(np.int32)


def _class_file(folder: Path) -> tuple[str, ...] | None:
    """The lines of class_names.txt or classes.txt, in the order of the class numbers."""
    path = next((folder / name for name in CLASS_FILES if (folder / name).is_file()), None)
    if path is None:
        return None
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = f"class names must be lines of text, cannot be read ({error})"
        raise DataFileError(path, reason, "save it as UTF-8") from None
    return tuple(line.strip() for line in lines if line.strip())


def _idx_pairs(folder: Path) -> dict[str, tuple[Path, Path]]:
    """{"train": (file of images, file of labels), "test": ...} of the IDX files in ``folder``."""
    pairs: dict[str, list[tuple[Path, Path]]] = {"train": [], "test": []}
    files = [path for path in sorted(folder.iterdir()) if path.is_file()]
    for images in files:
        labels = _labels_file(images)
        if labels is not None:
            pairs[_part(images)].append((images, labels))
    for part, found in pairs.items():
        if len({_stem(images) for images, _ in found}) > 1:
            message = (
                f"{folder}: must hold one set of IDX files, holds {len(found)} to {part} with: "
                f"{', '.join(images.name for images, _ in found)}; name the file of images itself"
            )
            raise DataError(message)
    return {part: found[0] for part, found in pairs.items() if found}


def _idx_beside(images: Path) -> dict[str, tuple[Path, Path]]:
    """The pair of one file of images, and the test pair beside a file of training images."""
    labels = _labels_file(images)
    if labels is None:
        reason = "must be an IDX file of images with a file of labels beside it"
        remedy = "such as NAME-images-idx3-ubyte and NAME-labels-idx1-ubyte"
        raise DataFileError(images, reason, remedy)
    pairs = {"train": (images, labels)}
    if _part(images) == "train" and "train" in images.name:
        rename = partial(images.name.replace, "train")
        for name in (rename("test"), rename("t10k")):
            test = _spelled(images.with_name(name))
            if test is not None and (test_labels := _labels_file(test)) is not None:
                pairs["test"] = (test, test_labels)
    return pairs


def _labels_file(images: Path) -> Path | None:
    if "images" not in images.name or "idx" not in images.name:
        return None
    name = images.name.replace("images", "labels").replace("idx3", "idx1").replace("idx4", "idx1")
    return _spelled(images.with_name(name))


def _spelled(path: Path) -> Path | None:
    """``path``, or the same name with or without .gz, whichever is there."""
    raw = path.with_name(path.name.removesuffix(".gz"))
    candidates = (path, raw, raw.with_name(f"{raw.name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _stem(images: Path) -> str:
    return images.name.removesuffix(".gz")


def _part(images: Path) -> str:
    return "test" if "test" in images.name or "t10k" in images.name else "train"
