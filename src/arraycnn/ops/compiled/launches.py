"""Runs a list of launches: which kernel, on how many blocks, on which memory.

As on a GPU, the blocks of a launch are independent, and a launch begins when the one before has
ended. Several threads may run one list together. Each takes block after block off a shared ticket,
whose upper half is the number of the launch and whose lower half that of the block; whoever ends the
last block of a launch opens the next. So no thread is waited for that has not yet come, or that the
system has put aside between two blocks.

Each kernel is compiled by itself, when it is first launched, and kept (`caching.py`).
"""

from __future__ import annotations

import hashlib
import sys
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

from llvmlite import ir
from numba import carray, njit, types
from numba.core import cgutils
from numba.core.ccallback import CFunc
from numba.extending import intrinsic
from numba.np import arrayobj

from arraycnn.ops.compiled.caching import kernel_cache

WORDS = 38
"""Of a launch: the kernel's address, how many blocks, and the kernel's own, 64 bits each."""

DONE = 8
"""Where in the shared state the blocks are counted that have ended: in a cache line of its own."""

STATE = 16

_PATIENCE = 50_000
"""How often a thread looks for the next launch before it lets others have its core."""

_MUCH = 2**40
"""A length for memory whose length the kernel is not told."""

_WINDOWS = sys.platform == "win32"


def _place(context: Any, builder: Any, array_type: Any, array: Any, index: Any) -> Any:
    data = arrayobj.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [index])


@intrinsic
def _add(typing_context, array, index, number):  # type: ignore[no-untyped-def]
    """Add to array[index] as one act; what it was before."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], values[0], values[1])
        return builder.atomic_rmw("add", place, values[2], "seq_cst")

    return types.int64(array, types.int64, types.int64), generate


@intrinsic
def _look(typing_context, array, index):  # type: ignore[no-untyped-def]
    """array[index], as the other threads have left it."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], values[0], values[1])
        return builder.load_atomic(place, "seq_cst", 8)

    return types.int64(array, types.int64), generate


@intrinsic
def _put(typing_context, array, index, number):  # type: ignore[no-untyped-def]
    """Write array[index] for the other threads to see."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        place = _place(context, builder, signature.args[0], values[0], values[1])
        builder.store_atomic(values[2], place, "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(array, types.int64, types.int64), generate


@intrinsic
def _give_way(typing_context):  # type: ignore[no-untyped-def]
    """Let the system run another thread on this core."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        name = "SwitchToThread" if _WINDOWS else "sched_yield"
        function_type = ir.FunctionType(ir.IntType(32), [])
        builder.call(cgutils.get_or_insert_function(builder.module, function_type, name), [])
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def call(typing_context, address, block, words, scratch):  # type: ignore[no-untyped-def]
    """Call the kernel at ``address``; ``words`` is an array, or the address of one."""

    def generate(context, builder, signature, values):  # type: ignore[no-untyped-def]
        def start(place):  # type: ignore[no-untyped-def]
            zero = ir.Constant(ir.IntType(64), 0)
            return _place(context, builder, signature.args[place], values[place], zero)

        if isinstance(signature.args[2], types.Array):
            own = start(2)
        else:
            own = builder.inttoptr(values[2], ir.IntType(64).as_pointer())
        arguments = [values[1], own, start(3)]
        kind = ir.FunctionType(ir.VoidType(), [value.type for value in arguments])
        builder.call(builder.inttoptr(values[0], kind.as_pointer()), arguments)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, words, scratch), generate


@njit(nogil=True)
def run(launches, state, scratch):  # type: ignore[no-untyped-def]
    """Run ``launches``, (L, WORDS) int64, alone or with other threads that do the same.

    ``state``, (STATE,) int64, is all zeros at first and shared; ``scratch`` is the thread's own
    and of the kind of number that the kernels compute with.
    """
    while True:
        ticket = _add(state, 0, 1)
        number, block = ticket >> 32, ticket & 0xFFFFFFFF
        if number >= launches.shape[0]:
            return
        launch = launches[number]
        if block < launch[1]:
            call(launch[0], block, launch[2:], scratch)
            if _add(state, DONE, 1) + 1 == launch[1]:
                _put(state, DONE, 0)
                _put(state, 0, (number + 1) << 32)
            continue
        waited = 0
        while _look(state, 0) >> 32 == number:
            waited += 1
            if waited > _PATIENCE:
                _give_way()


run._cache = kernel_cache(run.py_func)

_COMPILED: dict[Any, Any] = {}
"""Holds what `address` has given the address of."""


@cache
def address(kernel: Any, dtype: str) -> int:
    """Where the machine code of ``kernel`` for float32 or float64 begins.

    Compiled when first asked for, or taken from the cache.
    """
    name, digest = f"{kernel.__module__}.{kernel.__name__}", _digest()

    def entry(block, words, scratch):  # type: ignore[no-untyped-def]
        _ = name, digest  # closed over, so part of the cache's key
        kernel_of_entry(block, carray(words, WORDS), carray(scratch, _MUCH))  # type: ignore[name-defined] # noqa: F821

    # The kernel is a global of this one function: closed over, it would change the key each time.
    named = {**globals(), "kernel_of_entry": kernel}
    function = FunctionType(entry.__code__, named, "entry", None, entry.__closure__)
    # A file of its own in the cache: of processes that write to one file, only one is remembered.
    function.__qualname__ = name
    real = types.CPointer(getattr(types, dtype))
    arguments = (types.int64, types.CPointer(types.int64), real)
    compiled: Any = CFunc(function, (arguments, types.void), {}, {"error_model": "numpy"})
    compiled._cache = kernel_cache(function)
    compiled.compile()
    _COMPILED[kernel, dtype] = compiled
    return int(compiled.address)


@cache
def _digest() -> str:
    """Of all that is compiled: numba itself looks at one file to see whether its cache is old."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
