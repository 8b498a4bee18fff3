"""`Meeting`: threads that take turns, and meet to do something together."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

Work = Callable[[list[Any]], Any]


class AbandonedError(Exception):
    """Another thread of the meeting has failed: this one's work is of no use."""


class Meeting:
    """``count`` threads, of which one at a time is at work: from `taking_part` to `meet`, and on.

    Parameters
    ----------
    count : int
    """

    def __init__(self, count: int) -> None:
        self._turn = threading.Condition()
        self._given: list[Any] = [None] * count
        self._missing, self._number = count, 0
        self._result: Any = None
        self._is_abandoned = False

    @property
    def taking_part(self) -> threading.Condition:
        """A context within which a thread is at work, the others not."""
        return self._turn

    def meet(self, place: int, value: Any, work: Work) -> Any:
        """``work`` of what all threads have given, in the order of places; the last to come does it.

        Raises AbandonedError where a thread will not come any more.
        """
        with self._turn:
            self._given[place], self._missing = value, self._missing - 1
            if self._is_abandoned:
                raise AbandonedError
            if not self._missing:
                given = self._given
                self._given, self._missing = [None] * len(given), len(given)
                self._result = work(given)
                self._number += 1
                self._turn.notify_all()
                return self._result
            number = self._number
            while self._number == number:
                if self._is_abandoned:
                    raise AbandonedError
                self._turn.wait()
            # The next meeting needs this thread: until it comes there, the result stays.
            return self._result

    def abandon(self) -> None:
        """Let no thread wait for one that has failed."""
        with self._turn:
            self._is_abandoned = True
            self._turn.notify_all()
