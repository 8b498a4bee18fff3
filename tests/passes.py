"""Two passes that together run each test once: bare, then with the optional packages.

A test that passed in the bare environment, and neither it nor anything it stands on asked for a
package that is missing there, does the same where the package is installed: it need not run again.
All others do: what was skipped, what is new, and what asked, as every test does that computes on
NumPy as a user gets it, with compiled kernels where llvmlite is.

    ARRAYCNN_RAN=bare.jsonl pytest -n auto                                 # writes down what ran
    ARRAYCNN_RAN=full.jsonl ARRAYCNN_RAN_BARE=bare.jsonl pytest -n auto    # runs the others
    python tests/passes.py bare.jsonl full.jsonl                           # nothing is in neither

Beside what ran, a pass writes down the tests that it collected (full.tests): of all files, or
passes.py fails. The passes may be of two Pythons; what a Python can break, `EVERY_PYTHON`, runs on
each. ``ARRAYCNN_RAN_BARE=none`` runs that alone.

What asks is seen from outside: an import that nothing can serve, and a subprocess of this Python,
whose imports cannot be seen. It is asked by the file, since a file may keep what it has computed,
and by the fixture, since those of conftest.py are kept across files; in a file of `SINGLY`, by the
test and its fixtures, and by the file while it is read. What a file of `ONCE` shows does
not hang on which kernels compute: there, a test that passed is settled whatever it asked for.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

OPTIONAL = {"cupy", "cupy_backends", "cupyx", "jax", "llvmlite", "mpi4py", "onnx", "onnxruntime"}
OPTIONAL |= {"pandas"}
OPTIONAL |= {"safetensors", "scipy", "sklearn", "torch"}
"""What imports by these names find is not in the extra `test`; test_architecture.py compares."""
EVERY_PYTHON = ("checkpoint", "cli", "data_*", "image_files", "no_network", "numpy_files")
EVERY_PYTHON += ("readme", "saved")
"""Files of tests of what the standard library does for us: text, files, processes, arguments."""
ONCE = ("architecture", "batch_size", "bench_*", "callbacks", "class_names", "cli_images")
ONCE += ("cli_resume", "cli_schedules", "cuda_*", "damaged_pictures", "distribution_shift")
ONCE += ("fuzz", "gpu_*", "names", "remedies", "report_browser", "report_cells")
ONCE += ("report_page", "result_file", "roofline", "run_folder")
"""Files of tests of pages, readers, words, files and launches, for which NumPy's kernels do."""
SINGLY = (
    "array_rules",
    "file_kinds",
    "host_plans",
    "interrupts",
    "layer_*",
    "layers",
    "out_of_memory",
)
SINGLY += ("polarity", "program_*", "streaming", "user_paths")
"""Files whose tests keep nothing for one another but by fixtures, or what each would ask for as well.

In them a package may be looked for to mark what is skipped without it (`optional.installed`); a
backend that names its kernels, as ``NumPy(fast=False)`` does, asks for none."""
NEVER = (
    "no NVIDIA driver",
    "no CUDA device",
    "a device runs them",
    "compute-sanitizer",
    "beside the project",
    "--host-driver",
)
NEVER += ("this machine", "this user", "the superuser", "layer by layer", "this Pillow")
"""Words in the reasons of what an ordinary machine cannot run in either pass."""

HERE = Path(__file__).parent
PYTHON = "{}.{}".format(*sys.version_info)
_RAN, _RAN_BARE = os.environ.get("ARRAYCNN_RAN"), os.environ.get("ARRAYCNN_RAN_BARE")


class _Watch:
    """The last finder of imports: whatever reaches it is not installed."""

    def __init__(self) -> None:
        self.asked = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        if name.partition(".")[0] in OPTIONAL:
            self.asked = True

    def heard(self, event: str, arguments: tuple) -> None:
        if event == "subprocess.Popen":
            command = [arguments[0], *(arguments[1] or ())]
            if any(str(part).startswith(sys.prefix) for part in command if part):
                self.asked = True


_WATCH = _Watch()


@contextmanager
def unasked() -> Iterator[None]:
    """Within the block nothing is noted."""
    before = _WATCH.asked
    try:
        yield
    finally:
        _WATCH.asked = before


_FILES: set[str] = set()  # that asked while they were read
_FIXTURES: set[str] = set()  # that asked while they were made
if _RAN:
    sys.meta_path.append(_WATCH)
    sys.addaudithook(_WATCH.heard)


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[None]:
    _WATCH.asked = False
    result = yield
    if _WATCH.asked:
        _FILES.add(file_of(collector.nodeid))
    return result


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: Any) -> Iterator[None]:
    before, _WATCH.asked = _WATCH.asked, False
    result = yield
    if _WATCH.asked:
        _FIXTURES.add(f"{fixturedef.baseid}::{fixturedef.argname}")
    _WATCH.asked |= before
    return result


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _WATCH.asked = file_of(item.nodeid) in _FILES
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo) -> Iterator[None]:
    if call.when == "teardown":
        used = getattr(item, "_fixtureinfo", None)
        made = used.name2fixturedefs.values() if used else ()
        for definition in (one for several in made for one in several):
            _WATCH.asked |= f"{definition.baseid}::{definition.argname}" in _FIXTURES
        item.user_properties.append(("asked", _WATCH.asked))
    return (yield)


