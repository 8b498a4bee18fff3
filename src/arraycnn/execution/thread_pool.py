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
        queues: list[queue.SimpleQueue[_Job]] = []
        for number in range(1, self.threads):
            jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
            queues.append(jobs)
            threading.Thread(
                target=_serve, args=(jobs,), name=f"arraycnn-{number}", daemon=True
            ).start()
        self._queues = queues
        self._process = os.getpid()

    def run(self, function: Callable[[int], object], count: int) -> None:
        """Call ``function`` with 0 to ``count - 1``; an exception of any piece is raised here."""
        if os.getpid() != self._process:  # threads do not survive a fork
            self._start()
        job, helping = _Job(function, count), self._queues[: max(0, count - 1)]
        try:
            for jobs in helping:
                jobs.put(job)
            job.work()
            for _ in helping:
                job.finished.get()
        except BaseException as error:  # an interrupt
            job.errors.append(error)  # no other piece is begun
            _wait_for(helping)
            raise
        if job.errors:
            raise job.errors[0]


def _wait_for(helping: "list[queue.SimpleQueue[_Job]]") -> None:
    """Return once nobody is at work on what was handed over before; interrupts wait as well."""
    while True:
        try:
            nothing = _Job(lambda _: None, 0)  # done when all before it is
            for jobs in helping:
                jobs.put(nothing)
            for _ in helping:
                nothing.finished.get()
        except BaseException:  # one is raised already; from here on it is all the same
            continue
        return


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
