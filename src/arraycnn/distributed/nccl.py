"""Sums between GPUs: through NCCL where CuPy has it, else through pinned memory of the host."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from arraycnn.distributed.communicator import Communicator
from arraycnn.distributed.parts import Part
from arraycnn.distributed.sums import HostSums, Sums, Traffic, packed, unpacked


class NCCLSums:
    """`Sums` by NCCL, on a stream of its own: kernels go on beside it until they need the result.

    Nothing here waits on the host, so `Traffic.seconds` stays 0.

    Parameters
    ----------
    communicator : Communicator
        Of which each rank has a device of its own, the current one.
    cupy, nccl : modules
        ``cupy`` and ``cupy.cuda.nccl``, or what stands for them.
    """

    def __init__(self, communicator: Communicator, cupy: Any, nccl: Any) -> None:
        self._cupy, self._nccl = cupy, nccl
        name = communicator.broadcast(None if communicator.rank else nccl.get_unique_id())
        self._ranks = nccl.NcclCommunicator(communicator.size, name, communicator.rank)
        self._stream = cupy.cuda.Stream(non_blocking=True)
        self._begun: dict[int, tuple[Any, Any, list[tuple[int, ...]]]] = {}
        self.traffic = Traffic()

    def total(self, arrays: Sequence[Any], part: Part) -> list[Any]:
        self.begin(0, arrays, part)
        return self.end(0)

    def begin(self, number: int, arrays: Sequence[Any], part: Part) -> None:
        together = packed(arrays)
        if not part.present:
            together[...] = 0
        self.traffic.messages += 1
        self.traffic.bytes += together.nbytes
        computed = self._cupy.cuda.get_current_stream().record()
        self._stream.wait_event(computed)
        kinds = {4: self._nccl.NCCL_FLOAT32, 8: self._nccl.NCCL_FLOAT64}
        place = together.data.ptr
        self._ranks.allReduce(
            *(place, place, together.size, kinds[together.dtype.itemsize]),
            *(self._nccl.NCCL_SUM, self._stream.ptr),
        )
        # Held until then: its memory is not another's while NCCL may write it.
        self._begun[number] = together, self._stream.record(), [tuple(a.shape) for a in arrays]

    def end(self, number: int) -> list[Any]:
        together, summed, shapes = self._begun.pop(number)
        self._cupy.cuda.get_current_stream().wait_event(summed)
        return unpacked(together, shapes)


def gpu_sums(communicator: Communicator, cupy: Any, nccl: Any = None) -> Sums:
    """By NCCL where all ranks have it, else staged, which rank 0 says."""
    if nccl is None:
        nccl = getattr(cupy.cuda, "nccl", None)
    has = nccl is not None and getattr(nccl, "available", False)
    if all(communicator.exchange(bool(has))):
        return NCCLSums(communicator, cupy, nccl)
    if not communicator.rank:
        logging.getLogger("arraycnn").warning(
            "distributed: NCCL is not there on every rank: sums go through memory of the host"
        )
    return HostSums(communicator, _Pinned(cupy), cupy.asarray)


class _Pinned:
    """Brings arrays to pinned memory, from which and to which devices copy at full rate."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def __call__(self, array: Any) -> np.ndarray:
        memory = self._cupy.cuda.alloc_pinned_memory(max(array.nbytes, 1))
        host = np.frombuffer(memory, array.dtype, array.size).reshape(array.shape)
        array.get(out=host)
        return host
