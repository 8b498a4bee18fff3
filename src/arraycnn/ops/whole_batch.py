"""What a step is told of a batch of which it has a part: how large the whole is, and how to add up."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
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
    """

    images: int
    block: int
    totals: Totals
