"""A folder with one subfolder of pictures for each class, with or without train/ and test/."""

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from arraycnn.data.file_kinds import kind_of
from arraycnn.data.image_files import SUFFIXES, image_shape, read_image
from arraycnn.data.image_source import Images, ImageSource
from arraycnn.data.picture_values import PictureNotes
from arraycnn.data.polarity import blank
from arraycnn.data.reader_result import LeftOut
from arraycnn.data.visible_files import is_hidden
from arraycnn.errors import DataError, DataFileError, one_line

DAMAGED = "damaged picture{s}"
# What fits is decoded once and kept; a larger set is decoded batch by batch.
RESIDENT_BYTES = 2**28
TEST_NAMES = ("test", "testing")
_VALIDATION_NAMES = ("val", "valid", "validation")
# Of the one subfolder that some loaders ask for where no class is known.
_NO_CLASS = {"unknown", "unlabelled", "unlabeled", "images", "test", "test1"}
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
        self.is_streamed = True
        """Whether pictures are read again and again: what is said of them is said at once."""
        self.notes = PictureNotes(_logger.warning)

    def read(self, indices: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.uint8]:
        images = np.empty((len(indices), *self.shape[1:]), np.uint8)

        def decode(place: int) -> None:
            path = self._paths[int(indices[place])]
            say = self.notes.about(str(path))
            with _remedy_named():
                images[place] = read_image(path, self.shape[1:], say=say)
            if self.is_streamed and blank(images[place : place + 1])[0]:
                say("blank, all of one grey value")

        list(self._threads.map(decode, range(len(indices))))
        return images


def find_picture_parts(
    path: Path, class_names: Sequence[str] | None, left_out: LeftOut
) -> tuple[dict[str, LabelledPictures], tuple[str, ...]]:
    """The pictures of each part under ``path``, and the names of the classes.

    Where there are folders train/ and perhaps test/ and val/, these are the parts; a val/ without a
    test/ is the part to test on. Else ``path`` itself holds the classes to train on.
    """
    children = [child for child in sorted(path.iterdir()) if not is_hidden(child.name)]
    folders = {child.name.lower(): child for child in children if child.is_dir()}

    def first(names: Sequence[str]) -> Path | None:
        return next((folders[name] for name in names if name in folders), None)

    train, test, validation = first(_TRAIN_NAMES), first(TEST_NAMES), first(_VALIDATION_NAMES)
    if train is None:
        pictures, names = find_pictures(path, class_names, left_out)
        return {"train": pictures}, names
    pictures, names = find_pictures(train, class_names, left_out)
    parts = {"train": pictures}
    for part, folder in (("validation", validation), ("test", test)):
        if folder is None:
            continue
        if _is_unlabelled(folder, names):
            count = len(picture_files(folder, left_out))
            left_out.add("picture{s} without a label", f"{folder.name}/", count)
        else:
            parts[part] = find_pictures(folder, names, left_out, f"in {train.name}/")[0]
    if "test" not in parts and "validation" in parts:
        parts["test"] = parts.pop("validation")
    left_out.add_rest(path, [part for part in (train, test, validation) if part is not None])
    return parts, names


def _is_unlabelled(folder: Path, names: Sequence[str]) -> bool:
    """Whether ``folder`` holds pictures, but not in folders of classes."""
    inside = [child for child in folder.iterdir() if not is_hidden(child.name)]
    classes = {child.name for child in inside if child.is_dir()}
    if classes and not (classes <= _NO_CLASS and not classes & set(names)):
        return False
    return bool(picture_files(folder, LeftOut()))


def find_pictures(
    folder: Path,
    class_names: Sequence[str] | None,
    left_out: LeftOut,
    whose: str = "of class_names",
) -> tuple[LabelledPictures, tuple[str, ...]]:
    """The pictures under ``folder`` and the names of their classes, in the order of the numbers.

    Classes are numbered as in ``class_names``, else in the order of their names; ``whose`` says in
    words where ``class_names`` are from.

    Raises `DataError` where there is no subfolder, one without pictures, or one that is not among
    ``class_names``.
    """
    children = [child for child in sorted(folder.iterdir()) if not is_hidden(child.name)]
    folders = [child for child in children if child.is_dir()]
    if not folders:
        raise DataError(_without_classes(folder, children))
    names = tuple(child.name for child in folders) if class_names is None else tuple(class_names)
    paths: list[Path] = []
    labels: list[int] = []
    for child in folders:
        if child.name not in names:
            message = (
                f"{child}: the classes must be those {whose} ({', '.join(names)}), "
                f"got {child.name!r}; rename the folder, or take it away"
            )
            raise DataError(message)
        others = LeftOut()
        pictures = picture_files(child, others)
        if not pictures:
            raise DataError(_without_pictures(child, others))
        left_out.take(others)
        _tell_of_nesting(child, pictures)
        paths += pictures
        labels += [names.index(child.name)] * len(pictures)
    left_out.add_rest(folder, folders)
    return LabelledPictures(paths, np.array(labels, np.int32)), names


