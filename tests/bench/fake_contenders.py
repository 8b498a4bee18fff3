"""Contenders of bench/gpu.py that compute nothing, on a clock that goes on when they are asked."""

from itertools import count

ROW = {"kernel": "conv2d", "microseconds": 1.0, "shapes": [], "share": 0.5, "bound": "copy"}


class Killed(BaseException):
    """The machine has ended the call."""


class Machine:
    """A clock, and workers that take ``seconds(contender, command)`` for an answer.

    Attributes
    ----------
    now : float
    asked : list of (contender, command, what it was asked with)
    kill_after : int, optional
        So many questions more, then the machine ends the call in the middle of an answer.
    errors : dict of (contender, command) to what it says in place of an answer
    """

    def __init__(self, seconds):
        self.seconds, self.now, self.asked, self.kill_after = seconds, 1000.0, [], None
        self.figures, self.errors = map(float, count(1)), {}

    def clock(self):
        return self.now

    def start(self, options, contender, precision, folder, caches=None, limit=None):
        return FakeWorker(self, contender, limit)


class FakeWorker:
    def __init__(self, machine, contender, limit):
        self._machine, self._contender, self.is_running = machine, contender, True
        self.hello = self.ask(limit=limit, command="hello")

    def ask(self, limit, command, **given):
        assert limit > 0  # whatever is asked has one
        machine = self._machine
        if not self.is_running:
            return {"error": "ended with -9"}
        machine.asked.append((self._contender, command, given))
        if machine.kill_after is not None:
            machine.kill_after -= 1
            if machine.kill_after <= 0:
                raise Killed
        took = machine.seconds(self._contender, command)
        machine.now += min(took, limit)
        if took > limit:
            self.is_running = False
            return {"error": f"took more than {limit:.0f} s", "late": True}
        error = machine.errors.get((self._contender, command))
        return {"error": error} if error else self._answer(command)

    def _answer(self, command):
        if command in ("train", "latency", "cold"):
            return {"seconds": next(self._machine.figures), "losses": [1.0]}
        return {
            "expected": {"losses": [1.0]},
            "predictions": {"probabilities": [[0.5, 0.5]]},
            "rates": {"rates": {"copy": 1e12, "fp32": 1e13}},
            "kernels": {"rows": [ROW]},
        }.get(command, {})

    def close(self, limit):
        self._machine.now += min(self._machine.seconds(self._contender, "close"), limit)
        self.is_running = False
