"""Print what each CUDA kernel takes on a device, and how often the tests ran it on the CPU.

    ARRAYCNN_LAUNCHES=launches pytest tests/test_cuda_*.py
    python tests/cuda_table.py launches             # prints; exits with 1 where something is wrong
    python tests/cuda_table.py launches --update    # writes tests/cuda_kernels.txt anew before

The tests note each launch in the folder that ARRAYCNN_LAUNCHES names. Wrong are a kernel that does not
compile or spills registers, a launch that no device would take, a kernel in tests/cuda_kernels.txt
that no test ran, and one that ran and is not there.
"""

import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from arraycnn.ops.cuda.launcher import MOST_SHARED, MOST_STATIC_SHARED
from cuda_figures import LIST, figures_everywhere, listed
from host_cuda.device_code import ARCHITECTURES, DoesNotCompile, Figures

REGISTERS_OF_A_BLOCK = 65536
COLUMNS = (
    f"{'registers':>12} {'spilled':>9} {'stack':>9} {'shared':>7} {'threads':>7} {'launches':>8}"
)


@dataclass
class Launches:
    """How a kernel was launched: how often, and with at most so many threads and bytes."""

    count: int = 0
    threads: int = 0
    shared: int = 0


def read_launches(folder: Path) -> dict[tuple[str, str], Launches]:
    """The launches that tests noted in ``folder``."""
    found: dict[tuple[str, str], Launches] = defaultdict(Launches)
    for path in sorted(folder.glob("*.tsv")):
        for line in path.read_text().splitlines():
            file, kernel, threads, shared = line.split("\t")
            row = found[file, kernel]
            row.count += 1
            row.threads = max(row.threads, int(threads))
            row.shared = max(row.shared, int(shared))
    return dict(found)


def wrong_with(row: Figures, launches: Launches) -> list[str]:
    """What keeps a device from running a kernel well, or at all."""
    registers = -(-row.registers // 8) * 8 * launches.threads
    shared = row.shared + launches.shared
    return [
        *([f"spills {row.spilled} bytes"] if row.spilled else []),
        *([f"is launched with {launches.threads} threads, takes at most {row.most_threads}"]
          if launches.threads > row.most_threads else []),
        *([f"takes {registers} registers a block, at most are {REGISTERS_OF_A_BLOCK}"]
          if registers > REGISTERS_OF_A_BLOCK else []),
        *([f"takes {row.shared} bytes of static shared memory, at most are {MOST_STATIC_SHARED}"]
          if row.shared > MOST_STATIC_SHARED else []),
        *([f"takes {shared} bytes of shared memory, at most are {MOST_SHARED}"]
          if shared > MOST_SHARED else []),
    ]  # fmt: skip


def line_of(name: str, rows: list[Figures], launches: Launches) -> str:
    """One line of the table; figures of each architecture where they differ."""

    def column(field: str) -> str:
        values = [str(getattr(row, field)) for row in rows]
        return values[0] if len(set(values)) == 1 else "/".join(values)

    shared = max(row.shared for row in rows) + launches.shared
    figures_of_all = (
        f"{column('registers'):>12} {column('spilled'):>9} {column('stack'):>9} {shared:7d}"
    )
    return f"{figures_of_all} {launches.threads:7d} {launches.count:8d}  {name}"


def main() -> None:
    folder, *flags = sys.argv[1:] or [""]
    launches = read_launches(Path(folder)) if folder else {}
    if not launches or flags not in ([], ["--update"]):
        raise SystemExit(__doc__)
    if flags:
        LIST.write_text("".join(f"{file} {kernel}\n" for file, kernel in sorted(launches)))
    wrong = []
    architectures = ", ".join(f"sm_{number}" for number in ARCHITECTURES)
    print(f"figures for {architectures}; shared memory, stack and spills in bytes")
    print(f"{COLUMNS}  kernel")
    for file, kernels in listed().items():
        try:
            found = figures_everywhere(file, kernels)
        except DoesNotCompile as error:
            wrong.append(str(error))
            continue
        for kernel in kernels:
            row = launches.pop((file, kernel), Launches())
            print(line_of(f"{file} {kernel}", [rows[kernel] for rows in found.values()], row))
            for number, rows in found.items():
                wrong += [
                    f"{file} {kernel} on sm_{number}: {what}"
                    for what in wrong_with(rows[kernel], row)
                ]
            if not row.count:
                wrong.append(f"{file} {kernel}: no test ran it")
    wrong += [f"{file} {kernel}: not in {LIST.name}; use --update" for file, kernel in launches]
    for line in wrong:
        print(f"WRONG {line}")
    raise SystemExit(1 if wrong else 0)


if __name__ == "__main__":
    main()
