"""Holding NumPy's BLAS at one thread while this library runs threads of its own.

Two pools that spin for work on the same cores cost 2 to 10 times; and a product's last bits depend
on how many threads BLAS uses.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any
from weakref import WeakSet

from threadpoolctl import OpenBLASController, ThreadpoolController


class _Visit:
    """A stay within the limit."""


# Reentrant: an interrupt may come between the end of a block and the release of its lock, and the
# thread that was interrupted must not wait for itself.
_lock = threading.RLock()
_inside: WeakSet[_Visit] = (
    WeakSet()
)  # one that an interrupt keeps from leaving is gone with its frame
_before: list[int] | None = None
"""How many threads each BLAS had, while that is to be given back."""


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Within this block, every product of NumPy runs on its caller's thread.

    The limit is the whole process's: of several threads in such blocks, the first sets it and the
    last to leave lifts it.
    """
    global _before
    visit = _Visit()
    try:
        with _lock:
            if not _inside:
                _take_the_reins()
                # Where an interrupt has kept the last to leave from giving them back, they are known.
                _before = (
                    [blas.get_num_threads() for blas in _blas()] if _before is None else _before
                )
                _set([1] * len(_before))
            _inside.add(visit)
        yield
    finally:
        with _lock:
            _inside.discard(visit)
            if not _inside and _before is not None:
                _take_the_reins()
                _set(_before)
                _before = None
                _take_the_reins()


def _set(threads: list[int]) -> None:
    for blas, count in zip(_blas(), threads, strict=True):
        blas.set_num_threads(count)


def _after_fork_in_child() -> None:
    # The threads that were inside are not in this process; the next to leave lifts their limit.
    _inside.clear()
    _lock.release()


if hasattr(os, "register_at_fork"):  # or a child would wait for a lock that nobody holds any more
    os.register_at_fork(
        before=_lock.acquire,
        after_in_parent=_lock.release,
        after_in_child=_after_fork_in_child,
    )


def _take_the_reins() -> None:
    # Newer versions of threadpoolctl let only the thread that first set a limit set others, and
    # ignore the rest in silence; here the first to come and the last to leave may be two threads.
    clear = getattr(OpenBLASController, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finds the loaded BLAS libraries: a millisecond or more, once


@cache
def _blas() -> list[Any]:
    return list(_controller().select(user_api="blas").lib_controllers)
