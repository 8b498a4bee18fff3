"""Runs a list of launches: which kernel, on how many blocks, on which memory.

As on a GPU, the blocks of a launch are independent, and a launch begins when the one before has
ended. Several threads may run one list together. Each takes block after block off a shared ticket,
whose upper half is the number of the launch and whose lower half that of the block; whoever ends the
last block of a launch opens the next. So no thread is waited for that has not yet come, or that the
system has put aside between two blocks.

Each kernel is compiled by itself, when it is first launched, and kept (`linking.py`).
"""

from __future__ import annotations

import ctypes
import os
import threading
from functools import cache
from typing import Any

import numpy as np

from arraycnn.ops.compiled.caching import cache_folder
from arraycnn.ops.compiled.kernels.run_launches import DONE, STATE, WORDS, run_launches
from arraycnn.ops.compiled.launch_struct import start_of
from arraycnn.ops.compiled.linking import load
from arraycnn.ops.compiled.objects import Loaded, ObjectFiles
from arraycnn.ops.compiled.translation.functions import Function

__all__ = ["DONE", "STATE", "WORDS", "address", "run"]


def run(launches: np.ndarray, state: np.ndarray, scratch: np.ndarray) -> None:
    """Run ``launches``, (L, WORDS) int64, alone or with other threads that do the same.

    ``state``, (STATE,) int64, is all zeros at first and shared; ``scratch`` is the thread's own
    and of the kind of number that the kernels compute with. Other Python threads go on meanwhile.
    """
    _runner()(start_of(launches), len(launches), start_of(state), start_of(scratch))


@cache
def _runner() -> Any:
    address = ctypes.c_void_p
    kind = ctypes.CFUNCTYPE(None, address, ctypes.c_int64, address, address)
    return kind(_loaded(run_launches, "float32").address)  # of either kind of number


def address(kernel: Function, dtype: str) -> int:
    """Where the machine code of ``kernel`` for float32 or float64 begins.

    Compiled when first asked for, or taken from the cache.
    """
    return _loaded(kernel, dtype).address


_kept: dict[tuple[Function, str], Loaded] = {}
_lock = threading.RLock()
"""Of two threads that ask for a kernel first, one waits: else both would compile it, and the code that
is not kept would be given back while its address is in a list of launches."""


def _loaded(function: Function, dtype: str) -> Loaded:
    key = function, dtype
    if key not in _kept:
        with _lock:
            if key not in _kept:
                folder = cache_folder()
                files = ObjectFiles(None if folder is None else folder / "kernels")
                _kept[key] = load(function, dtype, WORDS - 2, files)
    return _kept[key]


def _renew_lock() -> None:
    """In a forked process, whose other threads, which may have held it, are gone."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)
