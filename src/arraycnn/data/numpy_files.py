"""Reading .npy and .npz files without trusting them: bounded, never unpickled, mapped if large.

Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
"""

import math
import os
import stat
import struct
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt
from numpy.lib import format as npy_format

from arraycnn.data.idx import MAX_BYTES
from arraycnn.errors import DataFileError, one_line

# A mapped file is not faster than a read one, and fails if it is cut while it is in use: only what
# would fill memory is mapped.
MAPPED_BYTES = 2**26
_MOST_ENTRIES = 1000
_READ_BYTES = 2**20
_DEFLATE_RATIO = 1032
_KINDS = "biufUS"
# The version -> how the length of the header is written, and what reads length and header.
_HEADERS = {
    (1, 0): ("<H", npy_format.read_array_header_1_0),
    (2, 0): ("<I", npy_format.read_array_header_2_0),
}
# As much as numpy.load reads; NumPy writes about a hundred bytes.
_LONGEST_HEADER = 10_000


@dataclass(frozen=True)
class _Layout:
    """The data of one .npy: what they are, and at which byte of it they begin."""

    shape: tuple[int, ...]
    order: Literal["C", "F"]
    dtype: np.dtype[Any]
    offset: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def read_npy(path: str | os.PathLike[str]) -> npt.NDArray[Any]:
    """The array of a .npy file: numbers, truth values or text; mapped read-only above 64 MiB.

    Raises `DataFileError` where the file is missing, unreadable, not .npy, holds objects or
    records, or is longer or shorter than its header says.
    """
    path = Path(path)
    with _reported(path, "a .npy file"), _open(path) as file:
        layout = _layout(file, path, "")
        size = os.fstat(file.fileno()).st_size
        if size - layout.offset != layout.nbytes:
            raise _wrong_size(path, "", layout, size - layout.offset)
        if layout.nbytes > MAPPED_BYTES:
            return _mapped(file, layout, layout.offset)
        return _read(file, layout, path, "")


def read_npz(path: str | os.PathLike[str]) -> Mapping[str, npt.NDArray[Any]]:
    """The arrays of an .npz file by name, each read when it is asked for.

    Every checksum is compared. Arrays above 64 MiB that are stored uncompressed, as `numpy.savez`
    does, are mapped read-only after that. Raises `DataFileError` as `read_npy` does, at once for
    what is no .npz file, and on reading an array for what is wrong with that one.
    """
    return _Archive(Path(path))


