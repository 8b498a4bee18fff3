"""`Team`: the ranks that run one training, as `Model.fit` sees them."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np

from arraycnn.backends import Backend
from arraycnn.backends.cuda_probe import import_cupy
from arraycnn.callbacks.callback import Callback
from arraycnn.data.image_source import ImageSource
from arraycnn.distributed.agreement import check_alike
from arraycnn.distributed.communicator import Alone, Communicator
from arraycnn.distributed.nccl import gpu_sums
from arraycnn.distributed.parts import Cut, check_blocks
from arraycnn.distributed.settings import Distributed, check_distributed
from arraycnn.distributed.shares import Share
from arraycnn.distributed.sums import HostSums, OrderedSums, Sums, Traffic
from arraycnn.execution import Task, TrainingPlan
from arraycnn.execution.blocks import BlockTraining
from arraycnn.layers.layer import Layer
from arraycnn.program.steps import parts
from arraycnn.storage.provenance import versions
from arraycnn.training.batch_stream import BatchStream
from arraycnn.training.shared_plan import SharedTraining
from arraycnn.training.state import TrainingState
from arraycnn.training.step import Carry
from arraycnn.tree import map_leaves

_SEEN = 64
"""Images that a digest of some is of: enough to tell sets apart, and few to be read by each rank."""

T = TypeVar("T")


class Team:
    """The ranks of ``distributed``; of None, this process alone."""

    def __init__(self, distributed: Distributed | None) -> None:
        self._settings = check_distributed(distributed)
        self.communicator: Communicator = (
            Alone() if distributed is None else distributed.communicator
        )

    @property
    def size(self) -> int:
        return self.communicator.size

    def agreed(self, value: T) -> T:
        """That of rank 0: what hangs on the clock, or on a callback, is the same on all ranks."""
        if self.size == 1:
            return value
        shared: T = self.communicator.broadcast(value)
        return shared

    def of_first(self, make: Callable[[], T]) -> T:
        """What ``make`` gives on rank 0, which alone does it."""
        shared: T = self.communicator.broadcast(None if self.communicator.rank else make())
        return shared

    def check(self, settings: dict[str, Any], **data: ImageSource | None) -> None:
        """Refuse ranks that are about to run something else, with InvalidValueError on all of them.

        Of ``data``, by name, all is compared that lies in memory, and of images a sample.
        """
        if self.size == 1:
            return
        facts = {name: str(value) for name, value in settings.items()}
        facts |= {f"version of {name}": version for name, version in versions().items()}
        assert self._settings is not None
        facts |= {name: str(getattr(self._settings, name)) for name in ("deterministic", "block")}
        for name, source in data.items():
            facts[name] = "None" if source is None else _described(source, "images" not in name)
        check_alike(self.communicator, facts)

    def state(
        self, state: TrainingState, backend: Backend, place: Callable[[Any], Any]
    ) -> TrainingState:
        """Rank 0's, wherever it comes from: parameters are the same everywhere."""
        if self.size == 1:
            return state
        carry = Carry(*(map_leaves(backend.to_numpy, tree) for tree in state.carry))
        state = self.agreed(replace(state, carry=carry))
        return replace(state, carry=Carry(*map(place, state.carry)))

    def callbacks(self, callbacks: Sequence[Callback]) -> Sequence[Callback]:
        """Those that are called: rank 0's. Others only know when it saves."""
        periods = self.agreed([callback.save_every for callback in callbacks])
        return callbacks if not self.communicator.rank else [_Silent(period) for period in periods]

    def divide(self, stream: BatchStream, accumulate: int) -> None:
        """Let this rank read its share of each batch of ``stream`` alone, where that can be asked."""
        if self._settings is None or self.size == 1:
            return
        cut = self._cut(self._settings, stream.batch_size, accumulate)
        rows = cut.part(stream.batch_size, self.communicator.rank).rows
        if stream.read_only(rows) and not self.communicator.rank:
            logging.getLogger("arraycnn").warning(
                "distributed: each of %d ranks iterates all batches and computes its share of each: "
                "Batches(start, steps, batch_size) would let it read that share alone",
                self.size,
            )

    def plan(self, backend: Backend, task: Task, carry: Carry, batch_size: int) -> TrainingPlan:
        """The plan that runs this rank's share of ``task``, in batches of ``batch_size``."""
        if self._settings is None:
            return backend.training_plan(task, carry)
        cut = self._cut(self._settings, batch_size, task.accumulate)
        how = backend.to_numpy, backend.asarray
        rank = self.communicator.rank
        if not self._settings.deterministic:
            if self.size == 1 and not any(map(_mixes, parts(task.network))):
                return backend.training_plan(task, carry)  # as ever
            sums = self._sums(backend) if self.size > 1 else None
            share = Share(cut, rank, sums)
            plan = backend.training_plan(replace(task, share=share), carry)
            return plan if sums is None else SharedTraining(plan, Traffic(), None)
        counts, own = cut.counts(batch_size), Cut(cut.block, cut.blocks(batch_size))
        ordered = OrderedSums(self.communicator, own, counts, *how)
        first = sum(counts[:rank])
        shares = [Share(own, first + place, ordered) for place in range(counts[rank])]
        plans = [backend.training_plan(replace(task, share=one), carry) for one in shares]
        return SharedTraining(BlockTraining(plans, ordered), ordered.traffic, self._say_cost)

    def _cut(self, settings: Distributed, batch_size: int, accumulate: int) -> Cut:
        """How batches are shared, in parts of each; refuses those that are too small for that."""
        check_blocks(batch_size, settings.block, self.size, accumulate)
        return Cut(settings.block, self.size, accumulate)

    def _sums(self, backend: Backend) -> Sums:
        if backend.name == "cupy":
            return gpu_sums(self.communicator, import_cupy())
        return HostSums(self.communicator, backend.to_numpy, backend.asarray)

    def _say_cost(self, traffic: Traffic, steps: int) -> None:
        if not self.communicator.rank:
            logging.getLogger("arraycnn").warning(
                "distributed: deterministic sums gather %s bytes a step on each rank",
                f"{traffic.bytes // max(steps, 1):,}",
            )


def _mixes(layer: Layer) -> bool:
    return bool(getattr(layer, "mixes_labels", False))


class _Silent(Callback):
    def __init__(self, save_every: int | None) -> None:
        self.save_every = save_every


def _described(source: ImageSource, whole: bool) -> str:
    """Dtype, shape and a digest: of all where ``whole``, else, or where not in memory, of some."""
    if whole and source.resident is not None:
        read = source.read_part(slice(None))
    else:  # spread evenly over the set
        last, most = len(source) - 1, min(len(source), _SEEN)
        read = source.read(np.unique(np.linspace(0, last, most).astype(np.int64)))
    digest = hashlib.sha256(np.ascontiguousarray(read).reshape(-1).view(np.uint8).data)
    return f"{source.dtype} {tuple(source.shape)} {digest.hexdigest()[:12]}"
