"""Compile each CUDA kernel that the benchmarks' networks start: the list is the planner's own.

    python tests/cuda_planned.py                  # for sm_90: what .ci/run does
    python tests/cuda_planned.py 80 90 100        # for these architectures

Of all networks, batch sizes and precisions of bench/roofline.py, written kernels and generated ones:
prints for each what it takes, with how many threads and how much dynamic shared memory it is started,
how many instructions a turn of each product's main loop has for how many multiplications, how many
loads are under way in loops that add up what they load, and in which networks. Ends with 1 where one
does not compile, is started as no device would take it, keeps anything in local memory, has a main loop
that is longer than it was (cuda_loops.py) or loads one number after the other (cuda_loads.py).
tests/cuda_kernels.txt has those that tests run on the CPU.
"""

import os
import sys
from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from cuda_loads import adding_loops, wrong_with_loads
from cuda_loops import NotFoundError, main_loops, products_of, rows_for, wrong_with_loop
from cuda_table import Launches, wrong_with
from host_cuda.device_code import DoesNotCompile, Figures, compiled
from host_cuda.listed_together import machine_codes_together
from host_cuda.machine_code import MachineCode

BENCH = Path(__file__).parent.parent / "bench"
if str(BENCH) not in sys.path:
    sys.path.append(str(BENCH))


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

    def figures_or_error(key: tuple[str, str]) -> Figures | DoesNotCompile:
        try:
            return compiled(*key, architecture).figures
        except DoesNotCompile as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        figures = dict(zip(kernels, pool.map(figures_or_error, kernels), strict=True))
    compiling = [key for key, found in figures.items() if isinstance(found, Figures)]
    codes = machine_codes_together(compiling, architecture)
    everything = []
    for key, planned in kernels.items():
        name, found = " ".join(key), figures[key]
        if not isinstance(found, Figures):
            print(f"sm_{architecture} {name}: does not compile")
            everything.append(str(found))
            continue
        loops, wrong = in_loops(key, codes[key], architecture)
        under_way = ",".join(str(one.under_way) for one in adding_loops(codes[key]))
        print(
            f"sm_{architecture} {found.registers:9d} {planned.launches.threads:7d} "
            f"{found.shared + planned.launches.shared:7d}  {loops:>14}  {under_way:11}  "
            f"{','.join(sorted(planned.networks)):20}  {name}"
        )
        wrong = [*wrong_with(found, planned.launches), *wrong]
        everything += [f"{name} on sm_{architecture}: {what}" for what in wrong]
    return everything


def in_loops(
    key: tuple[str, str], code: MachineCode, architecture: int = 90
) -> tuple[str, list[str]]:
    """What each product issues in a turn of its main loop, of them multiplications, "34/16+105/16", and
    what is wrong with the machine code."""
    wrong = [f"{code.local} accesses to local memory"] if code.local else []
    wrong += wrong_with_loads(key[1], code, architecture)
    rows = rows_for(architecture)
    try:
        loops = main_loops(code, products_of(*key), rows)
    except NotFoundError as error:
        return "not found", [*wrong, str(error)]
    for one in loops:
        wrong += wrong_with_loop(one, rows)
    return "+".join(map(str, loops)), wrong


def main(arguments: list[str]) -> None:
    if not all(argument.isdigit() for argument in arguments):
        raise SystemExit(__doc__)
    from roofline import CELLS

    kernels = planned(CELLS)
    print(f"{len(kernels)} kernels of {len(CELLS)} networks, precisions and batch sizes")
    print(
        "      registers threads  shared  in a main loop  under way    networks              kernel"
    )
    wrong = [what for number in arguments or ["90"] for what in wrong_on(int(number), kernels)]
    for line in wrong:
        print(f"WRONG {line}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main(sys.argv[1:])
