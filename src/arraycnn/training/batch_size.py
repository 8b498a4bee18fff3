"""How many images are taken at once where no training decides it: what is in memory is bounded."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from arraycnn.data.image_source import as_source
from arraycnn.distributed.turns import EVERY, Turn
from arraycnn.training.batch_order import parts

_MOST_IMAGES = 128
_MOST_NUMBERS = 2**22
"""Pixels times channels of a batch: what layers make of them is some ten times as much."""

_MOST_READ = 2**26
"""The same of what is read ahead: pictures are decoded on all cores, and batches may be few images."""


def images_at_once(input_shape: tuple[int, int, int], most: int = _MOST_IMAGES) -> int:
    """Images (H, W, C) in a batch: ``most``, or fewer where they are large, at least one."""
    return max(1, min(most, _MOST_NUMBERS // int(np.prod(input_shape))))


def images_to_read(input_shape: tuple[int, int, int]) -> int:
    """Images (H, W, C) to read from a source at once: a multiple of `images_at_once`."""
    size = images_at_once(input_shape)
    read = min(_MOST_IMAGES, _MOST_READ // int(np.prod(input_shape)))
    return max(size, read // size * size)


def batches(
    images: Any,
    input_shape: tuple[int, int, int],
    progress: Callable[[int], None] | None = None,
    turn: Turn = EVERY,
) -> Iterator[tuple[slice, Any]]:
    """Each batch of ``images``, an array (N, H, W, C) or a source, in order: (where, images).

    Those of a source are NumPy's, and no more than `images_to_read` of them are held at once.
    ``progress`` is told how many are done. Of several processes each reads what is its ``turn``.
    """
    source, size = as_source(images), images_at_once(input_shape)
    if source.resident is not None:
        for part in turn.of(parts(source.shape[0], size, progress)):
            yield part, source.resident[part, ...]
        return
    for read in turn.of(parts(source.shape[0], images_to_read(input_shape), None)):
        held = source.read_part(read)
        for part in parts(len(held), size, None):
            yield slice(read.start + part.start, read.start + part.stop), held[part]
            if progress is not None:
                progress(read.start + part.stop)


def same_images(one: Any, other: Any) -> bool:
    """Whether two sets, arrays or sources, hold the same images; some are read at a time."""
    if one is other:
        return True
    if tuple(one.shape) != tuple(other.shape):
        return False
    pairs = zip(batches(one, one.shape[1:]), batches(other, other.shape[1:]), strict=True)
    return all(np.array_equal(a, b) for (_, a), (_, b) in pairs)
