"""Run what needs a CUDA device on the CUDA of the host (tests/host_driver), and count it.

    python tests/on_host_driver.py --quick    # backend, launcher and recorded plan: under a minute
    python tests/on_host_driver.py            # each test of the mark `gpu`, too: minutes

Each order of streams, eager and lazy, is a process of its own, since CuPy is imported once only; both
run at the same time, and what they print is shown one after the other. The quick run is of lazy
streams, which show more; the tests of the driver itself are always of both. It ends with 1 where a test
failed, or was skipped that could have run.
"""

import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

HERE = Path(__file__).parent
OF_THE_DRIVER = sorted(str(path) for path in HERE.glob("backends/test_host_driver*.py"))
OF_A_DEVICE = [str(HERE / "backends" / "test_gpu.py")]
LEFT_OUT_OF_QUICK = (
    *("kernels_equal", "kernels_repeat", "layers_equal", "device_header"),
    *("basic", "fp32-eager", "residual-eager", "residual-fp32", "residual-tf32", "residual-bf16"),
    *("lenet5-tf32", "lenet5-bf16"),
)
"""Names of tests of a device: tests/ops/test_cuda_*.py has each kernel, tests/layers each layer; of
trainings, one precision of one network shows what the others do.
"""
MAY_BE_SKIPPED = ("layer by layer",)
"""Words in the reasons of what no device runs."""


def run(streams: str, files: list[str], names: str) -> tuple[str, Counter[str]]:
    """What a process prints that runs the tests in ``files`` whose names match, and counts by outcome.

    Behind what pytest prints stands what tests have counted: calls and their bounds, and the bytes that
    work left behind.
    """
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "outcomes.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--durations=8"]
        command += [
            f"--host-driver={streams}",
            f"--junit-xml={written}",
            "-o",
            "junit_family=xunit1",
        ]
        command += ["-k", names, *files]
        both = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
        ended = subprocess.run(command, cwd=HERE.parent, check=False, **both)
        if not written.exists():
            message = f"{ended.stdout}\npytest ended with {ended.returncode} before it had run"
            raise SystemExit(message)
        tests = ElementTree.parse(written)
    noted = [(one.get("name"), one.get("value", "")) for one in tests.iter("property")]
    left = [int(value) for name, value in noted if name == "bytes left"]
    printed = (
        f"== {streams} streams\n{ended.stdout}"
        f"bytes left on the device by {len(left)} kinds of work, 20 times each: {sum(left)}"
    )
    counted = [value for name, value in noted if name == "count"]
    return "\n".join((printed, *counted)), Counter(map(outcome, tests.iter("testcase")))


def outcome(test: ElementTree.Element) -> str:
    skipped = test.find("skipped")
    if skipped is not None:
        reason = skipped.get("message", "")
        expected = any(words in reason for words in MAY_BE_SKIPPED)
        return "skipped" if expected else "skipped without need"
    broken = test.find("failure") is not None or test.find("error") is not None
    return "failed" if broken else "passed"


def main(*arguments: str) -> None:
    quick = "--quick" in arguments
    left_out = ("sanitizers", *(LEFT_OUT_OF_QUICK if quick else ()))

    def of(streams: str) -> tuple[str, Counter[str]]:
        files = OF_THE_DRIVER + ([] if quick and streams == "eager" else OF_A_DEVICE)
        return run(streams, files, f"not ({' or '.join(left_out)})")

    counts: Counter[str] = Counter()
    with ThreadPoolExecutor(2) as pool:
        for printed, found in pool.map(of, ("eager", "lazy")):
            print(printed, flush=True)
            counts += found
    unneeded = counts["skipped without need"]
    if unneeded:
        print(f"{unneeded} tests were skipped that could have run on the CUDA of the host")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    raise SystemExit(bool(unneeded or counts["failed"] or not counts["passed"]))


if __name__ == "__main__":
    main(*sys.argv[1:])
