"""A process that a benchmark asks: it is ended when it takes too long, with all that it has started."""

import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

import harness
from harness import Worker

ANSWERS_ONCE = """
import subprocess, sys
sys.stdin.readline()
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print('{"child": %d}' % child.pid, flush=True)
import time; time.sleep(600)
"""


SERVES = """
import sys, time
from harness import serve
def answer(command):
    if command == "train":
        print("trains", file=sys.stderr, flush=True)
        time.sleep(600)
    return {}
serve(answer)
"""

DRIVES = f"""
import os, sys
from harness import Worker
worker = Worker([sys.executable, "-c", {SERVES!r}], os.environ)
print(worker._process.pid, flush=True)
worker.ask(command="train")
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


def test_whose_benchmark_is_killed_ends_with_it():
    """In the middle of its work: it would be measured with what is started next."""
    if not hasattr(os, "pidfd_open"):
        pytest.skip("needs Linux's pidfd_open")
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    environment = {**os.environ, "PYTHONPATH": str(Path(harness.__file__).parent)}
    with subprocess.Popen([sys.executable, "-c", DRIVES], env=environment, **pipes) as benchmark:
        worker = os.pidfd_open(int(benchmark.stdout.readline()))
        assert benchmark.stderr.readline() == "trains\n"
        benchmark.kill()
        assert select.select([worker], [], [], 60)[0] == [worker]
        os.close(worker)


def test_who_has_answered_ends_by_itself():
    environment = {**os.environ, "PYTHONPATH": str(Path(harness.__file__).parent)}
    worker = Worker([sys.executable, "-c", SERVES], environment)
    assert worker.ask(command="rest") == {}
    worker.close(limit=60)
    assert worker._process.returncode == 0


def test_who_does_not_say_hello_is_late():
    worker = Worker([sys.executable, "-c", "import time; time.sleep(600)"], os.environ, limit=0.1)
    assert worker.hello["late"]
    worker.close(limit=0)
