"""How the space of a loop is walked on NumPy: axes that lie together become one, long rows are made
of short ones, and the outermost axes are cut into pieces that stay in the cache.

All of that follows from shapes alone, and each piece has sums of its own. Pieces that follow one
another are worked on together, as many as there are for a thread, up to a limit: threads wait for
Python's lock between two calls, so few long calls are faster than many short ones. What is not a sum
knows nothing of its neighbours, so the number of threads shows in no bit.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from arraycnn.ops.numpy.tasks import cut
from arraycnn.program.access import Access
from arraycnn.program.render.layout import collapsed

ROW = 1024
"""Numbers of a row, at the most, that is made of short ones: NumPy begins a loop for every row."""

_LONG = 512
"""Rows of so many numbers are left as they are."""


@dataclass(frozen=True)
class Grid:
    """The space of a loop.

    Attributes
    ----------
    axes : tuple of int
        Which axes of the space have the strides of the groups they were joined to; sizes before
        ``repeat``.
    sizes : tuple of int
        Of the axes that are walked. The last one holds ``repeat`` rows of the one before.
    reduced : tuple of bool
        Which groups a reduction adds up; before ``repeat``.
    repeat : int
    groups : tuple of int
        Sizes of the groups; before ``repeat``.
    """

    axes: tuple[int, ...]
    groups: tuple[int, ...]
    reduced: tuple[bool, ...]
    repeat: int

    @property
    def sizes(self) -> tuple[int, ...]:
        if self.repeat == 1:
            return self.groups
        *outer, rows, numbers = self.groups
        return (*outer, rows // self.repeat, numbers * self.repeat)

    def strides(self, access: Access) -> tuple[int, ...]:
        """Of the groups."""
        return tuple(access.strides[axis] for axis in self.axes)

    def moves(self, strides: Sequence[int]) -> tuple[bool, ...]:
        """Along which axes a value changes that has these strides."""
        if self.repeat == 1:
            return tuple(stride != 0 for stride in strides)
        *outer, rows, numbers = strides
        return (*(stride != 0 for stride in outer), rows != 0, numbers != 0)

    def repeats(self, strides: Sequence[int]) -> bool:
        """Whether a value with these strides is to be written ``repeat`` times into a row."""
        return self.repeat > 1 and strides[-2] == 0 and strides[-1] != 0

    def pieces(self, numbers: int, whole: bool) -> list[list[slice]]:
        """Each axis in parts, so that a part of each makes a chunk of about so many numbers.

        ``whole`` : whether axes that are reduced stay whole.
        """
        found, inner = [], math.prod(self.sizes)
        for size, reduced in zip(self.sizes, self._reduced_sizes(), strict=True):
            inner //= size
            if inner * size <= numbers or (whole and reduced):
                found.append([slice(0, size)])
            else:
                found.append(cut(size, -(-size // max(1, numbers // inner))))
        return found

    def _reduced_sizes(self) -> tuple[bool, ...]:
        return self.reduced


def grid(
    space: tuple[int, ...], reduced: set[int], accesses: Sequence[Access], may_repeat: bool
) -> Grid:
    """The grid of a space, all of whose arrays are read and written at ``accesses``."""
    groups = collapsed(space, reduced, accesses)
    result = Grid(
        axes=tuple(group[2] for group in groups),
        groups=tuple(group[1] for group in groups),
        reduced=tuple(group[0] for group in groups),
        repeat=1,
    )
    if not may_repeat or len(groups) < 2 or result.groups[-1] >= _LONG:
        return result
    if result.reduced[-1] and not result.reduced[-2]:
        return result
    rows, numbers = result.groups[-2:]
    for access in accesses:
        first, last = result.strides(access)[-2:]
        if first not in (0, numbers * last):
            return result
    times = max(n for n in range(1, ROW // numbers + 1) if rows % n == 0)
    return Grid(result.axes, result.groups, result.reduced, times)


def chunks(counts: Sequence[int], most: int, lanes: int) -> list[tuple[slice, ...]]:
    """Pieces that are worked on together, of each axis of ``counts`` pieces those in a slice; in order.

    ``most`` : pieces of a chunk, at the most.
    ``lanes`` : threads that share the chunks.
    """
    own = -(-math.prod(counts) // lanes)
    most = -(-own // -(-own // most))  # chunks of one size
    found, inner = [], math.prod(counts)
    for count in counts:
        inner //= count
        found.append(cut(count, 1 if inner * count <= most else -(-count // max(1, most // inner))))
    return list(itertools.product(*found))
