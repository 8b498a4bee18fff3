"""A process that a benchmark asks: it is ended when it takes too long, with all that it has started."""

import os
import select
import sys

import pytest

from harness import Worker

ANSWERS_ONCE = """
import subprocess, sys
sys.stdin.readline()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print('{"child": %d}' % child.pid, flush=True)
import time; time.sleep(600)
"""


@pytest.fixture
def worker():
    if not hasattr(os, "pidfd_open"):
        pytest.skip("needs Linux's pidfd_open")
    return Worker([sys.executable, "-c", ANSWERS_ONCE], os.environ)


@pytest.fixture
def its_child(worker):
    """Waits until the process that the worker has started is gone; whether it is."""
    child = os.pidfd_open(worker.hello["child"])
    yield lambda: select.select([child], [], [], 60)[0] == [child]
    os.close(child)


def test_who_takes_too_long_is_late_and_ended(worker, its_child):
    """Also where a process that it has started has its output open, too."""
    assert worker.is_running
    assert worker.ask(limit=0.1, command="train") == {"error": "took more than 0 s", "late": True}
    assert not worker.is_running
    assert worker.ask(limit=60, command="train") == {"error": "ended with -9"}
    worker.close(limit=0)
    assert its_child()


def test_who_does_not_end_is_killed(worker, its_child):
    worker.close(limit=0.1)
    assert not worker.is_running
    assert its_child()


def test_who_does_not_say_hello_is_late():
    worker = Worker([sys.executable, "-c", "import time; time.sleep(600)"], os.environ, limit=0.1)
    assert worker.hello["late"]
    worker.close(limit=0)
