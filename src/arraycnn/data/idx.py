"""Reading IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist/, at the page's end).

A file is hostile until checked: magic number, type, axes and their product are compared with the
file's own size before anything is allocated, and then exactly that many bytes are read. A raw file
of single bytes is not read at all but mapped, so that a set may be larger than memory.
"""

import gzip
import math
import os
import stat
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from arraycnn.errors import DataFileError

# What is read into memory; a mapped file may be larger. The largest of the MNIST family (EMNIST
# ByClass) has 0.6 GB.
MAX_BYTES = 2**30
MAX_AXES = 8
_READ_BYTES = 2**18
_GZIP_MAGIC = b"\x1f\x8b"
# What one byte of deflate can become at most (zlib's technical notes).
_DEFLATE_RATIO = 1032

# The type byte of the header -> what is decoded. Multi-byte values are big-endian in the file.
_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(np.int16),
    0x0C: np.dtype(np.int32),
    0x0D: np.dtype(np.float32),
    0x0E: np.dtype(np.float64),
}


@dataclass(frozen=True)
class _Header:
    """What a file's first bytes say: where the data begin, and what they are."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @property
    def length(self) -> int:
        return 4 + 4 * len(self.shape)

    @property
    def nbytes(self) -> int:
        # Python integers: a product that overflows 64 bits is still compared rightly.
        return math.prod(self.shape) * self.dtype.itemsize


def read_idx(path: str | os.PathLike[str], expected_ndim: int | None = None) -> npt.NDArray[Any]:
    """Read one IDX file, raw or gzipped; its content tells which, not its name.

    Returns an array with the shape and the type written in the file's header (uint8 for the MNIST
    family), in native byte order. A raw file of single bytes comes as a read-only `numpy.memmap`;
    everything else is read into memory, taking little more than the size the header declares.
    ``expected_ndim`` is the number of axes the caller can use.

    Raises `DataFileError` with path, offset and reason, where the file is missing, not a regular
    file, unreadable, empty, a web page, not IDX, truncated, damaged (the gzip checksum is always
    checked), longer or shorter than its header says, without axes, of another number of axes than
    ``expected_ndim``, or has to be read and is larger than 1 GiB. A size that the file cannot hold
    is refused before anything is allocated; at most one byte more than declared is decompressed.
    """
    path = Path(path)
    with _reported(path), _open(path) as file:
        size = os.fstat(file.fileno()).st_size
        start = file.read(512)
        file.seek(0)
        if start.startswith(_GZIP_MAGIC):
            with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                header = _read_header(stream, path, expected_ndim)
                _check_declared(header, path, most=size * _DEFLATE_RATIO)
                return _read(stream, header, path)
        _check_start(start, path)
        header = _read_header(file, path, expected_ndim)
        if size - header.length != header.nbytes:
            raise _wrong_size(path, header, str(size - header.length))
        if header.dtype.itemsize == 1:
            return np.memmap(file, header.dtype, "r", header.length, header.shape)
        _check_declared(header, path, most=size)
        return _read(file, header, path)


@contextmanager
def _reported(path: Path) -> Iterator[None]:
    """What the system and zlib raise, as errors of our own."""
    try:
        yield
    except FileNotFoundError:
        raise DataFileError(path, "must exist, there is no such file", "check the path") from None
    except EOFError:
        raise DataFileError(
            path, "must be a whole gzip file, ends too early", "fetch it again"
        ) from None
    # BadGzipFile is an OSError: it has to come before the general case.
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataFileError(
            path, f"must be an intact gzip file, is damaged ({error})", "fetch it again"
        ) from None
    except OSError as error:
        raise DataFileError(
            path,
            f"must be readable, the system says: {error.strerror or error}",
            "check the file's permissions and the disk",
        ) from None


def _open(path: Path) -> BinaryIO:
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise DataFileError(path, "must be an IDX file, is a folder", "name the file inside it")
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its other end
        raise DataFileError(
            path, "must be a regular file, is a pipe or a device", "save it to a file first"
        )
    return path.open("rb")


def _check_start(start: bytes, path: Path) -> None:
    """Name the two usual non-files, which would otherwise only be a wrong magic number."""
    if not start:
        raise DataFileError(path, "must be an IDX file, is empty (0 bytes)", "fetch it again")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DataFileError(
            path,
            "must be an IDX file, is a web page (a server's error page saved under this name?)",
            "delete it and fetch the file again",
            offset=0,
        )


def _read_header(
    stream: BinaryIO | gzip.GzipFile, path: Path, expected_ndim: int | None
) -> _Header:
    magic = stream.read(4)
    if len(magic) < 4:
        reason = f"must begin with the 4 bytes of an IDX header, holds {len(magic)}"
        raise DataFileError(path, reason, "fetch it again", offset=len(magic))
    zeros, type_code, ndim = struct.unpack(">HBB", magic)
    dtype = _DTYPES.get(type_code)
    if zeros != 0 or dtype is None:
        known = ", ".join(f"0000{code:02x}" for code in _DTYPES)
        reason = (
            f"the magic number of an IDX file must begin with {known} (hexadecimal), "
            f"got {magic.hex()}"
        )
        raise DataFileError(path, reason, "this is not an IDX file", offset=0)
    if not 1 <= ndim <= MAX_AXES:
        reason = f"an IDX file must have 1 to {MAX_AXES} axes, its header says {ndim}"
        raise DataFileError(path, reason, "the file is damaged or not IDX", offset=3)
    if expected_ndim is not None and ndim != expected_ndim:
        reason = f"must have {expected_ndim} axes here (3 for images, 1 for labels), has {ndim}"
        raise DataFileError(path, reason, "are the image and the label file exchanged?", offset=3)
    sizes = stream.read(4 * ndim)
    if len(sizes) < 4 * ndim:
        reason = "must hold a whole IDX header, ends inside it"
        raise DataFileError(path, reason, "fetch it again", offset=4 + len(sizes))
    header = _Header(dtype, struct.unpack(f">{ndim}I", sizes))
    if 0 in header.shape:
        reason = f"every axis must have a length of at least 1, the header says {header.shape}"
        place = 4 + 4 * header.shape.index(0)
        raise DataFileError(path, reason, "the file holds nothing to train on", offset=place)
    return header


def _check_declared(header: _Header, path: Path, most: int) -> None:
    """Refuse a size too large to be read, or more than the file's ``most`` possible bytes."""
    if header.nbytes > MAX_BYTES:
        reason = (
            f"may hold at most {MAX_BYTES} bytes to be read into memory, "
            f"the header {header.shape} says {header.nbytes}"
        )
        remedy = "decompress a larger file of bytes, which is then mapped; or it is damaged"
        raise DataFileError(path, reason, remedy, offset=4)
    if header.nbytes > most:
        reason = (
            f"the header {header.shape} asks for {header.nbytes} bytes of data, "
            f"a file of this size can hold {most} at most"
        )
        raise DataFileError(path, reason, "fetch it again", offset=4)


def _read(stream: Any, header: _Header, path: Path) -> npt.NDArray[Any]:
    array = np.empty(header.shape, header.dtype)
    target = array.reshape(-1).view(np.uint8)
    done = 0
    while done < header.nbytes:
        count = stream.readinto(target[done : done + _READ_BYTES])
        if not count:
            raise _wrong_size(path, header, str(done))
        done += count
    # Asking for more reaches the end of a gzip stream, where the checksum is compared.
    if stream.read(1):
        raise _wrong_size(path, header, "more")
    # The file is big-endian; in place, as a second array would double the memory.
    return array if np.dtype(">i2").isnative else array.byteswap(inplace=True)


def _wrong_size(path: Path, header: _Header, found: str) -> DataFileError:
    reason = (
        f"the header {header.shape} asks for exactly {header.nbytes} bytes of data, "
        f"the file holds {found}"
    )
    return DataFileError(path, reason, "fetch it again", offset=header.length)
