"""Tilings of two products with blocks of one size, so that one launch takes both: `beside`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from arraycnn.ops.cuda.tiles import Plan, timed_plans

_MOST_LONGER = 1.1
"""What both may take by estimate, as a multiple of the quickest of each. Estimates are of a launch of
its own; in one for both, blocks of one product run where those of the other leave a multiprocessor
idle: by the model in bench/ that and the node make up for a tenth, not measured."""


class Asked(NamedTuple):
    """What a tiling is chosen for: as `tiles.tiling` takes it."""

    precision: str
    rows: int
    columns: int
    depth: int
    products: int = 1
    gated: bool = False


@lru_cache(maxsize=1024)
def of_one_size(first: Asked, second: Asked) -> tuple[Plan, Plan] | None:
    """The quickest tilings, by estimate, with as many threads to a block; None where that loses."""
    plans = [timed_plans(*asked) for asked in (first, second)]
    quickest = sum(min(time for time, _ in timed) for timed in plans)
    pairs = [
        (time + other, (plan, beside))
        for time, plan in plans[0]
        for other, beside in plans[1]
        if plan.tile.threads == beside.tile.threads
    ]
    time, pair = min(pairs, key=lambda one: one[0], default=(0.0, None))
    return pair if time <= _MOST_LONGER * quickest else None
