"""What the launches of a step execute, by their machine code: `Work` of the model.

Of each launch two threads are run (tests/host_cuda/machine_run.py), both of a block in the middle:
the first one, which often does what one thread must, and one of a warp in the middle, which stands
for all others. What they executed is kept on disk, as the machine code is.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

from launches import Launch
from roofline_model import Work

TESTS = Path(__file__).parent.parent / "tests"
if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))

ARCHITECTURE = 90


def works_of(launches: list[Launch]) -> list[Work]:
    """The work of each launch."""
    from host_cuda.machine_code import machine_codes

    codes = machine_codes({(launch.file, launch.kernel) for launch in launches}, ARCHITECTURE)
    known: dict[Launch, Work] = {}
    for launch in launches:
        if launch not in known:
            known[launch] = work_of(launch, codes[launch.file, launch.kernel])
    return [known[launch] for launch in launches]


def work_of(launch: Launch, code) -> Work:
    """The work of a launch of a kernel with that machine code."""
    from host_cuda.device_code import compiled

    kernel = compiled(launch.file, launch.kernel, ARCHITECTURE)
    warps = launch.threads // 32
    first, other = _executed(launch, code, kernel.cubin.read_bytes(), warps)

    def of_block(name: str) -> int:
        return first[name] + (warps - 1) * other[name]

    return Work(
        kernel=launch.kernel,
        blocks=math.prod(launch.grid),
        threads=32 * warps,
        registers=kernel.figures.registers,
        shared=kernel.figures.shared + launch.shared,
        issued=of_block("issued"),
        products=of_block("products"),
        fused=of_block("fused"),
        turns=max(first["turns"], other["turns"]),
        bytes=launch.bytes,
    )


def _executed(launch: Launch, code, cubin: bytes, warps: int) -> list[dict[str, int]]:
    """What the first thread and one of a warp in the middle have executed."""
    from host_cuda import machine_run, machine_values
    from host_cuda.build import cache_folder
    from host_cuda.device_code import keep

    how = "".join(Path(of.__file__).read_text() for of in (machine_run, machine_values))
    given = (launch.grid, launch.block, launch.parameters, how)
    key = hashlib.sha256(cubin + repr(given).encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.executed"
    if not path.exists():
        grid, block = ((*of, 1, 1)[:3] for of in (launch.grid, launch.block))
        place = tuple(size // 2 for size in grid)
        started = machine_run.Launch(launch.grid, launch.block, launch.parameters)
        found = []
        for thread in (0, warps // 2 * 32):
            at = (thread % block[0], thread // block[0] % block[1], thread // block[0] // block[1])
            ran = machine_run.executed(code, started, place, at)
            found.append(
                {
                    "issued": ran.issued,
                    "turns": ran.turns,
                    "products": ran.count("HMMA"),
                    "fused": ran.count("FFMA"),
                }
            )
        keep(path, json.dumps(found).encode())
    return json.loads(path.read_text())
