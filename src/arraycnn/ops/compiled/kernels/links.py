"""Launches within a launch: a block runs one kernel after the other on its image."""

from __future__ import annotations

from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from arraycnn.ops.compiled.launches import WORDS, call

BEFORE, AFTER = 32, 34
"""Words of a kernel that loops over images: where the launches lie that it is to run on each, before
and after its own work, and how many there are."""


@intrinsic
def _word(typing_context, address):  # type: ignore[no-untyped-def]
    """The word that lies at ``address``."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        return builder.load(builder.inttoptr(values[0], ir.IntType(64).as_pointer()))

    return types.int64(types.int64), generate


@njit(error_model="numpy")
def run_links(words, place, image, scratch):  # type: ignore[no-untyped-def]
    """Run the launches that ``words`` names from ``place`` on, each on the block ``image``."""
    first = words[place]
    for number in range(words[place + 1]):
        launch = first + 8 * WORDS * number
        call(_word(launch), image, launch + 16, scratch)


@njit(error_model="numpy")
def chain(block, words, scratch):  # type: ignore[no-untyped-def]
    """One launch after the other, on one image."""
    run_links(words, 0, block, scratch)
