"""Values that random words choose from tables, so that they are the same on every engine.

A sine or a root is rounded otherwise by other libraries; a table is made once, on NumPy, and the step
only takes its rows.
"""

from collections.abc import Sequence

import numpy as np

from arraycnn.ops import Array, array_namespace
from arraycnn.ops.arrays import device

CHOICES = 4096
"""Rows of a table: the 12 highest bits of a word choose one."""


def even_points(axes: int) -> np.ndarray:
    """`CHOICES` points of the unit cube, (CHOICES, axes) float64, spread evenly.

    The additive recurrence of Roberts, "The unreasonable effectiveness of quasirandom sequences", 2018:
    multiples of powers of 1 / g, where g is the root of g^(axes + 1) = g + 1.
    """
    root = 2.0
    for _ in range(64):
        root = (1.0 + root) ** (1.0 / (axes + 1))
    numbers = np.arange(1, CHOICES + 1)[:, None]
    return (0.5 + numbers * root ** -np.arange(1.0, axes + 1)) % 1.0


def chosen(table: np.ndarray, word: Array) -> Array:
    """The row of ``table``, (CHOICES, ...), that each word chooses, (N, ...)."""
    xp = array_namespace(word)
    rows = xp.asarray(table, dtype=getattr(xp, table.dtype.name), device=device(word))
    return xp.take(rows, (word >> 20) & (CHOICES - 1), axis=0)


def between(ends: Sequence[float], share: np.ndarray) -> np.ndarray:
    """The numbers at ``share``, 0 to 1, of the way from ends[0] to ends[1]."""
    return ends[0] + (ends[1] - ends[0]) * share
