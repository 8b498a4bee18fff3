"""What ranks say to each other: the few operations that a training on several processes needs.

A rank is one of the processes that run the same program; MPI's names are kept. Every rank calls the
same operations in the same order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np


class Request(Protocol):
    """An operation that was begun."""

    def wait(self) -> None:
        """Return once it has ended."""


class Communicator(Protocol):
    """One rank's end of what joins it to the others.

    Attributes
    ----------
    rank, size : int
        Which rank this is, from 0, and how many there are.
    local_rank, local_size : int
        The same among the ranks of this machine.
    """

    rank: int
    size: int
    local_rank: int
    local_size: int

    def add_up(self, array: np.ndarray) -> None:
        """Make ``array``, in C order, its sum over all ranks: the same bits on each."""

    def begin_adding_up(self, array: np.ndarray) -> Request:
        """`add_up` that goes on beside what the caller does; nobody may touch ``array`` meanwhile."""

    def gather(self, rows: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        """The rows of all ranks, (sum(counts), ...), of which rank r has given ``counts[r]``."""

    def exchange(self, value: Any) -> list[Any]:
        """What each rank has given, in the order of ranks; any objects."""

    def broadcast(self, value: Any) -> Any:
        """What rank 0 has given."""

    def abort(self) -> None:
        """End all ranks now, those that wait for this one too."""


class Done:
    """A `Request` that ended as it began."""

    def wait(self) -> None:
        return


class Alone:
    """The `Communicator` of a process without others."""

    rank, size, local_rank, local_size = 0, 1, 0, 1

    def add_up(self, array: np.ndarray) -> None:
        return

    def begin_adding_up(self, array: np.ndarray) -> Request:
        return Done()

    def gather(self, rows: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        return rows

    def exchange(self, value: Any) -> list[Any]:
        return [value]

    def broadcast(self, value: Any) -> Any:
        return value

    def abort(self) -> None:
        return
