"""`Batches`, and what is asked of any iterable of (images, labels), a data loader for example."""

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np

from arraycnn.distributed.turns import Turn
from arraycnn.errors import InvalidTypeError, InvalidValueError
from arraycnn.setting_checks import check_count


class Batches:
    """Batches from a function that begins a new pass each time it is called.

        model.fit(Batches(lambda: augmented(images, labels), steps=100), epochs=5)

    With ``batch_size`` the function is told which images of each batch are wanted, so that of several
    ranks (``distributed``) each reads its own alone:

        def begin(rows):
            for some in order[:6400].reshape(100, 64):  # the same on all ranks
                yield read(paths[some[rows]]), labels[some[rows]]

        model.fit(Batches(begin, steps=100, batch_size=64), distributed=MPI())

    Parameters
    ----------
    start : callable
        Called once for each pass; returns an iterable of (images, labels). It may go on for ever.
        Without arguments; or, with ``batch_size``, with ``rows``, (M,) int64, the positions in a batch,
        ascending, of the images that each batch shall have.
    steps : int
        How many batches are one epoch.
    batch_size : int or None
        Images of a batch, of which every one is then whole.
    """

    def __init__(
        self,
        start: Callable[..., Iterable[tuple[Any, Any]]],
        steps: int,
        batch_size: int | None = None,
    ) -> None:
        self._start = start
        self._steps = check_count("Batches: steps", steps)
        self.batch_size = (
            None if batch_size is None else check_count("Batches: batch_size", batch_size)
        )

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        if self.batch_size is None:
            return iter(self._start())
        return self.part(self.every_row())

    def part(self, rows: np.ndarray) -> Iterator[tuple[Any, Any]]:
        """A pass of which each batch has the images at ``rows`` alone, where `batch_size` is known."""
        return iter(self._start(rows))

    def every_row(self) -> np.ndarray:
        """The rows of whole batches, where `batch_size` is known."""
        assert self.batch_size is not None
        return np.arange(self.batch_size)

    def check_rows(self, count: int, asked: int, fewer: bool = False) -> None:
        """Refuse a ``count`` of images that is not that of the rows ``asked`` for, nor ``fewer``."""
        if count == asked or (fewer and count < asked):
            return
        message = (
            f"Batches: of batches of {self.batch_size} images (batch_size) {asked} were asked for as "
            f"rows, got {count}; take those rows of whole batches, or leave batch_size out"
        )
        raise InvalidValueError(message)

    def __len__(self) -> int:
        return self._steps


def parted(batches: Any) -> Batches | None:
    """``batches`` where they can be asked for some images of each alone."""
    divides = isinstance(batches, Batches) and batches.batch_size is not None
    return batches if divides else None


def of_turn(
    batches: Any, check: Callable[[Any], tuple[np.ndarray, np.ndarray]], turn: Turn
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """One pass of ``batches`` as far as it is this rank's: (number, images, labels), checked.

    All are iterated, and each rank has some of them; of those that are `parted`, a part of each, where
    that is an image at least. The first is checked by every rank: it shows the scale of all.
    """
    check_iterable(batches)
    size, rank = turn.communicator.size, turn.communicator.rank
    known = parted(batches)
    rows = np.zeros(0) if known is None else known.every_row()

    def checked(batch: Any) -> tuple[np.ndarray, np.ndarray]:
        images, labels = check(batch)
        if known is not None:
            known.check_rows(len(images), len(rows), fewer=True)
        return images, labels

    if known is None or not 1 < size <= len(rows):
        for number, batch in enumerate(batches):
            if turn.has(number) or not number:
                pair = checked(batch)
                if turn.has(number):
                    yield number, *pair
        return
    for first in islice(known, 1):
        checked(first)
    rows = np.array_split(rows, size)[rank]
    for number, batch in enumerate(known.part(rows)):
        if not _is_empty(batch):  # of a last, short one there may be nothing
            yield number, *checked(batch)


def _is_empty(batch: Any) -> bool:
    """Whether this is a pair of images and labels of which there are none."""
    return isinstance(batch, tuple | list) and len(batch) == 2 and all(map(_holds_nothing, batch))


def _holds_nothing(column: Any) -> bool:
    if hasattr(column, "shape"):
        return tuple(column.shape[:1]) == (0,)
    return isinstance(column, tuple | list) and not column


def check_iterable(batches: Any) -> None:
    """Refuse what is no iterable of batches, images whose labels were forgotten among it."""
    if hasattr(batches, "dtype") or not hasattr(batches, "__iter__"):  # images have a dtype
        message = (
            "labels: are missing; without them the first argument must be an iterable of "
            f"(images, labels), got {type(batches).__name__}; pass images and labels"
        )
        raise InvalidTypeError(message)


def count_batches(batches: Any) -> int:
    """How many batches one pass has; refuses what is no iterable or ends for good."""
    check_iterable(batches)
    if iter(batches) is batches:
        message = (
            "batches: must be an iterable that can begin again with each epoch, got an iterator "
            f"({type(batches).__name__}); write Batches(lambda: ..., steps=...)"
        )
        raise InvalidTypeError(message)
    steps = len(batches) if hasattr(batches, "__len__") else sum(1 for _ in batches)
    if steps == 0:
        raise no_batch()
    return steps


def no_batch() -> InvalidValueError:
    """What a pass that gives nothing is refused with."""
    message = "batches: must give at least one batch in every pass, gave none; check their source"
    return InvalidValueError(message)
