"""Two passes that together run each test once: bare, then with the optional packages.

A test that passed in the bare environment, and neither it nor anything it stands on asked for a
package that is missing there, does the same where the package is installed: it need not run again.
All others do: what was skipped, what is new, and what asked, as every test does that computes on
NumPy as a user gets it, with numba where numba is.

    ARRAYCNN_RAN=bare.jsonl pytest -n auto                                 # writes down what ran
    ARRAYCNN_RAN=full.jsonl ARRAYCNN_RAN_BARE=bare.jsonl pytest -n auto    # runs the others
    pytest --collect-only -q >collected.txt
    python tests/passes.py collected.txt bare.jsonl full.jsonl             # nothing is in neither

What asks is seen from outside: an import that nothing can serve, and a subprocess of this Python,
whose imports cannot be seen. It is asked by the file, since a file may keep what it has computed,
and by the fixture, since those of conftest.py are kept across files.
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

OPTIONAL = {"cupy", "cupy_backends", "cupyx", "jax", "numba", "onnx", "onnxruntime", "pandas"}
OPTIONAL |= {"safetensors", "scipy", "sklearn", "torch"}
"""What imports by these names find is not in the extra `test`; test_architecture.py compares."""
NEVER = ("no CUDA device", "a device runs them", "compute-sanitizer", "beside the project")
NEVER += ("this machine", "this user", "the superuser", "tests/test_gpu.py", "layer by layer")
"""Words in the reasons of what an ordinary machine cannot run in either pass."""

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
        _FILES.add(collector.nodeid.partition("::")[0])
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
    _WATCH.asked = item.nodeid.partition("::")[0] in _FILES
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
    ran = _OUTCOMES.setdefault(report.nodeid, {"outcome": "passed", "reason": "", "asked": True})
    if report.outcome != "passed":
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        ran.update(outcome=report.outcome, reason=reason)
    if report.when == "teardown":
        ran["asked"] = dict(report.user_properties).get("asked", True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if _RAN and not hasattr(session.config, "workerinput"):
        lines = (json.dumps({"test": test, **ran}) for test, ran in sorted(_OUTCOMES.items()))
        Path(_RAN).write_text("".join(f"{line}\n" for line in lines))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if _RAN_BARE:
        done = unaffected(read(Path(_RAN_BARE)))
        left = [item for item in items if item.nodeid in done]
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.nodeid not in done]


def read(path: Path) -> dict[str, dict]:
    """What a pass wrote, by test."""
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row.pop("test"): row for row in rows}


def unaffected(bare: dict[str, dict]) -> set[str]:
    """What the bare pass has settled: passed, in a file of which nothing that passed asked."""
    passed = {test: ran for test, ran in bare.items() if ran["outcome"] == "passed"}
    asked = {test.partition("::")[0] for test, ran in passed.items() if ran["asked"]}
    return {test for test in passed if test.partition("::")[0] not in asked}


def main(collected: Path, bare_path: Path, full_path: Path) -> str:
    """The counts of both passes; SystemExit where a test is in neither."""
    bare, full = read(bare_path), read(full_path)
    tests = {line for line in collected.read_text().splitlines() if "::" in line}
    settled = unaffected(bare)
    lost = tests - settled - set(full)
    reasons = Counter()
    for test in sorted(tests & set(full)):
        skipped = full[test]["outcome"] == "skipped"
        if skipped and bare.get(test, full[test])["outcome"] == "skipped":
            reasons[full[test]["reason"].removeprefix("Skipped: ")] += 1
    for reason, count in reasons.most_common():
        print(f"in neither pass: {count} tests: {reason}")
    unknown = [reason for reason in reasons if not any(word in reason for word in NEVER)]
    if lost or unknown:
        raise SystemExit(
            f"in neither pass: {sorted(lost)[:20]}, for reasons not in NEVER: {unknown}"
        )
    counts = f"{len(tests)} tests collected = {len(tests & settled)} settled by the bare pass"
    return f"{counts} + {len(tests - settled)} of the full pass"


if __name__ == "__main__":
    print(main(*map(Path, sys.argv[1:])))
