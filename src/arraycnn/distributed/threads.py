"""Ranks that are threads of one process: the same operations without MPI, to try and test with."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from arraycnn.distributed.communicator import Communicator, Done, Request
from arraycnn.distributed.meeting import AbandonedError, Meeting
from arraycnn.distributed.settings import Distributed

T = TypeVar("T")


class ThreadRank:
    """A `Communicator` between threads that share a `Meeting`."""

    def __init__(self, meeting: Meeting, rank: int, size: int) -> None:
        self._meeting = meeting
        self.rank, self.size = rank, size
        self.local_rank, self.local_size = rank, size

    def add_up(self, array: np.ndarray) -> None:
        array[...] = self._meeting.meet(self.rank, array.copy(), _sum)

    def begin_adding_up(self, array: np.ndarray) -> Request:
        self.add_up(array)
        return Done()

    def gather(self, rows: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        parts = self.exchange(rows)
        if [len(part) for part in parts] != list(counts):
            message = f"gather: ranks have given {list(map(len, parts))} rows, not {list(counts)}"
            raise ValueError(message)
        return np.concatenate(parts)

    def exchange(self, value: Any) -> list[Any]:
        return list(self._meeting.meet(self.rank, value, list))

    def broadcast(self, value: Any) -> Any:
        return self.exchange(value)[0]

    def abort(self) -> None:
        self._meeting.abandon()


def _sum(given: list[np.ndarray]) -> np.ndarray:
    sizes = {(array.shape, array.dtype) for array in given}
    if len(sizes) > 1:
        message = f"add_up: ranks have given arrays of different forms, {sizes}"
        raise ValueError(message)
    total = given[0].copy()
    for array in given[1:]:
        total += array
    return total


def on_threads(size: int, work: Callable[[ThreadRank], T]) -> list[T]:
    """What ``work`` returns on each of ``size`` ranks; raises what the first to fail has raised."""
    meeting = Meeting(size)
    results: list[Any] = [None] * size
    errors: list[BaseException] = []

    def run(rank: int) -> None:
        try:
            results[rank] = work(ThreadRank(meeting, rank, size))
        except AbandonedError:
            return
        except BaseException as error:
            errors.append(error)
            meeting.abandon()

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(size)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


@dataclass(frozen=True)
class OnThreads(Distributed):
    """A rank that `on_threads` has begun, as `Model.fit` takes it."""

    joined: Any = None

    @property
    def communicator(self) -> Communicator:
        return self.joined
