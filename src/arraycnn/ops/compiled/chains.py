"""Launches of a chain, joined: a block of the joint launch runs all of them on its image.

Kernels that loop over a group of images, since they add up a gradient, run others on each image
before and after their own work. Nothing is compiled for it: the joint launch holds the addresses of
kernels that are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from arraycnn.ops.compiled.kernels import links
from arraycnn.ops.compiled.launches import WORDS, address

LITTLE = 2**15
"""So many numbers in loops are not worth a second thread: some microseconds."""


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes
    ----------
    words : tuple of int
        The kernel's address, the number of blocks, and the kernel's own.
    dtype : numpy.dtype
        Of its scratch.
    room : int
        Numbers of scratch.
    by : str
        "block" where each block is an image; "loop" where the kernel loops over images, and runs
        other launches on each; "" where it has nothing to do with images.
    points : int or None
        So many numbers its blocks compute together; None where that is not known.
    """

    words: tuple[int, ...]
    dtype: np.dtype
    room: int = 0
    by: str = ""
    points: int | None = None

    @property
    def blocks(self) -> int:
        return self.words[1]


@dataclass
class ChainOfLaunches:
    """Launches of several steps, each of which works on image after image.

    Attributes
    ----------
    images : int
    held : list of array
        What must be kept until all have ended; no memory is given twice in a chain.
    """

    images: int
    held: list[np.ndarray] = field(default_factory=list)
    _steps: list[list[Launch]] = field(default_factory=list)

    def begin_step(self) -> None:
        """What is added from now on belongs to the next step."""
        self._steps.append([])

    def add(self, launch: Launch) -> None:
        self._steps[-1].append(launch)

    def joined(self) -> tuple[list[Launch], list[np.ndarray]]:
        """The launches to make, in order, and arrays to hold as long as they may be made.

        What a step launches before its work on images reads nothing of the chain, so it comes before
        all of it; what it launches after that, only reads, so it comes after all of it.
        """
        done: list[Launch] = []
        arrays: list[np.ndarray] = []
        first: list[Launch] = []
        middle: list[Launch] = []
        last: list[Launch] = []
        for step in [*self._steps, []]:
            places = [place for place, launch in enumerate(step) if launch.by]
            if len(places) == 1:
                (place,) = places
                first += step[:place]
                middle.append(step[place])
                last += step[place + 1 :]
                continue
            done += [*first, *self._joined(middle, arrays), *last, *step]
            first, middle, last = [], [], []
        return done, arrays

    def _joined(self, launches: list[Launch], arrays: list[np.ndarray]) -> list[Launch]:
        done: list[Launch] = []
        waiting: list[Launch] = []
        loop: Launch | None = None
        for launch in launches:
            if launch.by == "loop":
                if loop is not None:
                    done.append(self._with(loop, links.AFTER, waiting, arrays))
                    waiting = []
                # Scratch is the loop's own: what needs some is not run within it.
                count = max((n + 1 for n, other in enumerate(waiting) if other.room), default=0)
                done += self._one(waiting[:count], arrays)
                loop = self._with(launch, links.BEFORE, waiting[count:], arrays)
                waiting = []
            elif loop is not None and launch.room:
                done.append(self._with(loop, links.AFTER, waiting, arrays))
                waiting, loop = [launch], None
            else:
                waiting.append(launch)
        if loop is None:
            return done + self._one(waiting, arrays)
        return [*done, self._with(loop, links.AFTER, waiting, arrays)]

    def _one(self, launches: list[Launch], arrays: list[np.ndarray]) -> list[Launch]:
        """One launch that does the work of several, each block an image."""
        if len(launches) < 2:
            return launches
        dtype = launches[0].dtype
        words = address(links.chain, dtype.name), self.images, *_table(launches, arrays)
        return [Launch(words, dtype, max(launch.room for launch in launches))]

    def _with(
        self, loop: Launch, place: int, launches: list[Launch], arrays: list[np.ndarray]
    ) -> Launch:
        """``loop`` with launches to run on each image."""
        if not launches:
            return loop
        words = list(loop.words) + [0] * (WORDS - len(loop.words))
        words[2 + place : 4 + place] = _table(launches, arrays)
        return replace(loop, words=tuple(words))


def side_by_side(launches: list[Launch]) -> tuple[list[Launch], list[np.ndarray]]:
    """One launch with the blocks of several that need nothing of each other, and what it holds.

    Between two launches every thread waits for all others: of many short ones that is most of the time.
    Where all together are little work, it is one block: a list of launches of one block each is run
    by one thread, which waits for nobody.
    """
    if len(launches) < 2:
        return launches, []
    arrays: list[np.ndarray] = []
    dtype, table = launches[0].dtype, _table(launches, arrays)
    if _are_little(launches):
        words = address(links.chain, dtype.name), 1, *table
    else:
        blocks = sum(launch.blocks for launch in launches)
        words = address(links.side_by_side, dtype.name), blocks, *table
    return [Launch(words, dtype, max(launch.room for launch in launches))], arrays


def _are_little(launches: list[Launch]) -> bool:
    points = [
        launch.points for launch in launches if launch.blocks == 1 and launch.points is not None
    ]
    return len(points) == len(launches) and sum(points) <= LITTLE


def _table(launches: list[Launch], arrays: list[np.ndarray]) -> tuple[int, int]:
    table = np.zeros((len(launches), WORDS), np.int64)
    for row, launch in zip(table, launches, strict=True):
        row[: len(launch.words)] = launch.words
    arrays.append(table)
    return table.ctypes.data, len(launches)
