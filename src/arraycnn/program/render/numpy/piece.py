"""Parts of a grid: the pieces that it is cut into, and those that are worked on together."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from arraycnn.program.render.numpy.lines import Walked


@dataclass(frozen=True)
class Piece:
    """A part of a grid: a piece of it, or some that are side by side.

    Attributes
    ----------
    parts : tuple of slice
        Of each axis.
    numbers : tuple of slice
        Which pieces of each axis these are.
    """

    parts: tuple[slice, ...]
    numbers: tuple[slice, ...]

    @classmethod
    def of(cls, walk: Walked, numbers: tuple[slice, ...]) -> Piece:
        runs = (pieces[some] for pieces, some in zip(walk.pieces, numbers, strict=True))
        return cls(tuple(slice(run[0].start, run[-1].stop) for run in runs), numbers)

    def runs(self, walk: Walked) -> Iterator[tuple[Piece, tuple[Any, ...], int, int]]:
        """The pieces, those of one size that follow one another together; each time where they lie in
        this part, along which axis they follow, and how many they are."""
        ranges = [range(some.start or 0, some.stop) for some in self.numbers]
        axis = max((n for n, numbers in enumerate(ranges) if len(numbers) > 1), default=0)
        ways: list[list[slice]] = [[slice(n, n + 1) for n in numbers] for numbers in ranges]
        if ways:
            sizes = [part.stop - part.start for part in walk.pieces[axis]]
            same = [list(run) for _, run in itertools.groupby(ranges[axis], sizes.__getitem__)]
            ways[axis] = [slice(run[0], run[-1] + 1) for run in same]
        for numbers in itertools.product(*ways):
            one = Piece.of(walk, numbers)
            pairs = zip(one.parts, self.parts, strict=True)
            inside = (slice(p.start - q.start, p.stop - q.start) for p, q in pairs)
            count = numbers[axis].stop - numbers[axis].start if numbers else 1
            yield one, (*inside, ...), axis, count  # an array, also of no axes

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(part.stop - part.start for part in self.parts)

    def shape_of(self, moves: Sequence[bool]) -> tuple[int, ...]:
        pairs = zip(self.shape, moves, strict=True)
        return tuple(size if moving else 1 for size, moving in pairs)

    def cut(self, array: np.ndarray) -> np.ndarray:
        """The part of an array over the grid; it may have one number along an axis."""
        pairs = zip(self.parts, array.shape, strict=True)
        index: tuple[Any, ...] = tuple(slice(None) if n == 1 else part for part, n in pairs)
        return array[(*index, ...)]  # an array, also of no axes

    def cut_target(self, array: np.ndarray, reduced: Sequence[bool]) -> np.ndarray:
        """The part of a reduction's results: one number for a piece of a reduced axis."""
        triples = zip(self.parts, self.numbers, reduced, strict=True)
        index: tuple[Any, ...] = tuple(some if r else part for part, some, r in triples)
        return array[(*index, ...)]


def apart(array: np.ndarray, axis: int, count: int) -> np.ndarray:
    """``array`` with an axis more: it is ``count`` arrays along ``axis``."""
    size = array.shape[axis]
    return array.reshape(*array.shape[:axis], count, size // count, *array.shape[axis + 1 :])
