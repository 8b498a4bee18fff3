"""Plant one fault at a time in a CUDA kernel or its launch code: do the tests notice, with no GPU?

    python tests/plant_cuda_faults.py                 # all: hours, on two cores
    python tests/plant_cuda_faults.py --only windows  # those of tests/cuda_faults/windows.py
    python tests/plant_cuda_faults.py tie             # those with the word in them

--help says more.

A module of tests/cuda_faults belongs to one kernel file. It has `TESTS`, the files of tests to run,
and `FAULTS`, rows (file under ops, what stands there once, the fault, what kind of fault it is) and
perhaps, behind them, the tests of this row alone. A fault that no test notices makes the exit
code 1. So does a row that does not fit the file any more, or does not compile.
"""

import os
import runpy

import planting
from planting import ROOT, Fault


def all_faults() -> list[Fault]:
    """Those of every module of tests/cuda_faults."""
    found = []
    for path in sorted((ROOT / "tests" / "cuda_faults").glob("*.py")):
        table = runpy.run_path(str(path))
        every = " ".join(table["TESTS"])
        for file, text, fault, kind, *tests in table["FAULTS"]:
            name = f"cuda_faults/{path.stem}"
            found.append(Fault(f"ops/{file}", text, fault, *(tests or (every,)), name, kind))
    return found


if __name__ == "__main__":
    planting.main(__doc__, all_faults(), jobs=len(os.sched_getaffinity(0)))
