"""Puts a fault into a copy of the package and runs tests on it, for both scripts of planted faults.

Options of plant_faults.py and plant_cuda_faults.py::

    WORD            rows with this word: in the file, the text or the fault
    --only TABLE    rows of one table, by the name of its file
    --log FILE      note each outcome there; what it says was found is not run again
    --jobs N        rows at a time

A row is "found" where a test fails, "MISSED" where none does, and "BROKEN" where it says nothing of
the tests: its text does not stand once in the file, so that which place is meant is not known, no test
ran, or a kernel does not compile. Each line says
the seconds it took and the test that failed: a row that names that test alone is quicker.
"""

import argparse
import compileall
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "arraycnn"
MOST_SECONDS = 600
"""Of the processor, for the tests of a row, without what g++ takes: tests that take more do not end,
which is a fault noticed. On a busy machine that is much longer, and no row is found by waiting."""

MOST_WAITING = 1800
"""Seconds of one test by the clock: it waits for what never comes."""

_BEGIN = (
    "import resource, sys, pytest; "
    f"resource.setrlimit(resource.RLIMIT_CPU, ({MOST_SECONDS}, {MOST_SECONDS + 10})); "
    "sys.exit(pytest.main())"
)
_PYTEST = (
    *(sys.executable, "-c", _BEGIN, "-q", "-x", "-p", "no:cacheprovider"),
    "--hypothesis-profile=planted",
    *("-o", f"faulthandler_timeout={MOST_WAITING}", "-o", "faulthandler_exit_on_timeout=true"),
)
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.*?)(?: - .*)?$", re.MULTILINE)


class Fault(NamedTuple):
    """``fault`` in place of the only ``text`` in a ``file`` of the package, for some tests.

    Attributes
    ----------
    tests : str
        Files of tests, and pytest's options, as in a shell in the folder tests.
    table : str
        The file that the row stands in.
    kind : str
        Of a row of tests/cuda_faults: what kind of fault it is. With it all must still compile.
    """

    file: str
    text: str
    fault: str
    tests: str
    table: str = ""
    kind: str = ""

    def __str__(self) -> str:
        where = " ".join(part for part in (self.table, self.file) if part)
        return f"{where}: {self.kind}{': ' * bool(self.kind)}{self.text!r} -> {self.fault!r}"


@dataclass(frozen=True)
class Outcome:
    """``said`` "found", "MISSED" or "BROKEN"; ``by`` which test, or why it is broken."""

    said: str
    by: str = ""
    seconds: float = 0.0


def misfit(text: str, fault: str, source: str) -> str:
    """Why ``fault`` cannot be put in place of ``text`` in ``source``; empty where it can."""
    if text == fault:
        return "the fault is what stands there"
    places = source.count(text)
    return "" if places == 1 else f"the text stands {places} times in the file, not once"


def outcome(planted: Fault) -> Outcome:
    """What the tests say to a copy of the package with the fault in it."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "arraycnn"
        shutil.copytree(PACKAGE, package)
        path = package / planted.file
        # Python would take what is compiled where the fault is as long, and of the same second.
        for old in path.parent.glob(f"__pycache__/{path.stem}.*"):
            old.unlink()
        source = path.read_text("utf-8")
        if wrong := misfit(planted.text, planted.fault, source):
            return Outcome("BROKEN", f"{wrong}: mend the table")
        path.write_text(source.replace(planted.text, planted.fault), "utf-8")
        done = subprocess.run(
            [*_PYTEST, *shlex.split(planted.tests)],
            cwd=ROOT / "tests",
            env={**os.environ, "PYTHONPATH": folder, "OPENBLAS_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
    said, by = judged(planted, done.returncode, done.stdout, done.stderr)
    return Outcome(said, by, time.monotonic() - began)


def judged(planted: Fault, code: int, out: str, err: str) -> tuple[str, str]:
    """``said`` and ``by`` of what pytest ended with."""
    if code == 0:
        return "MISSED", ""
    refused = "does not compile" in out and "uninitialized" not in out
    # Below 0 the process itself broke down. 2: what a test file imports ends pytest before a test.
    ran = code in (1, 2) or code < 0
    if not ran or (planted.kind and (refused or code == 2)):
        return "BROKEN", (out + err)[-2000:]
    failed = _FAILED.search(out)
    if failed:
        return "found", failed[1]
    is_endless = code == -signal.SIGXCPU or "Timeout (" in err
    return "found", "a test that does not end" if is_endless else f"exit code {code}"


def main(description: str | None, faults: Sequence[Fault], jobs: int) -> None:
    """Run the rows that the command line asks for; exit code 1 unless all are found."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    tables = sorted({name_of(fault) for fault in faults})
    parser.add_argument("word", nargs="?", default="", help="in the file, the text or the fault")
    parser.add_argument("--only", choices=tables, metavar="TABLE", help=", ".join(tables))
    parser.add_argument("--log", type=Path, metavar="FILE", help="where outcomes are noted")
    parser.add_argument("--jobs", type=int, default=jobs, help=f"rows at a time ({jobs})")
    asked = parser.parse_args()
    chosen = [
        fault
        for fault in faults
        if asked.only in (None, name_of(fault)) and asked.word in str(fault)
    ]
    known = found_before(asked.log)
    rows = [fault for fault in chosen if str(fault) not in known]
    if len(rows) < len(chosen):
        print(f"{len(chosen) - len(rows)} of {len(chosen)} were found before, by {asked.log}")
    found = len(chosen) - len(rows)
    compileall.compile_dir(PACKAGE, quiet=2)  # once, not for each copy
    pool = ThreadPoolExecutor(asked.jobs)
    try:
        running = {pool.submit(outcome, fault): fault for fault in rows}
        for number, done in enumerate(as_completed(running), start=1):
            fault, result = running[done], done.result()
            found += result.said == "found"
            said = f"{result.said:6} {result.seconds:4.0f} s  {fault}  [{result.by}]"
            print(f"{number:3d}/{len(rows)} {said}", flush=True)
            if asked.log is not None:
                with asked.log.open("a") as file:
                    file.write(json.dumps([str(fault), result.said, result.by]) + "\n")
    finally:
        pool.shutdown(cancel_futures=True)
    print(f"{found} of {len(chosen)} faults found")
    raise SystemExit(0 if found == len(chosen) else 1)


def name_of(planted: Fault) -> str:
    """Of the table it stands in, as --only takes it."""
    return Path(planted.table).stem


def found_before(log: Path | None) -> set[str]:
    """The rows that a log says were found, the last time they were run."""
    if log is None or not log.exists():
        return set()
    rows = (json.loads(line) for line in log.read_text().splitlines())
    return {row for row, said in {row: said for row, said, _ in rows}.items() if said == "found"}
