"""Import an optional library, or say what is missing and how to get it."""

import importlib
from types import ModuleType

from arraycnn.errors import BackendUnavailableError


def import_library(module: str, backend: str, remedy: str) -> ModuleType:
    """The module, or BackendUnavailableError naming the cause and the remedy."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            message = f"backend {backend}: {module} is broken, it lacks {error.name}; {remedy}"
            raise BackendUnavailableError(message) from error
        message = f"backend {backend}: {module} is not installed; {remedy}"
        raise BackendUnavailableError(message) from error
    except Exception as error:  # OSError for a missing .so, RuntimeError for a wrong version, ...
        message = f"backend {backend}: {module} cannot be imported ({one_line(error)}); {remedy}"
        raise BackendUnavailableError(message) from error


def one_line(error: Exception) -> str:
    """The message of ``error`` without its line breaks."""
    return " ".join(str(error).split())
