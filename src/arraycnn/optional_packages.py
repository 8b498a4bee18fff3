"""Optional packages: import one where it is needed, or say how to get it."""

import importlib
from types import ModuleType

from arraycnn.errors import MissingPackageError


def import_extra(module: str, owner: str, extra: str) -> ModuleType:
    """``module`` for ``owner``, or MissingPackageError with the command that installs ``extra``."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or module
        message = (
            f'{owner}: needs {missing}, which cannot be imported; pip install "arraycnn[{extra}]"'
        )
        raise MissingPackageError(message) from error
