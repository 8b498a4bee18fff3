"""Launches within a launch: a block runs one kernel after the other on its image."""

from __future__ import annotations

import numpy as np

from arraycnn.ops.compiled.kernels.run_launches import WORDS, call, entry
from arraycnn.ops.compiled.launch_struct import Address, LaunchStruct
from arraycnn.ops.compiled.translation.functions import compiled


class Links(LaunchStruct):
    """A list of launches, (count, WORDS) int64."""

    launches: Address
    count: int


NO_LINKS = Links(launches=np.zeros((0, WORDS), np.int64), count=0)


class LoopOverImages(LaunchStruct):
    """Of a kernel that loops over images: what it is to run on each, before and after its own work."""

    before: Links
    after: Links


@compiled
def run_links(links: Links, image, scratch):  # type: ignore[no-untyped-def]
    """Run all ``links``, each on the block ``image``."""
    launches = links.launches
    for number in range(links.count):
        call(entry(launches, number), image, scratch)


@compiled
def side_by_side(block, launch: Links, scratch):  # type: ignore[no-untyped-def]
    """Launches that need nothing of each other: the blocks of the first, of the second, and so on."""
    launches, left = launch.launches, block
    for number in range(launch.count):
        link = entry(launches, number)
        if left >= 0 and left < link.blocks:
            call(link, left, scratch)
        left -= link.blocks


@compiled
def chain(block, launch: Links, scratch):  # type: ignore[no-untyped-def]
    """One launch after the other, on one image."""
    run_links(launch, block, scratch)
