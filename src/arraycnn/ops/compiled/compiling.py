"""Hears of numba's compilations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from numba.core import event


@contextmanager
def at_first_compilation(act: Callable[[], None]) -> Iterator[None]:
    """Within the block, ``act`` when the first kernel is compiled, and not taken from the cache."""
    with event.install_listener("numba:run_pass", _FirstPass(act)):
        yield


class _FirstPass(event.Listener):
    """Of a kernel that lies in the cache, no pass of the compiler is run."""

    def __init__(self, act: Callable[[], None]) -> None:
        self._act: Callable[[], None] | None = act

    def on_start(self, event: event.Event) -> None:
        if self._act is not None:
            act, self._act = self._act, None
            act()

    def on_end(self, event: event.Event) -> None:
        pass