def _without_classes(folder: Path, children: Sequence[Path]) -> str:
    message = f"{folder}: a folder of pictures must have one subfolder for each class, has none"
    for child in children:
        kind = kind_of(child)
        if kind is not None:
            return (
                f"{message}, but {kind.with_article} ({one_line(child.name)}); {kind.remedy(child)}"
            )
    return f"{message}; put the pictures of each class into a folder with its name"


def _without_pictures(folder: Path, others: LeftOut) -> str:
    message = f"{folder}: a class must have at least one picture, has none"
    for parent, _, names in os.walk(folder):
        for name in sorted(names):
            kind = kind_of(Path(parent, name))
            if kind is not None:
                return f"{message}, but {others}; {kind.remedy(name)}"
    if str(others):
        return f"{message}, but {others}; convert them to PNG or JPEG, or take the folder away"
    return f"{message}; remove the folder"


def _tell_of_nesting(folder: Path, pictures: Sequence[Path]) -> None:
    """Ask whether ``folder``, a class, is one level too high: its pictures lie in subfolders only."""
    inner = sorted({picture.relative_to(folder).parts[0] for picture in pictures})
    if len(inner) > 1 and all(folder != picture.parent for picture in pictures):
        _logger.warning(
            "%s: is one class, whose pictures lie in %d subfolders (%s); if these are the classes, "
            "name %s instead",
            folder,
            len(inner),
            ", ".join(inner[:4]) + (" ..." if len(inner) > 4 else ""),
            folder,
        )


def common_shape(paths: Sequence[Path], size: tuple[int, int] | None) -> tuple[int, int, int]:
    """(H, W, C) for all of these pictures, C being 3 where any is in colour.

    Raises `DataError` where they have different sizes and ``size``, (H, W), does not choose one.
    """
    with ThreadPoolExecutor(os.cpu_count() or 1) as threads, _remedy_named():
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
            f"({count} of {len(paths)}); train with --image-size HEIGHTxWIDTH"
        )
        raise DataError(message)
    return (*next(iter(sizes)), channels)


def load_pictures(
    paths: Sequence[Path],
    shape: tuple[int, int, int],
    progress: Progress | None = None,
    damaged: npt.NDArray[np.bool_] | None = None,
) -> Images:
    """The pictures as an array, or as a source where that would have more than 256 MiB.

    Those that are ``damaged``, (N,), are not read: in an array, they are black.
    """
    source = PictureSource(paths, shape)
    if len(source) * int(np.prod(shape)) > RESIDENT_BYTES:
        return source
    source.notes, source.is_streamed = PictureNotes(), False
    images = np.zeros(source.shape, np.uint8)
    for start in range(0, len(paths), 256):
        chosen = np.arange(start, min(start + 256, len(paths)))
        chosen = chosen if damaged is None else chosen[~damaged[chosen]]
        images[chosen] = source.read(chosen)
        if progress is not None:
            progress(min(start + 256, len(paths)), len(paths))
    for line in source.notes.take():
        _logger.warning(line)
    return images


def find_damaged(paths: Sequence[Path], folder: Path, left_out: LeftOut) -> npt.NDArray[np.bool_]:
    """Which pictures cannot be read to their end; each is decoded once, and counted if it fails."""

    def fails(path: Path) -> bool:
        try:
            read_image(path, (1, 1, 1))
        except DataFileError:
            return True
        return False

    with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
        damaged = np.fromiter(threads.map(fails, paths), np.bool_, len(paths))
    for place in np.flatnonzero(damaged):
        left_out.add(DAMAGED, os.path.relpath(paths[int(place)], folder))
    if damaged.all():
        reason = f"must hold pictures that can be read, all {len(paths)} are damaged"
        raise DataFileError(folder, reason, "copy them again from where they came from")
    return damaged


@contextmanager
def _remedy_named() -> Iterator[None]:
    """What is wrong with one picture of a set, with the option that goes on without it."""
    try:
        yield
    except DataFileError as error:
        remedy = f"{error.remedy}, or leave damaged pictures out with --skip-damaged"
        raise DataFileError(error.path, error.reason, remedy, error.offset) from None


def picture_files(folder: Path, left_out: LeftOut) -> list[Path]:
    """All pictures under ``folder`` in the order of their names; what else is there is counted.

    Linked folders are entered like others, each folder once.
    """
    found: list[Path] = []
    entered: set[tuple[int, int]] = set()
    for parent, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        status = os.stat(parent)
        if (status.st_dev, status.st_ino) in entered:
            left_out.add("linked folder{s} that lead back", os.path.relpath(parent, folder))
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        for name in [name for name in folders if is_hidden(name)]:
            left_out.add_path(Path(parent, name))
        folders[:] = sorted(name for name in folders if not is_hidden(name))
        for name in sorted(names):
            path = Path(parent, name)
            if not is_hidden(name) and path.suffix.lower() in SUFFIXES and path.is_file():
                found.append(path)
            else:
                left_out.add_path(path, os.path.relpath(path, folder.parent))
    return found


def _unreadable(error: OSError) -> None:
    raise error
