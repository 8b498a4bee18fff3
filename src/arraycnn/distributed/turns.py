"""`Turn`: which of a row of things one of several ranks does, and all their results together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

from arraycnn.distributed.communicator import Alone, Communicator

T = TypeVar("T")


@dataclass(frozen=True)
class Turn:
    """Of things that are done by ranks in turn, the part of this one."""

    communicator: Communicator = field(default_factory=Alone)

    def has(self, number: int) -> bool:
        """Whether the thing of this number, from 0, is this rank's."""
        return number % self.communicator.size == self.communicator.rank

    def of(self, things: Iterable[T]) -> Iterator[T]:
        """Those that are this rank's."""
        return islice(things, self.communicator.rank, None, self.communicator.size)

    def together(self, found: list[tuple[int, T]]) -> list[T]:
        """What all ranks have found, in the order of the numbers beside it: the same on each."""
        if self.communicator.size > 1:
            found = [one for of_rank in self.communicator.exchange(found) for one in of_rank]
        return [one for _, one in sorted(found, key=lambda pair: pair[0])]


EVERY = Turn()
"""Of a process without others: all."""
