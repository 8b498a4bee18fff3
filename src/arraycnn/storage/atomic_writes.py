"""Writing files so that a crash, a kill or a full disk leaves the old one or the new one, whole.

Every change goes through the few calls of `os` below, so that the tests can stop at each of them.
"""

import contextlib
import os
import re
import time
from pathlib import Path

_BLOCK = 2**20
_TEMPORARY = re.compile(r"\..+\.[0-9]+\.tmp")  # as write_atomically names them


def write_atomically(path: Path, content: bytes) -> None:
    """Write to a temporary file beside ``path``, force it to disk, rename it into place.

    The temporary one has a name of its own: threads, and machines that share the folder, may write to
    the same ``path`` at the same time, and one of them is there then, whole.
    """
    temporary = path.with_name(f".{path.name}.{int.from_bytes(os.urandom(6))}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_folder(path.parent)


def append_durably(path: Path, content: bytes) -> None:
    """Add ``content`` to the file ``path``, which must exist, and force it to disk.

    Where that fails, as on a full disk, the part that was written is taken back.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    try:
        length = os.fstat(descriptor).st_size
        try:
            _write_all(descriptor, content)
            os.fsync(descriptor)
        except BaseException:
            with contextlib.suppress(OSError):
                os.ftruncate(descriptor, length)
            raise
    finally:
        os.close(descriptor)


def remove_durably(path: Path) -> None:
    """Remove the file ``path``, if there is one, also from the disk's own view of its folder."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_folder(path.parent)


def is_leftover(path: Path) -> bool:
    """Whether ``path`` is a temporary file of `write_atomically`."""
    return _TEMPORARY.fullmatch(path.name) is not None and path.is_file()


def remove_leftovers(folder: Path, seconds: float = 0.0) -> None:
    """Remove the temporary files that a killed process left in ``folder``.

    Those last written at least ``seconds`` ago: no process may be at work on one that old.
    """
    for path in filter(is_leftover, folder.iterdir()):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime >= seconds:
                path.unlink()


def sync_folder(folder: Path) -> None:
    """Force the names in ``folder`` to disk."""
    if os.name == "nt":  # Windows cannot open folders
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    remaining = memoryview(content)
    while remaining:
        remaining = remaining[os.write(descriptor, remaining[:_BLOCK]) :]
