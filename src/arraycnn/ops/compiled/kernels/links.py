"""Launches within a launch: a block runs one kernel after the other on its image."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.compiled.kernels.pointers import carray, pointer
from arraycnn.ops.compiled.kernels.run_launches import WORDS, call
from arraycnn.ops.compiled.translation.functions import compiled

BEFORE, AFTER = 32, 34
"""Words of a kernel that loops over images: where the launches lie that it is to run on each, before
and after its own work, and how many there are."""


@compiled
def run_links(words, place, image, scratch):  # type: ignore[no-untyped-def]
    """Run the launches that ``words`` names from ``place`` on, each on the block ``image``."""
    first = words[place]
    for number in range(words[place + 1]):
        launch = first + 8 * WORDS * number
        call(carray(pointer(launch, np.int64), WORDS)[0], image, launch + 16, scratch)


@compiled
def side_by_side(block, words, scratch):  # type: ignore[no-untyped-def]
    """Launches that need nothing of each other: the blocks of the first, of the second, and so on."""
    first, left = words[0], block
    for number in range(words[1]):
        launch = first + 8 * WORDS * number
        numbers = carray(pointer(launch, np.int64), WORDS)
        if left >= 0 and left < numbers[1]:
            call(numbers[0], left, launch + 16, scratch)
        left -= numbers[1]


@compiled
def chain(block, words, scratch):  # type: ignore[no-untyped-def]
    """One launch after the other, on one image."""
    run_links(words, 0, block, scratch)
