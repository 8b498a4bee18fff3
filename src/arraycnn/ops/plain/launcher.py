"""What stands between the kernels and NumPy: calls that are made, or noted to be made again.

NumPy's functions are faster than what surrounds them: choosing a kernel, cutting arrays into views,
fresh memory for every result. So a kernel here only says which function is to write which array, and
a recording repeats the calls of a whole step with nothing in between.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from arraycnn.ops.host_launcher import HostLauncher, Pool

MOST_TASKS = 16
"""Into how many tasks work is cut at most, on any number of threads."""

WORTH = 2**23
"""Multiply-adds, or numbers times `NUMBER`, that are worth waking a thread."""

NUMBER = 8
"""How many multiply-adds take the time of reading or writing a number."""

_ROOM = 2**24
"""Bytes of scratch to begin with, more than most parts need: what is not touched takes no memory."""

_CHUNK = 2**16
"""Bytes that the arena of recordings grows by, at least."""

_Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Launcher(HostLauncher):
    """Makes calls of functions that write into NumPy arrays, or records them."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._calls: list[_Call] | None = None
        self._scratches: list[_Scratch] = []
        self._scratch = _Scratch()
        self._arena = _Arena()
        self._zeros: dict[np.dtype, np.ndarray] = {}

    @property
    def is_recording(self) -> bool:
        return self._calls is not None

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array, not initialised: calls must write all of it.

        In a recording it is of the memory that all recordings share: they run one after the other,
        and what one leaves, the next may overwrite.
        """
        if self._calls is None:
            return np.empty(shape, dtype)
        return self._arena.array(shape, np.dtype(dtype))

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Zeros, which nobody may write; no memory is needed for what is only read."""
        count, dtype = math.prod(shape), np.dtype(dtype)
        held = self._zeros.get(dtype)
        if held is None or held.size < count:
            held = self._zeros[dtype] = np.zeros(count, dtype)
            held.flags.writeable = False
        return held[:count].reshape(shape)

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """``function(*arguments, **options)``, now or when the recording is run."""
        if self._calls is None:
            function(*arguments, **options)
            return
        if isinstance(function, np.ufunc):
            arguments = _as_arrays(arguments)
        self._calls.append((function, arguments, options))

    def share(
        self, groups: Sequence[Sequence[slice]], task: Callable[[int, int, slice], None], work: int
    ) -> None:
        """Run ``task(number, place, part)`` for each part of each group, on the pool's threads.

        Parameters
        ----------
        groups : lists of slices
            The parts of a group are worked on in order, by one thread.
        task : function
            Makes calls, which may use `scratch`; must write what no other group reads or writes.
        work : int
            Of all groups together, as in `WORTH`.
        """
        lanes = max(1, min(self._pool.threads, len(groups), work // WORTH))

        def run(lane: int, scratch: _Scratch) -> None:
            for number in range(lane, len(groups), lanes):
                for place, part in enumerate(groups[number]):
                    scratch.clear()
                    task(number, place, part)

        if self._calls is None and lanes == 1:
            run(0, _own_scratch())
        elif self._calls is None:
            self._pool.run(lambda lane: run(lane, _own_scratch()), lanes)
        else:
            self._record(run, lanes)

    def alone(self, task: Callable[[], None]) -> None:
        """Run ``task``, which makes calls and may use `scratch`, as the only one."""
        self.share([[slice(None)]], lambda *_: task(), 0)

    def _record(self, run: Callable[[int, _Scratch], None], lanes: int) -> None:
        """Note the calls of each lane, with memory of its own."""
        assert self._calls is not None
        calls = self._calls
        lists: list[list[_Call]] = []
        try:
            for lane in range(lanes):
                if len(self._scratches) == lane:
                    self._scratches.append(_Scratch())
                self._calls, self._scratch = [], self._scratches[lane]
                run(lane, self._scratch)
                lists.append(self._calls)
        finally:
            self._calls = calls
        if lanes == 1:
            calls.extend(lists[0])
        else:
            calls.append((self._pool.run, (lambda lane: _make(lists[lane]), lanes), {}))

    def scratch(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Memory for the part at work, and for no other; stays in the cache from part to part."""
        return self._own().array(shape, np.dtype(dtype))

    @contextmanager
    def passing(self) -> Iterator[None]:
        """What is taken as `scratch` within is given back at the end."""
        own = self._own()
        mark = own.mark()
        yield
        own.release(mark)

    @property
    def scratch_bytes(self) -> int:
        """How much memory the first lane of recordings has for scratch."""
        return sum(scratch.size for scratch in self._scratches[:1])

    def _own(self) -> _Scratch:
        return _own_scratch() if self._calls is None else self._scratch

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the calls that ``work`` makes; the result makes them all again.

        Recorded are the arrays and numbers as they are given: what is to differ from one time to
        the next must be read from an array.
        """
        self._calls = []
        self._arena.clear()
        try:
            work()
            calls = self._calls
        except BaseException:  # perhaps there was no memory: none of it is needed now
            self._arena, self._scratches = _Arena(), []
            raise
        finally:
            self._calls = None
        return lambda: _make(calls)


def _make(calls: list[_Call]) -> None:
    for function, arguments, options in calls:
        function(*arguments, **options)


def _as_arrays(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Numbers as arrays, which NumPy need not make of them each time; a number takes no part in
    the choice of a dtype."""
    dtype = next(value.dtype for value in arguments if isinstance(value, np.ndarray))
    kinds = (int, float) if dtype.kind == "f" else (int,)
    return tuple(np.asarray(value, dtype) if type(value) in kinds else value for value in arguments)


class _Arena:
    """Memory that is handed out piece by piece, each where it first fits, and all taken back."""

    def __init__(self) -> None:
        self._chunks: list[np.ndarray] = []
        self._used: list[int] = []

    def clear(self) -> None:
        self._used = [0] * len(self._chunks)

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        size = math.prod(shape) * dtype.itemsize
        for place, chunk in enumerate(self._chunks):
            if self._used[place] + size <= chunk.size:
                break
        else:
            place = len(self._chunks)
            self._chunks.append(np.empty(max(size, _CHUNK), np.uint8))
            self._used.append(0)
        first = self._used[place]
        self._used[place] = -(-(first + size) // 64) * 64
        return self._chunks[place][first : first + size].view(dtype).reshape(shape)


class _Scratch:
    """Memory that is handed out piece by piece, and all at once taken back."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self._used = 0

    @property
    def size(self) -> int:
        return self._memory.size

    def clear(self) -> None:
        self._used = 0

    def mark(self) -> tuple[np.ndarray, int]:
        return self._memory, self._used

    def release(self, mark: tuple[np.ndarray, int]) -> None:
        memory, used = mark
        self._used = used if memory is self._memory else 0

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        count = math.prod(shape) * dtype.itemsize
        first, last = self._used, self._used + count
        if last > self._memory.size:  # arrays of before keep the memory they are in
            self._memory = np.empty(max(2 * last, _ROOM), np.uint8)
            first, last = 0, count
        self._used = -(-last // 64) * 64
        return self._memory[first:last].view(dtype).reshape(shape)


_threads = threading.local()


def _own_scratch() -> _Scratch:
    if not hasattr(_threads, "scratch"):
        _threads.scratch = _Scratch()
    own: _Scratch = _threads.scratch
    return own
