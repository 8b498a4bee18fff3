"""A data set of the user's own, from a path: pictures in folders, or files of arrays."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from arraycnn.data.array_files import LabelledArrays, assembled
from arraycnn.data.dataset import DataSet, split_test
from arraycnn.data.forms import find_arrays
from arraycnn.data.found import Found, FoundPart, LeftOut
from arraycnn.data.image_source import select
from arraycnn.data.picture_folder import (
    Progress,
    common_shape,
    find_picture_parts,
    load_pictures,
)
from arraycnn.errors import DataError
from arraycnn.polarity import blank

_AT_A_TIME = 4096
_logger = logging.getLogger("arraycnn")


def load_own(
    path: Path,
    image_size: tuple[int, int] | tuple[int, int, int] | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> DataSet:
    """The data set at ``path``; `arraycnn.data.load_dataset` documents what it may be."""
    if not path.exists():
        raise DataError(f"data set {path}: must exist, there is none; check the path")
    try:
        found = find_arrays(path, class_names, image_size)
        if found is None:
            found = _find_pictures(path, image_size, class_names, progress)
    except OSError as error:
        message = f"data set {path}: must be readable, the system says: {error.strerror or error}"
        raise DataError(f"{message}; check its permissions") from None
    parts, names = assembled(found)
    if str(found.left_out):
        _logger.warning("%s: not used: %s", path, found.left_out)
    _tell_of_blank_images(path, parts)
    return _made(path, parts, names, seed)


def _find_pictures(
    path: Path,
    image_size: tuple[int, ...] | None,
    class_names: Sequence[str] | None,
    progress: Progress | None,
) -> Found:
    left_out = LeftOut()
    parts, names = find_picture_parts(path, class_names, left_out)
    paths = [picture for part in parts.values() for picture in part.paths]
    if image_size is not None and len(image_size) == 3:
        shape = (image_size[0], image_size[1], image_size[2])
    else:
        shape = common_shape(paths, None if image_size is None else (image_size[0], image_size[1]))
    found = {
        name: FoundPart(load_pictures(part.paths, shape, progress), part.labels, str(path), name)
        for name, part in parts.items()
    }
    return Found(found, names, left_out)


def _made(
    path: Path, parts: dict[str, LabelledArrays], names: tuple[str, ...], seed: int
) -> DataSet:
    train, test, validation = (parts.get(part) for part in ("train", "test", "validation"))
    assert train is not None
    has_test_part = test is not None
    if test is None:
        train, test = _split(path, train, seed)
    return DataSet(
        name=path.resolve().name.partition(".")[0] or "data",
        train_images=train.images,
        train_labels=train.labels,
        test_images=test.images,
        test_labels=test.labels,
        class_names=names,
        has_test_part=has_test_part,
        validation_images=validation.images if validation else None,
        validation_labels=validation.labels if validation else None,
        named=train.named,
    )


def _tell_of_blank_images(path: Path, parts: dict[str, LabelledArrays]) -> None:
    """Count the images in memory in which there is nothing to see."""
    count = total = 0
    for images in (part.images for part in parts.values()):
        if isinstance(images, np.ndarray):  # a source tells as it reads
            total += len(images)
            count += sum(
                int(blank(images[start : start + _AT_A_TIME]).sum())
                for start in range(0, len(images), _AT_A_TIME)
            )
    if count:
        _logger.warning("%s: %d of %d images are blank, all of one grey value", path, count, total)


def _split(path: Path, whole: LabelledArrays, seed: int) -> tuple[LabelledArrays, LabelledArrays]:
    images, labels = whole.images, whole.labels
    if len(images) != len(labels):
        message = (
            f"{path}: every image must have one label, got {len(images)} images and "
            f"{len(labels)} labels; take both from the same set"
        )
        raise DataError(message)
    kept, held_out = split_test(labels, seed)
    if not len(held_out):
        message = (
            f"{path}: is too small to hold out images for the test, {len(labels)} images; "
            "give it a test part of its own, or more images"
        )
        raise DataError(message)
    return (
        replace(whole, images=select(images, kept), labels=labels[kept]),
        replace(whole, images=select(images, held_out), labels=labels[held_out]),
    )
