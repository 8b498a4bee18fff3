"""Sums between GPUs, against a stand-in for NCCL and CuPy's streams; no NCCL runs here.

The stand-in's streams do their work late, when somebody waits for them, as the lazy streams of
tests/host_driver do: a wait that is missing shows as a wrong sum. It checks that every rank asks for
the same sums in the same order, of the same counts and types, and on which stream.
"""

import threading
from types import SimpleNamespace

import numpy as np
import pytest

from arraycnn.distributed import nccl, sums
from arraycnn.distributed.nccl import NCCLSums, gpu_sums
from arraycnn.distributed.parts import Part
from arraycnn.distributed.sums import HostSums, packed
from arraycnn.distributed.threads import on_threads

HERE = Part(0, 4, 8)


class Late:
    """A stream: work in order, done when it is waited for."""

    def __init__(self, non_blocking=False):
        self.work, self.done, self.ptr = [], 0, id(self)

    def run(self, until):
        while self.done < until:
            self.done += 1
            self.work[self.done - 1]()

    def record(self):
        return self, len(self.work)

    def wait_event(self, event):
        other, until = event
        self.work.append(lambda: other.run(until))


class Array(np.ndarray):
    """What computes on the present stream does so at once, on numbers that are there late."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self)


class StandIn:
    NCCL_SUM, NCCL_FLOAT32, NCCL_FLOAT64, available = "sum", "float32", "float64", True

    def __init__(self):
        self.current, self.asked, self.streams = Late(), [], []
        self.cuda = SimpleNamespace(
            Stream=self._stream, get_current_stream=lambda: self.current, nccl=self
        )

    def _stream(self, non_blocking):
        assert non_blocking  # or it waits for all that the default stream does
        self.streams.append(Late())
        return self.streams[-1]

    def get_unique_id(self):
        return "the name of this group"

    def NcclCommunicator(self, size, name, rank):
        assert name == "the name of this group"
        self.size = size
        return self

    def allReduce(self, send, receive, count, kind, op, stream):
        (own,) = [one for one in self.streams if one.ptr == stream]
        assert own is not self.current
        assert receive is send
        assert count == send.size
        assert str(send.dtype) == kind
        assert op == "sum"
        (*_, waits) = own.work  # the last thing asked of its stream is to wait for what computed
        assert waits is not None
        self.asked.append((count, kind))
        own.work.append(lambda: _sum_into(send, self.rank))


def _sum_into(array, rank):
    parts = rank.exchange(np.array(array))
    assert {part.shape for part in parts} == {array.shape}
    array[...] = np.sum(parts, axis=0)


def late(stand_in, value, dtype):
    """An array that has its numbers once the present stream has come so far."""
    array = np.full(3, np.nan, dtype).view(Array)
    stand_in.current.work.append(lambda: array.__setitem__(..., value))
    return array


def packed_late(stand_in, arrays):
    """As `packed` by a kernel on the present stream."""
    together = np.full(sum(a.size for a in arrays), np.nan, arrays[0].dtype).view(Array)

    def fill():
        together[...] = np.concatenate([np.ravel(a) for a in arrays])

    stand_in.current.work.append(fill)
    return together


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_sums_wait_for_what_computed_and_are_waited_for(monkeypatch, dtype):
    here = threading.local()
    monkeypatch.setattr(nccl, "packed", lambda arrays: packed_late(here.stand_in, arrays))

    def work(rank):
        stand_in = here.stand_in = StandIn()
        stand_in.rank = rank
        shared = gpu_sums(rank, stand_in)
        assert isinstance(shared, NCCLSums)
        first, second = (late(stand_in, rank.rank + k, dtype) for k in (1, 10))
        shared.begin(1, [first, second], HERE)
        shared.begin(2, [second], HERE)
        found = shared.end(1), shared.end(2)
        stand_in.current.run(len(stand_in.current.work))  # as a program does that reads a result
        return [np.array(a) for part in found for a in part], stand_in.asked, shared.traffic.bytes

    results = on_threads(2, work)
    assert results[0][1] == results[1][1] == [(6, dtype), (3, dtype)]
    for found, _, count in results:
        assert [set(array.tolist()) for array in found] == [{3.0}, {21.0}, {21.0}]
        assert count == 9 * np.dtype(dtype).itemsize


def test_without_nccl_sums_are_staged_and_it_is_said(caplog, monkeypatch):
    memory = {"count": 0}

    def pinned(size):
        memory["count"] += 1
        return bytearray(size)

    class OnDevice(np.ndarray):
        def get(self, out):
            out[...] = self

    monkeypatch.setattr(sums, "packed", lambda arrays: packed(arrays).view(OnDevice))

    def work(rank):
        nothing = SimpleNamespace(available=rank.rank == 0)  # one rank without is enough
        cupy = SimpleNamespace(
            cuda=SimpleNamespace(nccl=nothing, alloc_pinned_memory=pinned), asarray=np.array
        )
        found = gpu_sums(rank, cupy)
        assert type(found) is HostSums
        return found.total([np.full((2, 2), rank.rank + 1.0)], HERE)[0].tolist()

    assert on_threads(2, work) == [[[3.0, 3.0], [3.0, 3.0]]] * 2
    assert memory["count"] == 2
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "distributed: NCCL is not there on every rank: sums go through memory of the host"
    ]
