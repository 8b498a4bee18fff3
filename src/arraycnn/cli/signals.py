"""SIGINT and SIGTERM: a training finishes its steps and is saved before the command ends."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from arraycnn.callbacks import Callback
from arraycnn.distributed.failures import end_all
from arraycnn.training.history import EpochRecord, Progress


class StopOnSignal(Callback):
    """Ends the training after the steps under way when a signal has come.

    Attributes
    ----------
    received : int or None
        The number of the signal.
    """

    def __init__(self) -> None:
        self.received: int | None = None

    def on_steps(self, progress: Progress) -> bool:
        return self.received is not None

    def on_epoch(self, record: EpochRecord) -> bool:
        return self.received is not None

    def handle(self, number: int, frame: FrameType | None) -> None:
        """Note the first signal; a second one ends the command at once, with what is saved."""
        if self.received is not None:
            _exit_now(self.received)
        self.received = number


def exit_code(number: int) -> int:
    """What a shell reports of a command that a signal ended: 130 for SIGINT, 143 for SIGTERM."""
    return 128 + number


@contextmanager
def stopping_on_signals() -> Iterator[StopOnSignal]:
    """A `StopOnSignal` that SIGINT and SIGTERM reach within the block."""
    stop = StopOnSignal()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, stop.handle) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def _exit_now(number: int) -> NoReturn:
    end_all(f"ended by {signal.Signals(number).name}")
    sys.exit(exit_code(number))


def end_on_sigterm() -> None:
    """Let SIGTERM end the command as an error does: what it holds is closed."""
    signal.signal(signal.SIGTERM, lambda number, frame: _exit_now(number))
