"""A folder with one subfolder of pictures for each class, with or without train/ and test/."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.image_source import Images, ImageSource
from arraycnn.errors import DataError
from arraycnn.image_files import SUFFIXES, image_shape, read_image

# What fits is decoded once and kept; a larger set is decoded batch by batch.
RESIDENT_BYTES = 2**28
TEST_NAMES = ("test", "testing", "val", "valid", "validation")
_TRAIN_NAMES = ("train", "training")
_logger = logging.getLogger("arraycnn")

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True)
class LabelledPictures:
    """Paths of pictures, and for each the number of its class."""

    paths: list[Path]
    labels: npt.NDArray[np.int32]


class PictureSource(ImageSource):
    """Pictures that are decoded, and stretched to one shape, when they are read."""

    def __init__(self, paths: Sequence[Path], shape: tuple[int, int, int]) -> None:
        self._paths = paths
        self.shape = (len(paths), *shape)
        self.dtype = np.dtype(np.uint8)
        self._threads = ThreadPoolExecutor(os.cpu_count() or 1, "arraycnn-pictures")

    def read(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)

        def decode(place: int) -> None:
            images[place] = read_image(self._paths[int(indices[place])], self.shape[1:])

        list(self._threads.map(decode, range(len(indices))))
        return images


def class_folders(path: Path) -> tuple[Path, Path | None]:
    """(folder of the classes to train on, folder of those to test on or None).

    Where there are train/ and test/ (or val/), these; else ``path`` itself.
    """
    parts = {child.name.lower(): child for child in sorted(path.iterdir()) if child.is_dir()}
    train = next((parts[name] for name in _TRAIN_NAMES if name in parts), None)
    tests = [parts[name] for name in TEST_NAMES if name in parts]
    if train is None:
        return path, None
    if len(tests) > 1:
        _logger.warning("%s: %s is the test part, %s is not used", path, tests[0], tests[1])
    return train, tests[0] if tests else None


def find_pictures(
    folder: Path, class_names: Sequence[str] | None = None
) -> tuple[LabelledPictures, tuple[str, ...]]:
    """The pictures under ``folder`` and the names of their classes, in the order of the numbers.

    Classes are numbered as in ``class_names``, else in the order of their names. Hidden files are
    passed over; other files that are no pictures as well, with a notice.

    Raises `DataError` where there is no subfolder, one without pictures, or one that is not among
    ``class_names``.
    """
    folders = sorted(child for child in folder.iterdir() if child.is_dir() and _shown(child.name))
    if not folders:
        message = (
            f"{folder}: a folder of pictures must have one subfolder for each class, has none; "
            "put the pictures of each class into a folder with its name"
        )
        raise DataError(message)
    names = tuple(child.name for child in folders) if class_names is None else tuple(class_names)
    paths: list[Path] = []
    labels: list[int] = []
    passed_over: list[Path] = []
    for child in folders:
        if child.name not in names:
            message = (
                f"{child}: the classes must be those the model knows ({', '.join(names)}), "
                f"got {child.name!r}; rename the folder, or take it away"
            )
            raise DataError(message)
        files = picture_files(child)
        pictures = [file for file in files if file.suffix.lower() in SUFFIXES]
        passed_over += [file for file in files if file.suffix.lower() not in SUFFIXES]
        if not pictures:
            message = (
                f"{child}: a class must have at least one picture, has none; remove the folder"
            )
            raise DataError(message)
        paths += pictures
        labels += [names.index(child.name)] * len(pictures)
    if passed_over:
        _logger.warning(
            "%s: passed over %d files that are no pictures, %s among them",
            folder,
            len(passed_over),
            passed_over[0],
        )
    return LabelledPictures(paths, np.array(labels, np.int32)), names


def common_shape(paths: Sequence[Path], size: tuple[int, int] | None) -> tuple[int, int, int]:
    """(H, W, C) for all of these pictures, C being 3 where any is in colour.

    Raises `DataError` where they have different sizes and ``size``, (H, W), does not choose one.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        shapes = Counter(threads.map(image_shape, paths))
    channels = max(shape[2] for shape in shapes)
    if size is not None:
        return (*size, channels)
    sizes = Counter[tuple[int, int]]()
    for shape, count in shapes.items():
        sizes[shape[:2]] += count
    if len(sizes) > 1:
        (most, count), *_ = sizes.most_common(1)
        low, high = min(sizes), max(sizes)
        message = (
            f"{paths[0].parent.parent}: the pictures must have one size, they have {len(sizes)}, "
            f"from {low[0]}x{low[1]} to {high[0]}x{high[1]}, most often {most[0]}x{most[1]} "
            f"({count} of {len(paths)}); choose one with --image-size HEIGHTxWIDTH"
        )
        raise DataError(message)
    return (*next(iter(sizes)), channels)


def load_pictures(
    paths: Sequence[Path], shape: tuple[int, int, int], progress: Progress | None = None
) -> Images:
    """The pictures as an array, or as a source where that would have more than 256 MiB."""
    source = PictureSource(paths, shape)
    if len(source) * int(np.prod(shape)) > RESIDENT_BYTES:
        return source
    images = np.empty(source.shape, np.uint8)
    for start in range(0, len(paths), 256):
        stop = min(start + 256, len(paths))
        images[start:stop] = source.read(np.arange(start, stop))
        if progress is not None:
            progress(stop, len(paths))
    return images


def picture_files(folder: Path) -> list[Path]:
    """All files under ``folder`` but hidden ones, in the order of their names."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if _shown(name))
        found += [Path(parent, name) for name in sorted(names) if _shown(name)]
    return found


def _shown(name: str) -> bool:
    return not name.startswith(".") and name.lower() not in ("thumbs.db", "desktop.ini")
