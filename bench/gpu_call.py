"""The time of a call of bench/gpu.py: how long an answer may take, so that the call ends in time."""

import time

LONGEST = 300  # seconds that one answer may take, compiling included
CLOSING = 20  # that a process may take to end


class Failed(Exception):
    """What a contender said in place of a figure, or that it took `LONGEST`."""


class Stopped(Exception):
    """The call's time was over before there was an answer."""

    def __init__(self):
        super().__init__("the call's minutes were over before there was an answer")


class Call:
    """One call.

    Attributes
    ----------
    is_over : bool
        Time was short for something: nothing else is begun.
    """

    def __init__(self, minutes, began=None, clock=time.monotonic):
        self.clock = clock
        self._end = (clock() if began is None else began) + 60 * minutes
        self.is_over = False

    def limit(self, reserved=0.0):
        """Seconds that an answer may take which is asked for now; ``reserved`` are for what follows."""
        limit = min(LONGEST, self._end - self.clock() - reserved)
        if limit <= 0:
            self.is_over = True
            raise Stopped()
        return limit

    def closing(self):
        """Seconds that a process may take to end, which is killed else."""
        return max(0, min(CLOSING, self._end - self.clock()))

    def may_begin(self, reserved=0.0):
        """Whether a contender is begun: it may take what is left but for ``reserved`` seconds."""
        try:
            return not self.is_over and self.limit(reserved) > 0
        except Stopped:
            return False

    def ask(self, worker, reserved=0.0, **command):
        """The worker's answer."""
        limit = self.limit(reserved)
        return self.checked(worker.ask(limit=limit, **command), limit)

    def checked(self, answer, limit):
        """``answer`` to what might take ``limit`` seconds, where it is one."""
        if answer.get("late") and limit < LONGEST:
            self.is_over = True
            raise Stopped()
        if "error" in answer:
            raise Failed(answer["error"])
        return answer
