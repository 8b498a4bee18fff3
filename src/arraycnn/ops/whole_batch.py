"""What a step is told of a batch of which it has a part: how large the whole is, and how to add up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeAlias

from arraycnn.ops.arrays import Array

Totals: TypeAlias = Callable[[Sequence[Array]], list[Array]]
"""Arrays of one floating dtype, each summed over all parts of the batch: equal in every process."""


@dataclass(frozen=True)
class WholeBatch:
    """The batch that the images of a step are a part of; others have the rest.

    Attributes
    ----------
    images : int
        Of the whole batch.
    block : int
        Images that stand together whoever computes them: a part is whole blocks, of which the last
        of a batch may be short. What takes images together takes them from one block.
    totals : callable
        To be called by every process in the same order.
    micro_batches : tuple of MicroBatch
        Where the batch is computed in several, one after the other; they hold all of its images.
    """

    images: int
    block: int
    totals: Totals
    micro_batches: tuple[MicroBatch, ...] = ()


@dataclass(frozen=True)
class MicroBatch:
    """What is computed at once of a batch.

    Attributes
    ----------
    rows : slice
        Its images among those of the step.
    whole : WholeBatch or None
        The micro-batch that these are a part of, where others have the rest.
    present : bool
        Whether they count; else all that is wanted of them is that others' totals come about.
    """

    rows: slice
    whole: WholeBatch | None = None
    present: bool = True


def micro_batches(count: int, parts: int) -> list[slice]:
    """``count`` images in so many parts, or fewer, none of them empty."""
    parts = min(parts, count)
    bounds = [count * number // parts for number in range(parts + 1)]
    return [slice(*pair) for pair in pairwise(bounds)]
