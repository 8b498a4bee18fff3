"""``train --distributed``: the ranks that an mpiexec has begun, of which the first writes."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import click

from arraycnn.backends import Backend, NumPy
from arraycnn.backends.numpy import usable_cores
from arraycnn.cli import options
from arraycnn.data.dataset import DataSet
from arraycnn.data.digest import training_digest
from arraycnn.data.image_source import in_memory
from arraycnn.distributed import MPI
from arraycnn.distributed.agreement import check_alike
from arraycnn.distributed.communicator import Alone, Communicator

T = TypeVar("T")


def _join(context: click.Context, _: click.Parameter, wanted: bool) -> bool:
    """Callback of the option, before all others: ranks but the first say nothing from now on."""
    if wanted and MPI().communicator.rank:
        context.with_resource(_silence())
    return wanted


distributed: options.Decorator = click.option(
    "--distributed",
    is_flag=True,
    is_eager=True,
    callback=_join,
    help="Share the work with the ranks of mpiexec -n N arraycnn train ... --distributed.",
)
deterministic: options.Decorator = click.option(
    "--deterministic",
    is_flag=True,
    help="With --distributed: every bit the same for any number of ranks, which takes longer.",
)
OPTIONS = ("distributed", "deterministic")
_OF_A_MACHINE = ("data_dir",)


@dataclass(frozen=True)
class Ranks:
    """The ranks of a command; ``settings`` of None is one process alone."""

    settings: MPI | None

    @property
    def communicator(self) -> Communicator:
        return Alone() if self.settings is None else self.settings.communicator

    @property
    def leads(self) -> bool:
        """Whether this is the rank that writes and speaks."""
        return self.communicator.rank == 0

    def agreed(self, value: T) -> T:
        """What the first rank says."""
        found: T = self.communicator.broadcast(value)
        return found

    def check(self, config: Mapping[str, Any]) -> None:
        """Refuse ranks of which one was begun with other settings, files or data."""
        facts = {name: repr(value) for name, value in config.items() if name not in _OF_A_MACHINE}
        check_alike(self.communicator, facts)

    def digest(self, data: DataSet, with_validation: bool) -> str:
        """`training_digest` of ``data``.

        Where images are read batch by batch, it takes reading them all: the first rank does so for
        all of them. In memory, each rank tells what it has itself.
        """
        own = None
        if self.leads or in_memory(data.train_images):
            own = training_digest(data, with_validation)
        first = self.agreed(own)
        found = first if own is None else own
        assert found is not None
        return found

    def backend(self, backend: Backend) -> Backend:
        """``backend`` with this rank's share of the machine: a device of its own, or some cores."""
        here = self.communicator
        if here.size == 1:
            return backend
        if isinstance(backend, NumPy) and backend.threads is None:
            return replace(backend, threads=max(1, usable_cores() // here.local_size))
        if backend.name == "cupy":
            return replace(backend, device=here.local_rank)  # type: ignore[type-var]
        return backend


def ranks_of(given: Mapping[str, Any]) -> Ranks:
    """Those that the options' values by name ask for."""
    if given["deterministic"] and not given["distributed"]:
        message = "--deterministic needs --distributed"
        raise click.UsageError(message)
    return Ranks(MPI(given["deterministic"]) if given["distributed"] else None)


@contextmanager
def _silence() -> Iterator[None]:
    """Nothing is shown within the block but why all ranks end."""
    log = logging.getLogger("arraycnn")
    level = log.level
    log.setLevel(logging.CRITICAL)
    with open(os.devnull, "w") as nowhere, redirect_stdout(nowhere), redirect_stderr(nowhere):
        try:
            yield
        finally:
            log.setLevel(level)
            sys.stdout.flush()
