"""A lock between processes, which the system releases however its holder ends."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arraycnn.errors import DataError

try:
    import fcntl
except ImportError:  # Windows; there, nothing is locked
    fcntl = None  # type: ignore[assignment]

_WAIT_SECONDS = 0.05


@contextmanager
def locked(path: Path, seconds: float) -> Iterator[None]:
    """Hold the lock file ``path``, waiting up to ``seconds`` for another process to let it go.

    The file is removed at the end. Raises `DataError` where the wait was too short; OSError where
    the file cannot be made.
    """
    deadline = time.monotonic() + seconds
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            while not _try(descriptor):
                if time.monotonic() > deadline:
                    message = (
                        f"{path}: another process must let go of this lock, and has held it for "
                        f"{seconds:.0f} s; wait for it, or end it"
                    )
                    raise DataError(message)
                time.sleep(_WAIT_SECONDS)
            if _is_at(path, descriptor):
                break
            # Its last holder has removed the file that was waited for: there may be another now.
            os.close(descriptor)
        except BaseException:
            os.close(descriptor)
            raise
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _is_at(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _try(descriptor: int) -> bool:
    """Whether this process holds the lock now."""
    try:
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
