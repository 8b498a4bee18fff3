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
from arraycnn.ops.numpy.arena import Arena, Scratch

MOST_TASKS = 16
"""Into how many tasks work is cut at most, on any number of threads."""

WORTH = 2**23
"""Multiply-adds, or numbers times `NUMBER`, that are worth waking a thread."""

NUMBER = 8
"""How many multiply-adds take the time of reading or writing a number."""

_Call = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Launcher(HostLauncher):
    """Makes calls of functions that write into NumPy arrays, or records them."""

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        self._calls: list[_Call] | None = None
        self._scratches: list[Scratch] = []
        self._scratch = Scratch()
        self._arena = Arena()
        self._places: list[np.ndarray] = []
        self._zeros: dict[np.dtype, np.ndarray] = {}
        self._rows: dict[tuple[str, np.dtype], np.ndarray] = {}

    @property
    def is_recording(self) -> bool:
        return self._calls is not None

    def empty(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """An array, not initialised: calls must write all of it.

        In a recording it is of the memory that all recordings share: they run one after the other,
        and what one leaves, the next may overwrite.
        """
        count, dtype = math.prod(shape), np.dtype(dtype)
        for number, place in enumerate(self._places):
            if place.size == count and place.dtype == dtype:
                return self._places.pop(number).reshape(shape)
        if self._calls is None:
            return np.empty(shape, dtype)
        return self._arena.array(shape, dtype)

    def between(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """`empty` for what is no result, and so has no place."""
        places, self._places = self._places, []
        try:
            return self.empty(shape, dtype)
        finally:
            self._places = places

    def give_back(self, array: np.ndarray) -> None:
        """Let the memory of an array that `empty` has made be that of another one.

        Calls that are made later must not use it.
        """
        if self._calls is not None:
            self._arena.give_back(array.ctypes.data)

    @contextmanager
    def borrowing(self, places: Sequence[np.ndarray]) -> Iterator[None]:
        """What `empty` makes within is given back at the end.

        But what it makes of the dtype and size of one of ``places`` lies there.
        """
        before, self._places = self._arena.taken(), list(places)
        try:
            yield
        finally:
            self._places = []
        if self._calls is not None:
            for address in self._arena.taken() - before:
                self._arena.give_back(address)

    def zeros(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Zeros, which nobody may write; no memory is needed for what is only read."""
        count, dtype = math.prod(shape), np.dtype(dtype)
        held = self._zeros.get(dtype)
        if held is None or held.size < count:
            held = self._zeros[dtype] = np.zeros(count, dtype)
            held.flags.writeable = False
        return held[:count].reshape(shape)

    def row(self, number: Any, length: int, dtype: np.dtype) -> np.ndarray:
        """``length`` times a number, which nobody may write."""
        key = repr(number), dtype
        held = self._rows.get(key)
        if held is None or held.size < length:
            held = self._rows[key] = np.full(length, number, dtype)
            held.flags.writeable = False
        return held[:length]

    def call(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> None:
        """``function(*arguments, **options)``, now or when the recording is run."""
        if self._calls is None:
            function(*arguments, **options)
            return
        if isinstance(function, np.ufunc):
            arguments = _as_arrays(arguments)
            if function.signature is None and options.keys() == {"out"}:
                *operands, out = _simplest((*arguments, options["out"]))
                named = function in (np.maximum, np.minimum)  # which ask for a name
                arguments = tuple(operands) if named else (*operands, out)
                options = {"out": out} if named else {}
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
        lanes = self.lanes(len(groups), work)

        def run(lane: int, scratch: Scratch) -> None:
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

    def lanes(self, groups: int, work: int) -> int:
        """How many threads `share` runs so many groups on."""
        return max(1, min(self._pool.threads, groups, work // WORTH))

    def alone(self, task: Callable[[], None]) -> None:
        """Run ``task``, which makes calls and may use `scratch`, as the only one."""
        self.share([[slice(None)]], lambda *_: task(), 0)

    def _record(self, run: Callable[[int, Scratch], None], lanes: int) -> None:
        """Note the calls of each lane, with memory of its own."""
        assert self._calls is not None
        calls = self._calls
        lists: list[list[_Call]] = []
        try:
            for lane in range(lanes):
                if len(self._scratches) == lane:
                    self._scratches.append(Scratch())
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

    def _own(self) -> Scratch:
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
            self._arena, self._scratches = Arena(), []
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
    return tuple(np.asarray(value, dtype if type(value) in kinds else None) for value in arguments)


def _simplest(arrays: tuple[Any, ...]) -> tuple[Any, ...]:
    """The operands and the result of a function of single numbers, as NumPy begins soonest.

    Single numbers without axes, all others in one row, where that is all that is in the way of a loop
    without strides: it takes half a microsecond less than what NumPy does for other shapes.
    """
    size = arrays[-1].size
    if any(a.size not in (1, size) or not a.flags.c_contiguous for a in arrays) or size == 1:
        return arrays
    large = [array for array in arrays if array.size == size]
    row = len({array.shape for array in large}) > 1
    made = {id(a): a.reshape(size) if row else a for a in large}  # what was one object is one
    return tuple(made[id(a)] if a.size == size else a.reshape(()) for a in arrays)


_threads = threading.local()


def _own_scratch() -> Scratch:
    if not hasattr(_threads, "scratch"):
        _threads.scratch = Scratch()
    own: Scratch = _threads.scratch
    return own
