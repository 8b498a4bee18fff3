"""The arrays that a reader found, checked: images as bytes, labels as numbers of classes."""

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.found import Found
from arraycnn.data.image_source import Images, ImageSource, MappedImages
from arraycnn.data.numpy_files import MAPPED_BYTES
from arraycnn.errors import DataFileError

MOST_CLASSES = 10_000
_logger = logging.getLogger("arraycnn")


@dataclass(frozen=True)
class LabelledArrays:
    """Images, (N, H, W, C) uint8, and the label of each, (N,) int32, from the files ``where``."""

    images: Images
    labels: npt.NDArray[np.int32]
    where: str


def assembled(found: Found) -> tuple[dict[str, LabelledArrays], tuple[str, ...]]:
    """The parts of ``found`` with checked images and labels, and the names of the classes.

    Raises `DataFileError` for what is wrong with one array, `DataError` for arrays that do not go
    together.
    """
    names = found.class_names
    given = {part: np.asarray(arrays.labels) for part, arrays in found.parts.items()}
    where = {part: arrays.labels_where for part, arrays in found.parts.items()}
    if any(labels.dtype.kind == "U" for labels in given.values()):
        known = names or sorted({str(text) for labels in given.values() for text in labels.flat})
        names, number = tuple(known), {name: place for place, name in enumerate(known)}
        given = {part: _numbered(labels, number, where[part]) for part, labels in given.items()}
    numbers = {part: _labels(labels, where[part]) for part, labels in given.items()}
    if names is None:
        names = tuple(str(n) for n in range(1 + max(int(part.max()) for part in numbers.values())))
    made = {
        part: LabelledArrays(
            _images(arrays.images, arrays.images_where), numbers[part], arrays.images_where
        )
        for part, arrays in found.parts.items()
    }
    return made, tuple(names)


def _images(array: Any, where: str) -> Images:
    """``array`` as (N, H, W, C) uint8, a large mapped one as a source."""
    if isinstance(array, ImageSource):
        return array
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
