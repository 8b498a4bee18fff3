"""`BatchOrder`: which images each step of a training sees, and images in parts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np


@dataclass(frozen=True)
class BatchOrder:
    """Which images each step of a training sees; a pure function of seed, epoch and step.

    Attributes
    ----------
    images, batch_size : int
    first_epoch, first_step : int
        Epochs and steps the model has done before: numbers go on over the life of the model, so
        that no two epochs share an order and no two steps share random bits.
    epochs : int
        Of this training.
    seed : int
    """

    images: int
    batch_size: int
    first_epoch: int
    first_step: int
    epochs: int
    seed: int

    @property
    def steps(self) -> int:
        """Steps of one epoch; the last batch may be short."""
        return -(-self.images // self.batch_size)

    @property
    def all_steps(self) -> int:
        """Steps of all epochs."""
        return self.epochs * self.steps

    def batches(self, epoch: int, first: int, last: int) -> list[np.ndarray]:
        """The images of steps ``first`` to ``last`` of ``epoch`` (all from 0): int32 indices."""
        order = _order(self.seed, epoch, self.images)
        return [
            order[step * self.batch_size : (step + 1) * self.batch_size]
            for step in range(first, last)
        ]


Course = BatchOrder  # its former name, by which pickles find it


@lru_cache(maxsize=2)  # the chunks of one epoch ask for it again and again
def _order(seed: int, epoch: int, images: int) -> np.ndarray:
    order = np.random.default_rng([seed, epoch]).permutation(images).astype(np.int32)
    order.flags.writeable = False
    return order


def parts(count: int, size: int, progress: Callable[[int], None] | None) -> Iterator[slice]:
    """``count`` images in parts of ``size``; ``progress`` is told how many are done."""
    for start in range(0, count, size):
        stop = min(start + size, count)
        yield slice(start, stop)
        if progress is not None:
            progress(stop)
