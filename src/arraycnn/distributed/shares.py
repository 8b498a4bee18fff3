"""`Share`: what a plan is told of a training that several ranks run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from arraycnn.distributed.parts import Cut, Part
from arraycnn.distributed.sums import Sums
from arraycnn.ops import Array
from arraycnn.ops.whole_batch import MicroBatch, Totals, WholeBatch


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

    def whole(self, part: Part, totals: Callable[[Part], Totals] | None = None) -> WholeBatch:
        """What a step is told of the batch that ``part`` is of.

        ``totals`` says how arrays are added up that a part of a batch, or of a micro-batch, has made;
        by default at once.
        """
        totals = self._totals if totals is None else totals
        found, first = [], 0
        for one in part.of_micro_batches:
            rows = slice(first, first + one.size)
            found.append(MicroBatch(rows, self.whole(one, totals), one.present))
            first = rows.stop
        return WholeBatch(part.images, self.cut.block, totals(part), tuple(found))

    def _totals(self, part: Part) -> Totals:
        def totals(arrays: Sequence[Array]) -> list[Array]:
            return list(arrays) if self.sums is None else self.sums.total(arrays, part)

        return totals
