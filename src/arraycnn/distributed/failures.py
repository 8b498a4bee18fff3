"""An error on one rank ends all: the others would wait for it for ever.

Python's own end does not: MPI waits, as a process ends, for all others. So an error that nobody
catches is told, and MPI is asked to end every rank. What a signal kills, the launcher notices.
"""

from __future__ import annotations

import logging
import socket
import sys
import time
from types import TracebackType

from arraycnn.distributed.communicator import Communicator
from arraycnn.errors import one_line

_AFTER_RANK_0 = 1.0
"""Seconds by which others wait: where all have met the same, one line is enough."""

_UNTIL_TOLD = 0.3
"""Seconds for a launcher to hand on the line before it ends."""

_joined: list[Communicator] = []


def end_all_on_failure(communicator: Communicator) -> None:
    """From now on, an error that nobody catches in this process ends all ranks, with one line."""
    before = sys.excepthook
    _joined.append(communicator)

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        before(kind, error, trace)
        name, said = kind.__name__, one_line(error)
        end_all(name if said == name else f"{name}: {said}")

    sys.excepthook = hook


def end_all(cause: str) -> None:
    """Say that this rank has failed and why, and end every rank; nothing where there are no others."""
    for communicator in _joined:
        if communicator.rank:
            time.sleep(_AFTER_RANK_0)
        where = f"rank {communicator.rank} of {communicator.size}, on {socket.gethostname()}"
        logging.getLogger("arraycnn").critical("%s: %s: this ends all ranks", where, cause)
        time.sleep(_UNTIL_TOLD)
        communicator.abort()
