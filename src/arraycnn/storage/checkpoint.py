"""The bytes of a model file: one .npz that any NumPy reads, with a digest that sees every flipped bit.

An .npz is a zip archive; its comment, the last bytes of the file, holds the SHA-256 of all bytes
before it. The digest is checked before anything is parsed, and nothing is ever unpickled.
"""

import hashlib
import io
import json
import math
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.errors import CheckpointError, one_line
from arraycnn.storage.atomic_writes import write_atomically
from arraycnn.storage.user_paths import user_path
from arraycnn.tree import Tree, flatten, with_leaves

FORMAT_VERSION = 1
# Of files whose header says what a version before it would overlook: another loss than it knows.
LOSS_VERSION = 2
_HEADER = "header"
_MARK = b"arraycnn sha256 "
_COMMENT_LENGTH = len(_MARK) + 64
_LONGEST_ARRAY_HEADER = 10_000


def write_checkpoint(
    path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write ``header``, which JSON must be able to hold, and ``arrays`` by name, atomically.

    A "format_version" of its own takes the place of `FORMAT_VERSION`.
    """
    text = json.dumps({"format_version": FORMAT_VERSION, **header}, allow_nan=False)
    buffer = io.BytesIO()
    np.savez(
        buffer, allow_pickle=False, **{_HEADER: np.frombuffer(text.encode(), np.uint8)}, **arrays
    )
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = _MARK + b"0" * 64
    content = buffer.getvalue()[:-_COMMENT_LENGTH]
    try:
        write_atomically(user_path(path), content + _MARK + _digest(content))
    except OSError as error:
        message = f"model file {path}: cannot be written ({error.strerror}); check folder and disk"
        raise CheckpointError(message) from error


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(header, arrays) of a file of `write_checkpoint`.

    Raises CheckpointError where the file is missing, cut, altered, or of another kind or version.
    """
    try:
        content = user_path(path).read_bytes()
    except IsADirectoryError as error:
        models = sorted(
            user_path(path).glob("*.npz"), key=lambda file: (file.name != "best.npz", file)
        )
        which = f"{models[0]}" if models else "a model that was saved"
        message = f"model file {path}: must be a file, is a folder; name {which}"
        raise CheckpointError(message) from error
    except OSError as error:
        message = f"model file {path}: cannot be read ({error.strerror}); check the path"
        raise CheckpointError(message) from error
    return decode_checkpoint(path, content)


def decode_checkpoint(
    path: str | Path, content: bytes
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """`read_checkpoint` of a file's bytes; ``path`` is named in errors."""
    body, comment = content[:-_COMMENT_LENGTH], content[-_COMMENT_LENGTH:]
    if not comment.startswith(_MARK):
        message = (
            f"model file {path}: is not a whole file of arraycnn (its last bytes hold no digest); "
            "it may be cut short, or another kind of file: save the model again"
        )
        raise CheckpointError(message)
    if comment != _MARK + _digest(body):
        message = (
            f"model file {path}: its bytes have changed since it was written (the digest differs); "
            "take another copy of it"
        )
        raise CheckpointError(message)
    try:
        return _parse(content)
    except _OtherVersion as error:
        message = (
            f"model file {path}: format version must be {FORMAT_VERSION} or {LOSS_VERSION}, "
            f"got {error}; "
            "use the version of arraycnn that wrote it"
        )
        raise CheckpointError(message) from None
    except Exception as error:  # whatever zip, NumPy and JSON raise for what is none of theirs
        message = f"model file {path}: does not hold what a model file must ({one_line(error)})"
        raise CheckpointError(message) from error


def take_tree(
    path: str | Path, kind: str, expected: Tree, arrays: dict[str, np.ndarray], dtype: str
) -> Tree:
    """The arrays "KIND/NAME", taken out of ``arrays``, in the tree of ``expected``.

    Raises CheckpointError where one is missing, or of another shape or dtype.
    """
    values = []
    for name, leaf in flatten(expected).items():
        value = arrays.pop(f"{kind}/{name}", None)
        if value is None:
            message = f"model file {path}: lacks the array {kind}/{name}"
            raise CheckpointError(message)
        if value.shape != tuple(leaf.shape) or value.dtype != dtype:
            message = (
                f"model file {path}: {kind}/{name} must be {dtype} of shape {tuple(leaf.shape)}, "
                f"got {value.dtype} of shape {value.shape}"
            )
            raise CheckpointError(message)
        values.append(value)
    return with_leaves(expected, values)


class _OtherVersion(Exception):
    pass


def _parse(content: bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not content.startswith(b"PK\x03\x04"):  # zipfile takes any bytes before an archive
        message = "it begins with other bytes"
        raise ValueError(message)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        entries = archive.infolist()
        names = [entry.filename.removesuffix(".npy") for entry in entries]
        if len(set(names)) != len(names):
            message = "two entries have one name"
            raise ValueError(message)
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            message = "an entry is compressed"  # so no file grows in memory
            raise ValueError(message)
        header = json.loads(
            _array(archive.read(entries[names.index(_HEADER)])).tobytes(), parse_constant=_refuse
        )
        version = header.pop("format_version")
        if version not in (FORMAT_VERSION, LOSS_VERSION):
            raise _OtherVersion(repr(version))
        arrays = {
            name: _array(archive.read(entry))
            for name, entry in zip(names, entries, strict=True)
            if name != _HEADER
        }
    return header, arrays


def _array(content: bytes) -> np.ndarray:
    """The array of an .npy file: numbers only, and not one byte less or more than its header says.

    Unlike NumPy's own reader, it knows no pickle and sets no memory aside for a size that is a lie.
    """
    file = io.BytesIO(content)
    if np.lib.format.read_magic(file) != (1, 0):
        message = "an entry is no array of .npy version 1.0"
        raise ValueError(message)
    shape, by_column, dtype = np.lib.format.read_array_header_1_0(file, _LONGEST_ARRAY_HEADER)
    if dtype.hasobject:
        message = "an entry holds Python objects, which are never loaded"
        raise ValueError(message)
    data = content[file.tell() :]
    if len(data) != math.prod(shape) * dtype.itemsize:
        message = f"an entry of shape {shape} and {dtype} has {len(data)} bytes"
        raise ValueError(message)
    array = np.frombuffer(data, dtype).reshape(shape, order="F" if by_column else "C")
    return array.copy()


def _refuse(name: str) -> Any:
    message = f"the header holds {name}, which is no number"
    raise ValueError(message)


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
