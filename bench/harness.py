"""What both benchmarks share: contenders in processes of their own, and what was measured on what."""

import atexit
import hashlib
import json
import os
import platform
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent


class Worker:
    """A process that is driven by lines of JSON, and answers each with one.

    Attributes
    ----------
    hello : dict
        The answer to the command "hello", which is the first and may take ``limit`` seconds;
        {"error": ...} where it failed.
    """

    def __init__(self, command, environment, limit=None):
        # A group of its own: what it starts is ended with it, and would keep its output open else.
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            start_new_session=True,
        )
        atexit.register(self._kill)
        self.hello = self.ask(limit=limit, command="hello")

    @property
    def error(self):
        return self.hello.get("error")

    @property
    def is_running(self):
        return self._process.poll() is None

    def ask(self, limit=None, **command):
        """The worker's answer; {"error": ...} where it could not do it, or took ``limit`` seconds.

        A worker that took too long is ended, and says so from then on; its answer is "late", too.
        """
        ended = threading.Event()

        def end():
            ended.set()
            self._kill()

        timer = threading.Timer(limit, end) if limit is not None else None
        try:
            if timer:
                timer.start()
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            code = self._process.wait()
            if ended.is_set():
                return {"error": f"took more than {limit:.0f} s", "late": True}
            return {"error": f"ended with {code}"}
        finally:
            if timer:
                timer.cancel()

    def close(self, limit=None):
        """Wait until it has ended; it is killed after ``limit`` seconds."""
        if not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._kill()
            self._process.wait()
        self._process.stdout.close()
        atexit.unregister(self._kill)

    def _kill(self):
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


def serve(answer):
    """The worker's side: ``answer(**command)`` until standard input ends.

    Where that ends in the middle of an answer, who asked is gone: the process ends with all that it has
    started, or it would be measured with what is started next.
    """
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing a library prints may get between the answers
    commands, is_busy = queue.SimpleQueue(), threading.Event()

    def read():
        # Not sys.stdin, whose lock this thread would have when the process ends for another reason.
        with open(0, closefd=False) as given:
            for line in given:
                is_busy.set()
                commands.put(line)
        commands.put(None)
        if is_busy.is_set():
            if os.getpgrp() == os.getpid():
                os.killpg(os.getpid(), signal.SIGKILL)
            os._exit(1)

    threading.Thread(target=read, daemon=True).start()
    while (line := commands.get()) is not None:
        try:
            result = answer(**json.loads(line))
        except Exception as error:
            first_line = str(error).strip().splitlines()[:1]
            result = {"error": ": ".join([type(error).__name__, *first_line])}
        is_busy.clear()
        answers.write(json.dumps(result) + "\n")
        answers.flush()


def versions(*packages, python=None):
    """{package: its version, or None where it is not installed}, and Python's.

    With ``python``, of the environment of that one.
    """
    if python is not None:
        code = f"import json, harness; print(json.dumps(harness.versions(*{packages!r})))"
        done = subprocess.run(
            [python, "-c", code], cwd=HERE, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)
    found = {"python": platform.python_version()}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def commit():
    """The commit measured, with + where the tree had changes beside it; None outside git or without."""
    command = ["git", "-C", HERE, "describe", "--always", "--dirty=+", "--exclude=*"]
    try:
        result = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:  # a bare machine has no git
        return None
    return result.stdout.strip() or None


def digest_of_sources():
    """The SHA-256 of what is measured and of what measures, which a commit with + or none says not."""
    package = Path(find_spec("arraycnn").origin).parent
    files = [path for folder in (package, HERE) for path in sorted(folder.rglob("*"))]
    found = hashlib.sha256()
    for path in files:
        if path.suffix in (".py", ".cu", ".cuh"):
            found.update(f"{path.name}\n".encode() + path.read_bytes())
    return found.hexdigest()


def processor():
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