class _Archive(Mapping[str, npt.NDArray[Any]]):
    def __init__(self, path: Path) -> None:
        self._path = path
        with _reported(path, "an .npz file"), _open(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            file.seek(0)
            # zipfile takes any bytes before an archive; NumPy does not.
            whole = file.read(4) in (b"PK\x03\x04", b"PK\x05\x06")
        if not whole:
            raise DataFileError(path, "must be an .npz file, begins with other bytes", offset=0)
        if len(entries) > _MOST_ENTRIES:
            reason = f"may hold at most {_MOST_ENTRIES} arrays, holds {len(entries)}"
            raise DataFileError(path, reason, "save only what is needed")
        self._entries = {entry.filename.removesuffix(".npy"): entry for entry in entries}
        if len(self._entries) < len(entries):
            raise DataFileError(path, "every array must have a name of its own", "save it again")

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        entry, path = self._entries[name], self._path
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            reason = f"{_what(name)} must be stored or deflated, as NumPy writes it"
            raise DataFileError(path, reason, "save it again")
        with (
            _reported(path, "an .npz file", name),
            _open(path) as file,
            zipfile.ZipFile(file) as archive,
            archive.open(entry) as member,
        ):
            layout = _layout(member, path, name)
            if entry.file_size - layout.offset != layout.nbytes:
                raise _wrong_size(path, name, layout, entry.file_size - layout.offset)
            if entry.file_size > entry.compress_size * _DEFLATE_RATIO + _READ_BYTES:
                reason = (
                    f"{_what(name)} says it has {entry.file_size} bytes, its packed data cannot"
                )
                raise DataFileError(path, reason, "save it again", offset=entry.header_offset)
            stored = entry.compress_type == zipfile.ZIP_STORED
            if stored and layout.nbytes > MAPPED_BYTES:
                while member.read(_READ_BYTES):  # to the end, where the checksum is compared
                    pass
                return _mapped(file, layout, _data_offset(file, entry) + layout.offset)
            return _read(member, layout, path, name)


def _layout(stream: Any, path: Path, name: str) -> _Layout:
    version = npy_format.read_magic(stream)
    if version not in _HEADERS:
        reason = f"{_what(name)} must be of .npy version 1.0 or 2.0, is of {version}"
        raise DataFileError(path, reason, "save it with numpy.save as a plain array", offset=6)
    pattern, parse = _HEADERS[version]
    prefix = stream.read(struct.calcsize(pattern))
    (length,) = struct.unpack(pattern, prefix)
    if length > _LONGEST_HEADER:
        reason = f"{_what(name)} may have a header of {_LONGEST_HEADER} bytes, has {length}"
        raise DataFileError(path, reason, "save it with numpy.save as a plain array", offset=8)
    shape, fortran, dtype = parse(BytesIO(prefix + stream.read(length)))
    if dtype.kind not in _KINDS:
        reason = f"{_what(name)} must hold numbers or text, holds {dtype}"
        remedy = "save a plain array; objects are never unpickled"
        raise DataFileError(path, reason, remedy, offset=10)
    if min(shape, default=1) < 0 or dtype.itemsize == 0:
        raise DataFileError(path, f"{_what(name)} has an impossible shape {shape}", offset=10)
    return _Layout(shape, "F" if fortran else "C", dtype, 8 + len(prefix) + length)


def _read(stream: Any, layout: _Layout, path: Path, name: str) -> npt.NDArray[Any]:
    if layout.nbytes > MAX_BYTES:
        reason = (
            f"{_what(name)} may have at most {MAX_BYTES} bytes to be read into memory, "
            f"its header {layout.shape} says {layout.nbytes}"
        )
        raise DataFileError(path, reason, "save it as .npy, or with numpy.savez: then it is mapped")
    array = np.empty(layout.shape, layout.dtype, layout.order)
    target = array.reshape(-1, order="A").view(np.uint8)
    done = 0
    while done < layout.nbytes:
        # Not readinto: zipfile's makes a copy as large as the target.
        piece = stream.read(min(_READ_BYTES, layout.nbytes - done))
        if not piece:
            raise _wrong_size(path, name, layout, done)
        target[done : done + len(piece)] = np.frombuffer(piece, np.uint8)
        done += len(piece)
    if stream.read(1):  # reaches the end of an entry, where its checksum is compared
        raise _wrong_size(path, name, layout, done + 1)
    return array


def _mapped(file: Any, layout: _Layout, offset: int) -> npt.NDArray[Any]:
    return np.memmap(file, layout.dtype, "r", offset, layout.shape, layout.order)


def _data_offset(file: BinaryIO, entry: zipfile.ZipInfo) -> int:
    """Where an entry's bytes begin: after its local header, which `ZipFile.open` has checked."""
    file.seek(entry.header_offset)
    name_length, extra_length = struct.unpack("<26xHH", file.read(30))
    return entry.header_offset + 30 + name_length + extra_length


@contextmanager
def _reported(path: Path, kind: str, name: str = "") -> Iterator[None]:
    try:
        yield
    except DataFileError:
        raise
    except FileNotFoundError:
        raise DataFileError(path, "must exist, there is no such file", "check the path") from None
    except OSError as error:
        reason = f"must be readable, the system says: {error.strerror or error}"
        raise DataFileError(path, reason, "check the file's permissions and the disk") from None
    except Exception as error:  # whatever zipfile, zlib and NumPy raise for what is none of theirs
        reason = f"must be {kind}, {_what(name)} cannot be read ({one_line(error)})"
        raise DataFileError(path, reason, "save it again") from None


def _open(path: Path) -> BinaryIO:
    if not stat.S_ISREG(path.stat().st_mode):
        raise DataFileError(path, "must be a regular file", "name a file")
    return path.open("rb")


def _what(name: str) -> str:
    return f"array {name!r}" if name else "it"


def _wrong_size(path: Path, name: str, layout: _Layout, found: int) -> DataFileError:
    reason = (
        f"{_what(name)} with shape {layout.shape} of {layout.dtype} must have exactly "
        f"{layout.nbytes} bytes of data, has {found}"
    )
    return DataFileError(path, reason, "it is cut short or damaged: save it again", layout.offset)
