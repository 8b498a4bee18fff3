"""The arrays that a reader found, checked: images as bytes, labels as numbers of classes."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.array_rules import BrokenRule
from arraycnn.data.image_source import Images, MappedImages, as_source
from arraycnn.data.label_kinds import (
    IN_WORDS,
    MOST_CLASSES,
    OTHER_LABELS_REMEDY,
    LabelKind,
    labels_of,
    outputs_of,
)
from arraycnn.data.label_rules import class_numbers, in_range, texts
from arraycnn.data.numpy_files import MAPPED_BYTES
from arraycnn.data.pixel_rules import as_bytes, pixel_scale
from arraycnn.data.reader_result import Found
from arraycnn.data.shape_rules import guessed_shape
from arraycnn.errors import DataFileError

_LISTED = 12
_logger = logging.getLogger("arraycnn")


@dataclass(frozen=True)
class LabelledArrays:
    """Images, (N, H, W, C) uint8, and the label of each, (N,) int32, from the files ``where``.

    Labels of another kind than classes are as `labels_of` gives them.

    ``named`` is False where nothing says what the classes are called; ``damaged``, (N,), marks the
    images that could not be read.
    """

    images: Images
    labels: npt.NDArray[Any]
    where: str
    named: bool = True
    damaged: npt.NDArray[np.bool_] | None = None


def assembled(
    found: Found, kind: LabelKind = "classes"
) -> tuple[dict[str, LabelledArrays], tuple[str, ...]]:
    """The parts of ``found`` with checked images and labels of a ``kind``, and the names of classes.

    Raises `DataFileError` for what is wrong with one array, `DataError` for arrays that do not go
    together.
    """
    names = found.class_names
    given = {part: np.asarray(arrays.labels) for part, arrays in found.parts.items()}
    where = {part: arrays.labels_where for part, arrays in found.parts.items()}
    named = names is not None
    if kind != "classes":
        names, numbers = _of_kind(given, kind, names, where)
    else:
        if names is None and any(labels.dtype.kind in "US" for labels in given.values()):
            names = sorted({text for labels in given.values() for text in texts(labels)})
            named = True
        numbers = {part: _numbers(labels, names, where[part]) for part, labels in given.items()}
        if names is None:
            names, numbers = _numbers_as_names(numbers, where["train"])
    made = {
        part: LabelledArrays(
            _images(arrays.images, arrays.images_where),
            numbers[part],
            arrays.images_where,
            named,
            arrays.damaged,
        )
        for part, arrays in found.parts.items()
    }
    return made, tuple(names)


def _images(array: Any, where: str) -> Images:
    """``array`` as (N, H, W, C) uint8, a large mapped one as a source."""
    if as_source(array) is array:  # a reader's own source: its images are as they should be
        return array
    with _broken_in(where, "images"):
        shape, scale = guessed_shape(array.shape), pixel_scale(array)
        array = as_bytes(array, scale).reshape(shape)
    if scale != "byte":
        white = "1" if scale == "unit" else "True"
        _logger.warning("%s: %s is taken as white, the grey value 255", where, white)
    if isinstance(array, np.memmap):
        # A mapped file breaks when it is cut while it is in use: what fits is read.
        return MappedImages(array) if array.nbytes > MAPPED_BYTES else np.array(array)
    return array


def _numbers(
    labels: npt.NDArray[Any], names: Sequence[str] | None, where: str
) -> npt.NDArray[np.int32]:
    with _broken_in(where, "labels"):
        numbers = class_numbers(labels, names)
        if not numbers.size:
            raise BrokenRule("must be at least one, are none", "check how they were selected")
        return in_range(numbers, MOST_CLASSES, f"there may be {MOST_CLASSES} classes")


def _of_kind(
    given: dict[str, npt.NDArray[Any]],
    kind: LabelKind,
    names: Sequence[str] | None,
    where: dict[str, str],
) -> tuple[Sequence[str], dict[str, npt.NDArray[Any]]]:
    """(names of what a network gives, labels) of any kind but classes."""
    found = {}
    for part, labels in given.items():
        with _broken_in(where[part], "labels"):
            found[part] = labels_of(labels, kind)
    outputs = max(outputs_of(labels, kind) for labels in found.values())
    if names is None:
        return tuple(map(str, range(outputs))), found
    if len(names) < outputs or (kind != "pixels" and len(names) != outputs):
        with _broken_in(where["train"], "labels"):
            reason = (
                f"must be {IN_WORDS[kind]}, got {outputs} an image and {len(names)} class names"
            )
            raise BrokenRule(reason, OTHER_LABELS_REMEDY)
    return names, found


@contextmanager
def _broken_in(where: str, what: str) -> Iterator[None]:
    """A `BrokenRule` inside this block, as an error about that file."""
    try:
        yield
    except BrokenRule as broken:
        # The place may name the array already, as in "a.npz: images".
        place = where.removesuffix(f": {what}").removesuffix(f", {what}")
        raise DataFileError(place, f"{what} {broken.reason}", broken.remedy) from None


def _numbers_as_names(
    labels: dict[str, npt.NDArray[np.int32]], where: str
) -> tuple[tuple[str, ...], dict[str, npt.NDArray[np.int32]]]:
    """(names, labels) of classes that have numbers only: 0 to the highest.

    Where more than half of these would be without images, as for 100, 400 and 700, the classes are
    the numbers that occur.
    """
    occurring = np.unique(np.concatenate(list(labels.values())))
    highest = int(occurring[-1])
    if 2 * len(occurring) > highest:
        return tuple(str(number) for number in range(highest + 1)), labels
    names = tuple(str(number) for number in occurring)
    _logger.warning(
        "%s: the numbers have gaps, so the classes are those that occur, named by them: %s",
        where,
        ", ".join(names[:_LISTED]) + (" ..." if len(names) > _LISTED else ""),
    )
    renumbered = {
        part: np.searchsorted(occurring, numbers).astype(np.int32)
        for part, numbers in labels.items()
    }
    return names, renumbered
