"""What `arraycnn predict` is shown: files, folders, patterns, standard input."""

import glob
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from arraycnn.cli.console import notice
from arraycnn.data.array_rules import BrokenRule
from arraycnn.data.file_kinds import kind_of
from arraycnn.data.idx import read_idx
from arraycnn.data.image_files import SUFFIXES, decode_image, read_image
from arraycnn.data.image_source import ArraySource, ImageSource
from arraycnn.data.numpy_files import read_npy, read_npz
from arraycnn.data.picture_folder import picture_files
from arraycnn.data.picture_values import PictureNotes
from arraycnn.data.reader_result import LeftOut
from arraycnn.errors import DataError, DataFileError
from arraycnn.model.image_inputs import ImageForm, ImageTaker
from arraycnn.storage.user_paths import user_path, user_pattern

STDIN = "-"
_STDIN_BYTES = 2**30
_PICTURE_MAGIC = (
    *(b"\x89PNG", b"\xff\xd8\xff", b"BM", b"GIF8", b"RIFF"),
    *(b"P1", b"P2", b"P3", b"P4", b"P5", b"P6"),
)
_IDX_TYPES = (b"\x08", b"\x09", b"\x0b", b"\x0c", b"\x0d", b"\x0e")
_ARRAY_NAMES = ("images", "x", "X", "test_images", "x_test", "X_test", "train_images", "x_train")

Shape = tuple[int, int, int]
Named = Sequence[tuple[str, np.ndarray | DataFileError]]
"""Names, and for each its image or what is wrong with it."""


class Shown(Protocol):
    """Images from one kind of place."""

    def __len__(self) -> int: ...

    def read(self, start: int, stop: int) -> Named: ...


@dataclass(frozen=True)
class PictureFiles:
    """Pictures that are decoded as they are read, on all cores."""

    paths: Sequence[Path]
    shape: Shape
    notes: PictureNotes

    def __len__(self) -> int:
        return len(self.paths)

    def read(self, start: int, stop: int) -> Named:
        def decode(path: Path) -> tuple[str, np.ndarray | DataFileError]:
            try:
                return str(path), read_image(path, self.shape, say=self.notes.about(str(path)))
            except DataFileError as error:
                return str(path), error

        with ThreadPoolExecutor(os.cpu_count() or 1) as threads:
            return list(threads.map(decode, self.paths[start:stop]))


@dataclass(frozen=True)
class Arrays:
    """The images of an array, (N, H, W, C), mapped or in memory."""

    name: str
    images: ImageSource

    def __len__(self) -> int:
        return len(self.images)

    def read(self, start: int, stop: int) -> Named:
        read = self.images.read_part(slice(start, stop))
        return [(f"{self.name}[{start + n}]", image) for n, image in enumerate(read)]


@dataclass(frozen=True)
class Single:
    """One picture that is no file."""

    name: str
    image: np.ndarray

    def __len__(self) -> int:
        return 1

    def read(self, start: int, stop: int) -> Named:
        return [(self.name, self.image)][start:stop]


def find(arguments: Sequence[str], form: ImageForm, notes: PictureNotes) -> list[Shown]:
    """What ``arguments`` name, in their order; as a network takes them.

    What has to be decided about pictures as they are read goes to ``notes``.

    Raises `DataError` where one names nothing, or a file of arrays does not fit.
    """
    found: list[Shown] = []
    pictures: list[Path] = []

    def take_pictures() -> None:
        if pictures:
            found.append(PictureFiles(list(pictures), form.shape, notes))
            pictures.clear()

    for argument in arguments:
        if argument == STDIN:
            take_pictures()
            found += _standard_input(form, notes)
            continue
        for path in _expanded(argument):
            if path.suffix.lower() in SUFFIXES or not _is_array_file(path):
                pictures.append(path)
            else:
                take_pictures()
                found.append(Arrays(str(path), _read_arrays(path, str(path), form)))
    take_pictures()
    return found


def batches(shown: Sequence[Shown], size: int) -> Iterator[Named]:
    """Everything that is shown, some images at a time."""
    for part in shown:
        for start in range(0, len(part), size):
            yield part.read(start, min(start + size, len(part)))


