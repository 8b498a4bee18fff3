"""Results: JSON files of one object each, whole or not there whenever their writing is broken off."""

import json
from contextlib import contextmanager
from errno import EISDIR
from os import strerror


class NoResult(Exception):
    """A file that holds no result, or cannot take one: which, and why."""


def read(path):
    """The result in ``path``; raises `NoResult`."""
    try:
        found = json.loads(path.read_text())
    except OSError as error:
        raise NoResult(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise NoResult(f"{path}: is no result ({error})") from error
    if not isinstance(found, dict):
        raise NoResult(f"{path}: is no result (no JSON object)")
    return found


def write(path, result):
    """``result`` in place of what ``path`` held; raises `NoResult`."""
    with _fresh(path) as fresh:
        fresh.write_text(json.dumps(result, indent=1) + "\n")
        fresh.replace(path)


def check_writable(path):
    """Raises `NoResult` where none can be written, before any minute is spent on it."""
    with _fresh(path) as fresh:
        if path.is_dir():
            raise IsADirectoryError(EISDIR, strerror(EISDIR))
        fresh.touch()
        fresh.unlink()


@contextmanager
def _fresh(path):
    """A name beside ``path``, whose folder is made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield path.with_suffix(".tmp")
    except OSError as error:
        raise NoResult(f"{path}: {error.strerror}") from error
