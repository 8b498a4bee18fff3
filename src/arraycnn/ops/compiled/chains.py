"""Launches of a chain, joined: a block of the joint launch runs all of them on its image.

Kernels that loop over a group of images, since they add up a gradient, run others on each image
before and after their own work. Nothing is compiled for it: the joint launch holds the addresses of
kernels that are there.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from arraycnn.ops.compiled.kernels import links
from arraycnn.ops.compiled.kernels.run_launches import Entry
from arraycnn.ops.compiled.launch_struct import LaunchStruct
from arraycnn.ops.compiled.launches import WORDS, address
from arraycnn.ops.compiled.translation.functions import Function

NO_SCRATCH = np.dtype("float32")
"""Of the scratch of a launch that has none: code that only hands it on is of either kind of number."""

LITTLE = 2**15
"""So many numbers in loops are not worth a second thread: some microseconds."""


@dataclass(frozen=True)
class Launch:
    """One launch.

    Attributes
    ----------
    code : int
        The address of the kernel's machine code.
    blocks : int
    struct : LaunchStruct
        What it hands to the kernel.
    dtype : numpy.dtype
        Of its scratch, where it has some.
    room : int
        Numbers of scratch.
    by : str
        "block" where each block is an image; "loop" where the kernel loops over images, and runs
        other launches on each; "" where it has nothing to do with images.
    points : int or None
        So many numbers its blocks compute together; None where that is not known.
    """

    code: int
    blocks: int
    struct: LaunchStruct
    dtype: np.dtype = NO_SCRATCH
    room: int = 0
    by: str = ""
    points: int | None = None

    def words(self) -> list[int]:
        """As they lie in a list of launches."""
        own = self.struct.words()
        words = [*Entry(code=self.code, blocks=self.blocks).words(), *own]
        return words + [0] * (WORDS - len(words))


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
                    done.append(_with(loop, "after", waiting, arrays))
                    waiting = []
                # Scratch is the loop's own: what needs some is not run within it.
                count = max((n + 1 for n, other in enumerate(waiting) if other.room), default=0)
                done += self._one(waiting[:count], arrays)
                loop = _with(launch, "before", waiting[count:], arrays)
                waiting = []
            elif loop is not None and launch.room:
                done.append(_with(loop, "after", waiting, arrays))
                waiting, loop = [launch], None
            else:
                waiting.append(launch)
        if loop is None:
            return done + self._one(waiting, arrays)
        return [*done, _with(loop, "after", waiting, arrays)]

    def _one(self, launches: list[Launch], arrays: list[np.ndarray]) -> list[Launch]:
        """One launch that does the work of several, each block an image."""
        if len(launches) < 2:
            return launches
        return [_joint(links.chain, self.images, launches, arrays)]


def _with(loop: Launch, when: str, launches: list[Launch], arrays: list[np.ndarray]) -> Launch:
    """``loop`` with launches to run on each image, "before" or "after" its own work."""
    if not launches:
        return loop
    return replace(loop, struct=loop.struct.replaced(**{when: _links(launches, arrays)}))


def side_by_side(launches: list[Launch]) -> tuple[list[Launch], list[np.ndarray]]:
    """One launch with the blocks of several that need nothing of each other, and what it holds.

    Between two launches every thread waits for all others: of many short ones that is most of the time.
    Where all together are little work, it is one block: a list of launches of one block each is run
    by one thread, which waits for nobody.
    """
    if len(launches) < 2:
        return launches, []
    arrays: list[np.ndarray] = []
    if _are_little(launches):
        return [_joint(links.chain, 1, launches, arrays)], arrays
    blocks = sum(launch.blocks for launch in launches)
    return [_joint(links.side_by_side, blocks, launches, arrays)], arrays


def _are_little(launches: list[Launch]) -> bool:
    points = [
        launch.points for launch in launches if launch.blocks == 1 and launch.points is not None
    ]
    return len(points) == len(launches) and sum(points) <= LITTLE


def _joint(
    kernel: Function, blocks: int, launches: list[Launch], arrays: list[np.ndarray]
) -> Launch:
    """One launch that makes several."""
    largest = max(launches, key=lambda launch: launch.room)
    code = address(kernel, NO_SCRATCH.name)
    return Launch(code, blocks, _links(launches, arrays), largest.dtype, largest.room)


def _links(launches: list[Launch], arrays: list[np.ndarray]) -> links.Links:
    """``launches`` in a table, which ``arrays`` takes to hold it."""
    table = np.array([launch.words() for launch in launches], np.int64)
    arrays.append(table)
    return links.Links(launches=table, count=len(launches))
