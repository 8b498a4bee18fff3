"""Which images of a batch a rank has: whole blocks of it, by the order of the data set."""

from dataclasses import dataclass
from itertools import pairwise

from arraycnn.errors import InvalidValueError


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
    """

    first: int
    last: int
    images: int
    present: bool = True

    @property
    def rows(self) -> slice:
        return slice(self.first, self.last)

    @property
    def size(self) -> int:
        return self.last - self.first


@dataclass(frozen=True)
class Cut:
    """How batches are cut: into blocks of ``block`` images, the last of a batch perhaps shorter.

    The blocks of a batch go to ``owners`` in runs of as equal length as possible. They do not depend
    on how many owners there are.
    """

    block: int
    owners: int

    def blocks(self, images: int) -> int:
        return -(-images // self.block)

    def counts(self, images: int) -> list[int]:
        """How many blocks of a batch of ``images`` each owner has."""
        ends = [self.blocks(images) * owner // self.owners for owner in range(self.owners + 1)]
        return [end - first for first, end in pairwise(ends)]

    def part(self, images: int, owner: int) -> Part:
        """That of ``owner``."""
        counts = self.counts(images)
        if not counts[owner]:
            return Part(0, 1, images, present=False)
        first = sum(counts[:owner]) * self.block
        return Part(first, min(first + counts[owner] * self.block, images), images)


def check_blocks(batch_size: int, block: int, ranks: int) -> None:
    """Refuse batches that do not have a block for each rank."""
    if -(-batch_size // block) < ranks:
        message = (
            f"distributed: batches of {batch_size} images have {-(-batch_size // block)} blocks of "
            f"{block}, which must be at least one for each of {ranks} ranks; use a batch_size of at "
            f"least {(ranks - 1) * block + 1}, or smaller blocks, MPI(block=...)"
        )
        raise InvalidValueError(message)
