"""CIFAR-10 and CIFAR-100, in the form of Python's pickles and in the binary form.

Format: https://www.cs.toronto.edu/~kriz/cifar.html. An image is 3,072 bytes: 32 x 32 of red, then of
green, then of blue.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.class_files import lines_of
from arraycnn.data.idx import MAX_BYTES
from arraycnn.data.pickled import read_pickle, text_of
from arraycnn.data.pickled_arrays import PickledArray
from arraycnn.data.reader_result import Found, FoundPart, LeftOut
from arraycnn.errors import DataFileError

_PIXELS = 3 * 32 * 32
_LABELS = ("fine_labels", "labels", "coarse_labels")


@dataclass(frozen=True)
class _Form:
    """The files of one form: to train on, to test on, with the names of the classes.

    ``labels`` is how many bytes of labels stand before an image; 0 for a pickle.
    """

    train: str
    test: str
    names: str
    coarse_names: str = ""
    labels: int = 0


_FORMS = (
    _Form(r"data_batch_[1-9][0-9]*", "test_batch", "batches.meta"),
    _Form("train", "test", "meta"),
    _Form(r"data_batch_[1-9][0-9]*\.bin", r"test_batch\.bin", "batches.meta.txt", labels=1),
    _Form(
        *(r"train\.bin", r"test\.bin", "fine_label_names.txt", "coarse_label_names.txt"),
        labels=2,
    ),
)


def is_cifar_folder(folder: Path) -> bool:
    return _form(folder) is not None


def find_cifar(folder: Path, class_names: Sequence[str] | None) -> Found:
    """The set in a folder of CIFAR's files; of CIFAR-100, the 100 fine classes."""
    form = _form(folder)
    assert form is not None
    files = {part: _files(folder, pattern) for part, pattern in _parts(form)}
    left_out = LeftOut()
    parts = {}
    for part, paths in files.items():
        if not paths:
            continue
        batches = [_batch(path, form, left_out) for path in paths]
        where = str(paths[0] if len(paths) == 1 else folder)
        images = np.concatenate([images for images, _ in batches])
        labels = np.concatenate([labels for _, labels in batches])
        parts[part] = FoundPart(images, labels, where, where)
    used = {
        folder / form.names,
        folder / form.coarse_names,
        *(p for f in files.values() for p in f),
    }
    left_out.add_rest(folder, used)
    return Found(parts, class_names or _class_names(folder, form), left_out)


def find_cifar_file(path: Path, class_names: Sequence[str] | None) -> Found:
    """The set that one file of the binary form is."""
    form = next(f for f in _FORMS if f.labels and _is_of(path.name, f))
    left_out = LeftOut()
    images, labels = _batch(path, form, left_out)
    part = FoundPart(images, labels, str(path), str(path))
    return Found({"train": part}, class_names or _class_names(path.parent, form), left_out)


def is_cifar_file(path: Path) -> bool:
    return path.is_file() and any(form.labels and _is_of(path.name, form) for form in _FORMS)


def is_cifar_batch(value: Any) -> bool:
    """Whether what a pickle holds is a batch of CIFAR."""
    return (
        type(value) is dict and "data" in _texts(value) and bool(set(_LABELS) & set(_texts(value)))
    )


def one_batch(path: Path, value: dict[Any, Any], class_names: Sequence[str] | None) -> Found:
    """The set that one pickle of CIFAR is."""
    left_out = LeftOut()
    images, labels = _unpacked(path, value, left_out)
    names = class_names
    for form in _FORMS[:2]:
        if names is None and _is_of(path.name, form):
            names = _class_names(path.parent, form)
    return Found({"train": FoundPart(images, labels, str(path), str(path))}, names, left_out)


def _form(folder: Path) -> _Form | None:
    """The form whose files of training are in ``folder``."""
    for form in _FORMS:
        if _files(folder, form.train) and (
            "[" in form.train or form.labels or (folder / form.names).is_file()
        ):
            return form
    return None


def _parts(form: _Form) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("train", form.train), ("test", form.test)


def _is_of(name: str, form: _Form) -> bool:
    return any(re.fullmatch(pattern, name) for _, pattern in _parts(form))


def _files(folder: Path, pattern: str) -> list[Path]:
    found = [path for path in folder.iterdir() if re.fullmatch(pattern, path.name)]
    return sorted((path for path in found if path.is_file()), key=lambda p: (len(p.name), p.name))


def _batch(
    path: Path, form: _Form, left_out: LeftOut
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    if form.labels:
        return _binary(path, form.labels, left_out)
    value = read_pickle(path)
    if not is_cifar_batch(value):
        reason = "must be a batch of CIFAR, a dict with data and labels"
        raise DataFileError(path, reason, "fetch it again")
    return _unpacked(path, value, left_out)


def _unpacked(
    path: Path, value: dict[Any, Any], left_out: LeftOut
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (N, 32, 32, 3) and labels (N,) of a pickled batch."""
    named = _texts(value)
    data = named["data"].array if isinstance(named["data"], PickledArray) else None
    if data is None or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _PIXELS:
        found = "none" if data is None else f"{data.dtype} of shape {data.shape}"
        reason = f"data must be an array (N, {_PIXELS}) of uint8, got {found}"
        raise DataFileError(path, reason, "fetch it again")
    kind = next(name for name in _LABELS if name in named)
    labels = named[kind]
    if type(labels) is not list or not all(
        type(label) is int and abs(label) < 2**31 for label in labels
    ):
        reason = f"{kind} must be a list of whole numbers"
        raise DataFileError(path, reason, "fetch it again")
    if len(labels) != len(data):
        reason = f"every image must have one label, got {len(data)} images and {len(labels)} labels"
        raise DataFileError(path, reason, "fetch it again")
    if kind == "fine_labels" and "coarse_labels" in named:
        left_out.add("label{s} of coarse classes", count=len(labels))
    return _interleaved(data), np.array(labels, np.int64)


def _binary(
    path: Path, labels: int, left_out: LeftOut
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Images (N, 32, 32, 3) and labels (N,) of a file of the binary form."""
    row = labels + _PIXELS
    size = path.stat().st_size
    if size == 0 or size % row or size > MAX_BYTES:
        reason = f"must be rows of {row} bytes, {MAX_BYTES} bytes at most, has {size} bytes"
        raise DataFileError(path, reason, "fetch it again", offset=size - size % row)
    with path.open("rb") as file:
        content = np.fromfile(file, np.uint8, size)
    if content.size != size:
        reason = f"must have {size} bytes, {content.size} could be read"
        raise DataFileError(path, reason, "fetch it again", offset=content.size)
    rows = content.reshape(-1, row)
    if labels == 2:
        left_out.add("label{s} of coarse classes", count=len(rows))
    return _interleaved(rows[:, labels:]), rows[:, labels - 1].astype(np.int64)


def _interleaved(rows: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return np.ascontiguousarray(rows.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))


def _class_names(folder: Path, form: _Form) -> tuple[str, ...] | None:
    path = folder / form.names
    if not path.is_file():
        return None
    if form.labels:
        return lines_of(path)
    value = read_pickle(path)
    named = _texts(value) if type(value) is dict else {}
    names = named.get("fine_label_names", named.get("label_names"))
    if type(names) is not list or not all(type(name) in (str, bytes) for name in names):
        reason = "must hold the names of the classes, a list label_names or fine_label_names"
        raise DataFileError(path, reason, "fetch it again")
    return tuple(text_of(name) for name in names)


def _texts(value: dict[Any, Any]) -> dict[str, Any]:
    return {text_of(name): part for name, part in value.items()}
