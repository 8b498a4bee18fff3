"""Real ranks, under the mpiexec that is installed beside this Python: few, since each is a process."""

import hashlib
import re
import time
from pathlib import Path

import numpy as np
import pytest

from launching import Launched, mpiexec, wait_until
from optional import needs
from ranks import numbers, on_ranks

pytestmark = needs("mpi4py")

DOCS = Path(__file__).parents[2] / "docs" / "DISTRIBUTED.md"


def test_ranks_of_mpi_train_as_those_of_threads(tmp_path):
    script = tmp_path / "train.py"
    folder = str(Path(__file__).parent)
    script.write_text(
        "import hashlib, sys\n"
        f"sys.path.insert(0, {folder!r})\n"
        "import ranks\n"
        "from arraycnn.distributed import MPI\n"
        "settings = MPI(deterministic=True, block=7)\n"
        "ranks.OnThreads = lambda *given, joined: settings\n"
        "model, _ = ranks.trained(settings.communicator, epochs=1)\n"
        "found = hashlib.sha256(ranks.numbers(model).tobytes()).hexdigest()\n"
        "every = settings.communicator.exchange(found)\n"  # mpiexec may mix what ranks print
        "if settings.communicator.rank == 0: print(*every)\n"
    )
    wanted = on_ranks(1, epochs=1, deterministic=True, block=7)[0][0]
    result = mpiexec(2, script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [hashlib.sha256(numbers(wanted).tobytes()).hexdigest()] * 2


def test_the_page_s_example_runs(tmp_path):
    example, *_ = re.findall(r"```py\n(.*?)```", DOCS.read_text(), re.DOTALL)
    script = tmp_path / "train.py"
    script.write_text(example)
    result = mpiexec(4, script)
    assert result.returncode == 0, result.stderr
    # All ranks measure the same; mpiexec may put the ends of their lines elsewhere.
    measured = result.stdout.replace("\n", "").split("Metrics(")[1:]
    assert len(measured) == 4
    assert len(set(measured)) == 1


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ("raise KeyError('lost')", "rank 1 of 2, on .*: KeyError: 'lost': this ends all ranks"),
        ("raise MemoryError('full')", "rank 1 of 2, on .*: MemoryError: full: this ends all ranks"),
    ],
)
def test_an_error_on_one_rank_ends_all(tmp_path, fails, said):
    script = tmp_path / "fails.py"
    script.write_text(
        "from arraycnn.distributed import MPI\n"
        "world = MPI().communicator\n"
        f"if world.rank == 1:\n    {fails}\n"
        "world.exchange(1)\n"
    )
    began = time.monotonic()
    result = mpiexec(2, script)
    assert result.returncode
    assert time.monotonic() - began < 60  # alone it is two seconds; without the hook, for ever
    assert len(re.findall(f"^.*{said}$", result.stderr, re.MULTILINE)) == 1


def test_what_the_command_line_refuses_is_told_once(tmp_path, cli):
    code, _, lines = cli("train", "--deterministic")
    assert code == 2
    assert lines[-1].startswith("arraycnn: --deterministic needs --distributed")
    (tmp_path / "full").write_text("")
    command = "arraycnn", "train", "--distributed", "--data-dir", tmp_path / "full"
    result = mpiexec(2, "-m", *command, "--dataset", "mnist", "--limit", 9)
    lines = [line for line in result.stderr.splitlines() if line.startswith("arraycnn: ")]
    assert result.returncode
    assert len(lines) == len(set(lines))  # whichever the backend, it is named once
    assert [line for line in lines if "rank" in line] == lines[-1:]
    assert lines[-1].startswith("arraycnn: rank 0 of 2, on ")


def parameters(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name.startswith(("params/", "state/"))}


def test_a_killed_run_goes_on_with_another_number_of_ranks(tmp_path, cli):
    run, whole = tmp_path / "run", tmp_path / "whole"
    options = ["--limit", 128, "--backend", "numpy", "--no-fast"]
    options += ["--batch-size", 24, "--epochs", 12]
    options += ["--save-every", 1, "--distributed", "--deterministic"]
    launched = Launched(2, "-m", "arraycnn", "train", *options, "--out", run)
    try:
        wait_until(lambda: (run / "last.npz").exists())
        launched.kill(1)
        seconds, said = launched.ended(within=60)
    finally:
        launched.close()
    assert seconds < 10
    assert launched.process.returncode
    # The launcher's line, or MPI's own of a rank that was just reading from the one that is gone.
    assert "KILLED" in said or "signal 9" in said or "process_vm_readv failed" in said
    lines = [line for line in said.splitlines() if line.startswith("epoch")]
    assert len(lines) == len(set(lines))  # one rank speaks
    cli("train", "--resume", run, "--distributed", "--deterministic")
    cli("train", *options, "--out", whole)
    found, wanted = (parameters(folder / "last.npz") for folder in (run, whole))
    assert found.keys() == wanted.keys() != set()
    for name, array in wanted.items():
        assert np.array_equal(found[name], array), name
