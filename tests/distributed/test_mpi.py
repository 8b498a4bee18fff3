"""Real ranks, under the mpiexec that is installed beside this Python: few, since each is a process."""

import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from optional import needs
from ranks import numbers, on_ranks

pytestmark = needs("mpi4py")

DOCS = Path(__file__).parents[2] / "docs" / "DISTRIBUTED.md"


def mpiexec(ranks, *command, limit=100, **environment):
    """The result of ``command`` on so many ranks, with the flags that root and few cores need."""
    given = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        **environment,
    }
    found = ["mpiexec", "-n", str(ranks), sys.executable, *map(str, command)]
    return subprocess.run(found, capture_output=True, text=True, timeout=limit, env=given)


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
        "print(hashlib.sha256(ranks.numbers(model).tobytes()).hexdigest())\n"
    )
    wanted = on_ranks(1, epochs=1, deterministic=True, block=7)[0][0]
    result = mpiexec(2, script)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [hashlib.sha256(numbers(wanted).tobytes()).hexdigest()] * 2


def test_the_page_s_example_runs(tmp_path):
    (example,) = re.findall(r"```py\n(.*?)```", DOCS.read_text(), re.DOTALL)
    script = tmp_path / "train.py"
    script.write_text(example)
    result = mpiexec(4, script)
    assert result.returncode == 0, result.stderr
    assert len(set(result.stdout.splitlines())) == 1  # all ranks measure the same


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
