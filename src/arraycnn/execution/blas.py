"""Holding NumPy's BLAS at one thread while this library runs threads of its own.

Two pools that spin for work on the same cores cost 2 to 10 times; and a product's last bits depend
on how many threads BLAS uses.
"""

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()  # finds the loaded BLAS libraries: a millisecond or more, once


def single_threaded_blas() -> AbstractContextManager:
    """Within this block, every product of NumPy runs on its caller's thread."""
    return _controller().limit(limits=1, user_api="blas")
