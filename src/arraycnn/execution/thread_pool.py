"""One persistent pool of threads for a process: every parallel step goes through it."""

import itertools
import os
import queue
import threading
from collections.abc import Callable
from functools import cache

import numpy as np


class ThreadPool:
    """Runs the pieces of one job on ``threads`` threads, the caller's among them.

    Handing a job over costs some 20 microseconds. Pieces must not hand over jobs themselves.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._start()

    def _start(self) -> None:
        self._process = os.getpid()
        self._queues: list[queue.SimpleQueue[_Job]] = []
        for number in range(1, self.threads):
            jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
            self._queues.append(jobs)
            threading.Thread(
                target=_serve, args=(jobs,), name=f"arraycnn-{number}", daemon=True
            ).start()

    def run(self, function: Callable[[int], object], count: int) -> None:
        """Call ``function`` with 0 to ``count - 1``; an exception of any piece is raised here."""
        if os.getpid() != self._process:  # threads do not survive a fork
            self._start()
        job = _Job(function, count)
        helping = 0
        try:
            for jobs in self._queues[: max(0, count - 1)]:
                jobs.put(job)
                helping += 1
            job.work()
        finally:  # an interrupt, too, leaves nobody at work on the caller's arrays
            for _ in range(helping):
                job.finished.get()
        if job.errors:
            raise job.errors[0]


class _Job:
    def __init__(self, function: Callable[[int], object], count: int) -> None:
        self.function = function
        self.count = count
        self.errors: list[BaseException] = []
        self.finished: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._numbers = itertools.count()  # next() on it is atomic

    def work(self) -> None:
        """Take pieces until none is left; which thread takes which does not matter."""
        while not self.errors:
            number = next(self._numbers)
            if number >= self.count:
                return
            try:
                self.function(number)
            except BaseException as error:
                self.errors.append(error)


# The plan's caller looks for losses that are not finite; threads do not inherit its errstate.
@np.errstate(over="ignore", invalid="ignore", divide="ignore")
def _serve(jobs: "queue.SimpleQueue[_Job]") -> None:
    while True:
        job = jobs.get()
        job.work()
        job.finished.put(None)
        del job  # it holds the caller's arrays, and the next job may be long in coming


@cache
def thread_pool(threads: int) -> ThreadPool:
    """The pool of this process with ``threads`` threads."""
    return ThreadPool(threads)
