"""What .ci/run is made of: the two passes, the README's commands, the long parts."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import passes

ROOT = Path(__file__).parent.parent
TESTS_OF_A_USER = {
    "test_pure.py": "def test_sum(): assert 1 + 1 == 2\n",
    "test_asking.py": (
        "from importlib.util import find_spec\n"
        "def test_asks(): assert find_spec('package_of_nobody') is None\n"
        "def test_beside(): pass\n"
    ),
    "test_at_import.py": (
        "try: import package_of_nobody.parts\nexcept ImportError: pass\ndef test_nothing(): pass\n"
    ),
    "test_process.py": (
        "import subprocess, sys\n"
        "def test_python(): subprocess.run([sys.executable, '-c', ''], check=True)\n"
    ),
    "test_other_process.py": (
        "import subprocess\ndef test_true(): subprocess.run(['true'], check=True)\n"
    ),
    "test_fixture_first.py": "def test_one(kept): pass\n",
    "test_fixture_then.py": "def test_two(kept): pass\n",
    "test_marked.py": (
        "import pytest\nfrom optional import needs\n"
        "@pytest.mark.parametrize('fast', [pytest.param(1, marks=needs('numba_of_nobody')), 0])\n"
        "def test_of_each_kind(fast): pass\n"
    ),
    "test_skipping.py": (
        "import pytest\n"
        "def test_skips(): pytest.importorskip('package_of_nobody', reason='it is not installed')\n"
        "def test_pure(): pass\n"
    ),
}
CONFTEST = """
import pytest, passes
pytest_plugins = ["passes"]
passes.OPTIONAL.add("package_of_nobody")

@pytest.fixture(scope="session")
def kept():
    try: import package_of_nobody
    except ImportError: pass
