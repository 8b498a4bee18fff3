"""How work is cut, by the shapes alone: so the number of threads never shows in a bit."""

import itertools

from arraycnn.ops.numpy.launcher import MOST_TASKS


def cut(size: int, count: int) -> list[slice]:
    """``size`` rows as ``count`` slices of about one length; of no rows, one that is empty."""
    count = max(count, 1)
    edges = [size * number // count for number in range(count + 1)]
    return [slice(first, last) for first, last in itertools.pairwise(edges)]


def groups(size: int, tile: int) -> list[list[slice]]:
    """``size`` rows in slices of at most ``tile``, dealt in order to `MOST_TASKS` tasks at most."""
    slices = cut(size, -(-size // tile))
    return [slices[part] for part in cut(len(slices), min(MOST_TASKS, len(slices)))]


def singles(size: int, count: int) -> list[list[slice]]:
    """`cut`, each slice being a task."""
    return [[part] for part in cut(size, count)]
