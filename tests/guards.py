"""Memory between guards: a kernel that writes beyond an array, or beyond its scratch, is caught.

`GuardedLauncher` is the compiled kernels' launcher with all memory between bytes that nobody may
change, poisoned with NaN before a kernel sees it, and scratch of exactly the size that the launch
asks for. It runs the blocks of a launch one by one, in an order of its own and each on fresh
scratch, since a block must share nothing with another. `guarded_launches` does the same to recorded
steps, which several threads share.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields, replace
from functools import partial
from typing import Any

import numpy as np
import pytest

from arraycnn.execution.thread_pool import ThreadPool
from arraycnn.ops import Kernels
from arraycnn.ops.compiled import launcher as compiled
from arraycnn.ops.compiled.launches import DONE, STATE, run
from arraycnn.ops.compiled.record import compiled_kernels
from arraycnn.program.render.launching import Launches
from rendered import Rendered, with_rendered

MARGIN = 4096
"""Bytes before and behind; the bytes of an array follow each other up to the last without a gap."""

_GUARD, _POISON = 0xA5, 0xFF

_live: list[tuple[weakref.ref, slice]] = []


def between_guards(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array full of NaN, or of numbers that no result is, with guards before and behind."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    memory = np.full(size + 2 * MARGIN + 64, _GUARD, np.uint8)
    start = MARGIN + -(memory.ctypes.data + MARGIN) % 64
    inner = slice(start, start + size)
    memory[inner] = _POISON
    _live.append((weakref.ref(memory), inner))
    return np.ndarray(shape, dtype, memory, offset=start)


def guarded(value: Any) -> Any:
    """A copy of the arrays in ``value``, each between guards and with its axes in their order."""
    if isinstance(value, list | tuple):
        return type(value)(map(guarded, value))
    if not isinstance(value, np.ndarray) or value.dtype.byteorder == ">":
        return value
    turned = value.flags.f_contiguous and not value.flags.c_contiguous
    copy = between_guards(value.T.shape if turned else value.shape, value.dtype)
    copy[...] = value.T if turned else value
    return copy.T if turned else copy


def check_guards(what: str) -> None:
    """AssertionError where a byte before or behind an array that is still held has changed."""
    held = []
    for reference, inner in _live:
        memory = reference()
        if memory is None:
            continue
        held.append((reference, inner))
        before, behind = memory[: inner.start], memory[inner.stop :]
        for side, margin in (("before", before), ("behind", behind)):
            touched = np.flatnonzero(margin != _GUARD)
            if touched.size:
                margin[:] = _GUARD
                place = margin.size - touched[-1] if side == "before" else touched[0] + 1
                size = inner.stop - inner.start
                raise AssertionError(f"{what}: wrote byte {place} {side} an array of {size} bytes")
    _live[:] = held


def run_block(launch: np.ndarray, block: int, room: int, dtype: np.dtype) -> None:
    """One block of a launch, on fresh scratch of exactly ``room`` numbers."""
    alone = launch[None].copy()
    alone[0, 1] = block + 1  # the last block: with it the launch is done
    state = np.zeros(STATE, np.int64)
    state[0], state[DONE] = block, block
    scratch = between_guards((room,), dtype)
    run(alone, state, scratch)
    check_guards(f"block {block} of {launch[1]}, scratch of {room}")


class GuardedLauncher(compiled.Launcher):
    """Runs blocks one by one, in random order; what it records it does not check."""

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return between_guards(shape, dtype)

    def _run(self, launches: np.ndarray, dtype: np.dtype, room: int) -> None:
        order = np.random.default_rng(0)
        for launch in launches:
            for block in order.permutation(int(launch[1])):
                run_block(launch, int(block), room, dtype)


def guarded_kernels() -> Kernels:
    """The compiled record, and what is rendered beside it, on guarded copies of what it is given.

    It must leave that as it was.
    """
    launcher = GuardedLauncher(ThreadPool(1))
    kernels = with_rendered(compiled_kernels(launcher), launcher, Launches)

    def on_copies(kernel: Callable[..., Any], *arguments: Any, **settings: Any) -> Any:
        placed = guarded(arguments)
        results = kernel(*placed, **settings)
        check_guards(repr(kernel))
        for given, kept in zip(_arrays(arguments), _arrays(placed), strict=True):
            np.testing.assert_array_equal(given, kept)
        return results

    names = [field.name for field in fields(kernels)]
    ours = {name: getattr(kernels, name) for name in names}
    ours = {name: k for name, k in ours.items() if isinstance(k, partial | Rendered)}
    return replace(kernels, **{name: partial(on_copies, k) for name, k in ours.items()})


def _arrays(value: Any) -> list[np.ndarray]:
    if isinstance(value, list | tuple):
        return [array for part in value for array in _arrays(part)]
    return [value] if isinstance(value, np.ndarray) else []


@contextmanager
def guarded_launches() -> Iterator[list[int]]:
    """Guards around all memory of recorded steps, checked after each run of a recording.

    Recordings then share no memory: an array's guards would lie in what another array was before.
    Yields a list that holds the number of launches of each run.
    """
    real_run, launches_of_runs = compiled.Launcher._run, []

    def empty(self: Any, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        array = between_guards(shape, dtype)
        self._arena.__dict__.setdefault("guarded", []).append(array)
        return array

    def checked_run(self: Any, launches: np.ndarray, dtype: np.dtype, room: int) -> None:
        held: list[np.ndarray] = []

        def scratch(room: int, dtype: np.dtype) -> np.ndarray:
            held.append(between_guards((room,), dtype))
            return held[-1]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compiled, "_scratch", scratch)
            real_run(self, launches, dtype, room)
        launches_of_runs.append(len(launches))
        check_guards(f"{len(launches)} launches, scratch of {room}")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiled.Launcher, "empty", empty)
        patch.setattr(compiled.Launcher, "_run", checked_run)
        yield launches_of_runs
