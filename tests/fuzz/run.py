"""Fuzz the parsers, guided by coverage (atheris, which is libFuzzer for Python).

    python tests/fuzz/run.py                        # every target for 10 seconds
    python tests/fuzz/run.py idx image --seconds 60
    python tests/fuzz/run.py idx --flat 600         # until coverage has been flat for 10 minutes

Only errors of arraycnn's own may leave a parser, within 2 GB and 60 seconds of the processor. What
is found is written to tests/fuzz/found/TARGET and makes the exit code 1; it stays there as a
regression test (tests/test_fuzz.py) once the parser is mended. ``--corpus FOLDER`` keeps the inputs
that reached new code, so that a later run goes on from there.
"""

import argparse
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread

HERE = Path(__file__).parent
NAMES = (
    "idx",
    "arrays",
    "pickled",
    "table",
    "published",
    "image",
    "checkpoint",
    "config",
    "options",
)
MEMORY_MB = 2048
INPUT_SECONDS = 60
"""Traced and counted, a BMP with the largest palette takes 11 s, which is 0.04 s for a user."""

_STARTING_SECONDS = 300.0
_BEGAN = re.compile(r"fuzzing in process (\d+)$")
_ENDED = re.compile(r"ended with exit status (-?\d+)$")
"""What worker.py says of its forks."""
_STATUS = re.compile(r"#(\d+)\s+(?:NEW|REDUCE|pulse|INITED|DONE|RELOAD)\s+cov: (\d+) ft: (\d+)")


@dataclass
class Outcome:
    """What a run did: executions, edges covered, seconds since the last new edge, what failed."""

    target: str
    executions: int = 0
    coverage: int = 0
    seconds: float = 0.0
    flat_seconds: float = 0.0
    failure: str = ""
    log: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        ended = f"FOUND: {self.failure}" if self.failure else "nothing found"
        return (
            f"{self.target:<11}{self.executions:>10,} executions  {self.coverage:>6,} edges  "
            f"{self.seconds:>7.0f} s, flat for {self.flat_seconds:.0f} s  {ended}"
        )


class Fuzzer:
    """A process that fuzzes one target after another, each in a fork of it.

    So the code is imported and instrumented once: that takes longer than a short run.
    """

    def __enter__(self) -> "Fuzzer":
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker.py")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "COLUMNS": "100"},
        )
        self._lines = _lines(self._process)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        self._process.wait()

    def fuzz(
        self,
        target: str,
        seconds: float,
        flat: float | None = None,
        corpus: Path | None = None,
        found: Path | None = None,
        seed: int = 0,
    ) -> Outcome:
        """Run one target; with ``flat``, until coverage is flat that long.

        ``seed`` (not 0) makes the inputs the same each time; 0 draws one.
        """
        with tempfile.TemporaryDirectory() as work:
            corpus = corpus / target if corpus else Path(work) / "corpus"
            found = (found or HERE / "found") / target
            corpus.mkdir(parents=True, exist_ok=True)
            found.mkdir(parents=True, exist_ok=True)
            assert self._process.stdin is not None
            with suppress(BrokenPipeError):  # it has ended: so does the loop below
                print(json.dumps([target, str(corpus), str(found), seed]), file=self._process.stdin)
                self._process.stdin.flush()
            began = started = time.monotonic()
            outcome = Outcome(target)
            child = status = None
            last_new, asked_to_end = None, False
            for line in self._lines:
                if match := _ENDED.match(line):
                    status = int(match[1])
                    break
                if match := _BEGAN.match(line):
                    child = int(match[1])
                elif line:
                    outcome.log = [*outcome.log[-200:], line.rstrip()]
                now = time.monotonic()
                if match := _STATUS.search(line):
                    if not outcome.executions:
                        began = now  # instrumenting the code takes some seconds
                    outcome.executions = int(match[1])
                    if int(match[2]) > outcome.coverage or last_new is None:
                        outcome.coverage, last_new = int(match[2]), now
                over = now - (last_new or now) > flat if flat else now - began > seconds
                over = over and (outcome.executions > 0 or now - started > _STARTING_SECONDS)
                if over and child and not asked_to_end:
                    asked_to_end = True
                    os.kill(child, signal.SIGUSR1)  # libFuzzer ends in order
            outcome.seconds = time.monotonic() - began
            outcome.flat_seconds = time.monotonic() - (last_new or time.monotonic())
            outcome.failure = _failure(outcome.log)
            if not outcome.failure and (not asked_to_end or status is None):
                outcome.failure = f"the process ended by itself, exit status {status}"
            if not any(found.iterdir()):
                found.rmdir()
            return outcome


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """The lines a process writes, and an empty one for each second in which it writes none.

    libFuzzer is silent the longer, the less it finds; the clock must be looked at all the same.
    """
    lines: SimpleQueue[str | None] = SimpleQueue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    Thread(target=read, daemon=True).start()
    while True:
        try:
            line = lines.get(timeout=1.0)
        except Empty:
            line = ""
        if line is None:
            return
        yield line


def _failure(log: list[str]) -> str:
    """The line that says what was found, or nothing."""
    for position, line in enumerate(log):
        if "Uncaught Python exception" in line:
            told = [rest for rest in log[position + 1 :] if re.match(r"^\w[\w.]*(:|$)", rest)]
            return next((rest[:300] for rest in told), "an exception")
        if re.search(r"ERROR: libFuzzer: (timeout|out-of-memory|deadly|fuzz target exited)", line):
            return line.partition("ERROR: ")[2]
    return ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("targets", nargs="*", choices=[*NAMES, []], help="all unless named")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--flat", type=float, help="end when coverage was flat for this long")
    parser.add_argument("--corpus", type=Path, help="keep inputs that reach new code here")
    parser.add_argument(
        "--seed", type=int, default=0, help="not 0: the same inputs each time, for a fixed program"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=len(os.sched_getaffinity(0)),
        help="targets at a time, as many as cores unless said",
    )
    options = parser.parse_args()

    waiting: SimpleQueue[str] = SimpleQueue()
    for target in options.targets or NAMES:
        waiting.put(target)

    def run(_: int) -> bool:
        failed = False
        with Fuzzer() as fuzzer:
            while True:
                try:
                    target = waiting.get_nowait()
                except Empty:
                    return failed
                outcome = fuzzer.fuzz(
                    target, options.seconds, options.flat, options.corpus, seed=options.seed
                )
                wrong = bool(outcome.failure or not outcome.executions)
                failed |= wrong
                log = outcome.log[-60:] if wrong else []
                print("\n".join([str(outcome), *log]), flush=True)

    with ThreadPoolExecutor(options.jobs) as pool:
        raise SystemExit(any(list(pool.map(run, range(options.jobs)))))


if __name__ == "__main__":
    main()
