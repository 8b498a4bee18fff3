"""Compile each CUDA kernel that the benchmarks' networks start: the list is the planner's own.

    python tests/cuda_planned.py                  # for sm_90: what .ci/run does
    python tests/cuda_planned.py 80 90 100        # for these architectures

Of all networks, batch sizes and precisions of bench/roofline.py, written kernels and generated ones:
prints for each what it takes, with how many threads and how much dynamic shared memory it is started,
how many instructions a turn of a product's main loop has for how many multiplications, and in which
networks. Ends with 1 where one does not compile, spills registers, or is started as no
device would take it. tests/cuda_kernels.txt has those that tests run on the CPU.
"""

import os
import re
import sys
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path

from arraycnn.ops.cuda.sources import is_generated
from cuda_table import Launches, wrong_with
from host_cuda.device_code import DoesNotCompile, compiled
from host_cuda.machine_code import machine_code

BENCH = Path(__file__).parent.parent / "bench"
if str(BENCH) not in sys.path:
    sys.path.append(str(BENCH))

MULTIPLIES = re.compile(r"\b(Mma|Fma)<")
"""In the name of a kernel of ops/cuda/tiles.cuh: its main loop is what is held to bounds."""


@dataclass
class Planned:
    """How the planner starts a kernel."""

    launches: Launches = field(default_factory=Launches)
    networks: set[str] = field(default_factory=set)


def planned(cells: Iterable[tuple[str, str, int]]) -> dict[tuple[str, str], Planned]:
    """The kernels, (file, name), of training steps of these (network, precision, batch)."""
    from launches import launches_of_step

    found: dict[tuple[str, str], Planned] = defaultdict(Planned)
    for net, precision, batch in cells:
        for launch in launches_of_step(net, batch, precision):
            row = found[launch.file, launch.kernel]
            row.launches.count += 1
            row.launches.threads = max(row.launches.threads, launch.threads)
            row.launches.shared = max(row.launches.shared, launch.shared)
            row.networks.add(net)
    return dict(sorted(found.items()))


def wrong_on(architecture: int, kernels: dict[tuple[str, str], Planned]) -> list[str]:
    """What is wrong with ``kernels`` there; prints a line for each."""

    def look(key: tuple[str, str]) -> tuple[str, list[str]]:
        row, name = kernels[key], " ".join(key)
        try:
            figures = compiled(*key, architecture).figures
        except DoesNotCompile as error:
            return f"sm_{architecture} {name}: does not compile", [str(error)]
        line = (
            f"sm_{architecture} {figures.registers:9d} {row.launches.threads:7d} "
            f"{figures.shared + row.launches.shared:7d}  {main_loop(key, architecture):>11}  "
            f"{','.join(sorted(row.networks)):20}  {name}"
        )
        if figures.spilled and not spills_in_loops(key, architecture):
            figures = replace(figures, spilled=0)
        wrong = wrong_with(figures, row.launches)
        return line, [f"{name} on sm_{architecture}: {what}" for what in wrong]

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rows = list(pool.map(look, kernels))
    print("\n".join(line for line, _ in rows), flush=True)
    return [what for _, found in rows for what in found]


def main_loop(key: tuple[str, str], architecture: int) -> str:
    """What a product issues in a turn of its main loop, of them multiplications: "230/32"."""
    if is_generated(key[0]) or not MULTIPLIES.search(key[1]):
        return ""
    turn = machine_code(*key, architecture).main_loop.path
    return f"{len(turn)}/{turn.products or turn.fused}"


def spills_in_loops(key: tuple[str, str], architecture: int) -> bool:
    """Whether what ``key`` spills matters: all that a written kernel does, in a loop what another does.

    A generated kernel may call a function with more arguments than are passed in registers, and read
    one of them in its loop: there it matters from one instruction in fifty on.
    """
    if not is_generated(key[0]):
        return True
    loops = machine_code(*key, architecture).loops
    return any(50 * loop.local > len(loop) for loop in loops)


def main(arguments: list[str]) -> None:
    if not all(argument.isdigit() for argument in arguments):
        raise SystemExit(__doc__)
    from roofline import CELLS

    kernels = planned(CELLS)
    print(f"{len(kernels)} kernels of {len(CELLS)} networks, precisions and batch sizes")
    print("      registers threads  shared  in the loop  networks              kernel")
    wrong = [what for number in arguments or ["90"] for what in wrong_on(int(number), kernels)]
    for line in wrong:
        print(f"WRONG {line}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