def _expanded(argument: str) -> list[Path]:
    """The files that an argument stands for: itself, those in a folder, those of a pattern."""
    path = user_path(argument)
    if path.is_dir():
        left_out = LeftOut()
        pictures = picture_files(path, left_out)
        if not pictures:
            others = f" but {left_out}" if str(left_out) else ""
            message = f"{path}: a folder must hold pictures, holds none{others}; name another"
            raise DataError(message)
        if str(left_out):
            notice(f"{path}: not used: {left_out}")
        return pictures
    if path.exists() or not glob.has_magic(argument):
        return [path]
    found = [Path(name) for name in sorted(glob.glob(user_pattern(argument), recursive=True))]
    files = [file for file in found if file.is_file()]
    if not files:
        message = f"{argument}: the pattern must match files, matches none; check the folder"
        raise DataError(message)
    return files


def _is_array_file(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            is_array = _array_reader(file.read(8)) is not None
        return is_array and (path.suffix.lower() == ".npz" or kind_of(path) is None)
    except OSError:
        return False  # reading it as a picture says what is wrong


def _array_reader(start: bytes) -> Callable[[Path], np.ndarray] | None:
    if start.startswith(b"\x93NUMPY"):
        return read_npy
    if start.startswith(b"PK"):
        return _from_npz
    if start.startswith(b"\x1f\x8b") or (start[:2] == b"\0\0" and start[2:3] in _IDX_TYPES):
        return read_idx
    return None


def _from_npz(path: Path) -> np.ndarray:
    arrays = read_npz(path)
    names = [name for name in _ARRAY_NAMES if name in arrays] or list(arrays)
    if len(arrays) != 1 and names[:1] != [name for name in _ARRAY_NAMES if name in arrays][:1]:
        reason = f"must hold one array, or one called images, holds {', '.join(arrays) or 'none'}"
        raise DataFileError(path, reason, "rename the array")
    return arrays[names[0]]


def _read_arrays(path: Path, name: str, form: ImageForm) -> ImageSource:
    with path.open("rb") as file:
        reader = _array_reader(file.read(8))
    try:
        return ImageTaker(form, lambda line: notice(f"{name}: {line}")).take(
            (reader or read_idx)(path)
        )
    except BrokenRule as broken:
        raise DataFileError(name, f"images {broken.reason}", broken.remedy) from None


def _standard_input(form: ImageForm, notes: PictureNotes) -> list[Shown]:
    """A picture or a file of arrays by its first bytes, else paths, one a line."""
    content = sys.stdin.buffer.read(_STDIN_BYTES + 1)
    name = "standard input"
    if len(content) > _STDIN_BYTES:
        message = f"{name}: may have at most {_STDIN_BYTES} bytes, has more; save it to a file"
        raise DataError(message)
    if content.startswith(_PICTURE_MAGIC):
        return [Single(name, decode_image(content, name, form.shape, say=notes.about(name)))]
    if _array_reader(content[:8]) is not None:
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            images = _read_arrays(Path(file.name), name, form)
            return [Arrays(name, ArraySource(images.read_part(slice(None))))]
    # As the system has names, which need not be text; nothing but a line break ends one.
    lines = os.fsdecode(content.replace(b"\r\n", b"\n")).split("\n")
    is_text = not any("\udc80" <= letter <= "\udcff" for line in lines for letter in line)
    if b"\0" in content or not (is_text or any(map(os.path.exists, lines))):
        reason = "must be a picture, an array file or lines of paths, is something else"
        raise DataFileError(name, reason, "name a file")
    paths = [line for line in lines if line and line != STDIN]
    if not paths:
        message = f"{name}: must name at least one picture, is empty; write its paths, one a line"
        raise DataError(message)
    return find(paths, form, notes)


def split_errors(
    batch: Named,
) -> tuple[list[str], list[np.ndarray], list[DataFileError]]:
    """(names, images, errors) of a batch."""
    good = [(name, image) for name, image in batch if not isinstance(image, DataFileError)]
    errors = [image for _, image in batch if isinstance(image, DataFileError)]
    return [name for name, _ in good], [image for _, image in good], errors
