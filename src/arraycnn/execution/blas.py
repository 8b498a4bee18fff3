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

from threadpoolctl import OpenBLASController, ThreadpoolController

_lock = threading.Lock()
_inside = 0
_limit: Any = None  # while there is one


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Within this block, every product of NumPy runs on its caller's thread.

    The limit is the whole process's: of several threads in such blocks, the first sets it and the
    last to leave lifts it.
    """
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _take_the_reins()
            if _limit is None:
                _limit = _controller().limit(limits=1, user_api="blas")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _take_the_reins()
                _limit.restore_original_limits()
                _limit = None
                _take_the_reins()


def _after_fork_in_child() -> None:
    # The threads that were inside are not in this process; the next to leave lifts their limit.
    global _inside
    _inside = 0
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
