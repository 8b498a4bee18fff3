"""Trainings on several processes: ranks, what they say to each other, and how sums are shared."""

from arraycnn.distributed.mpi import MPI
from arraycnn.distributed.settings import Distributed

__all__ = ["MPI", "Distributed"]
