"""A labelled set from IDX files: images, and the labels whose file has the name that fits.

MNIST, Fashion-MNIST, Kuzushiji-MNIST, EMNIST, and QMNIST, whose labels are rows of eight numbers.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data import emnist
from arraycnn.data.class_files import CLASS_FILES, class_file
from arraycnn.data.idx import read_idx
from arraycnn.data.reader_result import Found, FoundPart, LeftOut
from arraycnn.data.visible_files import visible_files
from arraycnn.errors import DataError, DataFileError

Pair = tuple[Path, Path]
_ROWS, _ROW_NUMBERS = "idx2-int", 8


def is_idx_folder(folder: Path) -> bool:
    """Whether ``folder`` holds images and labels as IDX files."""
    return any(_labels_file(path) for path in visible_files(folder))


def find_idx_folder(folder: Path, class_names: Sequence[str] | None) -> Found:
    """The set of IDX files in ``folder``. Raises `DataError` where there are several."""
    found = _found(folder, _idx_pairs(folder), class_names or class_file(folder))
    used = {path for part in _idx_pairs(folder).values() for path in part}
    used |= {folder / name for name in CLASS_FILES}
    for images, _ in _idx_pairs(folder).values():
        split = emnist.split_of(images)
        mapping = None if split is None else emnist.mapping_file(images, split)
        used |= set() if mapping is None else {mapping}
    # The same file is often there twice, gzipped and not.
    used |= {path.with_name(f"{path.name}.gz") for path in used}
    found.left_out.add_rest(folder, used)
    return found


def find_idx_file(images: Path, class_names: Sequence[str] | None) -> Found:
    """The set of one file of images, its labels, and the test files beside them."""
    return _found(images, _idx_beside(images), class_names or class_file(images.parent))


def _found(path: Path, pairs: dict[str, Pair], names: Sequence[str] | None) -> Found:
    if "train" not in pairs:
        message = (
            f"{path}: must hold IDX files to train on, such as train-images-idx3-ubyte and "
            "train-labels-idx1-ubyte; has only a test part: name the file of images itself"
        )
        raise DataError(message)
    split = emnist.split_of(pairs["train"][0])
    known = None if split is None else emnist.classes(pairs["train"][0], split)
    parts = {}
    for part, (images_path, labels_path) in pairs.items():
        images, labels = read_idx(images_path), _read_labels(labels_path, known is not None)
        if known is not None:
            images, labels = emnist.upright(images), emnist.numbered(labels, known, labels_path)
        parts[part] = FoundPart(images, labels, str(images_path), str(labels_path))
    if names is None and known is not None:
        names = tuple(known.values())
    return Found(parts, names, LeftOut())


def _read_labels(path: Path, published: bool) -> npt.NDArray[Any]:
    """The labels, (N,) or what else may mean it; of QMNIST's rows the first column, the class."""
    if _ROWS not in path.name:
        return read_idx(path, 1 if published else None)
    rows = read_idx(path, 2)
    if rows.shape[1] != _ROW_NUMBERS or rows.dtype != np.int32:
        reason = f"labels in rows must be (N, {_ROW_NUMBERS}) of int32, as QMNIST has them"
        reason += f", got {rows.dtype} of shape {rows.shape}"
        raise DataFileError(path, reason, "write one label an image, as NAME-labels-idx1-ubyte")
    return rows[:, 0].copy()


def _idx_pairs(folder: Path) -> dict[str, Pair]:
    """{"train": (file of images, file of labels), "test": ...} of the IDX files in ``folder``."""
    pairs: dict[str, list[Pair]] = {"train": [], "test": []}
    for images in visible_files(folder):
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


def _idx_beside(images: Path) -> dict[str, Pair]:
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
    # QMNIST's rows, and labels that were written as (N, 1).
    names = (name, name.replace("idx1-ubyte", _ROWS), name.replace("idx1", "idx2"))
    return next(filter(None, (_spelled(images.with_name(one)) for one in names)), None)


def _spelled(path: Path) -> Path | None:
    """``path``, or the same name with or without .gz, whichever is there."""
    raw = path.with_name(path.name.removesuffix(".gz"))
    candidates = (path, raw, raw.with_name(f"{raw.name}.gz"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _stem(images: Path) -> str:
    return images.name.removesuffix(".gz")


def _part(images: Path) -> str:
    return "test" if "test" in images.name or "t10k" in images.name else "train"
