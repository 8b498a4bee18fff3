"""The model file: one .npz that any NumPy reads, with a digest that notices every flipped bit.

An .npz is a zip archive; its comment, the last bytes of the file, holds the SHA-256 of all bytes
before it. The digest is checked before anything is parsed, and nothing is ever unpickled.
"""

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from arraycnn.errors import CheckpointError, one_line
from arraycnn.files import write_atomically

FORMAT_VERSION = 1
_HEADER = "header"
_MARK = b"arraycnn sha256 "
_COMMENT_LENGTH = len(_MARK) + 64


def write_checkpoint(
    path: str | Path, header: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    """Write ``header``, which JSON must be able to hold, and ``arrays`` by name, atomically."""
    text = json.dumps({"format_version": FORMAT_VERSION, **header}, allow_nan=False)
    buffer = io.BytesIO()
    np.savez(
        buffer, allow_pickle=False, **{_HEADER: np.frombuffer(text.encode(), np.uint8)}, **arrays
    )
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.comment = _MARK + b"0" * 64
    content = buffer.getvalue()[:-_COMMENT_LENGTH]
    try:
        write_atomically(Path(path), content + _MARK + _digest(content))
    except OSError as error:
        message = f"model file {path}: cannot be written ({error.strerror}); check folder and disk"
        raise CheckpointError(message) from error


def read_checkpoint(path: str | Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(header, arrays) of a file of `write_checkpoint`.

    Raises CheckpointError where the file is missing, cut, altered, or of another kind or version.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        message = f"model file {path}: cannot be read ({error.strerror}); check the path"
        raise CheckpointError(message) from error
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
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        if not all(isinstance(array, np.ndarray) for array in arrays.values()):
            message = "an entry is no array"
            raise ValueError(message)
        header = json.loads(arrays.pop(_HEADER).tobytes())
        version = header.pop("format_version")
    except Exception as error:  # whatever zip, NumPy and JSON raise for what is none of theirs
        message = f"model file {path}: does not hold what a model file must ({one_line(error)})"
        raise CheckpointError(message) from error
    if version != FORMAT_VERSION:
        message = (
            f"model file {path}: format version must be {FORMAT_VERSION}, got {version!r}; "
            "use the version of arraycnn that wrote it"
        )
        raise CheckpointError(message)
    return header, arrays


def _digest(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()
