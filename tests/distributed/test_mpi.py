"""Real ranks, under the mpiexec that is installed beside this Python: few, since each is a process.

Nothing here hangs on how fast ranks are, on which of them comes first, or on where mpiexec puts the
ends of the lines that several of them write.
"""

import hashlib
import re
from pathlib import Path

import numpy as np

from launching import mpiexec
from optional import needs
from ranks import numbers, on_ranks

pytestmark = needs("mpi4py")

HERE = Path(__file__).parent
DOCS = HERE.parents[1] / "docs" / "DISTRIBUTED.md"

AS_THREADS = f"""
import hashlib, sys
sys.path[:0] = [{str(HERE)!r}, {str(HERE.parent)!r}]
import ranks
settings = MPI(deterministic=True, block=5)
ranks.OnThreads = lambda *given, joined: settings
trained, _ = ranks.trained(settings.communicator, epochs=1)
found = hashlib.sha256(ranks.numbers(trained).tobytes()).hexdigest()
every = settings.communicator.exchange(found)
if settings.communicator.rank == 0:
    print(*every)
"""


def test_the_page_s_example_runs_and_ranks_train_as_those_of_threads(tmp_path):
    """Two checks of one launch: on four ranks, most of its time is that of beginning them."""
    example, *_ = re.findall(r"```py\n(.*?)```", DOCS.read_text(), re.DOTALL)
    script = tmp_path / "train.py"
    script.write_text(example + AS_THREADS)
    wanted = on_ranks(1, epochs=1, deterministic=True, block=5)[0][0]
    result = mpiexec(4, script)
    assert result.returncode == 0, result.stderr
    measured = re.findall(r"Metrics\([^()]*\)", result.stdout)
    assert len(measured) == 4
    assert len(set(measured)) == 1
    digests = re.findall(r"\b[0-9a-f]{64}\b", result.stdout)
    assert digests == [hashlib.sha256(numbers(wanted).tobytes()).hexdigest()] * 4


def test_an_error_on_one_rank_ends_all(tmp_path):
    script = tmp_path / "fails.py"
    script.write_text(
        "from arraycnn.distributed import MPI\n"
        "world = MPI().communicator\n"
        "if world.rank == 1:\n    raise MemoryError('full')\n"
        "world.exchange(1)\n"
    )
    result = mpiexec(2, script)  # without the hook it hangs
    assert result.returncode
    said = r"rank \d of 2, on [^\n]*: this ends all ranks"
    (line,) = re.findall(said, result.stderr)
    assert line.startswith("rank 1 of 2")
    assert line.endswith(": MemoryError: full: this ends all ranks")


def test_what_the_command_line_refuses_is_told_once(tmp_path, cli):
    code, _, lines = cli("train", "--deterministic")
    assert code == 2
    assert lines[-1].startswith("arraycnn: --deterministic needs --distributed")
    command = "arraycnn", "train", "--distributed", "--data-dir", tmp_path / "none"
    result = mpiexec(2, "-m", *command, "--dataset", "mnist", "--limit", 9)
    assert result.returncode
    said = re.findall(r"rank \d of 2, on [^\n]*the data folder must exist", result.stderr)
    # Rank 1 waits for rank 0, whose line is enough; where that is late, it tells, too.
    assert 1 <= len(said) == len(set(said)) <= 2


# A network of a user's own, whose last rank is killed when there is something to go on from.
KILLED = """
import os, signal, threading, time
from pathlib import Path

import arraycnn as cnn
from arraycnn.distributed.launchers import launched

def net(classes):
    return cnn.Sequential(cnn.Rescale(), cnn.Flatten(), cnn.BatchNorm(), cnn.Dense(classes))

def end():
    while not Path("run/last.npz").exists():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)

place = launched()
if place is not None and place.rank == place.size - 1:
    threading.Thread(target=end, daemon=True).start()
"""


def parameters(path):
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name.startswith(("params/", "state/"))}


def test_a_killed_run_goes_on_with_another_number_of_ranks(tmp_path, cli, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(KILLED)
    options = ["--network", "net.py:net", "--limit", 128, "--backend", "numpy", "--no-fast"]
    options += ["--batch-size", 24, "--epochs", 15, "--save-every", 1]
    options += ["--distributed", "--deterministic"]
    result = mpiexec(2, "-m", "arraycnn", "train", *options, "--out", "run")
    assert result.returncode  # what the launcher, or MPI, says of it is theirs
    told = result.stdout.splitlines() + result.stderr.splitlines()
    lines = [line for line in told if line.startswith("epoch")]
    assert len(lines) == len(set(lines)) < 15  # one rank speaks, and not to the end
    cli("train", "--resume", "run", "--network", "net.py:net", "--distributed", "--deterministic")
    cli("train", *options, "--out", "whole")
    found, wanted = (parameters(tmp_path / name / "last.npz") for name in ("run", "whole"))
    assert found.keys() == wanted.keys() != set()
    for name, array in wanted.items():
        assert np.array_equal(found[name], array), name
