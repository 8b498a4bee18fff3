"""Reading IDX files, the format of MNIST (http://yann.lecun.com/exdb/mnist/, at the page's end).

The `mnist` package decodes the bytes. On its own it takes a gzip bomb, raises a different kind of
error for each kind of damage and trusts the file's name; so a file is checked here first, and the
decoder sees only bytes that are known to be one whole IDX file of bounded size.
"""

import gzip
import io
import math
import os
import struct
import zlib
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from arraycnn.errors import DataError

# Far above the largest of the MNIST family (EMNIST ByClass, 0.6 GB), far below a machine's memory.
MAX_BYTES = 2**30
MAX_AXES = 8
_READ_BYTES = 2**20
_GZIP_MAGIC = b"\x1f\x8b"

# The type byte of the header -> what is decoded. Multi-byte values are big-endian in the file.
_DTYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype(np.uint8),
    0x09: np.dtype(np.int8),
    0x0B: np.dtype(np.int16),
    0x0C: np.dtype(np.int32),
    0x0D: np.dtype(np.float32),
    0x0E: np.dtype(np.float64),
}


def read_idx(path: str | os.PathLike[str], expected_ndim: int | None = None) -> npt.NDArray[Any]:
    """Read one IDX file, raw or gzipped; its content tells which, not its name.

    Returns an array with the shape and the type written in the file's header (uint8 for the MNIST
    family), in native byte order. ``expected_ndim`` is the number of axes the caller can use.

    Raises `DataError`, in one line, where the file is missing, a folder, unreadable, empty, a web
    page, not IDX, truncated, damaged (the gzip checksum is always checked), longer or shorter
    than its header says, without axes, of another number of axes than ``expected_ndim``, or
    larger than 1 GiB once decompressed. Never decompresses more than the header declares, plus
    one byte.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            start = file.read(512)
            file.seek(0)
            if start.startswith(_GZIP_MAGIC):
                with gzip.GzipFile(fileobj=file, mode="rb") as stream:
                    return _read(stream, path, expected_ndim)
            _check_start(start, path)
            return _read(file, path, expected_ndim)
    except FileNotFoundError:
        raise DataError(
            f"{path}: an IDX file must exist, there is none at this path; check the path"
        ) from None
    except IsADirectoryError:
        raise DataError(
            f"{path}: must be an IDX file, is a folder; name the file inside it"
        ) from None
    except EOFError:
        raise DataError(
            f"{path}: must be a whole gzip file, ends too early; fetch it again"
        ) from None
    # BadGzipFile is an OSError: it has to come before the general case.
    except (gzip.BadGzipFile, zlib.error) as error:
        raise DataError(
            f"{path}: must be an intact gzip file, is damaged ({error}); fetch it again"
        ) from None
    except OSError as error:
        raise DataError(
            f"{path}: must be readable, the system says: {error.strerror or error}; "
            "check the file's permissions and the disk"
        ) from None


def _check_start(start: bytes, path: Path) -> None:
    """Name the two usual non-files, which would otherwise only be a wrong magic number."""
    if not start:
        raise DataError(f"{path}: must be an IDX file, is empty (0 bytes); fetch it again")
    if start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DataError(
            f"{path}: must be an IDX file, is a web page (a server's error page saved under this "
            "name?); delete it and fetch the file again"
        )


def _read(
    stream: BinaryIO | gzip.GzipFile, path: Path, expected_ndim: int | None
) -> npt.NDArray[Any]:
    header = _take(stream, 4)
    if len(header) < 4:
        raise DataError(
            f"{path}: must begin with the 4 bytes of an IDX header, holds {len(header)}; "
            "fetch it again"
        )
    zeros, type_code, ndim = struct.unpack(">HBB", header)
    dtype = _DTYPES.get(type_code)
    if zeros != 0 or dtype is None:
        known = ", ".join(f"0000{code:02x}" for code in _DTYPES)
        raise DataError(
            f"{path}: the magic number of an IDX file must begin with {known} (hexadecimal), got "
            f"{header.hex()}; this is not an IDX file"
        )
    if not 1 <= ndim <= MAX_AXES:
        raise DataError(
            f"{path}: an IDX file must have 1 to {MAX_AXES} axes, its header says {ndim}; "
            "the file is damaged or not IDX"
        )
    if expected_ndim is not None and ndim != expected_ndim:
        raise DataError(
            f"{path}: must have {expected_ndim} axes here (3 for images, 1 for labels), has "
            f"{ndim}; are the image and the label file exchanged?"
        )
    sizes = _take(stream, 4 * ndim)
    if len(sizes) < 4 * ndim:
        raise DataError(f"{path}: must hold a whole IDX header, ends inside it; fetch it again")
    shape = struct.unpack(f">{ndim}I", sizes)
    if 0 in shape:
        raise DataError(
            f"{path}: every axis must have a length of at least 1, the header says {shape}; "
            "the file holds nothing to train on"
        )
    # Python integers: a product that overflows 64 bits is still compared rightly.
    declared = math.prod(shape) * dtype.itemsize
    if declared > MAX_BYTES:
        raise DataError(
            f"{path}: may hold at most {MAX_BYTES} bytes, the header {shape} says {declared}; "
            "the file is damaged, or has to be cut into smaller ones"
        )
    body = _take(stream, declared)
    # Asking for more reaches the end of a gzip stream, where the checksum is compared.
    extra = b"" if len(body) < declared else stream.read(1)
    if len(body) < declared or extra:
        found = "more" if extra else str(len(body))
        raise DataError(
            f"{path}: the header {shape} asks for exactly {declared} bytes of data, the file "
            f"holds {found}; fetch it again"
        )
    return _decode(header + sizes + body, path, shape, dtype)


def _take(stream: BinaryIO | gzip.GzipFile, size: int) -> bytes:
    """Read ``size`` bytes, or what there is; in pieces, as a declared size may be a lie."""
    pieces = []
    while size > 0 and (piece := stream.read(min(size, _READ_BYTES))):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _decode(
    content: bytes, path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    # Here and not above: it pulls in urllib, which `import arraycnn` need not pay for.
    import mnist

    try:
        array: npt.NDArray[Any] = mnist.parse_idx(io.BytesIO(content))
    except (ValueError, TypeError, struct.error) as error:
        raise DataError(f"{path}: must be an IDX file, cannot be decoded ({error})") from None
    if array.shape != shape or array.dtype != dtype:
        raise DataError(
            f"{path}: was decoded to {array.dtype} {array.shape}, its header says {dtype} {shape}; "
            "install a release of the mnist package that this one was tested with"
        )
    return array
