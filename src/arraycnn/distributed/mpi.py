"""`MPI`: ranks that an mpiexec, or SLURM, has begun; through mpi4py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from arraycnn.distributed.communicator import Communicator, Request
from arraycnn.distributed.failures import end_all_on_failure
from arraycnn.distributed.launchers import check_launch
from arraycnn.distributed.settings import Distributed
from arraycnn.optional_packages import import_extra


@dataclass(frozen=True)
class MPI(Distributed):
    """All processes that ``mpiexec -n N`` has begun; without it, one rank.

        model.fit(images, labels, distributed=MPI())

    Every rank calls `fit` with the same data and settings. Callbacks are called on rank 0 alone, so
    one process writes files, logs and progress; an error that nobody catches ends all ranks.

    Raises
    ------
    MissingPackageError
        Where it is used and mpi4py, of the extra ``mpi``, or an MPI is not installed.
    InvalidValueError
        Where it is used and a launcher has begun several processes that MPI does not join.
    """

    @property
    def communicator(self) -> Communicator:
        return _world()


@cache
def _world() -> MPICommunicator:
    mpi = import_extra("mpi4py.MPI", "MPI", "mpi")
    world = MPICommunicator(mpi)
    check_launch(world.size)
    if world.size > 1:
        end_all_on_failure(world)
    return world


class MPICommunicator:
    """A `Communicator` of MPI's world; ``mpi`` is the module mpi4py.MPI."""

    def __init__(self, mpi: Any) -> None:
        self._mpi = mpi
        self._world = mpi.COMM_WORLD.Dup()  # so that no message of others' can be taken for ours
        self.rank, self.size = self._world.Get_rank(), self._world.Get_size()
        beside = self._world.Split_type(mpi.COMM_TYPE_SHARED)
        self.local_rank, self.local_size = beside.Get_rank(), beside.Get_size()
        beside.Free()
        self._begun: list[Any] = []

    def add_up(self, array: np.ndarray) -> None:
        self._go_on()
        self._world.Allreduce(self._mpi.IN_PLACE, array, op=self._mpi.SUM)

    def begin_adding_up(self, array: np.ndarray) -> Request:
        self._go_on()
        request = self._world.Iallreduce(self._mpi.IN_PLACE, array, op=self._mpi.SUM)
        self._begun.append(request)
        return _Begun(request, self._begun)

    def gather(self, rows: np.ndarray, counts: Sequence[int]) -> np.ndarray:
        each = int(np.prod(rows.shape[1:], dtype=np.int64))
        found = np.empty((sum(counts), *rows.shape[1:]), rows.dtype)
        sizes = [count * each for count in counts]
        self._world.Allgatherv(np.ascontiguousarray(rows), [found, sizes])
        return found

    def exchange(self, value: Any) -> list[Any]:
        found: list[Any] = self._world.allgather(value)
        return found

    def broadcast(self, value: Any) -> Any:
        return self._world.bcast(value)

    def abort(self) -> None:
        self._world.Abort(1)

    def _go_on(self) -> None:
        """Let MPI go on with what was begun: many do nothing beside what they are asked."""
        if self._begun:
            self._mpi.Request.Testall(self._begun)


class _Begun:
    def __init__(self, request: Any, begun: list[Any]) -> None:
        self._request, self._all = request, begun

    def wait(self) -> None:
        self._request.Wait()
        self._all.remove(self._request)
