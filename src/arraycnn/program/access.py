"""Where the numbers of a view lie: strides and an offset, in numbers and not in bytes.

A chain of views (reshape, permute, slice, broadcast) over memory in C order is read without a copy
where its index is an affine function of the loop's: an `Access`. A reshape may be none.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from arraycnn.program.nodes import Node


@dataclass(frozen=True)
class Access:
    """The number at (i, j, ...) is at offset + i * strides[0] + j * strides[1] + ..."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int = 0


@lru_cache(256)  # each value of each loop is asked for
def dense(shape: tuple[int, ...]) -> Access:
    """All of an array in C order."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step if size != 1 else 0)
        step *= size
    return Access(shape, tuple(reversed(strides)))


def through(access: Access, views: Iterable[Node]) -> Access | Node:
    """``access`` seen through one view after the other; the reshape that needs a copy, if any."""
    for view in views:
        seen = _THROUGH[view.op](access, view)
        if seen is None:
            return view
        access = seen
    return access


def _permuted(access: Access, view: Node) -> Access:
    return Access(view.shape, tuple(access.strides[axis] for axis in view.attrs), access.offset)


def _broadcast(access: Access, view: Node) -> Access:
    extra = len(view.shape) - len(access.shape)
    strides = [
        0 if size != wanted else stride
        for size, wanted, stride in zip(
            access.shape, view.shape[extra:], access.strides, strict=True
        )
    ]
    return Access(view.shape, (0,) * extra + tuple(strides), access.offset)


def sliced(access: Access, index: tuple) -> Access:
    """What an index of slices, ints, None and ... picks."""
    named = sum(part is not None and part is not Ellipsis for part in index)
    if Ellipsis not in index:
        index = (*index, Ellipsis)
    shape, strides, offset, axis = [], [], access.offset, 0
    for part in index:
        if part is None:
            shape.append(1)
            strides.append(0)
            continue
        count = len(access.shape) - named if part is Ellipsis else 1
        for size, stride in zip(
            access.shape[axis : axis + count], access.strides[axis : axis + count], strict=True
        ):
            if isinstance(part, int):
                offset += (part + size if part < 0 else part) * stride
                continue
            taken = range(size) if part is Ellipsis else range(*part.indices(size))
            offset += (taken.start if len(taken) else 0) * stride
            shape.append(len(taken))
            strides.append(taken.step * stride if len(taken) > 1 else 0)
        axis += count
    return Access(tuple(shape), tuple(strides), offset)


def _reshaped(access: Access, view: Node) -> Access | None:
    """None where the axes that become one do not lie one after the other."""
    new = view.shape
    if 0 in new:
        return Access(new, (0,) * len(new), access.offset)
    old = [pair for pair in zip(access.shape, access.strides, strict=True) if pair[0] != 1]
    strides = [0] * len(new)
    first_old = first_new = 0
    while first_old < len(old):
        # The fewest old axes, and the fewest new ones, that hold equally many numbers.
        last_old, last_new = first_old, first_new
        old_count, new_count = old[first_old][0], new[first_new]
        while old_count != new_count:
            if old_count < new_count:
                last_old += 1
                old_count *= old[last_old][0]
            else:
                last_new += 1
                new_count *= new[last_new]
        for axis in range(first_old, last_old):
            if old[axis][1] != old[axis + 1][0] * old[axis + 1][1]:
                return None
        step = old[last_old][1]
        for axis in range(last_new, first_new - 1, -1):
            strides[axis] = step if new[axis] != 1 else 0
            step *= new[axis]
        first_old, first_new = last_old + 1, last_new + 1
    return Access(new, tuple(strides), access.offset)


_THROUGH = {
    "permute": _permuted,
    "broadcast": _broadcast,
    "slice": lambda access, view: sliced(access, view.attrs),
    "reshape": _reshaped,
}
