"""What both benchmarks share: contenders in processes of their own, and what was measured on what."""

import json
import platform
import subprocess
import sys
import threading
from contextlib import suppress
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).parent


class Worker:
    """A process that is driven by lines of JSON, and answers each with one.

    Attributes
    ----------
    hello : dict
        The answer to the command "hello", which is the first; {"error": ...} where it failed.
    """

    def __init__(self, command, environment):
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.hello = self.ask(command="hello")

    @property
    def error(self):
        return self.hello.get("error")

    def ask(self, limit=None, **command):
        """The worker's answer; {"error": ...} where it could not do it, or took ``limit`` seconds.

        A worker that took too long is ended, and says so from then on.
        """
        timer = threading.Timer(limit, self._process.kill) if limit else None
        try:
            if timer:
                timer.start()
            self._process.stdin.write(json.dumps(command) + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            code = self._process.wait()
            late = timer is not None and timer.finished.is_set() and code < 0
            return {"error": f"took more than {limit:.0f} s" if late else f"ended with {code}"}
        finally:
            if timer:
                timer.cancel()

    def close(self):
        if not self._process.stdin.closed:
            with suppress(BrokenPipeError):
                self._process.stdin.close()
        self._process.wait()


def serve(answer):
    """The worker's side: ``answer(**command)`` until standard input ends."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # nothing a library prints may get between the answers
    for line in sys.stdin:
        try:
            result = answer(**json.loads(line))
        except Exception as error:
            first_line = str(error).strip().splitlines()[:1]
            result = {"error": ": ".join([type(error).__name__, *first_line])}
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


def processor():
    """The CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor()
