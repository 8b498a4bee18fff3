"""Nothing here talks to the network but a download: sockets raise, and everything still works.

An audit hook sees every socket of the process, whichever module makes it.
"""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

DATA = Path(__file__).parent.parent.parent.parent / "shared" / "data"

BLOCKED = """
import sys

def refuse(event, arguments):
    if event.startswith("socket."):
        raise RuntimeError(f"the network was asked for: {event} {arguments}")

sys.addaudithook(refuse)
"""

IMPORTS = """
import importlib, pkgutil, arraycnn
for module in pkgutil.walk_packages(arraycnn.__path__, "arraycnn."):
    if module.name.endswith("__main__"):
        continue
    try:
        importlib.import_module(module.name)
    except ImportError as error:
        cause = error.__cause__ or error
        print(module.name, cause.name)
print("done")
"""

NEEDS = {
    "arraycnn.estimator": {"sklearn"},
    "arraycnn.execution.clocked_compiled": {"llvmlite"},
    "arraycnn.execution.compiled": {"llvmlite"},
    "arraycnn.ops.compiled": {"llvmlite"},
    "arraycnn.ops.conv2d.compiled": {"llvmlite"},
    "arraycnn.ops.dense.compiled": {"llvmlite"},
    "arraycnn.ops.max_pool2d.compiled": {"llvmlite"},
    "arraycnn.program.render": {"llvmlite"},
}
"""The modules that cannot be imported without the package of an extra."""

COMMANDS = """
from arraycnn.cli import main

def run(*arguments):
    sys.argv = ["arraycnn", *arguments]
    try:
        main()
    except SystemExit as end:
        assert end.code == 0, (arguments, end.code)

run("train", "--backend", "numpy", "--epochs", "1", "--limit", "100", "--out", "run", *{data!r})
run("evaluate", "run/last.npz", "--backend", "numpy", "--limit", "50", *{data!r})
run("info")
print("done")
"""


def blocked(program, folder):
    return subprocess.run(
        [sys.executable, "-c", BLOCKED + program],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_hook_sees_the_network(tmp_path):
    program = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/')"
    assert "the network was asked for" in blocked(program, tmp_path).stderr


def test_importing_every_module(tmp_path):
    result = blocked(IMPORTS, tmp_path)
    *missing, end = result.stdout.splitlines() or [""]
    assert end == "done", result.stderr
    for module, package in map(str.split, missing):
        assert find_spec(package) is None, f"{module} does not find the {package} that is there"
        assert any(package in NEEDS[name] for name in NEEDS if module.startswith(name)), module


def test_every_file_is_in_the_words_of_this_python():
    root = Path(__file__).parent.parent.parent
    files = [
        path
        for part in ("src", "tests", "bench", "examples")
        for path in (root / part).rglob("*.py")
    ]
    assert len(files) > 400
    for path in files:
        compile(path.read_bytes(), path, "exec")


@pytest.mark.parametrize("name", ["digits", "mnist"])
def test_training_and_evaluating_once_the_data_is_there(tmp_path, name):
    data = ()
    if name == "mnist":
        if not (DATA / "mnist").is_dir():
            pytest.skip("the real MNIST files are not beside the project")
        data = ("--dataset", "mnist", "--data-dir", str(DATA / "mnist"))
    result = blocked(COMMANDS.format(data=data), tmp_path)
    assert result.stdout.endswith("done\n"), result.stderr
    assert "the network was asked for" not in result.stderr
