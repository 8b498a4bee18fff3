"""How arrays of a step are added up over all ranks, on the host.

All give the same bits to every rank, so parameters that are the same at first stay so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import numpy as np

from arraycnn.distributed.communicator import Communicator, Request
from arraycnn.distributed.meeting import Meeting
from arraycnn.distributed.parts import Cut, Part
from arraycnn.ops.arrays import Array, array_namespace


@dataclass
class Traffic:
    """What a rank has sent: for `bench/scaling.py`, and for the line that names the cost.

    Attributes
    ----------
    messages : int
        Operations that all ranks took part in.
    bytes : int
        What they were given by this rank, and, of a gathering, by all ranks.
    seconds : float
        That this rank waited for them.
    """

    messages: int = 0
    bytes: int = 0
    seconds: float = 0.0


class Sums(Protocol):
    """Adds up arrays of one dtype over all parts of a batch; every rank does so in the same order."""

    def total(self, arrays: Sequence[Any], part: Part) -> list[Any]:
        """The sum of each array over all parts that are present."""

    def begin(self, number: int, arrays: Sequence[Any], part: Part) -> None:
        """Begin `total`, which goes on beside other work, under a number that is not in use."""

    def end(self, number: int) -> list[Any]:
        """What `total` gives, of what was begun under ``number``."""


class HostSums:
    """`Sums` through the host's memory.

    Parameters
    ----------
    communicator : Communicator
    to_host, from_host : functions
        Of arrays that are not NumPy's.
    """

    def __init__(
        self,
        communicator: Communicator,
        to_host: Callable[[Any], np.ndarray] = np.asarray,
        from_host: Callable[[np.ndarray], Any] = np.asarray,
    ) -> None:
        self._communicator = communicator
        self._to_host, self._from_host = to_host, from_host
        self._begun: dict[int, tuple[np.ndarray, Request, list[tuple[int, ...]]]] = {}
        self.traffic = Traffic()

    def total(self, arrays: Sequence[Any], part: Part) -> list[Any]:
        together = self._packed(arrays, part)
        began = time.perf_counter()
        self._communicator.add_up(together)
        self.traffic.seconds += time.perf_counter() - began
        return self._unpacked(together, [tuple(array.shape) for array in arrays])

    def begin(self, number: int, arrays: Sequence[Any], part: Part) -> None:
        together = self._packed(arrays, part)
        request = self._communicator.begin_adding_up(together)
        self._begun[number] = together, request, [tuple(array.shape) for array in arrays]

    def end(self, number: int) -> list[Any]:
        together, request, shapes = self._begun.pop(number)
        began = time.perf_counter()
        request.wait()
        self.traffic.seconds += time.perf_counter() - began
        return self._unpacked(together, shapes)

    def _packed(self, arrays: Sequence[Any], part: Part) -> np.ndarray:
        together = self._to_host(packed(arrays))
        if not together.flags.writeable:  # of a library that lends its own memory
            together = together.copy()
        if not part.present:
            together[...] = 0  # whatever was computed of another rank's image
        self.traffic.messages += 1
        self.traffic.bytes += together.nbytes
        return together

    def _unpacked(self, together: np.ndarray, shapes: Sequence[tuple[int, ...]]) -> list[Any]:
        return unpacked(self._from_host(together), shapes)


class OrderedSums:
    """`Sums` whose every bit is the same for any number of ranks.

    What each block of a batch has computed by itself is gathered, and added up block after block.
    The blocks of a rank are computed by threads, which take turns and meet here.

    Parameters
    ----------
    communicator : Communicator
    cut : Cut
        Of batches, for all threads of all ranks: one for each block of a whole batch.
    threads : sequence of int
        How many of them each rank has.
    to_host, from_host : functions
    """

    def __init__(
        self,
        communicator: Communicator,
        cut: Cut,
        threads: Sequence[int],
        to_host: Callable[[Any], np.ndarray] = np.asarray,
        from_host: Callable[[np.ndarray], Any] = np.asarray,
    ) -> None:
        self._communicator, self._cut, self._threads = communicator, cut, threads
        self._to_host, self._from_host = to_host, from_host
        self.meeting = Meeting(threads[communicator.rank])
        self._thread = threading.local()
        self.traffic = Traffic()

    def at(self, place: int) -> None:
        """Say that this thread computes the block at ``place`` of this rank's."""
        self._thread.place, self._thread.ended = place, {}

    def total(self, arrays: Sequence[Any], part: Part) -> list[Any]:
        own = self._to_host(packed(arrays))
        counts = iter(self._cut.counts(part.images))
        of_ranks = [sum(islice(counts, threads)) for threads in self._threads]

        def add_up(given: list[tuple[bool, np.ndarray]]) -> np.ndarray:
            rows = [row for is_present, row in given if is_present]
            mine = np.stack(rows) if rows else own[None][:0]
            began = time.perf_counter()
            found = self._communicator.gather(mine, of_ranks)
            self.traffic.seconds += time.perf_counter() - began
            self.traffic.messages += 1
            self.traffic.bytes += found.nbytes
            sum_so_far = found[0].copy()
            for row in found[1:]:
                sum_so_far += row
            return sum_so_far

        together = self.meeting.meet(self._thread.place, (part.present, own), add_up)
        shapes = [tuple(array.shape) for array in arrays]
        return unpacked(self._from_host(together), shapes)

    def begin(self, number: int, arrays: Sequence[Any], part: Part) -> None:
        self._thread.ended[number] = self.total(arrays, part)

    def end(self, number: int) -> list[Any]:
        ended: list[Any] = self._thread.ended.pop(number)
        return ended


def packed(arrays: Sequence[Array]) -> Array:
    """All numbers of arrays of one dtype, of any library, in one, (M,), a copy."""
    xp = array_namespace(*arrays)
    return xp.concat([xp.reshape(array, (-1,)) for array in arrays])


def unpacked(together: Array, shapes: Sequence[tuple[int, ...]]) -> list[Array]:
    """The arrays that `packed` has put together: views."""
    xp, arrays, first = array_namespace(together), [], 0
    for shape in shapes:
        size = int(np.prod(shape, dtype=np.int64))
        arrays.append(xp.reshape(together[first : first + size], shape))
        first += size
    return arrays
