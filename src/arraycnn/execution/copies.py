"""Copies of a carry, and writing one over another."""

import numpy as np

from arraycnn.ops import Array, array_namespace
from arraycnn.ops.aligned_memory import aligned_copy
from arraycnn.training.step import Carry
from arraycnn.tree import flatten, map_leaves


def overwrite(carry: Carry, new: Carry) -> None:
    """Write the arrays of ``new`` into those of ``carry``; some may be the same already."""
    for old_tree, new_tree in zip(carry, new, strict=True):
        values = flatten(new_tree)
        for name, array in flatten(old_tree).items():
            if values[name] is not array:
                array[...] = values[name]


def copied(carry: Carry) -> Carry:
    return Carry(*(map_leaves(copy, tree) for tree in carry))


def copy(array: Array) -> Array:
    if isinstance(array, np.ndarray):
        return aligned_copy(array)
    return array_namespace(array).asarray(array, copy=True)