_OUTCOMES: dict[str, dict] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """In the process that hears of every test, which with xdist runs none itself."""
    begun = {"outcome": "passed", "reason": "", "asked": True, "seconds": 0.0}
    ran = _OUTCOMES.setdefault(report.nodeid, begun)
    ran["seconds"] = round(ran["seconds"] + report.duration, 3)
    if report.outcome != "passed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        ran.update(outcome=report.outcome, reason=reason)
    if report.when == "teardown":
        ran["asked"] = dict(report.user_properties).get("asked", True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _RAN and not hasattr(session.config, "workerinput"):
        lines = (
            json.dumps({"test": test, "python": PYTHON, **ran})
            for test, ran in sorted(_OUTCOMES.items())
        )
        Path(_RAN).write_text("".join(f"{line}\n" for line in lines))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    tests = {item.nodeid for item in items}
    # Each process of xdist collects, the first but none; and xdist sees that they find the same.
    if _RAN and getattr(config, "workerinput", {"workerid": "gw0"})["workerid"] == "gw0":
        collected(Path(_RAN)).write_text("".join(f"{test}\n" for test in sorted(tests)))
    if _RAN_BARE == "none":
        kept = {test for test in tests if is_of(test, EVERY_PYTHON)}
    elif _RAN_BARE:
        kept = tests - settled(read(Path(_RAN_BARE)))
    else:
        return
    config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in kept])
    items[:] = [item for item in items if item.nodeid in kept]


def collected(path: Path) -> Path:
    """Where the pass that writes ``path`` lists all tests that it found, run or not."""
    return path.with_suffix(".tests")


def is_of(test: str, patterns: tuple[str, ...]) -> bool:
    """Whether ``test`` is of a file that ``patterns`` name."""
    return any(fnmatch(file_of(test), f"test_{pattern}.py") for pattern in patterns)


def file_of(test: str) -> str:
    """The name of its file."""
    return test.partition("::")[0].rpartition("/")[2]


def read(path: Path) -> dict[str, dict]:
    """What a pass wrote, by test."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row.pop("test"): row for row in rows}


def settled(bare: dict[str, dict]) -> set[str]:
    """What need not run here: it passed in the bare pass, and nothing asked, or it is of `ONCE`."""
    passed = {test for test, ran in bare.items() if ran["outcome"] == "passed"}
    asked = {file_of(test) for test in passed if bare[test]["asked"]}

    def hangs_on_kernels(test: str) -> bool:
        if is_of(test, ONCE):
            return False
        return bare[test]["asked"] if is_of(test, SINGLY) else file_of(test) in asked

    def is_of_this_python(test: str) -> bool:
        return bare[test]["python"] == PYTHON or not is_of(test, EVERY_PYTHON)

    return {test for test in passed if is_of_this_python(test) and not hangs_on_kernels(test)}


def both(tests: set[str], bare: dict[str, dict], full: dict[str, dict]) -> str:
    """The counts of both passes; SystemExit where one of ``tests`` is in neither."""
    done = tests & settled(bare)
    lost = sorted(tests - done - set(full))
    skipped = Counter(
        full[test]["reason"].removeprefix("Skipped: ")
        for test in sorted(tests & set(full) - done)
        if full[test]["outcome"] == "skipped" and bare.get(test, {}).get("outcome") != "passed"
    )
    lines = [f"in neither pass: {count} tests: {reason}" for reason, count in skipped.items()]
    lines += [f"{seconds:8.1f} s of tests in {file}" for file, seconds in costliest(full)]
    unknown = [reason for reason in skipped if not any(word in reason for word in NEVER)]
    lines.append(
        f"{len(tests)} tests collected: {len(done)} settled by the bare pass, "
        f"{len(tests) - len(done)} run by the full pass"
    )
    if lost or unknown:
        lines.append(f"neither pass ran: {lost[:20]}, and what was skipped for: {unknown}")
        raise SystemExit("\n".join(lines))
    return "\n".join(lines)


def costliest(ran: dict[str, dict], count: int = 12) -> list[tuple[str, float]]:
    """The files whose tests took longest in a pass, with their seconds."""
    seconds: Counter[str] = Counter()
    for test, outcome in ran.items():
        seconds[file_of(test)] += outcome.get("seconds", 0.0)
    return seconds.most_common(count)


def all_files(tests: set[str]) -> str:
    """A count; SystemExit where a file of tests is not among those of ``tests``."""
    files = {path.name for path in HERE.rglob("test_*.py")}
    left_out = sorted(files - {file_of(test) for test in tests})
    if left_out:
        raise SystemExit(f"left out of collection: {', '.join(left_out)}")
    return f"{len(tests)} tests of all {len(files)} files collected"


def main(*passes: str) -> str:
    paths = [Path(name) for name in passes]
    tests = [set(collected(path).read_text().splitlines()) for path in paths]
    found = [all_files(of_one) for of_one in tests]
    if len(paths) == 2:
        found.append(both(tests[-1], *map(read, paths)))
    return "\n".join(found)


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
