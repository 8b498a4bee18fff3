"""Which images of a batch a rank has: whole blocks of it, by the order of the data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from arraycnn.errors import InvalidValueError
from arraycnn.ops.whole_batch import micro_batches


@dataclass(frozen=True)
class Part:
    """A part of a batch.

    Attributes
    ----------
    first, last : int
        The positions of its images in the batch: from the first up to the last, left out.
    images : int
        Of the whole batch.
    present : bool
        Whether they count: a rank for which a short batch has no block computes an image of
        another rank's, and adds nothing to any sum.
    of_micro_batches : tuple of Part
        Of a batch that is computed in several micro-batches, what of each is in this part: positions
        are those in the batch, ``images`` those of the micro-batch.
    """

    first: int
    last: int
    images: int
    present: bool = True
    of_micro_batches: tuple[Part, ...] = ()

    @property
    def rows(self) -> np.ndarray:
        """The positions of its images in the batch, (M,) int64, ascending."""
        if self.of_micro_batches:
            return np.concatenate([run.rows for run in self.of_micro_batches])
        return np.arange(self.first, self.last)

    @property
    def size(self) -> int:
        if self.of_micro_batches:
            return sum(run.size for run in self.of_micro_batches)
        return self.last - self.first


@dataclass(frozen=True)
class Cut:
    """How batches are cut: into blocks of ``block`` images, the last of a batch perhaps shorter.

    The blocks of a batch go to ``owners`` in runs of as equal length as possible. They do not depend
    on how many owners there are. With ``accumulate`` above 1, a batch is computed in so many
    micro-batches, each of which is cut like that.
    """

    block: int
    owners: int
    accumulate: int = 1

    def blocks(self, images: int) -> int:
        return -(-images // self.block)

    def counts(self, images: int) -> list[int]:
        """How many blocks of a batch of ``images`` each owner has."""
        ends = [self.blocks(images) * owner // self.owners for owner in range(self.owners + 1)]
        return [end - first for first, end in pairwise(ends)]

    def part(self, images: int, owner: int) -> Part:
        """That of ``owner``."""
        if self.accumulate == 1:
            return self._run(images, owner)
        runs = []
        for where in micro_batches(images, self.accumulate):
            run, first = self._run(where.stop - where.start, owner), where.start
            runs.append(replace(run, first=first + run.first, last=first + run.last))
        present = any(run.present for run in runs)
        return Part(runs[0].first, runs[-1].last, images, present, tuple(runs))

    def _run(self, images: int, owner: int) -> Part:
        counts = self.counts(images)
        if not counts[owner]:
            return Part(0, 1, images, present=False)
        first = sum(counts[:owner]) * self.block
        return Part(first, min(first + counts[owner] * self.block, images), images)


def check_blocks(batch_size: int, block: int, ranks: int, accumulate: int = 1) -> None:
    """Refuse batches, or micro-batches, that do not have a block for each rank."""
    blocks = -(-(batch_size // accumulate) // block)
    if blocks < ranks:
        parts = "" if accumulate == 1 else f" in {accumulate} parts (accumulate)"
        message = (
            f"distributed: batches of {batch_size} images{parts} have {blocks} blocks of {block}, "
            f"which must be at least one for each of {ranks} ranks; use batches of at least "
            f"{accumulate * ((ranks - 1) * block + 1)} images, or smaller blocks, MPI(block=...)"
        )
        raise InvalidValueError(message)
