"""What launchers say of ranks in the environment: mpiexec of MPICH and Open MPI, SLURM, torchrun."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from arraycnn.errors import InvalidValueError

# (size, rank, rank on this machine), the surest first.
_NAMES = {
    "Open MPI": ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_LOCAL_RANK"),
    "MPICH": ("PMI_SIZE", "PMI_RANK", "MPI_LOCALRANKID"),
    "torchrun": ("WORLD_SIZE", "RANK", "LOCAL_RANK"),
    # Of a step, which srun begins: a batch script itself is one process.
    "SLURM": ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_LOCALID"),
}


@dataclass(frozen=True)
class Launched:
    """What a launcher says: its name, how many processes it has begun, and which this is."""

    by: str
    size: int
    rank: int
    local_rank: int | None


def launched(environment: Mapping[str, str] = os.environ) -> Launched | None:
    """None where no launcher has begun this process."""
    for by, names in _NAMES.items():
        size, rank, local = (environment.get(name, "") for name in names)
        if size.isdecimal() and rank.isdecimal():
            return Launched(by, int(size), int(rank), int(local) if local.isdecimal() else None)
    return None


def check_launch(size: int, environment: Mapping[str, str] = os.environ) -> None:
    """Refuse processes of which a launcher has begun several, and MPI sees one."""
    found = launched(environment)
    if found is not None and found.size > 1 and size == 1:
        remedy = {
            "SLURM": "tell srun which PMI this MPI was built for, pmix or pmi2",
            "torchrun": "begin them with mpiexec, which MPI needs",
        }.get(found.by, "use the mpiexec of the MPI that mpi4py was built for")
        message = (
            f"distributed: all ranks must see each other, and {found.by} has begun {found.size} "
            f"processes of which MPI in rank {found.rank} sees one; {remedy}"
        )
        raise InvalidValueError(message)
