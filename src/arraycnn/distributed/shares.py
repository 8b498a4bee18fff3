"""`Share`: what a plan is told of a training that several ranks run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from arraycnn.distributed.parts import Cut, Part
from arraycnn.distributed.sums import Sums
from arraycnn.ops import Array
from arraycnn.ops.whole_batch import WholeBatch


@dataclass(frozen=True)
class Share:
    """One owner's share of every batch.

    Attributes
    ----------
    cut : Cut
    owner : int
        Of those among whom batches are cut: a rank, or a block where each computes by itself.
    sums : Sums or None
        None where there is nobody to add up with.
    """

    cut: Cut
    owner: int
    sums: Sums | None

    def part(self, images: int) -> Part:
        """The part of a batch of so many images."""
        return self.cut.part(images, self.owner)

    def whole(self, part: Part) -> WholeBatch:
        """What a step on arrays is told of the batch that ``part`` is of."""

        def totals(arrays: Sequence[Array]) -> list[Array]:
            return list(arrays) if self.sums is None else self.sums.total(arrays, part)

        return WholeBatch(part.images, self.cut.block, totals)
