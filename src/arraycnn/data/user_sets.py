"""A data set of the user's own, from a path: pictures in folders, or files of arrays."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arraycnn.data.array_files import LabelledArrays, assembled
from arraycnn.data.dataset import DataSet, split_test
from arraycnn.data.image_source import select
from arraycnn.data.label_kinds import IN_WORDS, OTHER_LABELS_REMEDY, LabelKind, strata
from arraycnn.data.picture_folder import (
    Progress,
    common_shape,
    find_damaged,
    find_picture_parts,
    load_pictures,
)
from arraycnn.data.pixel_rules import doubt_of_bits
from arraycnn.data.polarity import blank
from arraycnn.data.reader_choice import find_arrays
from arraycnn.data.reader_result import Found, FoundPart, LeftOut
from arraycnn.errors import DataError

_AT_A_TIME = 4096
_logger = logging.getLogger("arraycnn")


def load_own(
    path: Path,
    image_size: tuple[int, int] | tuple[int, int, int] | None = None,
    seed: int = 0,
    class_names: Sequence[str] | None = None,
    progress: Progress | None = None,
    skip_damaged: bool = False,
    kind: LabelKind = "classes",
) -> DataSet:
    """The data set at ``path``; `arraycnn.data.load_dataset` documents what it may be."""
    if not path.exists():
        raise DataError(f"data set {path}: must exist, there is none; check the path")
    try:
        found = find_arrays(path, class_names, image_size, kind)
        if found is None and kind != "classes":
            raise no_such_labels(str(path), kind, "a folder of pictures has one class an image")
        if found is None:
            found = _find_pictures(path, image_size, class_names, progress, skip_damaged)
    except OSError as error:
        message = f"data set {path}: must be readable, the system says: {error.strerror or error}"
        raise DataError(f"{message}; check its permissions") from None
    parts, names = assembled(found, kind)
    if image_size is not None:
        _check_size(path, parts["train"].images.shape[1:], image_size)
    if str(found.left_out):
        _logger.warning("%s: not used: %s", path, found.left_out)
    _tell_of_blank_images(path, parts)
    return _made(path, parts, names, seed, kind)


def no_such_labels(name: str, kind: LabelKind, has: str) -> DataError:
    """The error of a set whose labels are of another kind than was asked for."""
    return DataError(f"{name}: labels must be {IN_WORDS[kind]}, {has}; {OTHER_LABELS_REMEDY}")


def _check_size(path: Path, shape: Sequence[int], asked: Sequence[int]) -> None:
    """Pictures have the size that was asked for; arrays are as they are."""
    if tuple(shape[: len(asked)]) != tuple(asked):
        has, wanted = ("x".join(map(str, size)) for size in (shape, asked))
        message = (
            f"{path}: the images are {has}, {wanted} is asked for, and only pictures are stretched; "
            f"bring the arrays to {wanted}, or train without --image-size"
        )
        raise DataError(message)


def _find_pictures(
    path: Path,
    image_size: tuple[int, ...] | None,
    class_names: Sequence[str] | None,
    progress: Progress | None,
    skip_damaged: bool,
) -> Found:
    left_out = LeftOut()
    parts, names = find_picture_parts(path, class_names, left_out)
    damaged = {name: np.zeros(len(part.paths), np.bool_) for name, part in parts.items()}
    if skip_damaged:
        damaged = {name: find_damaged(part.paths, path, left_out) for name, part in parts.items()}
    paths = [
        picture
        for name, part in parts.items()
        for picture, bad in zip(part.paths, damaged[name], strict=True)
        if not bad
    ]
    if image_size is not None and len(image_size) == 3:
        shape = (image_size[0], image_size[1], image_size[2])
    else:
        shape = common_shape(paths, None if image_size is None else (image_size[0], image_size[1]))
    found = {}
    for name, part in parts.items():
        images = load_pictures(part.paths, shape, progress, damaged[name])
        found[name] = FoundPart(images, part.labels, str(path), str(path), damaged[name])
    return Found(found, names, left_out)


def _made(
    path: Path, parts: dict[str, LabelledArrays], names: tuple[str, ...], seed: int, kind: LabelKind
) -> DataSet:
    train, test, validation = (parts.get(part) for part in ("train", "test", "validation"))
    assert train is not None
    has_test_part = test is not None
    if test is None:
        train, test = _split(path, train, seed)
    # After the split, which is the same whatever is damaged by the day it is drawn again.
    train, test = _whole(train), _whole(test)
    validation = None if validation is None else _whole(validation)
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
        kind=kind,
    )


def _tell_of_blank_images(path: Path, parts: dict[str, LabelledArrays]) -> None:
    """Count the images in memory in which there is nothing to see."""
    count = total = highest = 0
    for images in (_whole(part).images for part in parts.values()):
        if isinstance(images, np.ndarray):  # a source tells as it reads
            total += len(images)
            for start in range(0, len(images), _AT_A_TIME):
                some = images[start : start + _AT_A_TIME]
                count += int(blank(some).sum())
                highest = max(highest, int(some.max(initial=0)))
    if doubt := doubt_of_bits(highest):
        _logger.warning("%s: %s", path, doubt)
    elif count:
        _logger.warning("%s: %d of %d images are blank, all of one grey value", path, count, total)


def _split(path: Path, whole: LabelledArrays, seed: int) -> tuple[LabelledArrays, LabelledArrays]:
    images, labels = whole.images, whole.labels
    if len(images) != len(labels):
        message = (
            f"{path}: every image must have one label, got {len(images)} images and "
            f"{len(labels)} labels; take both from the same set"
        )
        raise DataError(message)
    kept, held_out = split_test(strata(labels), seed)
    if not len(held_out):
        message = (
            f"{path}: is too small to hold out images for the test, {len(labels)} images; "
            "give it a test part of its own, or more images"
        )
        raise DataError(message)
    return _chosen(whole, kept), _chosen(whole, held_out)


def _whole(part: LabelledArrays) -> LabelledArrays:
    """``part`` without its damaged images."""
    if part.damaged is None or not part.damaged.any():
        return part
    return _chosen(part, np.flatnonzero(~part.damaged))


def _chosen(part: LabelledArrays, indices: npt.NDArray[np.int64]) -> LabelledArrays:
    return replace(
        part,
        images=select(part.images, indices),
        labels=part.labels[indices],
        damaged=None if part.damaged is None else part.damaged[indices],
    )
