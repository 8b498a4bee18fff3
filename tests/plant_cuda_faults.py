"""Plant one fault at a time in a CUDA kernel or its launch code: do the tests notice, with no GPU?

    python tests/plant_cuda_faults.py               # all: hours, on two cores
    python tests/plant_cuda_faults.py windows       # those of tests/cuda_faults/windows.py
    python tests/plant_cuda_faults.py windows tie   # and of these, those with the word in them

A module of tests/cuda_faults belongs to one kernel file. It has `TESTS`, the files of tests to run,
and `FAULTS`, rows (file under ops, what stands there once, the fault, what kind of fault it is).
Each fault is put into a copy of the package. One that no test notices is printed, and makes the exit
code 1. So does a row that does not fit the file any more, or does not compile.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "src" / "arraycnn"
MOST_SECONDS = 600  # a kernel that never ends is a fault that was noticed

Row = tuple[str, str, str, str]


def outcome(tests: tuple[str, ...], row: Row) -> tuple[str, str]:
    """What the tests say to a copy of the package with the fault.

    "found", "MISSED" or "BROKEN", and in the last case why.
    """
    file, text, fault, _ = row
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "arraycnn"
        shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
        path = package / "ops" / file
        source = path.read_text()
        if source.count(text) != 1 or text == fault:
            return "BROKEN", f"the text stands there {source.count(text)} times"
        path.write_text(source.replace(text, fault))
        command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider"]
        try:
            result = subprocess.run(
                [*command, *(str(TESTS / name) for name in tests)],
                cwd=TESTS.parent,
                env={**os.environ, "PYTHONPATH": folder, "OPENBLAS_NUM_THREADS": "1"},
                capture_output=True,
                text=True,
                check=False,
                timeout=MOST_SECONDS,
            )
        except subprocess.TimeoutExpired:
            return "found", ""
    if result.returncode == 0:
        return "MISSED", ""
    refused = "does not compile" in result.stdout and "uninitialized" not in result.stdout
    ran = result.returncode == 1 or result.returncode < 0  # below 0: the process itself broke down
    return ("found", "") if ran and not refused else ("BROKEN", result.stdout[-2000:])


def main() -> None:
    topics = sorted(path.stem for path in (TESTS / "cuda_faults").glob("*.py"))
    chosen = [name for name in topics if name in sys.argv[1:2]] or topics
    word = sys.argv[2] if len(sys.argv) > 2 else ""
    if sys.argv[1:] and chosen == topics and len(topics) > 1:
        raise SystemExit(f"the first word is one of {', '.join(topics)}")
    good = True
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for topic in chosen:
            table = import_module(f"cuda_faults.{topic}")
            rows = [row for row in table.FAULTS if any(word in part for part in row)]
            outcomes = pool.map(outcome, [table.TESTS] * len(rows), rows)
            found = 0
            for row, (said, why) in zip(rows, outcomes, strict=True):
                file, text, fault, kind = row
                found += said == "found"
                print(f"{said:6} {file}: {kind}: {text!r} -> {fault!r} {why}", flush=True)
            print(f"{topic}: {found} of {len(rows)} faults found", flush=True)
            good &= found == len(rows)
    raise SystemExit(0 if good else 1)


if __name__ == "__main__":
    main()
