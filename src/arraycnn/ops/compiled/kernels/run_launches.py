"""Runs a list of launches; see `arraycnn.ops.compiled.launches`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir

from arraycnn.ops.compiled.kernels.pointers import at, carray, pointer
from arraycnn.ops.compiled.translation.functions import instruction, linked
from arraycnn.ops.compiled.translation.values import Arithmetic, Number, Pointer, View

WORDS = 38
"""Of a launch: the kernel's address, how many blocks, and the kernel's own, 64 bits each."""

DONE = 8
"""Where in the shared state the blocks are counted that have ended: in a cache line of its own."""

STATE = 16

_PATIENCE = 50_000
"""How often a thread looks for the next launch before it lets others have its core."""

_GIVE_WAY = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

_INT = ir.IntType(64)


@instruction
def _add(code: Arithmetic, place: Pointer, number: Any) -> Number:
    """Add to the number at ``place`` as one act; what it was before."""
    added = code.integer(number)
    return Number("int64", code.builder.atomic_rmw("add", place.value, added, "seq_cst"))


@instruction
def _look(code: Arithmetic, place: Pointer) -> Number:
    """The number at ``place``, as the other threads have left it."""
    return Number("int64", code.builder.load_atomic(place.value, "seq_cst", 8))


@instruction
def _put(code: Arithmetic, place: Pointer, number: Any) -> None:
    """Write a number at ``place`` for the other threads to see."""
    code.builder.store_atomic(code.integer(number), place.value, "seq_cst", 8)


@instruction
def _give_way(code: Arithmetic) -> None:
    """Let the system run another thread on this core."""
    kind = ir.FunctionType(ir.IntType(32), [])
    code.builder.call(code.declared(_GIVE_WAY, kind), [])


@instruction
def call(code: Arithmetic, address: Any, block: Any, words: Any, scratch: View) -> None:
    """Call the kernel at ``address``; ``words`` is the address of its own."""
    build = code.builder
    own = build.inttoptr(code.integer(words), _INT.as_pointer())
    arguments = [code.integer(block), own, scratch.start.value]
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
    build.call(build.inttoptr(code.integer(address), kind.as_pointer()), arguments)


@linked()
def run_launches(launches, count, state, scratch):  # type: ignore[no-untyped-def]
    """Run ``count`` launches, alone or with other threads that do the same; all else are addresses."""
    shared = carray(pointer(state, np.int64), STATE)
    room = carray(pointer(scratch, np.int64), 1)  # of whatever kind the kernels take it for
    while True:
        ticket = _add(at(shared, 0), 1)
        number, block = ticket >> 32, ticket & 0xFFFFFFFF
        if number >= count:
            return
        start = launches + 8 * WORDS * number
        launch = carray(pointer(start, np.int64), WORDS)
        if block < launch[1]:
            call(launch[0], block, start + 16, room)
            if _add(at(shared, DONE), 1) + 1 == launch[1]:
                _put(at(shared, DONE), 0)
                _put(at(shared, 0), (number + 1) << 32)
            continue
        waited = 0
        while _look(at(shared, 0)) >> 32 == number:
            waited += 1
            if waited > _PATIENCE:
                _give_way()
