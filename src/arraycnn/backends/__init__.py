"""Choosing a backend: by name, by value, or "auto"."""

import logging
from dataclasses import dataclass

from arraycnn.backends.array_api_strict import ArrayAPIStrict
from arraycnn.backends.backend import Backend
from arraycnn.backends.cupy import CuPy
from arraycnn.backends.jax import JAX
from arraycnn.backends.numpy import NumPy
from arraycnn.backends.torch import Torch
from arraycnn.errors import BackendUnavailableError, InvalidTypeError, InvalidValueError

BACKENDS: dict[str, type[Backend]] = {
    backend.name: backend for backend in (NumPy, CuPy, Torch, JAX, ArrayAPIStrict)
}


@dataclass(frozen=True)
class Availability:
    """Whether a backend can be used here.

    Attributes
    ----------
    name : str
    usable : bool
    detail : str
        Version and device, or the cause and the remedy.
    """

    name: str
    usable: bool
    detail: str


def get_backend(backend: str | Backend) -> Backend:
    """The backend of that name, or the value itself.

    "auto" is CuPy where a CUDA device really computes, else NumPy, with one logged line that says
    why. Every other name is taken at its word.

    Raises
    ------
    InvalidValueError
        Unknown name.
    BackendUnavailableError
        The backend cannot run here; the message names the cause and the remedy.
    """
    if isinstance(backend, Backend):
        backend.check()
        return backend
    if not isinstance(backend, str):
        message = f"backend: must be a name or a backend such as NumPy(), got {backend!r}"
        raise InvalidTypeError(message)
    if backend == "auto":
        return _automatic()
    if backend not in BACKENDS:
        message = f"backend: must be auto, {', '.join(BACKENDS)}, got {backend!r}"
        raise InvalidValueError(message)
    chosen = BACKENDS[backend]()
    chosen.check()  # what is absent is found now, not in the middle of the work
    return chosen


def available_backends() -> list[Availability]:
    """Every backend, usable or why not."""
    return [_availability(name) for name in BACKENDS]


def _availability(name: str) -> Availability:
    try:
        backend = get_backend(name)
    except BackendUnavailableError as error:
        return Availability(name, False, str(error).removeprefix(f"backend {name}: "))
    return Availability(name, True, backend.description)


def _automatic() -> Backend:
    try:
        return CuPy()
    except BackendUnavailableError as error:
        reason = str(error).removeprefix("backend cupy: ")
        logging.getLogger("arraycnn").warning("backend auto: using NumPy, because %s", reason)
        return NumPy()


__all__ = [
    "BACKENDS",
    "JAX",
    "ArrayAPIStrict",
    "Availability",
    "Backend",
    "CuPy",
    "NumPy",
    "Torch",
    "available_backends",
    "get_backend",
]
