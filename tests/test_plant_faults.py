"""The tables of faults name code, and tests, that are still there; what tests say of a fault."""

import json
import re
import runpy
import shlex
import signal
from functools import cache

import pytest

import plant_cuda_faults
import plant_faults
from planting import PACKAGE, ROOT, Fault, found_before, judged, misfit, outcome

FAULTS = [*plant_faults.all_faults(), *plant_cuda_faults.all_faults()]


@cache
def text_of(path):
    return path.read_text("utf-8")


@pytest.mark.parametrize("table", sorted({planted.table for planted in FAULTS}))
def test_faults_change_the_files_they_name(table):
    for planted in (one for one in FAULTS if one.table == table):
        assert not misfit(planted.text, planted.fault, text_of(PACKAGE / planted.file)), planted
        files = [word for word in shlex.split(planted.tests) if ".py" in word]
        assert files, planted
        for file, _, test in (one.partition("::") for one in files):
            assert f"def {test.partition('[')[0]}" in text_of(ROOT / "tests" / file), planted


def test_faults_for_the_fuzzers_change_the_files_they_name(monkeypatch):
    fuzz = ROOT / "tests" / "fuzz"
    monkeypatch.syspath_prepend(fuzz)
    for _, file, text, fault in runpy.run_path(str(fuzz / "plant_faults.py"))["FAULTS"]:
        assert not misfit(text, fault, text_of(PACKAGE / file)), (file, text)


@pytest.mark.parametrize(
    ("text", "fault", "said"),
    [
        ("def outcome", "def outcomes", "the text stands 0 times in the file, not once"),
        ("class InvalidValueError", "class InvalidValueError", "the fault is what stands there"),
        ("ArraycnnError", "Exception", r"the text stands \d\d times in the file, not once"),
    ],
)
def test_what_may_be_put_in_several_places_or_none_is_not_run(text, fault, said):
    result = outcome(Fault("errors.py", text, fault, "test_names.py"))
    assert result.said == "BROKEN"
    assert re.fullmatch(f"{said}: mend the table", result.by)


OF_KERNEL = Fault("x.cu", "a", "b", "test_x.py", "cuda_faults/x", "a bound")
OF_ALL = Fault("x.py", "a", "b", "test_x.py")
FAILED = "FAILED ops/test_x.py::test_y[a b] - AssertionError: 1"
REFUSED = "KernelFault: does not compile:\n"
JUDGED = [
    (OF_ALL, 0, "1 passed", ("MISSED", "")),
    (OF_ALL, 1, FAILED, ("found", "ops/test_x.py::test_y[a b]")),
    (OF_ALL, 1, REFUSED + FAILED, ("found", "ops/test_x.py::test_y[a b]")),
    (OF_ALL, 2, "ERROR ops/test_x.py - ImportError: x", ("found", "ops/test_x.py")),
    (OF_ALL, -11, "", ("found", "exit code -11")),
    (OF_KERNEL, 1, FAILED, ("found", "ops/test_x.py::test_y[a b]")),
    (OF_KERNEL, 1, REFUSED + FAILED, ("BROKEN", REFUSED + FAILED)),
    (OF_KERNEL, 1, REFUSED + "uninitialized\n" + FAILED, ("found", "ops/test_x.py::test_y[a b]")),
    (OF_KERNEL, 2, "ERROR", ("BROKEN", "ERROR")),
    *((OF_ALL, code, "no test ran", ("BROKEN", "no test ran")) for code in (3, 4, 5)),
]


@pytest.mark.parametrize(("planted", "code", "out", "expected"), JUDGED)
def test_what_a_run_of_tests_says_of_a_fault(planted, code, out, expected):
    assert judged(planted, code, out, "") == expected


def test_a_test_that_does_not_end_notices():
    expected = ("found", "a test that does not end")
    assert judged(OF_KERNEL, 1, "", "Timeout (0:30:00)!") == expected
    assert judged(OF_KERNEL, -signal.SIGXCPU, "", "") == expected


def test_what_was_found_is_not_run_again(tmp_path):
    log = tmp_path / "log"
    assert found_before(None) == found_before(log) == set()
    rows = [("a", "found", ""), ("b", "MISSED", ""), ("c", "MISSED", ""), ("c", "found", "")]
    log.write_text("".join(json.dumps(row) + "\n" for row in [*rows, ("a", "BROKEN", "")]))
    assert found_before(log) == {"c"}
