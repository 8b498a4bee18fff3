"""Failures of the machine in words: memory that does not suffice, a device that is gone."""

import mmap
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

import numpy as np

from arraycnn.backends import Backend
from arraycnn.errors import ArraycnnError, DeviceLostError, OutOfMemoryError, one_line
from arraycnn.execution import TrainingPlan

_RESERVE = 128 * 2**20
"""Bytes kept for what is done once memory has run out: addresses, no memory until then."""

_WORDS = ("outofmemory", "out of memory", "resource_exhausted", "can't allocate memory")


class GuardedTraining:
    """A `TrainingPlan` that says which batch size would fit where memory does not suffice."""

    def __init__(self, plan: TrainingPlan, backend: Backend) -> None:
        self._plan = plan
        self._reserve = mmap.mmap(-1, _RESERVE)
        # Now, and not when a step failed: what it leaves behind does not come back to the system.
        self._free, self._usable = backend.free_memory(), backend.usable_memory
        self.finished, self.memory, self.close = plan.finished, plan.memory, plan.close
        self.snapshot, self.restore = plan.snapshot, plan.restore

    def run(
        self, first_step: int, batches: Sequence[np.ndarray], learning_rates: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        try:
            return self._plan.run(first_step, batches, learning_rates)
        except Exception as error:
            if not _is_out_of_memory(error):
                raise
            self._reserve.close()
            _clear_frames(error)
            raise self._too_large(max(map(len, batches))) from error

    def _too_large(self, batch_size: int) -> OutOfMemoryError:
        free, memory = self._free, None
        with suppress(Exception):  # a user's layer may know one library alone, and not NumPy
            memory = self._plan.memory()
        message = f"training: out of memory with batches of {batch_size} images"
        if memory is None or free is None:
            taken = f": such a step takes about {_words(memory.of(batch_size))}" if memory else ""
            return OutOfMemoryError(f"{message}{taken}; use a smaller batch size", None)
        message = (
            f"{message}: such a step takes about {_words(memory.of(batch_size))} beside the data, "
            f"and {_words(free)} were free"
        )
        fitting = min(memory.most_images(int(self._usable * free)), batch_size // 2)
        if fitting < 1:
            remedy = "not even one image fits: free memory, or use smaller images or networks"
            return OutOfMemoryError(f"{message}; {remedy}", None)
        return OutOfMemoryError(f"{message}; a batch size of {fitting} would fit", fitting)


@contextmanager
def failures_in_words(backend: Backend) -> Iterator[None]:
    """Within the block, what the machine or the library refuses is an error of our family."""
    try:
        yield
    except ArraycnnError:
        raise
    except Exception as error:
        if _is_out_of_memory(error):
            message = (
                f"backend {backend.name}: out of memory ({one_line(error)}); "
                "end other programs, or use fewer or smaller images, or a smaller network"
            )
            raise OutOfMemoryError(message, None) from error
        if backend.is_lost(error):
            message = (
                f"backend {backend.name}: the device does not answer any more "
                f"({one_line(error)}); what was on it is lost, and this process cannot use it "
                "again: check it with nvidia-smi, and go on from the last save in a new process"
            )
            raise DeviceLostError(message) from error
        if (said := backend.in_words(error)) is not None:
            _clear_frames(error)
            raise said from error
        raise


def _clear_frames(error: BaseException) -> None:
    """Let go of what a step had made so far, which the frames of ``error`` and of its cause hold."""
    for one in (error, error.__cause__):
        if one is not None:
            traceback.clear_frames(one.__traceback__)
            for frame, _line in traceback.walk_tb(one.__traceback__):
                # A frame whose variables were looked at keeps a copy, until they are looked at again.
                _ = frame.f_locals


def _is_out_of_memory(error: Exception) -> bool:
    """Whether a library says so; each has an error of its own for it."""
    text = f"{type(error).__name__}: {error}".lower()
    return isinstance(error, MemoryError) or any(word in text for word in _WORDS)


def _words(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"
