"""What the launches of a step execute, by their machine code: `Work` of the model.

Of each launch two threads are run (tests/host_cuda/machine_run.py), both of a block in the middle, or
of one in the middle of each share of a grid that several kernels have together: the first one, which
often does what one thread must, and one of a warp in the middle, which stands
for all others. What they executed is kept on disk, as the machine code is.
"""

import hashlib
import json
import math
import sys
from pathlib import Path

from launches import Launch
from roofline_model import Share, Work, work_of_shares

TESTS = Path(__file__).parent.parent / "tests"
if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))

ARCHITECTURE = 90


def works_of(launches: list[Launch]) -> list[Work]:
    """The work of each launch."""
    from host_cuda.listed_together import machine_codes_together

    codes = machine_codes_together(
        {(launch.file, launch.kernel) for launch in launches}, ARCHITECTURE
    )
    known: dict[Launch, Work] = {}
    for launch in launches:
        if launch not in known:
            known[launch] = work_of(launch, codes[launch.file, launch.kernel])
    return [known[launch] for launch in launches]


def work_of(launch: Launch, code) -> Work:
    """The work of a launch of a kernel with that machine code."""
    from host_cuda.device_code import compiled

    kernel = compiled(launch.file, launch.kernel, ARCHITECTURE)
    cubin, warps = kernel.cubin.read_bytes(), launch.threads // 32
    shares = []
    before = 0
    for grid in launch.grids or (launch.grid,):
        blocks, place = math.prod(grid), _middle(grid)
        if launch.grids:  # one after another along x
            (x, y, z), (wide, tall, _) = place, (*grid, 1, 1)[:3]
            place = (before + x + wide * (y + tall * z), 0, 0)
        first, other = _executed(launch, code, cubin, warps, place)
        of_block = {name: first[name] + (warps - 1) * other[name] for name in first}
        shares.append(Share(blocks, **of_block | {"turns": max(first["turns"], other["turns"])}))
        before += blocks
    return work_of_shares(
        launch.kernel,
        32 * warps,
        kernel.figures.registers,
        kernel.figures.shared + launch.shared,
        launch.bytes,
        shares,
    )


def _middle(grid: tuple[int, ...]) -> tuple[int, int, int]:
    x, y, z = (size // 2 for size in (*grid, 1, 1)[:3])
    return x, y, z


def _executed(
    launch: Launch, code, cubin: bytes, warps: int, place: tuple[int, int, int]
) -> list[dict[str, int]]:
    """What the first thread of the block at ``place`` and one of a warp in the middle have executed."""
    from host_cuda import machine_run
    from host_cuda.build import cache_folder
    from host_cuda.device_code import keep

    files = Path(machine_run.__file__).parent.glob("machine_*.py")
    how = "".join(path.read_text() for path in sorted(files))
    given = (launch.grid, launch.block, launch.parameters, how)
    given += (place,) if launch.grids else ()
    key = hashlib.sha256(cubin + repr(given).encode()).hexdigest()[:32]
    path = cache_folder() / f"{key}.executed"
    if not path.exists():
        block = (*launch.block, 1, 1)[:3]
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
