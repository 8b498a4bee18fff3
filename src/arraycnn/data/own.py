"""A data set of the user's own, from a path: pictures in folders, .npz, .npy or IDX files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arraycnn.data.array_files import is_array_folder, load_arrays
from arraycnn.data.dataset import DataSet, split_test
from arraycnn.data.image_source import Images, select
from arraycnn.data.picture_folder import (
    Progress,
    class_folders,
    common_shape,
    find_pictures,
    load_pictures,
)
from arraycnn.errors import DataError


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
        if path.is_file() or is_array_folder(path):
            train, test, names = load_arrays(path, class_names)
            images, labels = train.images, train.labels
            if test is not None:
                return _made(path, images, labels, test.images, test.labels, names)
        else:
            images, labels, test_pictures, names = _pictures(
                path, image_size, class_names, progress
            )
            if test_pictures is not None:
                return _made(path, images, labels, *test_pictures, names)
    except OSError as error:
        message = f"data set {path}: must be readable, the system says: {error.strerror or error}"
        raise DataError(f"{message}; check its permissions") from None
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
    return _made(
        path,
        select(images, kept),
        labels[kept],
        select(images, held_out),
        labels[held_out],
        names,
        has_test_part=False,
    )


def _pictures(
    path: Path,
    image_size: tuple[int, ...] | None,
    class_names: Sequence[str] | None,
    progress: Progress | None,
) -> tuple[
    Images,
    npt.NDArray[np.int32],
    tuple[Images, npt.NDArray[np.int32]] | None,
    tuple[str, ...],
]:
    train_folder, test_folder = class_folders(path)
    train, names = find_pictures(train_folder, class_names)
    test = None if test_folder is None else find_pictures(test_folder, names)[0]
    paths = train.paths + (test.paths if test else [])
    if image_size is not None and len(image_size) == 3:
        shape = (image_size[0], image_size[1], image_size[2])
    else:
        shape = common_shape(paths, None if image_size is None else (image_size[0], image_size[1]))
    images = load_pictures(train.paths, shape, progress)
    if test is None:
        return images, train.labels, None, names
    return images, train.labels, (load_pictures(test.paths, shape, progress), test.labels), names


def _made(
    path: Path,
    train_images: Images,
    train_labels: npt.NDArray[np.int32],
    test_images: Images,
    test_labels: npt.NDArray[np.int32],
    class_names: tuple[str, ...],
    has_test_part: bool = True,
) -> DataSet:
    return DataSet(
        name=path.resolve().name.partition(".")[0] or "data",
        train_images=train_images,
        train_labels=train_labels,
        test_images=test_images,
        test_labels=test_labels,
        class_names=class_names,
        has_test_part=has_test_part,
    )
