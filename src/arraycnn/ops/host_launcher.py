"""What launchers of kernels on NumPy arrays have in common: their memory is the host's."""

from __future__ import annotations

import ctypes
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.ops.aligned_memory import aligned_copy


class Pool(Protocol):
    """Threads that work on one job at a time."""

    threads: int

    def run(self, function: Callable[[int], object], count: int) -> None: ...


class HostLauncher(ABC):
    """Arrays for recorded plans, where they are NumPy's.

    Parameters
    ----------
    pool : Pool
        The threads that share the work. What each piece of it does, and so every bit of a result,
        does not depend on how many they are.
    """

    sends = False
    """Images on the host are where kernels find them."""

    atomic = False
    """Whether a recording whose replay was begun is run to its end, whatever signals come."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @property
    @abstractmethod
    def is_recording(self) -> bool:
        """Whether launches are noted, not made."""

    def owns(self, array: Any) -> bool:
        return isinstance(array, np.ndarray)

    def view(self, array: np.ndarray) -> np.ndarray:
        """The memory of ``array``, in C order, without a hold on it."""
        memory = (ctypes.c_char * array.nbytes).from_address(array.ctypes.data)
        return np.ndarray(array.shape, array.dtype, memory)  # type: ignore[arg-type]

    def asarray(self, array: np.ndarray) -> np.ndarray:
        """A copy of ``array``, in C order."""
        return aligned_copy(np.asarray(array))

    def to_numpy(self, array: np.ndarray) -> np.ndarray:
        """A copy of ``array``, which later launches may overwrite."""
        return np.array(array)

    def sender(self, shape: tuple[int, ...], dtype: Any) -> _Sender:
        """What puts rows where launches find them."""
        return _Sender()

    def rehearse(self, work: Callable[[], None]) -> None:
        """Run ``work``: its kernels are there."""
        work()

    def release(self, recording: Callable[[], None]) -> None:  # noqa: B027
        """Nothing: the memory of a recording goes with the last that refers to it."""

    def contiguous(self, array: np.ndarray) -> np.ndarray:
        """``array`` itself where it lies in C order, else a copy that does."""
        if self.is_recording and not array.flags.c_contiguous:
            message = "NumPy: a recorded step needs arrays in C order; copy them before"
            raise InvalidValueError(message)
        return np.asarray(array, order="C")


class _Sender:
    def send(self, rows: np.ndarray, target: np.ndarray) -> None:
        target[: len(rows)] = rows


def check_arrays(owner: str, *arrays: Any) -> None:
    """Refuse arrays of another library."""
    for array in arrays:
        if not isinstance(array, np.ndarray):
            message = (
                f"{owner}: NumPy's kernels take NumPy arrays, got {type(array)!r}; "
                "keep all arrays of a model on its own backend"
            )
            raise InvalidTypeError(message)
