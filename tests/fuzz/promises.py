"""What every target promises: errors in one line, memory that is bounded, and one file to read."""

import atexit
import os
import shutil
import tempfile
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from arraycnn import ArraycnnError

# One file, written over and over, in memory where the system has that.
FOLDER = Path(tempfile.mkdtemp(dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
_OWNER = os.getpid()
FILE = FOLDER / "input"
MEMORY = 2**24
"""Bytes a parser may take beside what its input declares."""


class Violation(AssertionError):
    """A parser broke a promise."""


def require(kept: bool, promise: str, *values: object) -> None:
    if not kept:
        raise Violation(f"{promise}: {values!r}"[:2000])


@contextmanager
def bounded(declared: int = 0, slack: int = MEMORY) -> Iterator[None]:
    """Python's and NumPy's memory stays within 1.5 times ``declared`` plus ``slack`` bytes."""
    tracing = tracemalloc.is_tracing()
    if not tracing:
        tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    try:
        yield
    finally:
        peak = tracemalloc.get_traced_memory()[1] - before
        if not tracing:
            tracemalloc.stop()
        require(peak <= 1.5 * declared + slack, "memory is bounded", peak, declared)


def refused(error: ArraycnnError) -> None:
    """An error that users see is one line."""
    text = str(error)
    require(text != "" and text.isprintable(), "an error is one printable line", text)


@atexit.register
def clean_up() -> None:
    """Called by name as well: libFuzzer leaves without Python's own end."""
    if os.getpid() == _OWNER:  # and not a fork that ends
        shutil.rmtree(FOLDER, ignore_errors=True)
