"""Packages that the extra ``test`` does not have: looked for when a test runs, never when it is read.

So every file is collected everywhere, and what cannot run says which package it lacks::

    pytestmark = needs("onnx", "onnxruntime")    # skips all tests of a file, before their fixtures
    onnx = Late("onnx")                          # is imported by its first use in a test
    clone = Late("sklearn.base", "clone")
"""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest

import passes


class Late:
    """A module, or what ``name`` is in it; its attributes can be read, and it can be called."""

    def __init__(self, module: str, name: str | None = None) -> None:
        self._where = module, name

    def _found(self) -> Any:
        module, name = self._where
        found = import_module(module)
        return found if name is None else getattr(found, name)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._found(), name)

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._found()(*arguments, **options)


def installed(package: str) -> bool:
    """Whether ``package`` is there, for a mark that skips a test where it is not.

    To `passes.py` this is no asking: what is skipped is settled by no pass, and what is not skipped
    must not hang on it.
    """
    with passes.unasked():
        return find_spec(package) is not None


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skips where one of ``packages`` is not installed; one that is there and broken is an error."""
    missing = [package for package in packages if not installed(package)]
    return pytest.mark.skipif(bool(missing), reason=f"{', '.join(missing)} is not installed")