"""


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """What a pass over `TESTS_OF_A_USER` wrote, and its folder."""
    folder = tmp_path_factory.mktemp("user")
    for name, text in TESTS_OF_A_USER.items():
        (folder / name).write_text(text)
    (folder / "conftest.py").write_text(CONFTEST)
    assert run(folder, ARRAYCNN_RAN=str(folder / "bare.jsonl")).returncode == 0
    return folder, passes.read(folder / "bare.jsonl")


def run(folder, *options, **environment):
    # Without what the pass is told in which this test runs.
    inherited = {name: value for name, value in os.environ.items() if name[:12] != "ARRAYCNN_RAN"}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=folder,
        env={**inherited, "PYTHONPATH": str(ROOT / "tests"), **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_asked_for_nothing_is_settled(bare):
    _, ran = bare
    expected = {"test_pure.py::test_sum", "test_other_process.py::test_true"}
    expected |= {"test_marked.py::test_of_each_kind[0]"}  # looking for it only marks the other
    assert passes.settled(ran) == {*expected, "test_skipping.py::test_pure"}
    assert len(ran) == 12


def test_the_second_pass_runs_the_others(bare):
    folder, ran = bare
    second = folder / "full.jsonl"
    done = run(folder, ARRAYCNN_RAN=str(second), ARRAYCNN_RAN_BARE=str(folder / "bare.jsonl"))
    assert done.returncode == 0, done.stdout
    assert set(passes.read(second)) == set(ran) - passes.settled(ran)
    assert passes.collected(second).read_text().splitlines() == sorted(ran)


def row(outcome="passed", asked=False, reason="", python=passes.PYTHON):
    return {"outcome": outcome, "asked": asked, "reason": reason, "python": python}


def test_a_test_in_neither_pass_is_told():
    tests = {"tests/test_a.py::x", "tests/test_b.py::y", "tests/test_b.py::z"}
    bare = {"tests/test_a.py::x": row(), "tests/test_b.py::y": row(asked=True)}
    with pytest.raises(SystemExit, match=r"neither pass ran: \['tests/test_b.py::y', .*::z'\]"):
        passes.both(tests, bare, {})
    full = {"tests/test_b.py::y": row(), "tests/test_b.py::z": row()}
    assert "3 tests collected: 1 settled by the bare pass, 2 run" in passes.both(tests, bare, full)


@pytest.mark.parametrize(
    "reason",
    ["llvmlite is not installed", "", "backend cupy: cupy is not installed; pip install it"],
)
def test_a_skip_in_both_passes_is_told(reason):
    ran = {"tests/test_a.py::x": row("skipped", asked=True, reason=f"Skipped: {reason}")}
    with pytest.raises(SystemExit, match="what was skipped for"):
        passes.both(set(ran), ran, ran)
    with pytest.raises(SystemExit, match="what was skipped for"):
        passes.both(set(ran), {}, ran)
    assert passes.both(set(ran), {"tests/test_a.py::x": row(asked=True)}, ran)


def test_what_no_ordinary_machine_can_run_is_counted():
    ran = {"tests/test_a.py::x": row("skipped", asked=True, reason="Skipped: no CUDA device")}
    assert "in neither pass: 1 tests: no CUDA device" in passes.both(set(ran), ran, ran)


def test_what_hangs_on_no_kernel_is_settled_once_it_has_passed():
    ran = {
        "tests/test_report_page.py::x": row(asked=True),
        "tests/test_report_page.py::y": row("skipped", asked=True),
        "tests/test_cuda_graph.py::x": row(asked=True, python="3.99"),
        "tests/test_fit.py::x": row(asked=True),
        "tests/test_cli.py::x": row(asked=True),
    }
    assert passes.settled(ran) == {"tests/test_report_page.py::x", "tests/test_cuda_graph.py::x"}


def test_what_asks_is_the_file_or_the_test_alone():
    """The file, but where its tests keep nothing for one another."""
    ran = {
        "tests/test_fit.py::x": row(asked=True),
        "tests/test_fit.py::y": row(),
        "tests/test_interrupts.py::x": row(asked=True),
        "tests/test_interrupts.py::y": row(),
        "tests/test_interrupts.py::z": row("skipped"),
    }
    assert passes.settled(ran) == {"tests/test_interrupts.py::y"}


def files_of(patterns):
    for pattern in patterns:
        found = sorted((ROOT / "tests").rglob(f"test_{pattern}.py"))
        assert found, pattern
        yield from found


def test_files_whose_tests_ask_singly_keep_nothing_they_computed():
    for path in files_of(passes.SINGLY):
        for node in ast.walk(ast.parse(path.read_text())):
            words = {"cache", "lru_cache", "cached_property", "global"}
            assert not isinstance(node, ast.Global), f"{path.name}:{node.lineno}"
            decorators = getattr(node, "decorator_list", [])
            named = {
                part for one in decorators for part in words if part in ast.unparse(one).split(".")
            }
            assert not named, f"{path.name}:{node.lineno}: {named}"


def test_the_files_that_take_longest_are_told(bare):
    ran = {f"tests/test_{file}.py::{n}": row() | {"seconds": n} for file in "abc" for n in range(3)}
    ran["tests/test_b.py::1"]["seconds"] = 7.25
    assert passes.costliest(ran, 2) == [("test_b.py", 9.25), ("test_a.py", 3)]
    assert "9.2 s of tests in test_b.py" in passes.both(set(ran), {}, ran)
    assert 0 < sum(outcome["seconds"] for outcome in bare[1].values()) < 60


def test_another_python_runs_again_what_a_python_can_break():
    bare = {name: row(python="3.99") for name in ("tests/test_cli.py::x", "tests/test_fit.py::y")}
    assert passes.settled(bare) == {"tests/test_fit.py::y"}


def test_a_file_left_out_is_told():
    files = sorted(path.name for path in (ROOT / "tests").rglob("test_*.py"))
    assert "test_program_plan.py" in files
    tests = {f"tests/{name}::x" for name in files}
    assert f"all {len(files)} files" in passes.all_files(tests)
    with pytest.raises(SystemExit, match=files[3]):
        passes.all_files(tests - {f"tests/{files[3]}::x"})


def test_every_pass_is_of_all_files(tmp_path):
    """The command at the end of .ci/run: of two passes, or of one."""
    tests = [f"tests/{path.name}::x" for path in sorted((ROOT / "tests").rglob("test_*.py"))]
    for name in ("bare", "full"):
        (tmp_path / f"{name}.tests").write_text("\n".join(tests))
        rows = (json.dumps({"test": test, **row()}) for test in tests)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    both = [str(tmp_path / "bare.jsonl"), str(tmp_path / "full.jsonl")]
    assert f"{len(tests)} settled by the bare pass, 0 run" in passes.main(*both)
    (tmp_path / "bare.tests").write_text("\n".join(tests[1:]))
    for some in (both, both[:1]):
        with pytest.raises(SystemExit, match="left out of collection"):
            passes.main(*some)


def test_a_failure_stays_in_what_is_written(tmp_path):
    (tmp_path / "test_it.py").write_text("def test_fails(): assert 0\n")
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["passes"]\n')
    assert run(tmp_path, "-n", "2", ARRAYCNN_RAN=str(tmp_path / "r.jsonl")).returncode == 1
    (line,) = (tmp_path / "r.jsonl").read_text().splitlines()
    assert json.loads(line)["outcome"] == "failed"
    assert (tmp_path / "r.tests").read_text() == "test_it.py::test_fails\n"


def test_every_pattern_names_files():
    assert list(files_of((*passes.EVERY_PYTHON, *passes.ONCE)))


def test_ci_runs_the_readmes_commands():
    command = [sys.executable, ROOT / ".ci" / "readme_commands"]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert found == 'pip install . && arraycnn train\npip install ".[test]" && pytest -n auto\n'
    script = (ROOT / ".ci" / "run").read_text()
    assert "pytest -n auto" not in script.partition("# --- The report")[0]  # not repeated there


def test_every_long_part_is_there():
    listed = subprocess.run(
        ["bash", ROOT / ".ci" / "long", "--list"], capture_output=True, text=True, check=True
    ).stdout
    assert len(listed.splitlines()) >= 7
    for line in listed.splitlines():
        _, python, script, *_ = line.split()
        assert python == "python"
        assert (ROOT / script).is_file()
