"""Runs a list of launches; see `arraycnn.ops.compiled.launches`."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from llvmlite import ir

from arraycnn.ops.compiled.kernels.pointers import at, carray, pointer
from arraycnn.ops.compiled.launch_struct import LaunchStruct
from arraycnn.ops.compiled.translation.functions import instruction, linked
from arraycnn.ops.compiled.translation.values import Arithmetic, Number, Pointer, Struct, View

WORDS = 40
"""Of a launch: those of an `Entry`, and of the kernel's own struct, 64 bits each."""

DONE = 8
"""Where in the shared state the blocks are counted that have ended: in a cache line of its own."""

STATE = 16

_PATIENCE = 50_000
"""How often a thread looks for the next launch before it lets others have its core."""

_GIVE_WAY = "SwitchToThread" if sys.platform == "win32" else "sched_yield"

_INT = ir.IntType(64)


class Entry(LaunchStruct):
    """How a launch in a list begins.

    ``code`` is the address of the kernel's machine code. The kernel's own struct follows.
    """

    code: int
    blocks: int


@instruction
def entry(code: Arithmetic, launches: Any, number: Any) -> Struct:
    """Number so and so of the launches in the list at an address."""
    place = code.joined("+", launches, code.joined("*", 8 * WORDS, number))
    return Struct(Entry, code.pointer("int64", place))


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
def call(code: Arithmetic, launch: Struct, block: Any, scratch: View) -> None:
    """Call an entry's kernel."""
    build = code.builder
    own = code.after(launch.words, Entry.WORDS).value
    arguments = [code.integer(block), own, scratch.start.value]
    kind = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
    address = code.field(launch, "code").value
    build.call(build.inttoptr(address, kind.as_pointer()), arguments)


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
        launch = entry(launches, number)
        if block < launch.blocks:
            call(launch, block, room)
            if _add(at(shared, DONE), 1) + 1 == launch.blocks:
                _put(at(shared, DONE), 0)
                _put(at(shared, 0), (number + 1) << 32)
            continue
        waited = 0
        while _look(at(shared, 0)) >> 32 == number:
            waited += 1
            if waited > _PATIENCE:
                _give_way()
